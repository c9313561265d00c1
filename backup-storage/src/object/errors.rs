//! What a store's refusal means for people.

use std::time::Duration;

use backup_core::{Error, ErrorKind, id::Key};
use object_store::client::HttpErrorKind;

use super::{
    bucket::Bucket,
    transport::{Seen, Transport},
    url::Vendor,
};

/// A request that failed for good, or for longer than patience lasted.
pub(super) struct Failed {
    /// `None`: it took too long. Never shown, as its text may hold a signed URL.
    pub(super) error: Option<object_store::Error>,
    pub(super) seen: Seen,
    pub(super) attempts: u32,
    pub(super) elapsed: Duration,
    pub(super) limit: Duration,
}

/// What was being done, and the right it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Write,
    Read,
    List,
    Delete,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// The right in the vendor's words.
    fn right(self, vendor: Vendor) -> &'static str {
        match (vendor, self) {
            (Vendor::S3, Self::Write) => "s3:PutObject and s3:AbortMultipartUpload",
            (Vendor::S3, Self::Read) => "s3:GetObject and s3:ListBucket",
            (Vendor::S3, Self::List) => "s3:ListBucket",
            (Vendor::S3, Self::Delete) => "s3:DeleteObject",
            (Vendor::Google, Self::Write) => "storage.objects.create",
            (Vendor::Google, Self::Read) => "storage.objects.get",
            (Vendor::Google, Self::List) => "storage.objects.list",
            (Vendor::Google, Self::Delete) => "storage.objects.delete",
            (Vendor::Azure, _) => "the role Storage Blob Data Contributor",
        }
    }
}

impl Failed {
    pub(super) fn is_already_there(&self) -> bool {
        matches!(
            self.error,
            Some(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
        ) || self.seen.status == Some(412)
    }

    pub(super) fn is_not_found(&self) -> bool {
        let code = self.seen.code.as_deref();
        self.seen.status == Some(404)
            && !matches!(code, Some("NoSuchBucket" | "ContainerNotFound" | "NoSuchUpload"))
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        if self.error.is_none() {
            return !self.seen.is_for_credentials;
        }
        if let Some(transport) = &self.seen.transport {
            return !self.seen.is_for_credentials && !is_tls(transport);
        }
        let code = self.seen.code.as_deref().unwrap_or_default();
        if matches!(code, "RequestTimeout" | "SlowDown" | "ConditionalRequestConflict" | "OperationAborted") {
            return true;
        }
        match self.seen.status {
            Some(501 | 507) => false,
            Some(status) if (200..300).contains(&status) => is_broken_body(self.error.as_ref()),
            Some(status) => status >= 500 || matches!(status, 408 | 429 | 499),
            None => false,
        }
    }
}

/// A body that ended early is reported by the client as an error of transport below its own.
fn is_broken_body(error: Option<&object_store::Error>) -> bool {
    let mut next = error.map(|error| error as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if let Some(http) = cause.downcast_ref::<object_store::client::HttpError>() {
            return http.kind() != HttpErrorKind::Unknown || http.to_string().contains("body");
        }
        next = cause.source();
    }
    false
}

fn is_tls(transport: &Transport) -> bool {
    let tls = |cause: &String| cause.contains("certificate") || cause.contains("HandshakeFailure");
    transport.causes.iter().any(tls)
}

impl Bucket {
    /// The error of something that was done to an object.
    pub(super) fn key_error(&self, action: Action, key: &Key, failed: &Failed) -> Error {
        if failed.is_not_found() {
            return Error::new(ErrorKind::NotFound, format!("there is no object \"{key}\" in {self}"));
        }
        self.error(action, &format!("\"{key}\" in {self}"), failed)
    }

    /// The error of something that was done to `object`, which names the store.
    pub(super) fn error(&self, action: Action, object: &str, failed: &Failed) -> Error {
        let (kind, why, hint) = self.meaning(action, failed);
        let error = Error::new(kind, format!("could not {} {object}: {why}", action.verb()))
            .with_source(answer(failed));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn meaning(&self, action: Action, failed: &Failed) -> (ErrorKind, String, Option<String>) {
        let seen = &failed.seen;
        if seen.is_for_credentials {
            return no_credentials();
        }
        if let Some(transport) = &seen.transport {
            return unreachable(transport);
        }
        if failed.error.is_none() {
            let why = format!("it did not answer within {} s", failed.limit.as_secs());
            return (ErrorKind::Unavailable, why, Some("Check the network, then try again.".to_owned()));
        }
        if seen.is_success() && is_broken_body(failed.error.as_ref()) {
            let why = "the connection broke in the middle of its answer";
            return (
                ErrorKind::Unavailable,
                why.to_owned(),
                Some("Check the network, then try again.".to_owned()),
            );
        }
        if seen.status.is_none() {
            return (ErrorKind::Failed, "the request could not be made".to_owned(), None);
        }
        self.refusal(action, seen)
    }

    fn refusal(&self, action: Action, seen: &Seen) -> (ErrorKind, String, Option<String>) {
        let bucket = format!("{} \"{}\"", self.location.vendor.bucket_word(), self.location.bucket);
        let code = seen.code.as_deref().unwrap_or_default();
        let status = seen.status.unwrap_or_default();
        let hinted = |kind, why: String, hint: &str| (kind, why, Some(hint.to_owned()));
        match (code, status) {
            ("NoSuchBucket" | "ContainerNotFound", _) => hinted(
                ErrorKind::NotFound,
                format!("there is no {bucket}"),
                "Create it first, or correct the URL; buckets are not made by themselves.",
            ),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AuthenticationFailed", _) => hinted(
                ErrorKind::Denied,
                "its keys are not known or wrong".to_owned(),
                "Check the keys where the vendor's own tools read them; docs/stores.md lists the places.",
            ),
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => hinted(
                ErrorKind::Denied,
                "its temporary keys are over".to_owned(),
                "Get new keys, then try again.",
            ),
            ("RequestTimeTooSkewed" | "RequestExpired", _) => hinted(
                ErrorKind::Denied,
                "the clock of this machine is wrong".to_owned(),
                "Set the clock (for example with chrony or systemd-timesyncd); stores allow for 15 minutes.",
            ),
            ("InvalidStorageClass" | "KMS.NotFoundException" | "InvalidEncryptionAlgorithmError", _) => {
                hinted(
                    ErrorKind::Invalid,
                    "it does not know that storage class or encryption".to_owned(),
                    "Choose what the store offers, or leave the bucket's default.",
                )
            }
            (
                "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307) => {
                let region = seen.region.as_ref().map(|region| format!(": {region}")).unwrap_or_default();
                hinted(
                    ErrorKind::Invalid,
                    format!("{bucket} is in another region{region}"),
                    "Give the region as the AWS tools read it, or with ?region=… in the URL.",
                )
            }
            ("BlobImmutableDueToPolicy" | "RetentionPolicyNotMet" | "retentionPolicyNotMet", _) => hinted(
                ErrorKind::Locked,
                "its retention keeps it".to_owned(),
                "It can be deleted when the retention is over.",
            ),
            ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => hinted(
                ErrorKind::NoSpace,
                "it is full".to_owned(),
                "Free some room there or raise its quota.",
            ),
            (_, 501) => (ErrorKind::Unsupported, "it does not know that kind of request".to_owned(), None),
            (_, 401 | 403) => (
                ErrorKind::Denied,
                "access denied".to_owned(),
                Some(format!(
                    "Allow {} on {bucket}{}.",
                    action.right(self.location.vendor),
                    if self.location.prefix.is_empty() {
                        String::new()
                    } else {
                        format!(" below \"{}\"", self.location.prefix)
                    }
                )),
            ),
            (_, 404) => (ErrorKind::NotFound, "it is not there".to_owned(), None),
            (_, 409 | 412) => (ErrorKind::AlreadyExists, "something stands there".to_owned(), None),
            (_, status) if status >= 500 || matches!(status, 408 | 429) => hinted(
                ErrorKind::Unavailable,
                "it is overloaded or out of order".to_owned(),
                "Try again later; nothing half-written is visible.",
            ),
            _ => (ErrorKind::Failed, "it refused the request".to_owned(), None),
        }
    }
}

fn no_credentials() -> (ErrorKind, String, Option<String>) {
    let hint = "Give keys where the vendor's own tools read them; docs/stores.md lists the places.";
    (ErrorKind::Denied, "no keys for it were found".to_owned(), Some(hint.to_owned()))
}

fn unreachable(transport: &Transport) -> (ErrorKind, String, Option<String>) {
    let text = transport.causes.join(": ");
    let (why, hint) = if is_tls(transport) {
        (
            "its TLS certificate is not trusted",
            "Add its authority to this system's certificates; certificates are always checked.",
        )
    } else if text.contains("dns error") || text.contains("failed to lookup address") {
        ("no address is known for its host", "Check the endpoint's name, and this machine's name servers.")
    } else if text.contains("Connection refused") || text.contains("ConnectionRefused") {
        ("its host refused the connection", "Check the endpoint's port, and whether the server runs.")
    } else if transport.kind == HttpErrorKind::Timeout {
        ("its host could not be reached in time", "Check the network, and firewalls on the way.")
    } else {
        ("the connection broke", "Check the network, then try again.")
    };
    (ErrorKind::Unavailable, why.to_owned(), Some(hint.to_owned()))
}

/// What happened on the wire, without the URL.
fn answer(failed: &Failed) -> String {
    let Seen { method, status, code, message, transport, .. } = &failed.seen;
    let mut text = match (status, transport) {
        (Some(status), None) => format!("{method} answered {status}"),
        (_, Some(transport)) => {
            let cause = transport.causes.last().map_or("connection lost", String::as_str);
            format!("{method} got no answer: {cause}")
        }
        _ => format!("{method} got no answer"),
    };
    text.extend(code.iter().map(|code| format!(" {code}")));
    text.extend(message.iter().map(|message| format!(" ({})", message.trim_end_matches('.'))));
    if failed.attempts > 1 {
        text.push_str(&format!(
            ", after {} attempts in {:.0} s",
            failed.attempts,
            failed.elapsed.as_secs_f64()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::options::{AccessKeys, ObjectOptions},
        *,
    };

    fn failed(status: u16, code: &str) -> Failed {
        let seen = Seen {
            method: "PUT".to_owned(),
            status: Some(status),
            code: (!code.is_empty()).then(|| code.to_owned()),
            region: (status == 301).then(|| "eu-west-3".to_owned()),
            ..Seen::default()
        };
        let cause = "https://host/key?X-Amz-Signature=abc".into();
        let error = Some(object_store::Error::Generic { store: "S3", source: cause });
        Failed { error, seen, attempts: 1, elapsed: Duration::ZERO, limit: Duration::ZERO }
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let options = ObjectOptions::default().with_access_keys(AccessKeys::new("id", "secret"));
        let bucket = Bucket::open("s3://acme/db", options).unwrap();
        for (status, code, kind, why) in [
            (403, "RequestTimeTooSkewed", ErrorKind::Denied, "the clock of this machine is wrong"),
            (403, "ExpiredToken", ErrorKind::Denied, "its temporary keys are over"),
            (403, "AccessDenied", ErrorKind::Denied, "access denied"),
            (301, "", ErrorKind::Invalid, "bucket \"acme\" is in another region: eu-west-3"),
            (404, "NoSuchBucket", ErrorKind::NotFound, "there is no bucket \"acme\""),
            (
                400,
                "InvalidStorageClass",
                ErrorKind::Invalid,
                "it does not know that storage class or encryption",
            ),
            (409, "BlobImmutableDueToPolicy", ErrorKind::Locked, "its retention keeps it"),
            (507, "XMinioStorageFull", ErrorKind::NoSpace, "it is full"),
            (503, "SlowDown", ErrorKind::Unavailable, "it is overloaded or out of order"),
        ] {
            let error = bucket.error(Action::Write, &format!("\"a\" in {bucket}"), &failed(status, code));
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.to_string(), format!("could not write \"a\" in store \"s3://acme/db\": {why}"));
            assert!(error.hint().is_some_and(|hint| hint.ends_with('.')), "{code}");
            assert!(!format!("{error:?}").contains("Signature"), "{error:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, code) in [
            (500, "InternalError"),
            (503, "SlowDown"),
            (429, ""),
            (408, ""),
            (409, "ConditionalRequestConflict"),
            (400, "RequestTimeout"),
        ] {
            assert!(failed(status, code).is_transient(), "{status} {code}");
        }
        for (status, code) in [
            (403, "AccessDenied"),
            (404, "NoSuchKey"),
            (412, "PreconditionFailed"),
            (501, ""),
            (507, ""),
            (409, ""),
        ] {
            assert!(!failed(status, code).is_transient(), "{status} {code}");
        }
    }
}
