//! Errors cut by what a caller can do about them.

use std::{fmt, io, path::Path};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: what happened to which object, why, and what to do about it.
///
/// `Display` prints one line without a full stop and never the cause, which `source()` returns; [`Error::hint`]
/// holds the advice, a whole sentence. None of them ever contains a password or key.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about an [`Error`]. Most callers need only its predicates, such as [`Error::is_retryable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself cannot be right: a malformed name, an ambiguous prefix, a wrong option.
    Invalid,
    /// The artifact, source or object that was named does not exist.
    NotFound,
    /// Something stands where a new thing was to be created.
    AlreadyExists,
    /// Permission is missing.
    Denied,
    /// The store keeps the object until a date that it was told; asking again before changes nothing.
    Locked,
    /// A disk or store has no room.
    NoSpace,
    /// Somebody else holds the source, the target or the vault; the same call may succeed later.
    Busy,
    /// Bytes are not what they were or what they claim to be.
    Corrupt,
    /// This build, engine or store cannot do what was asked.
    Unsupported,
    /// A server or network did not answer; the same call may succeed later.
    Unavailable,
    /// The caller cancelled.
    Cancelled,
    /// Everything else.
    Failed,
}

impl ErrorKind {
    /// The kind's stable name in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Denied => "denied",
            Self::Locked => "locked",
            Self::NoSpace => "no-space",
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl Error {
    /// A new error; `message` is lower case, names the object in quotes, and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// An [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An [`ErrorKind::Corrupt`] error.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An [`ErrorKind::Failed`] error.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// The error of a cancelled operation.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// An I/O error with what was tried on which path, e.g. `could not read "/x/y"`.
    pub fn io(action: &str, path: &Path, cause: io::Error) -> Self {
        Self::from_io(format!("could not {action} \"{}\"", path.display()), cause)
    }

    /// An I/O error under a message of the caller's.
    pub fn from_io(message: impl Into<String>, cause: io::Error) -> Self {
        if let Some(inner) = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return inner.duplicate().context(message);
        }
        let (kind, hint) = match cause.kind() {
            io::ErrorKind::NotFound => (ErrorKind::NotFound, None),
            io::ErrorKind::AlreadyExists => (ErrorKind::AlreadyExists, None),
            io::ErrorKind::PermissionDenied => (
                ErrorKind::Denied,
                Some("Check the owner and mode of that path, or run as a user who may write there."),
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::Denied, Some("The file system is mounted read-only; choose another place."))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                ErrorKind::NoSpace,
                Some("Free some room there or choose another store; nothing half-written was kept."),
            ),
            _ => (ErrorKind::Failed, None),
        };
        let error = Self::new(kind, message).with_source(cause);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The same error with advice, a whole sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// A new error of the same kind and hint that says what was being done, caused by this one.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        let mut outer = Self::new(self.kind(), message);
        outer.0.hint.clone_from(&self.0.hint);
        outer.with_source(self)
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do, as a sentence.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Busy | ErrorKind::Unavailable)
    }

    /// Whether somebody else holds the source, the target or the vault: wait, or say who.
    pub fn is_busy(&self) -> bool {
        self.kind() == ErrorKind::Busy
    }

    /// Whether the request itself has to be changed: no retry and nothing outside the program mends it.
    pub fn is_misuse(&self) -> bool {
        matches!(self.kind(), ErrorKind::Invalid | ErrorKind::Unsupported)
    }

    /// Whether the thing that was named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether stored or read bytes are damaged.
    pub fn is_corruption(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }

    /// Whether the caller cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// The causes below this error, outermost first, as text.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// A copy whose causes are flattened to text, for an error that has to be told twice.
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::new(self.kind(), self.0.message.clone());
        copy.0.hint.clone_from(&self.0.hint);
        let causes = self.causes();
        if causes.is_empty() { copy } else { copy.with_source(causes.join(": ")) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.kind.name())?;
        self.causes().iter().try_for_each(|cause| write!(f, ": {cause}"))?;
        self.0.hint.iter().try_for_each(|hint| write!(f, " [hint: {hint}]"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Lets errors of ours travel through `std::io` adapters and come out again in [`Error::from_io`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}
