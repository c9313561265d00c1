//! How guarded work ended.

use std::fmt;

use crate::{census::Difference, error::Error, id::BackupId, operation::Restored};

/// How guarded work ended, and what it left.
#[derive(Debug)]
#[non_exhaustive]
pub struct GuardReport {
    /// The guard.
    pub id: String,
    /// The backup that brings back what was there before.
    pub backup: BackupId,
    /// Whether it was taken for this guard; else it was fresh enough.
    pub taken: bool,
    /// What became of the work and of the database.
    pub outcome: GuardOutcome,
    /// Why the work failed, in its own words.
    pub failure: Option<String>,
    /// What the work changed, before any restore; `None` where it was not or could not be counted.
    pub difference: Option<Difference>,
    /// What looks like an accident although the work succeeded, and what could not be looked at.
    pub warnings: Vec<String>,
    /// What the restore did: where the database is, what was kept, and the line that undoes it.
    pub restored: Option<Restored>,
    /// Why the restore failed.
    pub restore_error: Option<Error>,
    /// The line that brings the database back, for a POSIX shell.
    pub restore_line: String,
}

/// What became of guarded work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardOutcome {
    /// It succeeded.
    Succeeded,
    /// It failed; the database is as it left it.
    Failed,
    /// It failed; the database is as it was before.
    Restored,
    /// It failed, and so did the restore; the database is as the work left it.
    RestoreFailed,
}

impl GuardOutcome {
    /// The outcome's stable name in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Restored => "restored",
            Self::RestoreFailed => "restore-failed",
        }
    }
}

impl GuardReport {
    /// What people should read, one line each, warnings excepted.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = match &self.difference {
            Some(difference) if difference.is_empty() => {
                vec!["no table's number of rows and no definition changed".to_owned()]
            }
            Some(difference) => difference.lines(),
            None => Vec::new(),
        };
        match (self.outcome, &self.restored) {
            (GuardOutcome::Succeeded, _) => lines.push(format!("to go back: {}", self.restore_line)),
            (_, Some(restored)) => {
                lines.push(format!(
                    "restored from \"{}\" and proven in {:.1} s: {}",
                    self.backup, restored.seconds, restored.swapped.target
                ));
                lines.extend(restored.swapped.kept.iter().map(|kept| format!("kept: {kept}")));
                lines.extend(restored.swapped.undo.iter().map(|undo| format!("undo: {undo}")));
            }
            (GuardOutcome::RestoreFailed, None) => {
                let why = self.restore_error.as_ref().map(|error| format!("{error:?}")).unwrap_or_default();
                lines.push(format!("THE RESTORE FAILED, the database is as the work left it: {why}"));
                lines.push(format!("to restore: {}", self.restore_line));
            }
            (_, None) => lines.push(format!("to restore: {}", self.restore_line)),
        }
        lines
    }
}

/// The value of guarded work, and how it went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Guarded<T> {
    /// What the work returned.
    pub value: T,
    /// How it went.
    pub report: GuardReport,
}

impl<T> Guarded<T> {
    /// What the work returned, and how it went.
    pub fn new(value: T, report: GuardReport) -> Self {
        Self { value, report }
    }
}

/// Why guarded work did not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum GuardError<E> {
    /// The work was not started, and nothing was changed.
    NotStarted(Error),
    /// The work failed with its own error; the report says whether the database was restored, and how to.
    Failed {
        /// The work's error.
        error: E,
        /// How it went.
        report: Box<GuardReport>,
    },
    /// The work ended, and how the database stands could not be found out. The observer was told of the way back.
    Unfinished(Error),
}

impl<E: fmt::Display> fmt::Display for GuardError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(_) => f.write_str("the guarded work was not started"),
            Self::Unfinished(_) => f.write_str("the guarded work ended, but its guard did not"),
            Self::Failed { error, report } => {
                write!(f, "the guarded work failed: {error}; ")?;
                match report.outcome {
                    GuardOutcome::Restored => {
                        write!(f, "the database was restored from \"{}\"", report.backup)
                    }
                    GuardOutcome::RestoreFailed => {
                        write!(f, "restoring the database failed, too; to restore: {}", report.restore_line)
                    }
                    _ => write!(f, "to restore: {}", report.restore_line),
                }
            }
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for GuardError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted(error) | Self::Unfinished(error) => Some(error),
            // What the work said is in the message.
            Self::Failed { report, .. } => report.restore_error.as_ref().map(|error| error as _),
        }
    }
}
