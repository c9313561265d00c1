//! Looks at one artifact as deep as asked. Everything that verifies goes through here.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use jiff::Timestamp;

use super::drill::{DrillOptions, rehearse};
use crate::{
    artifact::Artifact,
    context::Context,
    engine::BackupEngine,
    error::Result,
    event::Step,
    manifest::{FORMAT, Manifest},
    pipeline::{Layers, checksum, require_key},
    proof::{KeyUsed, Proof, SmokeAnswer},
    scratch::Scratch,
    store::Store,
    verify::{Finding, Level, Subject, Verifier},
};

/// What looking at an artifact showed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Proven {
    /// What is wrong; empty is good.
    pub findings: Vec<Finding>,
    /// When looking began.
    pub started_at: Timestamp,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds that loading and proving took, for drills.
    pub restore_seconds: Option<f64>,
    /// Answers of the smoke queries, for drills.
    pub smoke: Vec<SmokeAnswer>,
    /// What an encrypted payload was decrypted with; `None` when it was not.
    pub key: Option<KeyUsed>,
}

/// Looks at an artifact as deep as `level` without storing a proof; working copies lie on `store`'s disk.
///
/// # Errors
/// Only when it could not be looked at; damage is in [`Proven::findings`].
pub fn prove(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    level: Level,
    rehearsal: &DrillOptions,
    store: &dyn Store,
    cx: &Context,
) -> Result<Proven> {
    let (started_at, clock) = (cx.now(), Instant::now());
    let key = key_used(artifact, level, cx)?;
    let mut proven = match level {
        Level::None => Proven::of(Vec::new()),
        Level::Checksum => {
            let total = Some(artifact.manifest().payload.bytes);
            Proven::of(cx.step(Step::Checksum, total, || checksum(artifact, cx))?)
        }
        Level::Structure => Proven::of(structure(artifact, engine, &rehearsal.verifiers, store, cx)?),
        Level::Restore => rehearse(artifact, engine, rehearsal, store, cx)?,
    };
    proven.started_at = started_at;
    proven.key = key;
    proven.seconds = clock.elapsed().as_secs_f64();
    Ok(proven)
}

/// Makes sure that there is a key before anything is begun, where one is needed.
fn key_used(artifact: &dyn Artifact, level: Level, cx: &Context) -> Result<Option<KeyUsed>> {
    let payload = &artifact.manifest().payload;
    if level < Level::Structure || !Layers::from_names(&payload.encoding)?.is_encrypted {
        return Ok(None);
    }
    match require_key(artifact, cx) {
        // Damage, and a payload that is gone, are for the verification to find.
        Err(error) if !error.is_corruption() && !error.is_not_found() => return Err(error),
        _ => {}
    }
    let is_own = cx.file_key(&payload.name).is_some();
    Ok(Some(if is_own { KeyUsed::Run } else { KeyUsed::Identity }))
}

impl Proven {
    pub(crate) fn of(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            started_at: Timestamp::UNIX_EPOCH,
            seconds: 0.0,
            restore_seconds: None,
            smoke: Vec::new(),
            key: None,
        }
    }
}

fn structure(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    own: &[Arc<dyn Verifier>],
    store: &dyn Store,
    cx: &Context,
) -> Result<Vec<Finding>> {
    if !engine.capabilities().checks_copy {
        let mut findings = passing_by(artifact, engine, cx)?;
        if !own.is_empty() && !findings.iter().any(Finding::is_damage) {
            let scratch = Scratch::for_store(store, 0, cx)?;
            findings.extend(ask(own, &Subject::new(artifact, &scratch), cx)?);
        }
        return Ok(findings);
    }
    let plain = artifact.manifest().payload.plain_bytes;
    let scratch = Scratch::for_store(store, plain, cx)?;
    let subject = Subject::new(artifact, &scratch);
    let mut findings = cx.step(Step::Decode, Some(plain), || Ok(subject.copy(cx)?.findings.clone()))?;
    if findings.is_empty() {
        for verifier in engine.verifiers(artifact.manifest(), Level::Structure) {
            findings.extend(cx.step(Step::Check, None, || verifier.verify(&subject, cx))?);
        }
        findings.extend(ask(own, &subject, cx)?);
    }
    Ok(findings)
}

/// What the caller's own rules say of sound bytes.
fn ask(own: &[Arc<dyn Verifier>], subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for verifier in own {
        findings.extend(cx.step(Step::Check, None, || verifier.verify(subject, cx))?);
    }
    Ok(findings)
}

/// Verifiers that read the payload as it is decoded; damage of the stored bytes explains all else.
fn passing_by(artifact: &dyn Artifact, engine: &dyn BackupEngine, cx: &Context) -> Result<Vec<Finding>> {
    let plain = artifact.manifest().payload.plain_bytes;
    let subject = Subject::streamed(artifact);
    let mut findings = Vec::new();
    for verifier in engine.verifiers(artifact.manifest(), Level::Structure) {
        findings.extend(cx.step(Step::Decode, Some(plain), || verifier.verify(&subject, cx))?);
    }
    if subject.decoded().is_none() {
        cx.step(Step::Decode, Some(plain), || subject.read(cx, &mut |_| Ok(())))?;
    }
    let stored = subject.decoded().unwrap_or_default();
    Ok(if stored.is_empty() { findings } else { stored })
}

pub(crate) fn make_proof(manifest: &Manifest, level: Level, proven: &Proven) -> Proof {
    let mut tools = BTreeMap::new();
    tools.insert("backup".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Proof {
        format: FORMAT,
        id: manifest.id.clone(),
        level,
        started_at: proven.started_at,
        seconds: proven.seconds,
        restore_seconds: proven.restore_seconds,
        ok: !proven.findings.iter().any(Finding::is_damage),
        findings: proven.findings.clone(),
        smoke: proven.smoke.clone(),
        payload_blake3: manifest.payload.blake3.clone(),
        host: crate::file::host_name(),
        tools,
        key: proven.key,
        other: serde_json::Map::new(),
    }
}
