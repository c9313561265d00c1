//! One source and its vault: everything that can be done with them.

use std::{future::Future, io::Write, path::Path, sync::Arc};

use backup_core::{
    Result,
    cache::Cache,
    context::{CancelToken, Context},
    engine::{BackupEngine, ExtractFormat, RestorePlan},
    id::BackupId,
    manifest::Manifest,
    mirror::Copies,
    operation::{
        AdoptOptions, DrillOptions, Estimate, Healed, Mirrored, Objectives, PruneOptions, Pruned,
        RestoreOptions, Restored, RunOptions, Taken, VaultStatus, Verified,
    },
    proof::Proof,
    retention::RetentionPolicy,
    vault::Vault,
    verify::{Level, Verifier},
};

use crate::{
    blocking::BlockingJob,
    door::on_thread,
    events::{Events, Readers, Teller},
    mirrors::JobMirror,
    settings::JobSettings,
};

/// One source and its vault. Cheap to clone.
///
/// Its calls begin at once, on a thread of their own, and return a future that any runtime can wait for.
/// [`Job::blocking`] has the same calls for threads that may wait, and there stands what each of them returns and fails
/// of. A dropped future cancels its call, which leaves what the blocking one says of `Cancelled`.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) vault: Vault,
    pub(crate) engine: Arc<dyn BackupEngine>,
    pub(crate) context: Context,
    pub(crate) settings: Arc<JobSettings>,
    pub(crate) policy: Option<Arc<dyn RetentionPolicy>>,
    pub(crate) mirrors: Arc<[JobMirror]>,
    pub(crate) readers: Arc<Readers>,
}

impl Job {
    /// A job of any engine into any vault.
    pub fn new(vault: Vault, engine: Arc<dyn BackupEngine>, context: Context) -> Self {
        Self::heard_by(vault, engine, &context, None)
    }

    /// The same, also heard by the readers of all jobs.
    pub(crate) fn heard_by(
        vault: Vault,
        engine: Arc<dyn BackupEngine>,
        given: &Context,
        all: Option<&Arc<Readers>>,
    ) -> Self {
        let readers = Arc::<Readers>::default();
        let context = Teller::within(given, Some(vault.source().clone()), &readers, all);
        Self {
            vault,
            engine,
            context,
            settings: Arc::default(),
            policy: None,
            mirrors: Arc::new([]),
            readers,
        }
    }

    /// With another idea of what to do when nobody says otherwise. (Their stores and policy are those of the job: see
    /// [`Job::with_mirrors`] and [`Job::with_retention`].)
    #[must_use]
    pub fn with_settings(mut self, settings: impl Into<Arc<JobSettings>>) -> Self {
        self.settings = settings.into();
        self
    }

    /// With one more rule of your own that runs, verifications and drills ask; what it finds is in their proofs.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        Arc::make_mut(&mut self.settings).drill.verifiers.push(verifier);
        self
    }

    /// With stores that receive a copy of every backup, each proven there, and that are read where the primary store
    /// has no good copy.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: impl Into<Arc<[JobMirror]>>) -> Self {
        self.mirrors = mirrors.into();
        self
    }

    /// With a cache by which a far store's backups are looked at faster; see [`Vault::with_cache`].
    #[must_use]
    pub fn with_cache(mut self, cache: Option<Cache>) -> Self {
        self.vault = self.vault.with_cache(cache);
        self
    }

    /// With a policy by which older backups are removed after each good run; without, all stay.
    #[must_use]
    pub fn with_retention(self, policy: impl RetentionPolicy + 'static) -> Self {
        self.with_policy(Some(Arc::new(policy)))
    }

    pub(crate) fn with_policy(mut self, policy: Option<Arc<dyn RetentionPolicy>>) -> Self {
        self.policy = policy;
        self
    }

    /// With a token that stops its calls, all of them, whoever waits for them.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.context = self.context.with_cancel(cancel);
        self
    }

    /// The stores that receive copies.
    pub fn mirrors(&self) -> &[JobMirror] {
        &self.mirrors
    }

    /// What it does when nobody says otherwise.
    pub fn settings(&self) -> &JobSettings {
        &self.settings
    }

    /// The engine that reads its source.
    pub fn engine(&self) -> &Arc<dyn BackupEngine> {
        &self.engine
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The same calls for threads that may wait.
    pub fn blocking(&self) -> BlockingJob {
        BlockingJob(self.clone())
    }

    /// The events of this job and its clones from now on, beside the observer of the context. They are at their end
    /// when the job and its clones are dropped and their calls have ended.
    ///
    /// ```
    /// # fn main() -> backup::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let database = folder.path().join("shop.db");
    /// # rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE customers(name)").unwrap();
    /// # let store = folder.path().join("backups").display().to_string();
    /// # let backups = backup::Backups::builder().store(store).source("shop", database.display().to_string()).build()?;
    /// let job = backups.job("shop")?;
    /// let events = job.events();
    /// let run = job.run(Default::default());
    /// drop((job, backups));
    /// for told in events.blocking() {
    ///     println!("{}", serde_json::to_string(&told).unwrap());
    /// }
    /// # pollster::block_on(run)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.readers.subscribe()
    }

    /// Takes a backup, copies it to the mirrors, and removes what retention no longer keeps: [`BlockingJob::run`].
    pub fn run(&self, options: RunOptions) -> impl Future<Output = Result<Taken>> + Send + use<> {
        self.in_background(move |job| job.run(options))
    }

    /// Brings a dump that another program made into the vault: [`BlockingJob::adopt`].
    pub fn adopt(
        &self,
        path: &Path,
        options: AdoptOptions,
    ) -> impl Future<Output = Result<Taken>> + Send + use<> {
        let path = path.to_owned();
        self.in_background(move |job| job.adopt(&path, &options))
    }

    /// The backups there are, oldest first: [`BlockingJob::list`].
    pub fn list(&self) -> impl Future<Output = Result<Vec<Manifest>>> + Send + use<> {
        self.in_background(|job| job.list())
    }

    /// The backup that a text names, and where it lies: [`BlockingJob::find`].
    pub fn find(&self, selector: &str) -> impl Future<Output = Result<Copies>> + Send + use<> {
        let selector = selector.to_owned();
        self.in_background(move |job| job.find(&selector))
    }

    /// Where a backup lies: [`BlockingJob::copies`].
    pub fn copies(&self, id: &BackupId) -> impl Future<Output = Result<Copies>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.copies(&id))
    }

    /// What was recorded of a backup's verifications and drills: [`BlockingJob::proofs`].
    pub fn proofs(&self, id: &BackupId) -> impl Future<Output = Result<Vec<Proof>>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.proofs(&id))
    }

    /// Writes a backup's decoded payload, and gives the writer back: [`BlockingJob::cat`].
    pub fn cat<W: Write + Send + 'static>(
        &self,
        id: &BackupId,
        mut out: W,
    ) -> impl Future<Output = Result<W>> + Send + use<W> {
        let id = id.clone();
        self.in_background(move |job| job.cat(&id, &mut out).map(|()| out))
    }

    /// Writes a backup as SQL text, and gives the writer back: [`BlockingJob::write_sql`].
    pub fn write_sql<W: Write + Send + 'static>(
        &self,
        id: &BackupId,
        mut out: W,
    ) -> impl Future<Output = Result<W>> + Send + use<W> {
        let id = id.clone();
        self.in_background(move |job| job.write_sql(&id, &mut out).map(|()| out))
    }

    /// Writes one table of a backup as text; its rows, and the writer back: [`BlockingJob::extract`].
    pub fn extract<W: Write + Send + 'static>(
        &self,
        id: &BackupId,
        table: &str,
        format: ExtractFormat,
        mut out: W,
    ) -> impl Future<Output = Result<(u64, W)>> + Send + use<W> {
        let (id, table) = (id.clone(), table.to_owned());
        self.in_background(move |job| Ok((job.extract(&id, &table, format, &mut out)?, out)))
    }

    /// Verifies a backup and stores the proof: [`BlockingJob::verify`].
    pub fn verify(
        &self,
        id: &BackupId,
        level: Level,
    ) -> impl Future<Output = Result<Verified>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.verify(&id, level))
    }

    /// Mends a damaged backup from its mirrors: [`BlockingJob::heal`].
    pub fn heal(&self, id: &BackupId) -> impl Future<Output = Result<Healed>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.heal(&id))
    }

    /// Restores a backup into a scratch place, and stores the proof: [`BlockingJob::drill`].
    pub fn drill(
        &self,
        id: &BackupId,
        options: DrillOptions,
    ) -> impl Future<Output = Result<Verified>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.drill(&id, &options))
    }

    /// Says what a restore would do: [`BlockingJob::plan_restore`].
    pub fn plan_restore(
        &self,
        id: &BackupId,
        options: RestoreOptions,
    ) -> impl Future<Output = Result<RestorePlan>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.plan_restore(&id, &options))
    }

    /// Brings a backup back: [`BlockingJob::restore`].
    pub fn restore(
        &self,
        id: &BackupId,
        options: RestoreOptions,
    ) -> impl Future<Output = Result<Restored>> + Send + use<> {
        let id = id.clone();
        self.in_background(move |job| job.restore(&id, options))
    }

    /// Copies what the mirrors lack: [`BlockingJob::mirror`].
    pub fn mirror(&self) -> impl Future<Output = Result<Vec<(String, Result<Mirrored>)>>> + Send + use<> {
        self.in_background(|job| Ok(job.mirror()))
    }

    /// How large and how long the next backup will be: [`BlockingJob::estimate`].
    pub fn estimate(&self) -> impl Future<Output = Result<Estimate>> + Send + use<> {
        self.in_background(|job| job.estimate())
    }

    /// How the source stands: [`BlockingJob::status`].
    pub fn status(&self, objectives: Objectives) -> impl Future<Output = Result<VaultStatus>> + Send + use<> {
        self.in_background(move |job| job.status(&objectives))
    }

    /// Removes the backups that a policy does not keep: [`BlockingJob::prune`].
    pub fn prune<P: RetentionPolicy + 'static>(
        &self,
        policy: P,
        options: PruneOptions,
    ) -> impl Future<Output = Result<Pruned>> + Send + use<P> {
        self.in_background(move |job| job.prune(&policy, &options))
    }

    /// Removes what the job's own policies do not keep, in every store: [`BlockingJob::prune_by_policy`].
    pub fn prune_by_policy(
        &self,
        options: PruneOptions,
    ) -> impl Future<Output = Result<Vec<(String, Result<Pruned>)>>> + Send + use<> {
        self.in_background(move |job| Ok(job.prune_by_policy(&options)))
    }

    /// Does anything else that blocks on a thread of its own, as all calls of this type do. Dropping the future cancels
    /// the work and nothing else; the job's own token cancels all.
    ///
    /// # Errors
    /// What `work` returns; `Failed` when it panicked.
    pub fn in_background<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(BlockingJob) -> Result<T> + Send + 'static,
    {
        let job = self.with_own_token();
        let cancel = job.context.cancel().clone();
        on_thread(cancel, move || work(BlockingJob(job)))
    }

    /// The same job with a token that the job's own cancels, and that can be cancelled alone.
    pub(crate) fn with_own_token(&self) -> Self {
        self.clone().with_cancel(self.context.cancel().child())
    }
}
