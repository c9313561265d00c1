//! The calls of a job for threads that may wait.

use std::{
    io::Write,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::StoredArtifact,
    context::{CancelToken, Context},
    engine::{ExtractFormat, RestorePlan},
    event::Event,
    id::BackupId,
    manifest::Manifest,
    mirror::{Copies, Mirror},
    operation::{
        self, AdoptOptions, Copied, DrillOptions, Estimate, Healed, Mirrored, Objectives, PruneOptions,
        Pruned, RestoreOptions, Restored, RunOptions, Taken, VaultStatus, Verified,
    },
    proof::Proof,
    retention::RetentionPolicy,
    selector::Selector,
    vault::Vault,
    verify::Level,
};

use crate::{adopt, events::BlockingEvents, job::Job, mirrors::JobMirror};

/// The blocking twin of a [`Job`]: the same calls for threads that may wait. It makes no runtime and needs none.
///
/// Every call stops between blocks of at most 8 MiB once its token is cancelled, cleans up, and returns `Cancelled`.
#[derive(Clone, Debug)]
pub struct BlockingJob(pub(crate) Job);

impl BlockingJob {
    /// The same job with a token that stops its calls.
    #[must_use]
    pub fn with_cancel(self, cancel: CancelToken) -> Self {
        Self(self.0.with_cancel(cancel))
    }

    /// The job whose calls are `async`.
    pub fn job(&self) -> &Job {
        &self.0
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The events of this job and its clones from now on: [`Job::events`].
    pub fn events(&self) -> BlockingEvents {
        self.0.events().blocking()
    }

    /// Takes a backup, copies it to the mirrors, and removes what retention no longer keeps. What `options` leave at
    /// their default is the job's own setting; tags, smoke queries and rules add up.
    ///
    /// Once the backup exists, nothing takes it back: a mirror or a removal that fails is a warning, and told in
    /// [`Taken::copies`]. After a suspect backup nothing is removed.
    ///
    /// # Errors
    /// As [`operation::run`]; `Failed` when it took longer than the job's timeout, which leaves nothing half made.
    pub fn run(&self, options: RunOptions) -> Result<Taken> {
        let options = self.0.settings.run_over(options)?;
        let mut context = self.0.context.clone();
        if let Some(jobs) = options.capture.jobs {
            context = context.with_jobs(jobs);
        }
        let run = |context: &Context| operation::run(&self.0.vault, &*self.0.engine, &options, context);
        let mut taken = self.in_time(context, run)?;
        let copied = operation::mirror_new(&self.0.vault, &self.plain_mirrors(), taken.id(), &self.0.context);
        taken.copies = copied.iter().map(Copied::from).collect();
        if taken.is_good() {
            taken.pruned = self.tidy();
        }
        Ok(taken)
    }

    /// What the policies of the primary store and the mirrors no longer keep goes; what fails is a warning.
    fn tidy(&self) -> Vec<BackupId> {
        let primary = self.0.vault.store().to_string();
        let mut removed = Vec::new();
        for (store, outcome) in self.prune_by_policy(&PruneOptions::default()) {
            match outcome {
                Ok(pruned) if store == primary => removed = pruned.removed,
                Ok(_) => {}
                Err(error) if store == primary => {
                    self.0.context.warn(format!("older backups could not be pruned: {error:?}"));
                }
                Err(error) => {
                    self.0.context.warn(format!("mirror \"{store}\" could not be pruned: {error:?}"));
                }
            }
        }
        removed
    }

    /// Brings a dump that another program made into the vault: recognised, verified, copied. A folder is a dump in
    /// pg_dump's directory format. It stays where it is, unless `options.remove` is set.
    ///
    /// # Errors
    /// `Unsupported` when nobody knows what it is; `Corrupt` when it is damaged; `AlreadyExists` when it is there.
    pub fn adopt(&self, path: &Path, options: &AdoptOptions) -> Result<Taken> {
        let vault = &self.0.vault;
        adopt::adopt(vault.store(), Some(vault.source()), path, options, &self.0.context)
    }

    /// The backups there are, oldest first. A manifest that cannot be used is told as a finding.
    ///
    /// # Errors
    /// What listing the store reports.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let catalogue = self.0.vault.catalogue(None)?;
        catalogue.damaged.iter().for_each(|damaged| self.0.context.emit(Event::Found(damaged.clone())));
        Ok(catalogue.manifests())
    }

    /// The backup that a text names, and where it lies: an id, the beginning of one, `latest`, `latest:schema` …
    ///
    /// # Errors
    /// `NotFound` when no store of the job has it; `Invalid` when it is the beginning of several.
    pub fn find(&self, selector: &str) -> Result<Copies> {
        let mut selector = selector.parse::<Selector>()?;
        if let Selector::Latest { source: source @ None, .. } = &mut selector {
            *source = Some(self.0.vault.source().clone());
        }
        self.found(&selector)
    }

    /// Where a backup lies: the primary store and the mirrors, nearest first.
    ///
    /// # Errors
    /// `NotFound` when no store has it.
    pub fn copies(&self, id: &BackupId) -> Result<Copies> {
        self.found(&Selector::Prefix(id.to_string()))
    }

    fn found(&self, selector: &Selector) -> Result<Copies> {
        let copies = Copies::find(selector, self.0.vault.store(), &self.plain_mirrors(), &self.0.context)?;
        let (id, source) = (&copies.manifest().id, self.0.vault.source());
        if id.source() == *source {
            return Ok(copies);
        }
        Err(Error::new(ErrorKind::NotFound, format!("\"{id}\" is no backup of \"{source}\"")))
    }

    /// What was recorded of a backup's verifications and drills, oldest first.
    ///
    /// # Errors
    /// What reading the store reports.
    pub fn proofs(&self, id: &BackupId) -> Result<Vec<Proof>> {
        self.0.vault.proofs(id)
    }

    /// Writes a backup's decoded payload, from the nearest copy that is good.
    ///
    /// # Errors
    /// As [`operation::cat_from`].
    pub fn cat(&self, id: &BackupId, out: &mut dyn Write) -> Result<()> {
        operation::cat_from(&self.copies(id)?, out, &self.0.context)
    }

    /// Writes a backup as SQL text that the database's own shell reads.
    ///
    /// # Errors
    /// As [`operation::write_sql_from`].
    pub fn write_sql(&self, id: &BackupId, out: &mut dyn Write) -> Result<()> {
        operation::write_sql_from(&self.copies(id)?, &*self.0.engine, out, &self.0.context)
    }

    /// Writes one table of a backup as reviewable text, and returns its rows.
    ///
    /// # Errors
    /// As [`operation::extract_from`].
    pub fn extract(
        &self,
        id: &BackupId,
        table: &str,
        format: ExtractFormat,
        out: &mut dyn Write,
    ) -> Result<u64> {
        let copies = self.copies(id)?;
        operation::extract_from(&copies, &*self.0.engine, table, format, out, &self.0.context)
    }

    /// Verifies a backup as deep as `level`, asks the job's own rules, and stores the proof.
    ///
    /// # Errors
    /// Only when it could not be looked at: damage is in [`Verified::proof`].
    pub fn verify(&self, id: &BackupId, level: Level) -> Result<Verified> {
        let drill = &self.0.settings.drill;
        let artifact = self.artifact(id)?;
        operation::verify(&self.0.vault, &artifact, &*self.0.engine, level, drill, &self.0.context)
    }

    /// Looks at every stored object of a backup and mends what is damaged or missing from the nearest mirror whose copy
    /// is good.
    ///
    /// # Errors
    /// As [`operation::heal`]; what could not be mended is in [`Healed::failed`].
    pub fn heal(&self, id: &BackupId) -> Result<Healed> {
        operation::heal(&self.0.vault, id, &self.plain_mirrors(), &self.0.context)
    }

    /// Restores a backup into a scratch place, compares, asks the smoke queries and the job's own rules, measures, and
    /// stores the proof.
    ///
    /// # Errors
    /// As [`BlockingJob::verify`].
    pub fn drill(&self, id: &BackupId, options: &DrillOptions) -> Result<Verified> {
        let options = self.0.settings.drill_over(options);
        operation::drill(&self.0.vault, &self.artifact(id)?, &*self.0.engine, &options, &self.0.context)
    }

    /// Says what a restore would do, and does nothing.
    ///
    /// # Errors
    /// As [`operation::load_plan`].
    pub fn plan_restore(&self, id: &BackupId, options: &RestoreOptions) -> Result<RestorePlan> {
        let copies = self.copies(id)?;
        let artifact = &copies.nearest().artifact;
        operation::load_plan(artifact, &*self.0.engine, options, &self.0.context)
    }

    /// Brings a backup back, from the nearest copy that is good.
    ///
    /// # Errors
    /// As [`operation::restore_from`]. Until the last step the target is as it was.
    pub fn restore(&self, id: &BackupId, options: RestoreOptions) -> Result<Restored> {
        operation::restore_from(&self.copies(id)?, &*self.0.engine, &options, &self.0.context)
    }

    /// Copies what the mirrors lack, e.g. after one was away; the results are in the mirrors' order.
    pub fn mirror(&self) -> Vec<(String, Result<Mirrored>)> {
        let copy = |one: &JobMirror| (one.mirror.name.clone(), one.catch_up(&self.0.vault, &self.0.context));
        self.0.mirrors.iter().map(copy).collect()
    }

    /// How large and how long the next backup will be.
    ///
    /// # Errors
    /// What looking at the source or listing the store reports.
    pub fn estimate(&self) -> Result<Estimate> {
        operation::estimate(&self.0.vault, &*self.0.engine, &self.0.context)
    }

    /// How the source stands; what `objectives` leave out is the job's own.
    ///
    /// # Errors
    /// What reading the store reports; a missed objective is in [`VaultStatus::missed`].
    pub fn status(&self, objectives: &Objectives) -> Result<VaultStatus> {
        let objectives = self.0.settings.objectives_over(objectives);
        operation::status(&self.0.vault, &objectives, &self.0.context)
    }

    /// Removes the backups that a policy does not keep.
    ///
    /// # Errors
    /// As [`operation::prune`].
    pub fn prune(&self, policy: &dyn RetentionPolicy, options: &PruneOptions) -> Result<Pruned> {
        operation::prune(&self.0.vault, policy, options, &self.0.context)
    }

    /// Removes what the job's own policies do not keep: in the primary store, then in each mirror that has a policy. By
    /// the store's name; one that fails stops no other. Without an objective in `options` the job's own holds.
    pub fn prune_by_policy(&self, options: &PruneOptions) -> Vec<(String, Result<Pruned>)> {
        let job = &self.0;
        let options = options.with_rpo(options.rpo.or(job.settings.objectives.rpo));
        let mut outcomes = Vec::new();
        if let Some(policy) = &job.policy {
            let outcome = operation::prune(&job.vault, policy, &options, &job.context);
            outcomes.push((job.vault.store().to_string(), outcome));
        }
        for one in &*job.mirrors {
            let outcome = one.prune(&job.vault, &options, &job.context).transpose();
            outcomes.extend(outcome.map(|outcome| (one.mirror.name.clone(), outcome)));
        }
        outcomes
    }

    /// Cancels work that takes longer than the job's timeout.
    fn in_time<T>(&self, context: Context, work: impl FnOnce(&Context) -> Result<T>) -> Result<T> {
        let Some(limit) = self.0.settings.timeout else { return work(&context) };
        let patience = limit.unsigned_abs();
        let cancel = context.cancel().child();
        let (ended, waiting) = mpsc::channel::<()>();
        let clock = cancel.clone();
        let watch = move || {
            waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) && {
                clock.cancel();
                true
            }
        };
        let watching = thread::Builder::new()
            .name("backup-timeout".to_owned())
            .spawn(watch)
            .map_err(|e| Error::from_io("could not start a thread", e))?;
        let outcome = work(&context.with_cancel(cancel));
        drop(ended);
        let is_late = watching.join().unwrap_or(false);
        match outcome {
            Err(error) if error.is_cancelled() && is_late => Err(Error::new(
                ErrorKind::Failed,
                format!("the run of \"{}\" took longer than {limit:#} and was stopped", self.0.vault.source()),
            )
            .with_hint("Raise the job's \"timeout\", or find out what holds it up: the source, the network, the store.")),
            outcome => outcome,
        }
    }

    fn plain_mirrors(&self) -> Vec<Mirror> {
        self.0.mirrors.iter().map(|one| one.mirror.clone()).collect()
    }

    fn artifact(&self, id: &BackupId) -> Result<StoredArtifact> {
        self.0.vault.artifact(id)
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;

    use backup_core::id::SourceName;
    use backup_storage::LocalStore;
    use jiff::SignedDuration;

    use super::*;
    use crate::settings::JobSettings;

    /// Work that ends only when it is told to.
    fn endless(context: &Context) -> Result<()> {
        loop {
            context.cancel().check()?;
            thread::yield_now();
        }
    }

    fn job_with_timeout(timeout: SignedDuration) -> Job {
        let store = Arc::new(LocalStore::new("nowhere").unwrap());
        let vault = Vault::new(store, SourceName::new("till").unwrap());
        let engine = crate::source::Source::Sqlite("till.db".into()).engine().unwrap();
        let settings = JobSettings { timeout: Some(timeout), ..JobSettings::default() };
        Job::new(vault, engine, Context::default()).with_settings(settings)
    }

    #[test]
    fn a_run_that_takes_too_long_is_stopped_and_says_so() {
        let job = job_with_timeout(SignedDuration::from_millis(20)).blocking();
        let error = job.in_time(Context::default(), endless).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("\"till\" took longer than 20ms"), "{error}");
        assert!(job.in_time(Context::default(), |_| Ok(())).is_ok());
    }

    #[test]
    fn a_run_that_somebody_stops_is_not_called_late() {
        let job = job_with_timeout(SignedDuration::from_hours(1)).blocking();
        let context = Context::default();
        context.cancel().cancel();
        assert!(job.in_time(context, endless).unwrap_err().is_cancelled());
    }
}
