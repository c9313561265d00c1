//! What an operation tells while it works: steps, progress, warnings.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use crate::{
    id::BackupId,
    verify::{Finding, Level},
};

/// A step of an operation, as people and logs name it; `capture`, `checksum` … in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// Carrying stored objects to another store.
    Copy,
    /// Counting the rows of a live source.
    Count,
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
            Self::Copy => "copying",
            Self::Count => "counting",
        })
    }
}

/// One thing that happened.
///
/// In JSON it is one flat object: `{"event":"progress","step":"capture","done":8388608}`, or
/// `{"event":"warning","text":"…"}`; a finding brings its own keys.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
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
    /// The work has not begun because somebody else is at it, which the text names.
    #[serde(serialize_with = "as_text")]
    Waiting(String),
    /// Something the user should know that stopped nothing.
    #[serde(serialize_with = "as_text")]
    Warning(String),
    /// Something the user must get to know, even where only errors are wanted: it is told this once.
    #[serde(serialize_with = "as_text")]
    Alarm(String),
    /// A verifier saw something.
    Found(Finding),
    /// A backup exists since now.
    Taken {
        /// The artifact.
        id: BackupId,
        /// Whether no guardrail and no verifier complains of it.
        good: bool,
    },
    /// A backup was looked at, and the proof of it was made.
    Verified {
        /// The artifact.
        id: BackupId,
        /// How deep.
        level: Level,
        /// Whether no damage was found.
        ok: bool,
    },
    /// A mirror holds a backup whole since now.
    Copied {
        /// The artifact.
        id: BackupId,
        /// The mirror's name.
        mirror: String,
    },
    /// A backup stands in its target's place since now.
    Restored {
        /// The artifact.
        id: BackupId,
        /// Where; no password.
        target: String,
    },
    /// An artifact ceased to exist, by the policy's decision.
    Removed {
        /// The artifact.
        id: BackupId,
        /// Why, for people.
        reasons: Vec<String>,
    },
}

/// A text alone has no key to stand under beside `event`.
fn as_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    BTreeMap::from([("text", text)]).serialize(serializer)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let id: BackupId = "shop-full-20261121T083000Z".parse().unwrap();
        let told = [
            (
                Event::Began { step: Step::Capture, total: Some(2) },
                json!({"event": "began", "step": "capture", "total": 2}),
            ),
            (
                Event::Progress { step: Step::Checksum, done: 1 },
                json!({"event": "progress", "step": "checksum", "done": 1}),
            ),
            (Event::Ended { step: Step::Load }, json!({"event": "ended", "step": "load"})),
            (Event::Waiting("host 7".to_owned()), json!({"event": "waiting", "text": "host 7"})),
            (Event::Warning("small".to_owned()), json!({"event": "warning", "text": "small"})),
            (Event::Alarm("gone".to_owned()), json!({"event": "alarm", "text": "gone"})),
            (
                Event::Found(Finding::stored("checksum", "a.zst", "is short")),
                json!({
                    "event": "found", "check": "checksum", "object": "a.zst", "what": "is short",
                    "origin": "stored",
                }),
            ),
            (
                Event::Verified { id: id.clone(), level: Level::Restore, ok: true },
                json!({
                    "event": "verified", "id": "shop-full-20261121T083000Z", "level": "restore", "ok": true,
                }),
            ),
            (
                Event::Removed { id, reasons: vec!["beyond 7 days".to_owned()] },
                json!({
                    "event": "removed", "id": "shop-full-20261121T083000Z", "reasons": ["beyond 7 days"],
                }),
            ),
        ];
        for (event, expected) in told {
            assert_eq!(serde_json::to_value(&event).unwrap(), expected, "{event:?}");
        }
    }
}
