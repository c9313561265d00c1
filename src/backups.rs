//! The entrance: the jobs of a configuration or of a program, each a source and the store it is backed up into.

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

use backup_core::{
    Error, ErrorKind, Result,
    capture::Selection,
    context::{CancelToken, Context},
    encryption::{Identity, read_identities},
    id::SourceName,
    mirror::Mirror,
    retention::RetentionPolicy,
    store::Store,
    vault::Vault,
};

use crate::{
    builder::BackupsBuilder,
    check::{self, Report},
    config::{ConfigFile, did_you_mean},
    door::on_thread,
    events::{Events, Readers, Teller},
    job::Job,
    mirrors::{JobMirror, Pruning},
    settings::{JobSettings, source_of},
    source::Source,
    stores::Stores,
};

/// What the store of a program without configuration is called.
pub(crate) const ONLY: &str = "store";

/// Jobs: sources, the stores they are backed up into, and how. Cheap to clone.
///
/// Its calls block where they look into a store; [`Backups::in_background`] makes any of them a future.
#[derive(Clone, Debug)]
pub struct Backups {
    stores: Stores,
    jobs: Arc<BTreeMap<SourceName, Definition>>,
    file: Option<Arc<ConfigFile>>,
    /// In the place of those of the configuration.
    mirrors: Option<Arc<[Mirror]>>,
    /// As it was given.
    context: Context,
    /// The same with the readers beside its observer.
    heard: Context,
    readers: Arc<Readers>,
}

/// Everything a job is made of.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) source: Source,
    pub(crate) store: String,
    pub(crate) settings: Arc<JobSettings>,
}

impl Definition {
    /// What the job is limited to. Its own backups are all it asks for, so they count as whole ones: here only, since
    /// settings change, and what was taken under others brings back less.
    pub(crate) fn selection(&self) -> Selection {
        self.settings.run.capture.selection()
    }

    fn vault(&self, name: &SourceName, store: Arc<dyn Store>) -> Vault {
        Vault::new(store, name.clone()).with_selection(self.selection())
    }
}

impl Backups {
    /// Begins to collect what is needed, where there is no configuration file.
    pub fn builder() -> BackupsBuilder {
        BackupsBuilder::default()
    }

    /// The jobs of a `backup.toml`. No store and no database is opened yet.
    ///
    /// # Errors
    /// `Invalid` with every mistake of the file, and when it, or a file it names for a secret, cannot be read.
    pub fn open(path: impl AsRef<Path>) -> impl Future<Output = Result<Self>> + Send {
        let path = path.as_ref().to_owned();
        on_thread(CancelToken::default(), move || Self::open_blocking(path))
    }

    /// The same for threads that may wait.
    ///
    /// # Errors
    /// As [`Backups::open`].
    pub fn open_blocking(path: impl AsRef<Path>) -> Result<Self> {
        let file = ConfigFile::read(path.as_ref())?;
        let identities = file.identities();
        let context = Context::default().with_identities_from(move || read_all(&identities));
        Self::from_file(file, context)
    }

    /// The same of a configuration that was read, in surroundings of the caller's.
    ///
    /// # Errors
    /// As [`Backups::open`].
    pub fn from_file(file: ConfigFile, context: Context) -> Result<Self> {
        let mut jobs = BTreeMap::new();
        for (name, job) in &file.config.jobs {
            let source = source_of(job, file.folder()).map_err(|e| {
                let hint = e.hint().unwrap_or("See the job's \"source\" and \"password\".").to_owned();
                Error::invalid(format!("the source of job \"{name}\" cannot be told"))
                    .with_hint(hint)
                    .with_source(e)
            })?;
            let (store, settings) = (job.store.clone(), Arc::new(JobSettings::of(job)));
            jobs.insert(name.clone(), Definition { source, store, settings });
        }
        let stores = Stores::of(&file.config.stores, file.folder());
        Ok(Self::of(stores, jobs, Some(Arc::new(file)), context))
    }

    pub(crate) fn of(
        stores: Stores,
        jobs: BTreeMap<SourceName, Definition>,
        file: Option<Arc<ConfigFile>>,
        context: Context,
    ) -> Self {
        let readers = Arc::<Readers>::default();
        let heard = Teller::within(&context, None, &readers, None);
        Self { stores, jobs: Arc::new(jobs), file, mirrors: None, context, heard, readers }
    }

    /// The same jobs into and out of one other store; nothing is copied to mirrors.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        let moved = |definition: &Definition| Definition {
            store: ONLY.to_owned(),
            settings: Arc::new(JobSettings {
                store: None,
                mirrors: Vec::new(),
                ..(*definition.settings).clone()
            }),
            ..definition.clone()
        };
        self.jobs = Arc::new(self.jobs.iter().map(|(name, job)| (name.clone(), moved(job))).collect());
        self.stores = Stores::opened(ONLY, store);
        self
    }

    /// The same jobs with these mirrors in the place of their own, for all stores.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Vec<Mirror>) -> Self {
        self.mirrors = Some(mirrors.into());
        self
    }

    /// The same jobs in other surroundings. Who reads [`Backups::events`] goes on hearing them.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.heard = Teller::within(&context, None, &self.readers, None);
        self.context = context;
        self
    }

    /// The surroundings as they were given.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The events of all jobs from now on, beside the observer of the context; see [`Events`].
    pub fn events(&self) -> Events {
        self.readers.subscribe()
    }

    /// Does what blocks on a thread of its own, e.g. `backups.in_background(|b| b.check(None)).await`. Dropping the
    /// future cancels the work.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn in_background<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let cancel = self.context.cancel().child();
        let backups = self.clone().with_context(self.context.clone().with_cancel(cancel.clone()));
        on_thread(cancel, move || work(&backups))
    }

    /// The configuration they come from, if they come from one.
    pub fn file(&self) -> Option<&ConfigFile> {
        self.file.as_deref()
    }

    /// The names of the jobs, in order.
    pub fn names(&self) -> impl Iterator<Item = &SourceName> {
        self.jobs.keys()
    }

    /// The job of a name; its store is opened.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are; what opening its store reports.
    pub fn job(&self, name: &str) -> Result<Job> {
        let (name, definition) = self.definition(name)?;
        let vault = definition.vault(name, self.stores.get(&definition.store)?);
        let settings = Arc::clone(&definition.settings);
        let mirrors = self.mirrors_of(name);
        let policy = self.policy(name.as_str(), &definition.store)?;
        let job = Job::heard_by(vault, definition.source.engine()?, &self.context, Some(&self.readers));
        Ok(job.with_settings(settings).with_mirrors(mirrors).with_policy(policy))
    }

    /// The database that a job protects.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are.
    pub fn source(&self, job: &str) -> Result<&Source> {
        Ok(&self.definition(job)?.1.source)
    }

    /// What a job does when nobody says otherwise.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are.
    pub fn settings(&self, job: &str) -> Result<&JobSettings> {
        Ok(&self.definition(job)?.1.settings)
    }

    /// The job that protects this database.
    pub fn job_of(&self, source: &Source) -> Option<&SourceName> {
        self.jobs.iter().find(|(_, job)| job.source.is_same_as(source)).map(|(name, _)| name)
    }

    /// The names of the store a job writes to and of those that receive copies.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are.
    pub fn stores_of(&self, job: &str) -> Result<(&str, &[String])> {
        let (_, definition) = self.definition(job)?;
        Ok((&definition.store, &definition.settings.mirrors))
    }

    /// The stores that receive copies of a source's backups: those of its job, or those that all jobs were given. One
    /// that cannot be opened stops neither a backup nor a restore: it fails where it is used.
    pub fn mirrors_of(&self, source: &SourceName) -> Vec<JobMirror> {
        if let Some(mirrors) = &self.mirrors {
            return mirrors.iter().map(|mirror| JobMirror::new(mirror.clone(), None)).collect();
        }
        let Some(definition) = self.jobs.get(source) else { return Vec::new() };
        let mirror = |name: &String| {
            let mirror = match self.stores.get(name) {
                Ok(store) => Mirror::new(name, store),
                Err(error) => Mirror::unopened(name, &error),
            };
            JobMirror::new(mirror, self.policy(source.as_str(), name).ok().flatten())
        };
        definition.settings.mirrors.iter().map(mirror).collect()
    }

    /// The store that a source is backed up into: its job's, else the only one there is.
    ///
    /// # Errors
    /// As [`Backups::store`]; what opening it reports.
    pub fn store_of(&self, source: &SourceName) -> Result<Arc<dyn Store>> {
        self.jobs.get(source).map_or_else(|| self.store(), |job| self.stores.get(&job.store))
    }

    /// How long a job's backups stay in a store: as the store says, else as the job does; `None` keeps everything.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are.
    pub fn policy(&self, job: &str, store: &str) -> Result<Option<Arc<dyn RetentionPolicy>>> {
        let settings = &self.definition(job)?.1.settings;
        let of_the_store = self.stores.retention(store).map(|keep| settings.in_zone(keep));
        Ok(of_the_store.or_else(|| settings.retention.clone()))
    }

    /// Every vault for which the configuration has a policy: those of the jobs, and their copies in mirrors.
    ///
    /// # Errors
    /// What opening a job's store reports; a mirror that cannot be opened fails when it is pruned.
    pub fn prunings(&self) -> Result<Vec<Pruning>> {
        let mut prunings = Vec::new();
        for (name, definition) in &*self.jobs {
            let rpo = definition.settings.objectives.rpo;
            if let Some(keep) = self.policy(name.as_str(), &definition.store)? {
                let vault = definition.vault(name, self.stores.get(&definition.store)?);
                prunings.push(Pruning { vault, keep, rpo });
            }
            for JobMirror { mirror, keep } in self.mirrors_of(name) {
                let vault = definition.vault(name, Arc::clone(&mirror.store));
                prunings.extend(keep.map(|keep| Pruning { vault, keep, rpo }));
            }
        }
        Ok(prunings)
    }

    /// The store of this name.
    ///
    /// # Errors
    /// `Invalid`, naming the stores there are; what opening it reports.
    pub fn store_named(&self, name: &str) -> Result<Arc<dyn Store>> {
        self.stores.get(name)
    }

    pub(crate) fn name_of(&self, job: &str) -> Result<&SourceName> {
        Ok(self.definition(job)?.0)
    }

    pub(crate) fn definitions(&self) -> &BTreeMap<SourceName, Definition> {
        &self.jobs
    }

    /// Mirrors that all jobs were given.
    pub(crate) fn given_mirrors(&self) -> Option<&[Mirror]> {
        self.mirrors.as_deref()
    }

    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// What calls of no job work in.
    pub(crate) fn heard(&self) -> &Context {
        &self.heard
    }

    pub(crate) fn store_names(&self) -> impl Iterator<Item = &str> {
        self.stores.names()
    }

    fn definition(&self, name: &str) -> Result<(&SourceName, &Definition)> {
        let found = self.jobs.iter().find(|(job, _)| job.as_str() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.names().map(SourceName::as_str).collect();
            let near = did_you_mean(name, names.iter().copied());
            let error =
                Error::new(ErrorKind::NotFound, format!("there is no job \"{}\"{near}", name.escape_debug()));
            match names.as_slice() {
                [] => error.with_hint("There are none; `backup init` writes a configuration with one."),
                names => error.with_hint(format!("Jobs are {}.", names.join(", "))),
            }
        })
    }

    /// Examines everything a run would need: the configuration, each job's database, programs and keys, and the
    /// stores; of every job, or of one. What is wrong is in the report.
    ///
    /// Each store gets a small object that is read back and deleted; nothing is left behind.
    ///
    /// # Errors
    /// `NotFound`, naming the jobs there are; `Cancelled`.
    pub fn check(&self, job: Option<&str>) -> Result<Report> {
        check::check(self, job, &self.heard)
    }
}

/// The keys of identity files; nobody is there to be asked for a passphrase.
fn read_all(paths: &[PathBuf]) -> Result<Vec<Identity>> {
    let ask = || {
        Err(Error::new(ErrorKind::Denied, "it is protected with a passphrase")
            .with_hint("Give the identities with Context::with_identities, or name an unprotected file."))
    };
    let read = paths.iter().map(|path| read_identities(path, &ask)).collect::<Result<Vec<_>>>()?;
    Ok(read.concat())
}
