//! How an object store is used.

use std::{fmt, time::Duration};

use backup_core::{Error, Result};

/// How objects are stored, and how long a store is waited for.
///
/// `Default` is right for the vendors' own services; a URL's query parameters of the same names win over these.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ObjectOptions {
    /// The storage class of objects written from now on, in the vendor's words, e.g. `STANDARD_IA` (S3) or
    /// `COLDLINE` (Google). Default: the bucket's. An archive class that has to be thawed first (`GLACIER`) makes
    /// verification and restores fail until then. Azure: not available.
    pub storage_class: Option<String>,
    /// Encryption at rest by the store, beside that of the payload by us. Default: the bucket's. S3 only.
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Keys for S3, instead of those that the AWS tools would find.
    pub access_keys: Option<AccessKeys>,
    /// How many parts an upload may have. Default 10,000, as S3, Google and R2 allow; some stores allow 1,000.
    pub max_parts: u32,
    /// Bytes of the first parts of an upload, and of all where the store wants them equal. Default 8 MiB (32 MiB
    /// for equal parts); at least 5 MiB.
    pub part_bytes: Option<u64>,
    /// Whether all parts of an upload but the last have to be of equal size, as Cloudflare R2 wants it. Default: only
    /// for endpoints of R2.
    pub equal_parts: Option<bool>,
    /// What a request that writes carries besides, in S3's words, e.g. `x-amz-object-lock-mode`. Default: nothing.
    pub write_headers: Vec<(String, String)>,
    /// How long requests that fail for reasons that may pass are repeated. Default 10 minutes.
    pub patience: Duration,
    /// The same for a store that has not answered once: a name mistyped should not take as long. Default 30 s.
    pub first_patience: Duration,
    /// The wait before the first repetition, which doubles up to 15 s, with jitter. Default 200 ms.
    #[doc(hidden)]
    pub first_wait: Duration,
    /// How long a connection may take to be made. Default 10 s.
    #[doc(hidden)]
    pub connect_timeout: Duration,
    /// How long a store may be silent. Default 60 s. An upload of a part has besides the time that 64 KiB/s take.
    #[doc(hidden)]
    pub idle_timeout: Duration,
    /// Bytes a second of the slowest upload that is waited for. Default 64 KiB.
    #[doc(hidden)]
    pub slowest_upload: u64,
    /// How often a lease is renewed. Default 20 s.
    #[doc(hidden)]
    pub lease_renewal: Duration,
    /// How long a lease lives after its last renewal. Default 90 s.
    #[doc(hidden)]
    pub lease_lifetime: Duration,
    /// How long a store that cannot create conditionally is given to show who else wants a lease. Default 5 s.
    #[doc(hidden)]
    pub lease_settling: Duration,
    /// After what time an unfinished creation no longer keeps its name. Default 24 h.
    #[doc(hidden)]
    pub claim_lifetime: Duration,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self {
            storage_class: None,
            server_side_encryption: None,
            access_keys: None,
            max_parts: 10_000,
            part_bytes: None,
            equal_parts: None,
            write_headers: Vec::new(),
            patience: Duration::from_secs(600),
            first_patience: Duration::from_secs(30),
            first_wait: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            slowest_upload: 64 << 10,
            lease_renewal: Duration::from_secs(20),
            lease_lifetime: Duration::from_secs(90),
            lease_settling: Duration::from_secs(5),
            claim_lifetime: Duration::from_secs(24 * 3600),
        }
    }
}

impl ObjectOptions {
    /// With this storage class.
    #[must_use]
    pub fn with_storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }

    /// With this encryption at rest.
    #[must_use]
    pub fn with_server_side_encryption(mut self, encryption: ServerSideEncryption) -> Self {
        self.server_side_encryption = Some(encryption);
        self
    }

    /// With these keys for S3.
    #[must_use]
    pub fn with_access_keys(mut self, keys: AccessKeys) -> Self {
        self.access_keys = Some(keys);
        self
    }

    /// With one more header on requests that write.
    #[must_use]
    pub fn with_write_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.write_headers.push((name.into(), value.into()));
        self
    }

    /// What one request that carries `bytes` may take.
    pub(super) fn limit_for(&self, bytes: usize) -> Duration {
        self.idle_timeout + Duration::from_secs(bytes as u64 / self.slowest_upload.max(1))
    }
}

/// An access key of S3; `Debug` shows its id only.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// The id, which is no secret.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// The token of temporary keys.
    pub session_token: Option<String>,
}

impl AccessKeys {
    /// Lasting keys.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into(), session_token: None }
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeys({})", self.id)
    }
}

/// Encryption at rest by S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// With keys of S3's own (`AES256`).
    Aes256,
    /// With a key of the key management service (`aws:kms`); `None`: the account's default key.
    Kms(Option<String>),
}

impl std::str::FromStr for ServerSideEncryption {
    type Err = Error;

    /// `AES256`, `aws:kms` or `aws:kms:KEY`, where KEY is a key's id, alias or ARN.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "AES256" => Ok(Self::Aes256),
            "aws:kms" => Ok(Self::Kms(None)),
            _ => match text.strip_prefix("aws:kms:") {
                Some(key) if !key.is_empty() => Ok(Self::Kms(Some(key.to_owned()))),
                _ => {
                    Err(Error::invalid(format!("there is no encryption at rest \"{}\"", text.escape_debug()))
                        .with_hint("Use AES256, aws:kms, or aws:kms:KEY with a key's id, alias or ARN."))
                }
            },
        }
    }
}
