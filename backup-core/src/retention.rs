//! Which artifacts to keep, as a pure function of what there is and what time it is.

use std::fmt;

use jiff::Timestamp;

use crate::{id::BackupId, manifest::Manifest, proof::Proof};

/// Decides what retention keeps. A pure function: no clock, no store, no randomness.
///
/// Contract: the plan decides every artifact exactly once; a suspect artifact never counts as one of those to keep;
/// an artifact that a kept one `requires` is kept.
pub trait RetentionPolicy: fmt::Debug + Send + Sync {
    /// The plan for one vault's artifacts at `now`.
    fn plan(&self, artifacts: &[Manifest], proofs: &[Proof], now: Timestamp) -> Plan;
}

/// A decision for every artifact, in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The decisions.
    pub decisions: Vec<Decision>,
}

/// What happens to one artifact, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The artifact.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Why, for people; never empty.
    pub reasons: Vec<String>,
}

impl Plan {
    /// The artifacts that go.
    pub fn removals(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| !decision.keep)
    }
}

/// Keeps everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl RetentionPolicy for KeepAll {
    fn plan(&self, artifacts: &[Manifest], _proofs: &[Proof], _now: Timestamp) -> Plan {
        let decisions = artifacts
            .iter()
            .map(|m| Decision {
                id: m.id.clone(),
                keep: true,
                reasons: vec!["everything is kept".to_owned()],
            })
            .collect();
        Plan { decisions }
    }
}
