//! What an operation tells while it works: steps, progress, warnings.

use std::fmt;

use crate::verify::Finding;

/// A step of an operation, as people and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reading the source into the payload.
    Capture,
    /// Re-reading stored bytes.
    Checksum,
    /// Decoding a payload into a working copy.
    Decode,
    /// Checking a decoded copy.
    Check,
    /// Loading a restored database beside its target.
    Load,
    /// Putting the restored database in the target's place.
    Swap,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "backing up",
            Self::Checksum => "re-reading",
            Self::Decode => "decoding",
            Self::Check => "checking",
            Self::Load => "loading",
            Self::Swap => "swapping",
        })
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step began; `total` is its size in bytes where known.
    Began {
        /// The step.
        step: Step,
        /// Bytes to go through, where known.
        total: Option<u64>,
    },
    /// So many bytes of the current step are done, counted from its start.
    Progress {
        /// The step.
        step: Step,
        /// Bytes done.
        done: u64,
    },
    /// A step ended.
    Ended {
        /// The step.
        step: Step,
    },
    /// Something the user should know that stopped nothing.
    Warning(String),
    /// A verifier saw something.
    Found(Finding),
}

/// Hears the events of an operation, on whichever thread they happen; must not block for long.
pub trait Observer: Send + Sync {
    /// One event.
    fn event(&self, event: &Event);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event) {}
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}
