//! Jobs that a program states itself, where there is no configuration file.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use backup_core::{Error, Result, context::Context, engine::BackupEngine, id::SourceName, store::Store};

use crate::{
    backups::{Backups, Definition, ONLY},
    config::StoreConfig,
    settings::JobSettings,
    source::Source,
    stores::Stores,
};

/// Collects what [`Backups`] needs; nothing is opened before [`BackupsBuilder::build`]. Whatever a `backup.toml` says
/// of stores and jobs can be said here, in the same types: [`StoreConfig`] and [`JobSettings`].
///
/// ```
/// # fn main() -> backup::Result<()> {
/// use backup::{Backups, JobSettings, config::StoreConfig, retention::Keep};
///
/// let policy: Keep = "daily=30,weekly=12".parse()?;
/// let settings = JobSettings::default().with_retention(policy).with_smoke("SELECT count(*) FROM orders");
/// let backups = Backups::builder()
///     .store("/var/backups/db")
///     .mirror("usb", StoreConfig::new("/media/usb/db").with_retention("monthly=84".parse()?))
///     .source("app", "sqlite:/srv/app.db")
///     .settings("app", settings)
///     .build()?;
/// assert_eq!(backups.stores_of("app")?.1, ["usb"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct BackupsBuilder {
    primary: Option<Place>,
    others: BTreeMap<String, Place>,
    /// The stores that receive copies of every job's backups.
    mirrors: Vec<String>,
    sources: Vec<(String, Stated)>,
    settings: BTreeMap<String, JobSettings>,
    context: Context,
}

/// A store as it was given.
#[derive(Clone, Debug)]
enum Place {
    Named(Box<StoreConfig>),
    Opened(Arc<dyn Store>),
}

/// A source as it was given.
#[derive(Clone, Debug)]
enum Stated {
    Text(String),
    Known(Source),
}

/// A path or an address alone, with nothing else said.
impl From<&str> for StoreConfig {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

/// A path or an address alone, with nothing else said.
impl From<String> for StoreConfig {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl BackupsBuilder {
    /// The store that jobs are backed up into: a path, `dropbox:PATH`, `s3://bucket/folder` …, or one with options.
    #[must_use]
    pub fn store(mut self, store: impl Into<StoreConfig>) -> Self {
        self.primary = Some(Place::Named(Box::new(store.into())));
        self
    }

    /// A store that is open already, e.g. one of your own making.
    #[must_use]
    pub fn opened_store(mut self, store: Arc<dyn Store>) -> Self {
        self.primary = Some(Place::Opened(store));
        self
    }

    /// A further store under a name, for the jobs whose settings name it.
    #[must_use]
    pub fn named_store(mut self, name: impl Into<String>, store: impl Into<StoreConfig>) -> Self {
        self.others.insert(name.into(), Place::Named(Box::new(store.into())));
        self
    }

    /// A further store that is open already, for the jobs whose settings name it.
    #[must_use]
    pub fn named_opened_store(mut self, name: impl Into<String>, store: Arc<dyn Store>) -> Self {
        self.others.insert(name.into(), Place::Opened(store));
        self
    }

    /// A further store under a name, which receives copies of every job's backups.
    #[must_use]
    pub fn mirror(mut self, name: impl Into<String>, store: impl Into<StoreConfig>) -> Self {
        let name = name.into();
        self.mirrors.push(name.clone());
        self.named_store(name, store)
    }

    /// A source under a name: `sqlite:PATH`, a path to an SQLite file, `postgres://…`. It makes a job.
    #[must_use]
    pub fn source(mut self, name: impl Into<String>, source: impl Into<String>) -> Self {
        self.sources.push((name.into(), Stated::Text(source.into())));
        self
    }

    /// A source that an engine of your own reads, under a name. It makes a job.
    #[must_use]
    pub fn engine(mut self, name: impl Into<String>, engine: Arc<dyn BackupEngine>) -> Self {
        self.sources.push((name.into(), Stated::Known(Source::Engine(engine))));
        self
    }

    /// What a job does when nobody says otherwise.
    #[must_use]
    pub fn settings(mut self, job: impl Into<String>, settings: JobSettings) -> Self {
        self.settings.insert(job.into(), settings);
        self
    }

    /// Who listens, where scratch files go, how many threads work, which keys open encrypted backups.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `Invalid` when a name, source or store cannot be right, none was given, or settings name a store or job that
    /// there is not; `Unsupported` for kinds of stores that this build does not know.
    pub fn build(mut self) -> Result<Backups> {
        let mut stores = Stores::default();
        let mut add = |name: &str, place: Place| match place {
            Place::Named(config) => stores.add(name, &config, Path::new("")),
            Place::Opened(store) => stores.add_opened(name, store),
        };
        let has_primary = self.primary.is_some();
        self.primary.into_iter().for_each(|place| add(ONLY, place));
        self.others.into_iter().for_each(|(name, place)| add(&name, place));
        if has_primary {
            stores.get(ONLY)?;
        } else if stores.names().next().is_none() {
            return Err(Error::invalid("no store was given"));
        }
        let mut jobs = BTreeMap::new();
        for (name, stated) in self.sources {
            let source = match stated {
                Stated::Text(text) => text.parse()?,
                Stated::Known(source) => source,
            };
            let mut settings = self.settings.remove(&name).unwrap_or_default();
            settings.mirrors.extend(self.mirrors.iter().cloned());
            let store = settings.store.clone().unwrap_or_else(|| ONLY.to_owned());
            require_stores(&name, &store, &settings.mirrors, &stores)?;
            jobs.insert(SourceName::new(name)?, Definition { source, store, settings: Arc::new(settings) });
        }
        if let Some(job) = self.settings.keys().next() {
            return Err(Error::invalid(format!(
                "settings were given for a job \"{job}\" that has no source"
            )));
        }
        Ok(Backups::of(stores, jobs, None, self.context))
    }
}

/// A job's stores are there, and none is the copy of itself.
fn require_stores(job: &str, store: &str, mirrors: &[String], stores: &Stores) -> Result<()> {
    if let Some(missing) =
        std::iter::once(store).chain(mirrors.iter().map(String::as_str)).find(|name| !stores.has(name))
    {
        let names: Vec<&str> = stores.names().collect();
        return Err(Error::invalid(format!(
            "the job \"{job}\" names a store \"{missing}\" that was not given"
        ))
        .with_hint(format!("Stores are {}.", names.join(", "))));
    }
    match mirrors.iter().any(|mirror| mirror == store) {
        true => Err(Error::invalid(format!("the store \"{store}\" of job \"{job}\" is its mirror as well"))
            .with_hint("A copy in the same place protects from nothing: name another store.")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use backup_core::{ErrorKind, retention::Keep};

    use super::*;

    fn two_stores() -> BackupsBuilder {
        Backups::builder().store("/nowhere/near").mirror("far", "/nowhere/far").source("app", "sqlite:app.db")
    }

    #[test]
    fn a_builder_says_of_stores_what_a_configuration_does() {
        let keep: Keep = "daily=30".parse().unwrap();
        let far = StoreConfig::new("/nowhere/far").with_retention("monthly=84".parse().unwrap());
        let settings = JobSettings::default().with_store("near").with_mirror("far").with_retention(keep);
        let backups = Backups::builder()
            .named_store("near", "/nowhere/near")
            .named_store("far", far)
            .source("app", "sqlite:app.db")
            .settings("app", settings)
            .build()
            .unwrap();
        let config = r#"
            [stores.near]
            url = "/nowhere/near"
            [stores.far]
            url = "/nowhere/far"
            retention = { monthly = 84 }
            [jobs.app]
            source = "sqlite:app.db"
            store = "near"
            mirrors = ["far"]
            retention = { daily = 30 }
        "#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.toml");
        std::fs::write(&path, config).unwrap();
        let read = Backups::open_blocking(&path).unwrap();
        assert_eq!(backups.stores_of("app").unwrap(), read.stores_of("app").unwrap());
        for store in ["near", "far"] {
            let (stated, read) = (backups.policy("app", store).unwrap(), read.policy("app", store).unwrap());
            assert_eq!(format!("{stated:?}"), format!("{read:?}"));
            assert!(stated.is_some(), "{store} has a policy");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let unknown_mirror = two_stores().settings("app", JobSettings::default().with_mirror("usb"));
        let unknown_store = two_stores().settings("app", JobSettings::default().with_store("usb"));
        let itself = two_stores().settings("app", JobSettings::default().with_store("far"));
        let no_job = two_stores().settings("web", JobSettings::default());
        for bad in [unknown_mirror, unknown_store, itself, no_job, Backups::builder().source("app", "app.db")]
        {
            assert_eq!(bad.build().unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert!(two_stores().build().is_ok());
    }
}
