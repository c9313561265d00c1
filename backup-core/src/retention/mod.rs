//! Which artifacts to keep, as a pure function of what there is and what time it is.
//!
//! [`Keep`] is the policy of configurations and flags; [`PRESETS`] names some; [`RetentionPolicy`] is open to others.
//! Whatever a policy says, [`Plan::secured`] and [`Plan::held_while_stale`] stand above it when a plan is carried out.

mod keep;
mod ledger;
mod notation;
mod periods;
mod presets;
mod secured;
mod units;
mod view;

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{id::BackupId, manifest::Manifest, proof::Proof};

pub use keep::{Keep, KeepFor};
pub use presets::{PRESETS, Preset};
pub(crate) use secured::too_old;
pub use units::{parse_age, parse_size, show_age, show_size};
pub use view::{SUSPECT_GRACE, stored_bytes};

/// Decides what retention keeps. A pure function: no clock, no store, no randomness.
///
/// Contract: the plan decides every artifact exactly once; a suspect artifact never counts as one of those to keep;
/// an artifact that a kept one `requires` is kept.
pub trait RetentionPolicy: fmt::Debug + Send + Sync {
    /// The plan for one vault's artifacts at `now`.
    fn plan(&self, artifacts: &[Manifest], proofs: &[Proof], now: Timestamp) -> Plan;
}

impl<P: RetentionPolicy + ?Sized> RetentionPolicy for Arc<P> {
    fn plan(&self, artifacts: &[Manifest], proofs: &[Proof], now: Timestamp) -> Plan {
        (**self).plan(artifacts, proofs, now)
    }
}

/// A decision for every artifact, in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The decisions.
    pub decisions: Vec<Decision>,
}

/// What happens to one artifact, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The artifact.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Why, for people; never empty.
    pub reasons: Vec<String>,
}

impl Decision {
    /// Keeps an artifact.
    pub fn keep(id: &BackupId, reason: impl Into<String>) -> Self {
        Self { id: id.clone(), keep: true, reasons: vec![reason.into()] }
    }

    /// Lets an artifact go.
    pub fn remove(id: &BackupId, reason: impl Into<String>) -> Self {
        Self { id: id.clone(), keep: false, reasons: vec![reason.into()] }
    }
}

impl FromIterator<Decision> for Plan {
    fn from_iter<I: IntoIterator<Item = Decision>>(decisions: I) -> Self {
        Self { decisions: decisions.into_iter().collect() }
    }
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
        artifacts.iter().map(|manifest| Decision::keep(&manifest.id, "everything is kept")).collect()
    }
}
