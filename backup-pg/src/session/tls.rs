//! TLS as libpq does it, with rustls.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backup_core::{Error, ErrorKind, Result};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer,
        UnixTime, pem::PemObject,
    },
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::certificate::{Fields, names_host};
use crate::conninfo::{Host, Resolved, SslMode, SslNegotiation};

/// What libpq 17 announces; servers insist on it when TLS begins without asking.
const PROTOCOL: &[u8] = b"postgresql";

/// The TLS side of one connection.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tls: MakeRustlsConnect,
    /// A server showed its certificate.
    was_used: Arc<AtomicBool>,
}

impl Connector {
    /// Whether the connection that was made with it is encrypted.
    pub(super) fn was_used(&self) -> bool {
        self.was_used.load(Ordering::Acquire)
    }
}

/// The TLS side of a connection to one host.
///
/// # Errors
/// `NotFound` for a certificate file that is needed and not there, `Denied` for a private key others can read,
/// `Invalid` for a file that holds no certificate or key.
pub(super) fn connector(resolved: &Resolved, host: &Host) -> Result<Connector> {
    if resolved.sslmode == SslMode::VerifyFull && host.host.is_empty() {
        return Err(Error::invalid("sslmode=verify-full needs a host name to compare the certificate with")
            .with_hint("Give \"host\" beside \"hostaddr\"."));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let was_used = Arc::new(AtomicBool::new(false));
    let check = ServerCheck {
        trust: trust(resolved, &provider)?,
        provider: Arc::clone(&provider),
        was_asked: Arc::clone(&was_used),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(resolved))
        .map_err(|error| unusable("the TLS versions that are allowed", error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check));
    let mut config = match identity(resolved)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("the client certificate", error))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = resolved.sslsni;
    if resolved.sslnegotiation == SslNegotiation::Direct {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
    }
    Ok(Connector { tls: MakeRustlsConnect::new(config), was_used })
}

/// For a connection that will not use TLS: the driver wants a connector all the same.
pub(super) fn unused() -> Result<Connector> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS", error))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Connector { tls: MakeRustlsConnect::new(config), was_used: Arc::default() })
}

fn unusable(what: &str, error: rustls::Error) -> Error {
    Error::invalid(format!("{what} cannot be used")).with_source(error)
}

fn versions(resolved: &Resolved) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = resolved.ssl_min_protocol_version..=resolved.ssl_max_protocol_version;
    [(12, &TLS12), (13, &TLS13)].into_iter().filter(|(v, _)| allowed.contains(v)).map(|(_, v)| v).collect()
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Trust {
    /// Anybody's: the connection is encrypted, the server unproven.
    Anybody,
    /// Those an authority vouches for.
    Authorities {
        chain: Arc<dyn ServerCertVerifier>,
        /// The trusted certificates themselves: a self-signed one may be the server's own.
        trusted: Vec<CertificateDer<'static>>,
        /// Whether the certificate must be this host's.
        name: bool,
    },
}

/// As in libpq, a root certificate file that is there is used in every mode.
fn trust(resolved: &Resolved, provider: &Arc<CryptoProvider>) -> Result<Trust> {
    let name = resolved.sslmode == SslMode::VerifyFull;
    if resolved.sslrootcert.as_deref() == Some(Path::new("system")) {
        let chain = rustls_platform_verifier::Verifier::new(Arc::clone(provider))
            .map_err(|error| unusable("the operating system's list of authorities", error))?;
        return Ok(Trust::Authorities { chain: Arc::new(chain), trusted: Vec::new(), name });
    }
    let path = resolved.sslrootcert.as_deref().filter(|path| path.exists());
    let Some(path) = path else {
        return if resolved.sslmode >= SslMode::VerifyCa {
            Err(no_authority(resolved))
        } else {
            Ok(Trust::Anybody)
        };
    };
    let trusted: Vec<CertificateDer<'static>> = read_all(path, "certificate")?;
    let mut roots = RootCertStore::empty();
    for certificate in &trusted {
        roots.add(certificate.clone()).map_err(|error| {
            Error::invalid(format!("certificate file \"{}\" cannot be used", path.display()))
                .with_source(error)
        })?;
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(revocations(resolved)?)
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| {
            Error::invalid(format!(
                "certificate file \"{}\" and its revocation lists cannot be used",
                path.display()
            ))
            .with_source(error)
        })?;
    Ok(Trust::Authorities { chain, trusted, name })
}

fn no_authority(resolved: &Resolved) -> Error {
    let message = match &resolved.sslrootcert {
        Some(path) => format!("root certificate file \"{}\" does not exist", path.display()),
        None => format!("sslmode={} needs a root certificate file", resolved.sslmode.name()),
    };
    Error::new(ErrorKind::NotFound, message)
        .with_hint("Put it there, name another in sslrootcert, or use sslrootcert=system with verify-full.")
}

/// Lists of revoked certificates; as in libpq, one that is not there is no error.
fn revocations(resolved: &Resolved) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let mut lists = Vec::new();
    if let Some(path) = resolved.sslcrl.as_deref().filter(|path| path.exists()) {
        lists.extend(read_all(path, "revocation list")?);
    }
    if let Some(folder) = &resolved.sslcrldir {
        for entry in fs::read_dir(folder).map_err(|error| Error::io("list", folder, error))? {
            let entry = entry.map_err(|error| Error::io("list", folder, error))?;
            lists.extend(read_all(&entry.path(), "revocation list")?);
        }
    }
    Ok(lists)
}

/// Every object of a kind in a PEM file, at least one.
fn read_all<T: PemObject>(path: &Path, what: &str) -> Result<Vec<T>> {
    let text = fs::read(path).map_err(|error| Error::io(&format!("read {what} file"), path, error))?;
    let found: Vec<T> = T::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| {
        Error::invalid(format!("{what} file \"{}\" is malformed", path.display())).with_source(error)
    })?;
    if found.is_empty() {
        return Err(Error::invalid(format!("file \"{}\" holds no {what} in PEM format", path.display())));
    }
    Ok(found)
}

/// The client's certificate and key, if there is a certificate.
fn identity(resolved: &Resolved) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let Some(path) = resolved.sslcert.as_deref().filter(|path| path.exists()) else { return Ok(None) };
    let chain = read_all(path, "certificate")?;
    let Some(key) = resolved.sslkey.as_deref() else {
        return Err(Error::invalid(format!("certificate \"{}\" has no private key", path.display()))
            .with_hint("Name its file in sslkey."));
    };
    let meta = fs::metadata(key).map_err(|error| Error::io("read private key", key, error))?;
    if others_have_access(&meta) {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("private key \"{}\" can be read by others", key.display()),
        )
        .with_hint("Set its mode to 0600, or to 0640 if root owns it."));
    }
    let bytes = fs::read(key).map_err(|error| Error::io("read private key", key, error))?;
    Ok(Some((chain, read_key(key, &bytes)?)))
}

/// A private key in PEM, or in DER where it does not look like PEM.
fn read_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("ENCRYPTED") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("private key \"{}\" is encrypted", path.display()),
        )
        .with_hint("Write an unencrypted copy with `openssl pkey`, mode 0600, and name it in sslkey."));
    }
    let malformed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid(format!("file \"{}\" holds no private key", path.display())).with_source(cause)
    };
    if text.contains("-----BEGIN") {
        return PrivateKeyDer::from_pem_slice(bytes).map_err(|error| malformed(Box::new(error)));
    }
    PrivateKeyDer::try_from(bytes.to_vec()).map_err(|error| malformed(error.into()))
}

/// libpq's rule: nobody but the owner, or root's group when root owns it.
#[cfg(unix)]
fn others_have_access(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let forbidden = if meta.uid() == 0 { 0o037 } else { 0o077 };
    meta.mode() & forbidden != 0
}

/// Windows has no mode to look at.
#[cfg(windows)]
fn others_have_access(_meta: &fs::Metadata) -> bool {
    false
}

/// Decides about a server's certificate.
#[derive(Debug)]
struct ServerCheck {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    was_asked: Arc<AtomicBool>,
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.was_asked.store(true, Ordering::Release);
        let Trust::Authorities { chain, trusted, name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let answer = chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let trusted_itself = || trusted.iter().any(|one| one == end_entity);
        let answer = match answer {
            // A self-signed certificate that is itself trusted; OpenSSL takes it, and its dates were in order.
            Err(error) if is_authority_itself(&error) && trusted_itself() => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                    .map(|()| ServerCertVerified::assertion())
            }
            answer => answer,
        };
        match answer {
            // The name is looked at last, so all else is in order.
            Err(error) if is_other_name(&error) && (!name || is_subject(end_entity, server_name, &error)) => {
                Ok(ServerCertVerified::assertion())
            }
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match (&self.trust, verify_tls13_signature(message, certificate, signed, algorithms)) {
            // Old, but good enough where nobody is vouched for: without this, `prefer` would go on unencrypted.
            (Trust::Anybody, Err(error)) if is_too_old(&error) => {
                let fields = Fields::read(certificate).ok_or(error)?;
                let key = SubjectPublicKeyInfoDer::from(fields.public_key);
                verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
            }
            (_, answer) => answer,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_other_name(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// Whether a certificate without any alternative name has the host as its subject's common name.
fn is_subject(certificate: &CertificateDer<'_>, host: &ServerName<'_>, error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = error
    else {
        return false;
    };
    let common_name = Fields::read(certificate).and_then(|fields| fields.common_name());
    presented.is_empty() && common_name.is_some_and(|name| names_host(name, &host.to_str()))
}

fn is_authority_itself(error: &rustls::Error) -> bool {
    is_told_as(error, "CaUsedAsEndEntity")
}

fn is_too_old(error: &rustls::Error) -> bool {
    is_told_as(error, "UnsupportedCertVersion")
}

/// The library tells rare cases in words only.
fn is_told_as(error: &rustls::Error, word: &str) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    format!("{other:?}").contains(word)
}
