//! Why a look of ours at a database was not a plain yes.

use std::io;

/// What ends such a look. A doubt is no finding: SQLite is asked, and its word counts.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// The file could not be read.
    Unreadable(io::Error),
    /// Something is wrong, or of a kind that is not understood here.
    NotPlain,
}

/// The outcome of a look.
pub(crate) type Plainly<T> = Result<T, Doubt>;

impl From<io::Error> for Doubt {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Turns what is missing into a doubt.
pub(crate) trait OrDoubt<T> {
    /// The value, or a doubt.
    fn or_doubt(self) -> Plainly<T>;
}

impl<T> OrDoubt<T> for Option<T> {
    fn or_doubt(self) -> Plainly<T> {
        self.ok_or(Doubt::NotPlain)
    }
}

/// Whether a look was a plain yes.
///
/// # Errors
/// The file could not be read.
pub(crate) fn is_plain<T>(outcome: Plainly<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Doubt::NotPlain) => Ok(None),
        Err(Doubt::Unreadable(error)) => Err(error),
    }
}
