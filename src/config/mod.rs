//! `backup.toml`: what there is to protect, where it goes, how long it stays, and who is told.
//!
//! A [`Config`] is plain data: nothing is opened or asked by reading it. [`ConfigFile`] finds and reads the file;
//! [`crate::Backups::open`] makes jobs of it. Every key is described in `docs/configuration.md`.
//!
//! ```
//! let text = r#"
//!     [stores.local]
//!     url = "/var/backups/db"
//!     [jobs.app]
//!     source = "sqlite:/srv/app.db"
//!     retension = { daily = 30 }
//! "#;
//! let error = backup::Config::parse(text, "backup.toml", &|name| std::env::var(name).ok()).unwrap_err();
//! assert!(error.to_string().starts_with(
//!     r#"backup.toml:6:5: unknown key "retension" in [jobs.app], did you mean "retention"?"#
//! ));
//! ```

mod file;
mod nearest;
mod problem;
mod read;
#[cfg(test)]
mod round_trip;
mod secret;
mod section;
pub(crate) mod starter;

mod units;
mod write;

use std::{collections::BTreeMap, num::NonZeroUsize};

pub use backup_core::retention::KeepFor;
use backup_core::{
    capture::DumpFormat, content::Content, guardrail::Guardrails, id::SourceName, operation::Objectives,
    pipeline::Compression, retention::Keep, verify::Level,
};
use jiff::SignedDuration;

pub use file::ConfigFile;
pub(crate) use file::is_readable_by_others;
pub(crate) use nearest::did_you_mean;
pub use nearest::nearest;
pub use secret::Secret;
pub(crate) use units::about;
pub use units::{parse_bytes, parse_duration};

/// Everything a `backup.toml` says.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where backups live, by name: `[stores.NAME]`.
    pub stores: BTreeMap<String, StoreConfig>,
    /// Who is told, by name: `[notify.NAME]`.
    pub notify: BTreeMap<String, NotifyConfig>,
    /// What is protected, and how, by name: `[jobs.NAME]`. The name is also that of the vault.
    pub jobs: BTreeMap<SourceName, JobConfig>,
}

impl Config {
    /// The job of a name.
    pub fn job(&self, name: &str) -> Option<&JobConfig> {
        self.jobs.iter().find(|(job, _)| job.as_str() == name).map(|(_, job)| job)
    }
}

/// A store: `[stores.NAME]`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Where: a path, `dropbox:PATH`, `s3://bucket/prefix`, `gs://…`, `az://…`.
    pub url: String,
    /// The storage class of new objects, as the vendor calls it.
    pub storage_class: Option<String>,
    /// How long backups stay in this store, where that differs from the jobs' own.
    pub retention: Option<Keep>,
    /// Encryption by the store itself: `AES256`, `aws:kms`, `aws:kms:KEY`.
    pub sse: Option<String>,
    /// The address of a service that is not the vendor's own.
    pub endpoint: Option<String>,
    /// The vendor's region.
    pub region: Option<String>,
    /// The names of folders, for stores that people also look into.
    pub layout: Option<String>,
}

impl StoreConfig {
    /// A store at a path or address, with nothing else said.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// With how long backups stay in it, where that differs from the jobs' own.
    #[must_use]
    pub fn with_retention(mut self, retention: Keep) -> Self {
        self.retention = Some(retention);
        self
    }

    /// With the storage class of new objects, as the vendor calls it.
    #[must_use]
    pub fn with_storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }
}

/// Somebody who is told: `[notify.NAME]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NotifyConfig {
    /// By mail.
    pub email: Option<EmailConfig>,
    /// By a POST to this address.
    pub webhook: Option<Secret>,
    /// Of what; by default of everything but success.
    pub on: Vec<Occasion>,
}

/// Mail to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmailConfig {
    /// The addresses.
    pub to: Vec<String>,
    /// The server: `smtp://user:password@host:port` or `smtps://…`.
    pub smtp: Secret,
}

/// What somebody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Occasion {
    /// A run ended well.
    Success,
    /// A run, drill or mirror failed.
    Failure,
    /// A guardrail complains of a new backup.
    Suspect,
    /// An objective is missed.
    Objective,
    /// All is well again after one of the above.
    Recovered,
}

impl Occasion {
    /// Every occasion.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::Suspect, Self::Objective, Self::Recovered];

    /// Those told of unless `on` says otherwise.
    pub(crate) const USUAL: [Self; 4] = [Self::Failure, Self::Suspect, Self::Objective, Self::Recovered];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Suspect => "suspect",
            Self::Objective => "objective",
            Self::Recovered => "recovered",
        }
    }
}

/// A database and how it is protected: `[jobs.NAME]`. What is `None` or empty has the default of the command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobConfig {
    /// The database: `sqlite:PATH`, a path, `postgres://…`, `host=… dbname=…`, `postgres:`.
    pub source: Secret,
    /// The password of a PostgreSQL source, kept out of its connection string.
    pub password: Option<Secret>,
    /// The store runs write to; a name in [`Config::stores`].
    pub store: String,
    /// Stores that receive copies; names in [`Config::stores`].
    pub mirrors: Vec<String>,
    /// When it runs: five cron fields, or `@daily` and its like.
    pub schedule: Option<String>,
    /// The time zone of schedules and of retention's days; a name of the IANA database. UTC unless set.
    pub timezone: Option<String>,
    /// When it is drilled, written as `schedule`.
    pub drill: Option<String>,
    /// How long backups stay in the primary store.
    pub retention: Option<Keep>,
    /// What is asked of it.
    pub objectives: Objectives,
    /// The rules that its backups are judged by.
    pub guardrails: Guardrails,
    /// Who can read its backups.
    pub encrypt: Option<EncryptConfig>,
    /// A run that takes longer is stopped.
    pub timeout: Option<SignedDuration>,
    /// Queries that a drill's restored database must answer.
    pub smoke: Vec<String>,
    /// Who is told; names in [`Config::notify`].
    pub notify: Vec<String>,
    /// What its backups hold.
    pub content: Option<Content>,
    /// Only tables that match these patterns.
    pub tables: Vec<String>,
    /// No tables that match these patterns.
    pub exclude_tables: Vec<String>,
    /// No rows of tables that match these patterns.
    pub exclude_table_data: Vec<String>,
    /// Only schemas that match these patterns.
    pub schemas: Vec<String>,
    /// The form of a dump.
    pub format: Option<DumpFormat>,
    /// How it is compressed.
    pub compression: Option<Compression>,
    /// How deep a new backup is verified before it counts.
    pub verify: Option<Level>,
    /// Why its backups are taken.
    pub tags: Vec<String>,
    /// Worker threads, and sessions that dump at once.
    pub jobs: Option<NonZeroUsize>,
    /// Whether the tables are also counted on the server.
    pub cross_check: bool,
    /// Whether owners and privileges are left out.
    pub no_owner: bool,
    /// Whether the server's roles, with the hashes of their passwords, are not stored beside each backup.
    pub no_roles: bool,
    /// How long a lock on a table is waited for.
    pub lock_wait: Option<SignedDuration>,
}

impl JobConfig {
    /// A job of a source into a store, with nothing else said.
    pub(crate) fn new(source: Secret, store: impl Into<String>) -> Self {
        Self {
            source,
            password: None,
            store: store.into(),
            mirrors: Vec::new(),
            schedule: None,
            timezone: None,
            drill: None,
            retention: None,
            objectives: Objectives::default(),
            guardrails: Guardrails::default(),
            encrypt: None,
            timeout: None,
            smoke: Vec::new(),
            notify: Vec::new(),
            content: None,
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            exclude_table_data: Vec::new(),
            schemas: Vec::new(),
            format: None,
            compression: None,
            verify: None,
            tags: Vec::new(),
            jobs: None,
            cross_check: false,
            no_owner: false,
            no_roles: false,
            lock_wait: None,
        }
    }
}

/// Who can read a job's backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptConfig {
    /// The public keys that payloads are encrypted to: `age1…`.
    pub recipients: Vec<String>,
    /// The file with the secret key, for restores and drills on this host; a relative one lies beside the configuration.
    pub identity: Option<std::path::PathBuf>,
}

impl EncryptConfig {
    /// Encrypted to these public keys (`age1…`); any one of their owners can read the backups.
    pub fn to(recipients: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { recipients: recipients.into_iter().map(Into::into).collect(), identity: None }
    }
}
