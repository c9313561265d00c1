//! Guards risky work: a proven backup before it, a count before and after, and the way back when it fails.

mod journal;
mod options;
mod report;

use std::{fmt::Display, sync::Arc};

use crate::{
    artifact::{Artifact, StoredArtifact},
    census::Census,
    content::Content,
    context::Context,
    crash,
    engine::{BackupEngine, SourceReport},
    error::{Error, ErrorKind, Result},
    event::Step,
    id::BackupId,
    manifest::{FORMAT, Manifest},
    mirror::Copies,
    operation::{RestoreOptions, Restored, load_plan, mirror_new, restore_from, run::run_under},
    selector::Selector,
    store::Lease,
    vault::Vault,
    verify::Level,
};

use journal::Entry;
pub(super) use journal::{missed, tell_interrupted};
pub use options::GuardOptions;
pub use report::{GuardError, GuardOutcome, GuardReport, Guarded};

/// Does risky work under the guard of a proven backup.
///
/// The work starts only when a good backup is there. When it returns an error, the database is restored where
/// `restore_on_failure` was asked for; else the error tells the line that restores it. A panic goes through; the
/// observer is told the line.
///
/// The vault's lease is held until the work ended, so that no backup catches the state half way, and no dump's locks
/// are in the work's way: a run, a prune or a second guard of the same source meanwhile is `Busy`.
///
/// # Errors
/// [`GuardError::NotStarted`] with what [`Guard::begin`] failed of, or [`GuardError::Failed`] with the work's own error.
pub fn guard<T, E: Display>(
    vault: &Vault,
    engine: &Arc<dyn BackupEngine>,
    options: &GuardOptions,
    cx: &Context,
    work: impl FnOnce(&Guard) -> Result<T, E>,
) -> Result<Guarded<T>, GuardError<E>> {
    let guard = Guard::begin(vault, engine, options, cx).map_err(GuardError::NotStarted)?;
    match work(&guard) {
        Ok(value) => Ok(Guarded::new(value, guard.succeed())),
        Err(error) => {
            let report = Box::new(guard.fail(&error.to_string()));
            Err(GuardError::Failed { error, report })
        }
    }
}

/// Work that is guarded right now: the form in two steps, for callers that are no closure.
///
/// Ends with [`Guard::succeed`] or [`Guard::fail`]. Dropped without either, the work counts as failed: nothing is
/// restored, and the observer is told the line that restores. After a kill the next guard or run of this vault tells
/// it, and `status` does until then.
#[derive(Debug)]
pub struct Guard {
    vault: Vault,
    engine: Arc<dyn BackupEngine>,
    options: GuardOptions,
    context: Context,
    backup: Manifest,
    taken: bool,
    before: Option<Census>,
    entry: Entry,
    /// `None` once it has ended.
    lease: Option<Box<dyn Lease>>,
}

impl Guard {
    /// Makes everything ready for the work: a proven backup, its copies, a count of every table, the journal.
    ///
    /// # Errors
    /// Nothing was changed and the work must not start. `Busy`, naming the holder, when a backup of this source is
    /// being taken or another guard is at work; `Corrupt` when the backup is suspect; else what taking a backup or
    /// counting the tables failed of.
    pub fn begin(
        vault: &Vault,
        engine: &Arc<dyn BackupEngine>,
        options: &GuardOptions,
        cx: &Context,
    ) -> Result<Self> {
        options.check()?;
        let source = engine.inspect(cx)?;
        let lease = vault.lease()?;
        tell_interrupted(vault, cx)?;
        let found = fresh_enough(vault, &source, options, cx)?;
        let taken = found.is_none();
        let backup = match found {
            Some(found) => found,
            None => take_now(vault, &**engine, options, cx)?,
        };
        if taken {
            mirror_new(vault, &options.mirrors, &backup.id, cx);
        }
        if options.restore_on_failure {
            require_restorable(vault, &**engine, &backup.id, cx)?;
            if !taken {
                cx.warn(format!("a restore would lose what was written since {}", backup.snapshot_at));
            }
        }
        let before = if options.census { count(&**engine, cx)? } else { None };
        tell_changes_since(&backup, before.as_ref(), cx);
        cx.cancel().check()?;
        let entry = journal::write(vault, entry(vault, &backup, options, cx))?;
        crash::point("guard.begun");
        Ok(Self {
            vault: vault.clone(),
            engine: Arc::clone(engine),
            options: options.clone(),
            context: cx.clone(),
            backup,
            taken,
            before,
            entry,
            lease: Some(lease),
        })
    }

    /// Its id, as the journal and `BACKUP_GUARD_ID` name it.
    pub fn id(&self) -> &str {
        &self.entry.id
    }

    /// The backup that brings back what was there before.
    pub fn backup(&self) -> &Manifest {
        &self.backup
    }

    /// Whether the backup was taken for this guard; else it was fresh enough.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    /// The line that brings the database back, for a POSIX shell.
    pub fn restore_line(&self) -> &str {
        &self.entry.restore
    }

    /// With other surroundings for what comes after the work, e.g. a token that nobody raised while it ran.
    #[must_use]
    pub fn with_context(mut self, cx: Context) -> Self {
        self.context = cx;
        self
    }

    /// The work succeeded: counts again, and says what changed and what looks like an accident.
    pub fn succeed(mut self) -> GuardReport {
        let mut report = self.report(GuardOutcome::Succeeded);
        if let Some(difference) = &report.difference {
            report.warnings.extend(difference.suspicions(self.options.max_loss));
        }
        self.end();
        report
    }

    /// The work failed: counts again, and restores the database where that was asked for.
    ///
    /// The restore loads beside the database, proves, and swaps; what the work left is kept. One that fails leaves the
    /// database as the work left it, and is in the report.
    pub fn fail(mut self, reason: &str) -> GuardReport {
        let mut report = self.report(GuardOutcome::Failed);
        report.failure = Some(reason.to_owned());
        if self.options.restore_on_failure {
            match self.bring_back() {
                Ok(restored) => {
                    report.outcome = GuardOutcome::Restored;
                    report.restored = Some(restored);
                }
                Err(error) => {
                    report.outcome = GuardOutcome::RestoreFailed;
                    report.restore_error = Some(error);
                }
            }
        }
        self.end();
        report
    }

    /// The work was never started: nothing is told and nothing is left but the backup.
    pub fn call_off(mut self) {
        self.end();
    }

    /// Whoever did the work is gone, and nobody knows how it ended: as after a kill, nothing is restored, the next guard
    /// or run of this vault tells it, and `status` does until then.
    pub fn leave(mut self) {
        drop(self.lease.take());
    }

    fn report(&self, outcome: GuardOutcome) -> GuardReport {
        let mut warnings = Vec::new();
        let after = match &self.before {
            None => None,
            Some(_) => count(&*self.engine, &self.context).unwrap_or_else(|error| {
                warnings.push(format!("what the work left could not be counted: {error:?}"));
                None
            }),
        };
        GuardReport {
            id: self.entry.id.clone(),
            backup: self.backup.id.clone(),
            taken: self.taken,
            outcome,
            failure: None,
            difference: self.before.as_ref().zip(after.as_ref()).map(|(before, after)| before.compare(after)),
            warnings,
            restored: None,
            restore_error: None,
            restore_line: self.entry.restore.clone(),
        }
    }

    fn bring_back(&self) -> Result<Restored> {
        let cx = &self.context;
        let selector: Selector = self.backup.id.as_str().parse()?;
        let copies = Copies::find(&selector, self.vault.store(), &self.options.mirrors, cx)?;
        restore_from(&copies, &*self.engine, &RestoreOptions::default().with_replace(true), cx)
    }

    /// Takes the guard out of the journal, then gives the lease back.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            crash::point("guard.ending");
            journal::remove(&self.vault, &self.entry, &self.context);
            drop(lease);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.lease.is_some() {
            self.context.alarm(format!(
                "guarded work on \"{}\" was left without saying how it ended; the backup before it is \"{}\"; to go \
                 back: {}",
                self.entry.database, self.backup.id, self.entry.restore
            ));
            self.end();
        }
    }
}

fn entry(vault: &Vault, backup: &Manifest, options: &GuardOptions, cx: &Context) -> Entry {
    Entry {
        format: FORMAT,
        id: String::new(),
        database: backup.source.database.clone(),
        backup: backup.id.clone(),
        started_at: cx.now(),
        host: crate::file::host_name(),
        process: std::process::id(),
        work: options.work.clone(),
        restore: options.restore_line(&**vault.store(), &backup.id),
    }
}

/// The newest backup, where it is good, of this source, young enough, proven deep enough, and still there.
fn fresh_enough(
    vault: &Vault,
    source: &SourceReport,
    options: &GuardOptions,
    cx: &Context,
) -> Result<Option<Manifest>> {
    let Some(fresh) = options.fresh else { return Ok(None) };
    let catalogue = vault.catalogue(Some(Content::Full))?;
    let whole = catalogue.artifacts.iter().rfind(|artifact| !artifact.manifest().is_partial());
    let Some(newest) = whole else { return Ok(None) };
    let (manifest, facts) = (newest.manifest(), &source.facts);
    let was = &manifest.source;
    let is_of_source = (&was.engine, &was.database) == (&facts.engine, &facts.database)
        && was.system_id.as_ref().zip(facts.system_id.as_ref()).is_none_or(|(was, is)| was == is);
    let is_young = cx.now().duration_since(manifest.snapshot_at).abs() <= fresh;
    let will_do = manifest.is_good()
        && is_of_source
        && is_young
        && is_proven(vault, manifest, options.run.verify)?
        && is_stored(newest);
    Ok(will_do.then(|| manifest.clone()))
}

/// Whether a stored proof of these very bytes says that they are good, and no later one says otherwise.
fn is_proven(vault: &Vault, manifest: &Manifest, asked: Level) -> Result<bool> {
    let mut proofs = vault.proofs(&manifest.id)?;
    proofs.retain(|proof| proof.payload_blake3 == manifest.payload.blake3);
    let is_deep = proofs.iter().any(|proof| proof.ok && proof.level >= asked.max(Level::Structure));
    Ok(is_deep && proofs.last().is_some_and(|proof| proof.ok))
}

fn is_stored(artifact: &StoredArtifact) -> bool {
    artifact.open_payload().is_ok_and(|payload| payload.size() == artifact.manifest().payload.bytes)
}

fn take_now(
    vault: &Vault,
    engine: &dyn BackupEngine,
    options: &GuardOptions,
    cx: &Context,
) -> Result<Manifest> {
    let taken = run_under(|| Ok(None), vault, engine, &options.run(), cx)?;
    match taken.manifest.suspect.first() {
        None => Ok(taken.manifest),
        Some(first) => Err(Error::corrupt(format!(
            "the backup before the work, \"{}\", is suspect ({}): {}; {}",
            taken.id(),
            first.rule,
            first.found,
            first.expected
        ))
        .with_hint("Find out why; if the database is as it should be, `backup run --accept` says so.")),
    }
}

/// Finds out now, not after the work failed, whether the database could be restored.
fn require_restorable(vault: &Vault, engine: &dyn BackupEngine, id: &BackupId, cx: &Context) -> Result<()> {
    let artifact = vault.artifact(id)?;
    match load_plan(&artifact, engine, &RestoreOptions::default().with_replace(true), cx) {
        Ok(_) => Ok(()),
        // Whoever uses it now may be gone by then.
        Err(error) if error.kind() == ErrorKind::Busy => {
            cx.warn(format!("as things stand, a restore would be refused: {error:?}"));
            Ok(())
        }
        Err(error) => Err(error.context("the database could not be restored if the work failed")),
    }
}

/// Counts every table; `None`, and a warning, where the engine cannot.
fn count(engine: &dyn BackupEngine, cx: &Context) -> Result<Option<Census>> {
    match cx.step(Step::Count, None, || engine.census(cx)) {
        Ok(census) => Ok(Some(census)),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            cx.warn(format!("what the work changes will not be counted: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A restore would lose what was written between the backup and the work.
fn tell_changes_since(backup: &Manifest, before: Option<&Census>, cx: &Context) {
    let Some(before) = before else { return };
    let changes = before.changes_since(&backup.tables);
    if let Some(first) = changes.first() {
        let others = changes.len() - 1;
        let others = if others == 0 { String::new() } else { format!(", and {others} more tables") };
        cx.warn(format!(
            "somebody wrote since \"{}\" was taken, which a restore would lose: {first}{others}",
            backup.id
        ));
    }
}
