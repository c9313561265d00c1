//! The entrance: a store and the sources that are backed up into it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::{Artifact, StoredArtifact},
    context::Context,
    id::SourceName,
    operation::{self, AdoptOptions, Taken},
    scratch::Scratch,
    selector::Selector,
    store::Store,
    vault::Vault,
};

use crate::{engines::engine_for, files::open_file, job::Job, place::open_store, source::Source};

/// A store and the sources that are backed up into it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backups {
    store: Arc<dyn Store>,
    sources: Arc<BTreeMap<SourceName, Source>>,
    context: Context,
}

/// Collects what [`Backups`] needs; nothing is opened before [`BackupsBuilder::build`].
#[derive(Clone, Debug, Default)]
pub struct BackupsBuilder {
    store: Option<String>,
    opened: Option<Arc<dyn Store>>,
    sources: Vec<(String, String)>,
    context: Context,
}

impl BackupsBuilder {
    /// The store, as people name it: a path.
    #[must_use]
    pub fn store(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// A store that is open already, e.g. one of your own making.
    #[must_use]
    pub fn opened_store(mut self, store: Arc<dyn Store>) -> Self {
        self.opened = Some(store);
        self
    }

    /// A source under a name.
    #[must_use]
    pub fn source(mut self, name: impl Into<String>, source: impl Into<String>) -> Self {
        self.sources.push((name.into(), source.into()));
        self
    }

    /// Who listens, where scratch files go, how many threads work.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `Invalid` when a name, source or store cannot be right, or none was given.
    pub fn build(self) -> Result<Backups> {
        let store = match (self.opened, self.store) {
            (Some(opened), _) => opened,
            (None, Some(text)) => open_store(&text)?,
            (None, None) => return Err(Error::invalid("no store was given")),
        };
        let sources: Result<_> = self
            .sources
            .into_iter()
            .map(|(name, source)| Ok((SourceName::new(name)?, source.parse()?)))
            .collect();
        Ok(Backups { store, sources: Arc::new(sources?), context: self.context })
    }
}

impl Backups {
    /// Begins to collect what is needed.
    pub fn builder() -> BackupsBuilder {
        BackupsBuilder::default()
    }

    /// The job of a source.
    ///
    /// # Errors
    /// `NotFound`, naming the sources there are.
    pub fn job(&self, name: &str) -> Result<Job> {
        let found = self.sources.iter().find(|(source, _)| source.as_str() == name);
        let (name, source) = found.ok_or_else(|| {
            let names: Vec<&str> = self.sources.keys().map(SourceName::as_str).collect();
            Error::new(ErrorKind::NotFound, format!("there is no job \"{}\"", name.escape_debug()))
                .with_hint(format!("Jobs are {}.", names.join(", ")))
        })?;
        let vault = Vault::new(Arc::clone(&self.store), name.clone());
        Ok(Job::new(vault, source.engine()?, self.context.clone()))
    }

    /// Brings a dump that another program made into the vault of `source`; without one, into that of the database it
    /// says it is of. A folder is a dump in pg_dump's directory format. The dump stays where it is.
    ///
    /// # Errors
    /// `Unsupported` when nobody knows what it is; `Corrupt` when it is damaged; `AlreadyExists` when it is there.
    pub fn adopt(&self, path: &Path, source: Option<&SourceName>, options: &AdoptOptions) -> Result<Taken> {
        if !path.is_dir() {
            let file = open_file(path, &self.context)?;
            let engine = engine_for(file.manifest(), None)?;
            return operation::adopt(&self.store, source, &file, &*engine, options, &self.context);
        }
        let scratch = Scratch::for_store(&*self.store, 0, &self.context)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let packed = scratch.path().join(format!("{name}.tar"));
        pack(path, &packed)?;
        let file = open_file(&packed, &self.context)?;
        operation::adopt(
            &self.store,
            source,
            &file,
            &*engine_for(file.manifest(), None)?,
            options,
            &self.context,
        )
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The vaults of the store, those of sources that were not named included.
    pub fn vaults(&self) -> Result<Vec<Vault>> {
        Vault::all(&self.store)
    }

    /// The backup that a text names: an id, the beginning of one, `latest`.
    pub fn find(&self, selector: &str) -> Result<(Vault, StoredArtifact)> {
        selector.parse::<Selector>()?.resolve(&self.store, &self.context)
    }
}

#[cfg(feature = "postgres")]
fn pack(folder: &Path, packed: &Path) -> Result<()> {
    let mut out = backup_core::file::create_private(packed)?;
    backup_pg::pack_folder(folder, &mut out)
}

#[cfg(not(feature = "postgres"))]
fn pack(folder: &Path, _packed: &Path) -> Result<()> {
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("\"{}\" is a folder, which this build cannot read", folder.display()),
    ))
}
