//! A full restore into a scratch place, checked, measured and thrown away.

use std::{sync::Arc, time::Instant};

use super::{
    prove::Proven,
    verify::{Verified, verify},
};
use crate::{
    artifact::{Artifact, StoredArtifact},
    context::Context,
    engine::{BackupEngine, RestoreRequest, Staged, Target},
    error::Result,
    event::Step,
    pipeline::checksum,
    proof::SmokeAnswer,
    scratch::Scratch,
    store::Store,
    vault::Vault,
    verify::{Finding, Level, Subject, Verifier},
};

/// How a drill is made, and what is checked beyond what the engine checks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DrillOptions {
    /// Queries the restored database must answer.
    pub smoke: Vec<String>,
    /// Rules of the caller's own: asked at level `structure` as well, of the stored bytes.
    pub verifiers: Vec<Arc<dyn Verifier>>,
    /// The server on which the scratch database is made; `None` is the source's own. Files have none.
    pub on: Option<Target>,
}

impl DrillOptions {
    /// With queries the restored database must answer.
    #[must_use]
    pub fn with_smoke(mut self, smoke: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.smoke.extend(smoke.into_iter().map(Into::into));
        self
    }

    /// With one more rule of the caller's own, at the levels `structure` and `restore`.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        self.verifiers.push(verifier);
        self
    }

    /// On another server.
    #[must_use]
    pub fn on(mut self, server: impl Into<Target>) -> Self {
        self.on = Some(server.into());
        self
    }
}

/// Restores an artifact into a scratch place, compares it with its manifest, asks the smoke queries, measures the
/// time, stores the proof, and throws the scratch away.
///
/// # Errors
/// As [`verify`].
pub fn drill(
    vault: &Vault,
    artifact: &StoredArtifact,
    engine: &dyn BackupEngine,
    options: &DrillOptions,
    cx: &Context,
) -> Result<Verified> {
    verify(vault, artifact, engine, Level::Restore, options, cx)
}

pub(super) fn rehearse(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    options: &DrillOptions,
    store: &dyn Store,
    cx: &Context,
) -> Result<Proven> {
    let scratch = Scratch::for_store(store, artifact.manifest().payload.plain_bytes, cx)?;
    let request = RestoreRequest {
        target: Some(engine.scratch_target(&scratch, options.on.as_ref())?),
        ..RestoreRequest::default()
    };
    let clock = Instant::now();
    let plan = engine.plan_restore(artifact.manifest(), &request, cx)?;
    let loaded = cx.step(Step::Load, Some(plan.writes), || engine.load(artifact, &plan, cx));
    let mut staged = match loaded {
        Ok(staged) => staged,
        Err(error) if error.is_corruption() => return damaged(artifact, &error, cx),
        Err(error) => return Err(error),
    };
    let mut proven = Proven::of(cx.step(Step::Check, None, || staged.prove(cx))?);
    proven.restore_seconds = Some(clock.elapsed().as_secs_f64());
    for sql in &options.smoke {
        ask(&mut *staged, sql, &mut proven);
    }
    let subject = Subject::new(artifact, &scratch);
    for verifier in &options.verifiers {
        let look = || verifier.verify_restored(&mut *staged, &subject, cx);
        proven.findings.extend(cx.step(Step::Check, None, look)?);
    }
    Ok(proven)
}

/// A payload that cannot be loaded is told by its checksum where that is enough, else by the loader's words.
fn damaged(artifact: &dyn Artifact, error: &crate::error::Error, cx: &Context) -> Result<Proven> {
    let mut findings = checksum(artifact, cx)?;
    if findings.is_empty() {
        findings.push(Finding::stored("load", artifact.location(), format!("{error:?}")));
    }
    Ok(Proven::of(findings))
}

/// A query that fails is a finding: the restored database does not do what the application needs of it.
fn ask(staged: &mut dyn Staged, sql: &str, proven: &mut Proven) {
    match staged.query(sql) {
        Ok(answer) => proven.smoke.push(SmokeAnswer { sql: sql.to_owned(), answer }),
        Err(error) => proven.findings.push(Finding::content("smoke", sql, format!("{error:?}"))),
    }
}
