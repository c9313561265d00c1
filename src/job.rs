//! One source and its vault: everything that can be done with them.

use std::{future::Future, sync::Arc};

use backup_core::{
    Result,
    artifact::{Artifact, StoredArtifact},
    context::{CancelToken, Context},
    engine::BackupEngine,
    id::BackupId,
    manifest::Manifest,
    operation::{
        self, DrillOptions, Estimate, Objectives, RestoreOptions, Restored, RunOptions, Taken, VaultStatus,
        Verified,
    },
    vault::Vault,
    verify::Level,
};

use crate::door::on_thread;

/// One source and its vault. Its calls are `async`; [`Job::blocking`] has the same ones without.
#[derive(Clone, Debug)]
pub struct Job {
    vault: Vault,
    engine: Arc<dyn BackupEngine>,
    context: Context,
}

/// The blocking twin of a [`Job`].
#[derive(Clone, Debug)]
pub struct BlockingJob(Job);

impl Job {
    /// A job of any engine into any vault.
    pub fn new(vault: Vault, engine: Arc<dyn BackupEngine>, context: Context) -> Self {
        Self { vault, engine, context }
    }

    /// The same calls for threads that may wait.
    pub fn blocking(&self) -> BlockingJob {
        BlockingJob(self.clone())
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Takes a backup. Dropping the future cancels it and leaves nothing half made.
    pub fn run(&self, options: RunOptions) -> impl Future<Output = Result<Taken>> + Send + use<> {
        self.through(move |job| job.run(options))
    }

    /// The backups there are, oldest first.
    pub fn list(&self) -> impl Future<Output = Result<Vec<Manifest>>> + Send + use<> {
        self.through(|job| job.list())
    }

    /// Verifies a backup and stores the proof.
    pub fn verify(
        &self,
        id: &BackupId,
        level: Level,
    ) -> impl Future<Output = Result<Verified>> + Send + use<> {
        let id = id.clone();
        self.through(move |job| job.verify(&id, level))
    }

    /// Restores a backup into a scratch place, compares, asks the smoke queries, measures, and stores the proof.
    pub fn drill(
        &self,
        id: &BackupId,
        options: DrillOptions,
    ) -> impl Future<Output = Result<Verified>> + Send + use<> {
        let id = id.clone();
        self.through(move |job| job.drill(&id, &options))
    }

    /// Brings a backup back.
    pub fn restore(
        &self,
        id: &BackupId,
        options: RestoreOptions,
    ) -> impl Future<Output = Result<Restored>> + Send + use<> {
        let id = id.clone();
        self.through(move |job| job.restore(&id, options))
    }

    /// How large and how long the next backup will be.
    pub fn estimate(&self) -> impl Future<Output = Result<Estimate>> + Send + use<> {
        self.through(|job| job.estimate())
    }

    /// How the source stands.
    pub fn status(&self, objectives: Objectives) -> impl Future<Output = Result<VaultStatus>> + Send + use<> {
        self.through(move |job| job.status(&objectives))
    }

    /// Each call has a token of its own, so that a dropped future cancels nothing else; the job's own cancels all.
    fn through<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(BlockingJob) -> Result<T> + Send + 'static,
    {
        let cancel = self.context.cancel().child();
        let job = Job { context: self.context.clone().with_cancel(cancel.clone()), ..self.clone() };
        on_thread(cancel, move || work(BlockingJob(job)))
    }
}

impl BlockingJob {
    /// The same job with a token that stops its calls.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.0.context = self.0.context.with_cancel(cancel);
        self
    }

    /// Takes a backup.
    pub fn run(&self, options: RunOptions) -> Result<Taken> {
        operation::run(&self.0.vault, &*self.0.engine, &options, &self.0.context)
    }

    /// The backups there are, oldest first.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        Ok(self.0.vault.catalogue(None)?.manifests())
    }

    /// Verifies a backup and stores the proof.
    pub fn verify(&self, id: &BackupId, level: Level) -> Result<Verified> {
        operation::verify(
            &self.0.vault,
            &self.artifact(id)?,
            &*self.0.engine,
            level,
            &DrillOptions::default(),
            &self.0.context,
        )
    }

    /// Restores a backup into a scratch place, compares, asks the smoke queries, measures, and stores the proof.
    pub fn drill(&self, id: &BackupId, options: &DrillOptions) -> Result<Verified> {
        operation::drill(&self.0.vault, &self.artifact(id)?, &*self.0.engine, options, &self.0.context)
    }

    /// Brings a backup back.
    pub fn restore(&self, id: &BackupId, options: RestoreOptions) -> Result<Restored> {
        operation::restore(&self.artifact(id)? as &dyn Artifact, &*self.0.engine, &options, &self.0.context)
    }

    /// How large and how long the next backup will be.
    pub fn estimate(&self) -> Result<Estimate> {
        operation::estimate(&self.0.vault, &*self.0.engine, &self.0.context)
    }

    /// How the source stands.
    pub fn status(&self, objectives: &Objectives) -> Result<VaultStatus> {
        operation::status(&self.0.vault, objectives, &self.0.context)
    }

    fn artifact(&self, id: &BackupId) -> Result<StoredArtifact> {
        self.0.vault.artifact(id)
    }
}
