//! How a source stands: what there is, how old, how proven, and whether that is what was asked for.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    cache::Remembered,
    content::Content,
    context::Context,
    error::Result,
    id::BackupId,
    manifest::Manifest,
    proof::Proof,
    proofs::Proofs,
    retention::{show_age, too_old},
    vault::Vault,
    verify::{Finding, Level},
};

/// Clocks of hosts that share a store may differ by so much.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// What the user asked for. `None` is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Manifests that cannot be used, and what a sync client made of two versions.
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
    /// Which objective: `rpo`, `rto`, `proof`, `backup`, `damage`, `guard`.
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

/// Judges one vault against its objectives. Nothing having happened is a miss, too. Partial backups count only where
/// they are what the vault's job asks for ([`Vault::with_selection`]).
///
/// For looking only: a vault with a cache answers from it what the store lists as unchanged ([`Vault::overview`]).
///
/// # Errors
/// What listing the vault or reading its proofs reports; what is not as it should be is in [`VaultStatus::missed`].
pub fn status(vault: &Vault, objectives: &Objectives, cx: &Context) -> Result<VaultStatus> {
    let now = cx.now();
    let remembered = vault.remembered();
    let (listed, conflicts) = vault.listing(remembered.as_ref())?;
    let brief = |manifest: &Manifest| Brief::of(manifest, vault);
    let (mut briefs, mut damaged) = vault.survey(&listed, remembered.as_ref(), &brief)?;
    damaged.extend(conflicts);
    briefs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let full: Vec<&Brief> = briefs.iter().filter(|brief| brief.is_whole).collect();
    let good: Vec<&Brief> = full.iter().copied().filter(|brief| brief.is_good).collect();
    let newest = good.last().copied();
    let ids = full.iter().map(|brief| &brief.id).collect();
    let proofs = Newest::of(&Proofs::of(vault, listed, &ids, remembered.as_ref()))?;
    remembered.iter().for_each(Remembered::save);
    let measured = proofs.drill.as_ref().and_then(|proof| proof.restore_seconds);

    let mut status = VaultStatus {
        source: vault.source().to_string(),
        good: good.len(),
        suspect: full.len() - good.len(),
        bytes: briefs.iter().map(|brief| brief.bytes).fold(0, u64::saturating_add),
        newest: newest.map(|m| m.id.clone()),
        age_seconds: newest.map(|m| now.duration_since(m.snapshot_at).as_secs()),
        window_from: good.first().map(|m| m.snapshot_at),
        window_to: newest.map(|m| m.snapshot_at),
        last_proof: proofs.of_any_kind.clone(),
        measured_rto_seconds: measured,
        damaged,
        missed: Vec::new(),
    };
    status.missed = missed(&status, &full, &proofs, objectives, now);
    status.missed.extend(super::guard::missed(vault)?);
    Ok(status)
}

/// What a judgement needs of one backup.
struct Brief {
    id: BackupId,
    started_at: Timestamp,
    snapshot_at: Timestamp,
    bytes: u64,
    is_good: bool,
    /// A full backup of all that the vault's job asks for.
    is_whole: bool,
}

impl Brief {
    fn of(manifest: &Manifest, vault: &Vault) -> Self {
        Self {
            id: manifest.id.clone(),
            started_at: manifest.started_at,
            snapshot_at: manifest.snapshot_at,
            bytes: manifest.payload.bytes,
            is_good: manifest.is_good(),
            is_whole: manifest.content == Content::Full && vault.is_complete(manifest),
        }
    }
}

/// The proofs that a judgement needs, out of all there are.
struct Newest {
    of_any_kind: Option<Proof>,
    /// The newest that found nothing, at least of level `structure`.
    good: Option<Proof>,
    /// The newest drill that succeeded and was measured.
    drill: Option<Proof>,
}

impl Newest {
    fn of(proofs: &Proofs<'_>) -> Result<Self> {
        Ok(Self {
            of_any_kind: proofs.newest(Level::None, |_| true)?,
            good: proofs.newest(Level::Structure, |proof| proof.ok && proof.level >= Level::Structure)?,
            drill: proofs.newest(Level::Restore, |proof| {
                proof.ok && proof.level == Level::Restore && proof.restore_seconds.is_some()
            })?,
        })
    }
}

fn missed(
    status: &VaultStatus,
    full: &[&Brief],
    proofs: &Newest,
    objectives: &Objectives,
    now: Timestamp,
) -> Vec<Missed> {
    let mut missed = Vec::new();
    let mut miss =
        |objective: &str, what: String| missed.push(Missed { objective: objective.to_owned(), what });
    if status.newest.is_none() {
        miss("backup", "there is no good full backup".to_owned());
    }
    if let Some(newest) = full.last().filter(|newest| !newest.is_good) {
        miss("backup", format!("the newest backup, \"{}\", is suspect", newest.id));
    }
    let future = now.saturating_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    if let Some(newest) = full.last().filter(|newest| newest.snapshot_at > future) {
        miss(
            "backup",
            format!("the newest backup, \"{}\", is dated in the future: its age says nothing", newest.id),
        );
    }
    if let Some(proof) = proofs.good.as_ref().filter(|proof| proof.started_at > future) {
        miss(
            "proof",
            format!("the last proof, of \"{}\", is dated in the future: its age says nothing", proof.id),
        );
    }
    for damaged in &status.damaged {
        miss("damage", damaged.to_string());
    }
    if let Some(proof) = proofs.of_any_kind.as_ref().filter(|proof| !proof.ok) {
        miss("proof", format!("the last verification, of \"{}\", found damage", proof.id));
    }
    let age = status.age_seconds.map(SignedDuration::from_secs);
    if let (Some(rpo), Some(age)) =
        (objectives.rpo, age.filter(|age| objectives.rpo.is_some_and(|rpo| *age > rpo)))
    {
        miss("rpo", format!("the newest good backup is {}", too_old(age, rpo)));
    }
    if let Some(allowed) = objectives.proof {
        match proofs.good.as_ref().map(|proof| now.duration_since(proof.started_at)) {
            Some(age) if age > allowed => {
                miss("proof", format!("the last proof is {}", too_old(age, allowed)))
            }
            Some(_) => {}
            None => miss("proof", "no backup was ever proven".to_owned()),
        }
    }
    if let Some(rto) = objectives.rto {
        match status.measured_rto_seconds {
            Some(seconds) if seconds > rto.as_secs_f64() => {
                miss("rto", format!("the last drill took {seconds:.0} s, {} is allowed", show_age(rto)));
            }
            Some(_) => {}
            None => miss("rto", "no drill ever measured a restore".to_owned()),
        }
    }
    missed
}
