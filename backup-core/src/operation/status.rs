//! How a source stands: what there is, how old, how proven, and whether that is what was asked for.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    artifact::Artifact,
    content::Content,
    context::Context,
    error::Result,
    id::BackupId,
    manifest::Manifest,
    proof::Proof,
    vault::Vault,
    verify::{Finding, Level},
};

/// What the user asked for. `None` is not asked for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Objectives {
    /// The newest good backup is at most so old.
    pub rpo: Option<SignedDuration>,
    /// The last drill restored within this time.
    pub rto: Option<SignedDuration>,
    /// The last successful proof is at most so old.
    pub proof: Option<SignedDuration>,
}

impl Objectives {
    /// Objectives from their three parts.
    pub fn new(
        rpo: Option<SignedDuration>,
        rto: Option<SignedDuration>,
        proof: Option<SignedDuration>,
    ) -> Self {
        Self { rpo, rto, proof }
    }
}

/// How one source stands.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VaultStatus {
    /// The source.
    pub source: String,
    /// Good full backups.
    pub good: usize,
    /// Suspect ones.
    pub suspect: usize,
    /// Manifests that cannot be used.
    pub damaged: Vec<Finding>,
    /// Stored bytes of all artifacts together.
    pub bytes: u64,
    /// The newest good full backup.
    pub newest: Option<BackupId>,
    /// Seconds since the state it holds.
    pub age_seconds: Option<i64>,
    /// The oldest instant that can be brought back.
    pub window_from: Option<Timestamp>,
    /// The newest instant that can be brought back.
    pub window_to: Option<Timestamp>,
    /// The newest proof of any of its backups.
    pub last_proof: Option<Proof>,
    /// Seconds the last successful drill took to restore.
    pub measured_rto_seconds: Option<f64>,
    /// What is not as it should be; empty is well.
    pub missed: Vec<Missed>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Which objective: `rpo`, `rto`, `proof`, `backup`, `damage`.
    pub objective: String,
    /// What is the case, for people.
    pub what: String,
}

impl VaultStatus {
    /// Whether nothing is missed.
    pub fn is_well(&self) -> bool {
        self.missed.is_empty()
    }
}

/// Judges one vault against its objectives. Nothing having happened is a miss, too.
pub fn status(vault: &Vault, objectives: &Objectives, cx: &Context) -> Result<VaultStatus> {
    let now = cx.now();
    let catalogue = vault.catalogue(None)?;
    let manifests = catalogue.manifests();
    let full: Vec<&Manifest> =
        manifests.iter().filter(|m| m.content == Content::Full && !m.is_partial()).collect();
    let good: Vec<&Manifest> = full.iter().copied().filter(|m| m.is_good()).collect();
    let newest = good.last().copied();
    let proofs = proofs_of(vault, &full)?;
    let measured =
        proofs.iter().rev().find(|p| p.ok && p.level == Level::Restore).and_then(|p| p.restore_seconds);

    let mut status = VaultStatus {
        source: vault.source().to_string(),
        good: good.len(),
        suspect: full.len() - good.len(),
        damaged: catalogue.damaged,
        bytes: catalogue.artifacts.iter().map(|artifact| artifact.manifest().payload.bytes).sum(),
        newest: newest.map(|m| m.id.clone()),
        age_seconds: newest.map(|m| now.duration_since(m.snapshot_at).as_secs()),
        window_from: good.first().map(|m| m.snapshot_at),
        window_to: newest.map(|m| m.snapshot_at),
        last_proof: proofs.last().cloned(),
        measured_rto_seconds: measured,
        missed: Vec::new(),
    };
    status.missed = missed(&status, &full, &proofs, objectives, now);
    Ok(status)
}

fn proofs_of(vault: &Vault, artifacts: &[&Manifest]) -> Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    for manifest in artifacts {
        proofs.extend(vault.proofs(&manifest.id)?);
    }
    proofs.sort_by_key(|proof| proof.started_at);
    Ok(proofs)
}

fn missed(
    status: &VaultStatus,
    full: &[&Manifest],
    proofs: &[Proof],
    objectives: &Objectives,
    now: Timestamp,
) -> Vec<Missed> {
    let mut missed = Vec::new();
    let mut miss =
        |objective: &str, what: String| missed.push(Missed { objective: objective.to_owned(), what });
    if status.newest.is_none() {
        miss("backup", "there is no good full backup".to_owned());
    }
    if let Some(newest) = full.last().filter(|m| !m.is_good()) {
        miss("backup", format!("the newest backup, \"{}\", is suspect", newest.id));
    }
    for damaged in &status.damaged {
        miss("damage", damaged.to_string());
    }
    if let Some(proof) = proofs.last().filter(|proof| !proof.ok) {
        miss("proof", format!("the last verification, of \"{}\", found damage", proof.id));
    }
    let age = status.age_seconds.map(SignedDuration::from_secs);
    if let (Some(rpo), Some(age)) =
        (objectives.rpo, age.filter(|age| objectives.rpo.is_some_and(|rpo| *age > rpo)))
    {
        miss("rpo", format!("the newest good backup is {age:#} old, {rpo:#} is allowed"));
    }
    if let Some(allowed) = objectives.proof {
        let last = proofs.iter().rev().find(|proof| proof.ok && proof.level >= Level::Structure);
        match last.map(|proof| now.duration_since(proof.started_at)) {
            Some(age) if age > allowed => {
                miss("proof", format!("the last proof is {age:#} old, {allowed:#} is allowed"))
            }
            Some(_) => {}
            None => miss("proof", "no backup was ever proven".to_owned()),
        }
    }
    if let Some(rto) = objectives.rto {
        match status.measured_rto_seconds {
            Some(seconds) if seconds > rto.as_secs_f64() => {
                miss("rto", format!("the last drill took {seconds:.0} s, {rto:#} is allowed"));
            }
            Some(_) => {}
            None => miss("rto", "no drill ever measured a restore".to_owned()),
        }
    }
    missed
}
