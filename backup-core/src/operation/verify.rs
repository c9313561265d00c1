//! Verifies an artifact and stores the proof.

use super::{
    drill::DrillOptions,
    prove::{Proven, make_proof, prove},
    transfer::examine_companions,
};
use crate::{
    artifact::{Artifact, StoredArtifact},
    context::Context,
    engine::BackupEngine,
    error::Result,
    event::Event,
    proof::Proof,
    vault::Vault,
    verify::Level,
};

/// A verification that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The record of it, as stored.
    pub proof: Proof,
    /// Whether the record could be stored; a read-only store keeps none.
    pub recorded: bool,
}

impl Verified {
    /// Whether nothing was found.
    pub fn is_ok(&self) -> bool {
        self.proof.ok
    }
}

/// Looks at an artifact of a vault as deep as `level` and stores what was seen as a proof.
///
/// Damage is no error: it is in [`Proof::findings`].
///
/// # Errors
/// Only when it could not be looked at: the store does not answer, there is no room for a working copy.
pub fn verify(
    vault: &Vault,
    artifact: &StoredArtifact,
    engine: &dyn BackupEngine,
    level: Level,
    rehearsal: &DrillOptions,
    cx: &Context,
) -> Result<Verified> {
    let mut proven: Proven = prove(artifact, engine, level, rehearsal, &**vault.store(), cx)?;
    proven.findings.extend(examine_companions(artifact, cx)?);
    proven.findings.iter().for_each(|finding| cx.emit(Event::Found(finding.clone())));
    let proof = make_proof(artifact.manifest(), level, &proven);
    let recorded = match vault.record(&proof) {
        Ok(()) => true,
        Err(error) => {
            cx.warn(format!("the proof could not be stored: {error:?}"));
            false
        }
    };
    cx.emit(Event::Verified { id: proof.id.clone(), level, ok: proof.ok });
    Ok(Verified { proof, recorded })
}
