//! Backs up databases and brings them back: every backup proven, every restore safe.
//!
//! ```
//! # fn main() -> backup::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let database = folder.path().join("shop.db");
//! # rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE customers(name)").unwrap();
//! use backup::{Backups, RestoreOptions, RunOptions};
//!
//! let backups = Backups::builder()
//!     .store(folder.path().join("backups").display().to_string())
//!     .source("shop", format!("sqlite:{}", database.display()))
//!     .build()?;
//! let shop = backups.job("shop")?.blocking();
//! let taken = shop.run(RunOptions::default().with_tag("pre-migration"))?;
//! assert!(taken.is_good());
//!
//! let copy = folder.path().join("copy.db");
//! shop.restore(taken.id(), RestoreOptions::into(format!("sqlite:{}", copy.display()).as_str()))?;
//! # Ok(())
//! # }
//! ```
//!
//! Without `.blocking()` the same calls are `async`, on any runtime: the work happens on a thread of its own, and a
//! dropped future cancels it. What a call leaves when it is cancelled, killed or fails stands at each of them.
//!
//! # Where things are
//!
//! - [`Backups`]: the jobs of a `backup.toml` ([`Backups::open`]) or of a program ([`Backups::builder`]). Both end in
//!   the same types: [`config::StoreConfig`] for a store, [`JobSettings`] for a job.
//! - [`Job`] and [`BlockingJob`]: everything that can be done with one source, in the words of the command: `run`,
//!   `list`, `find`, `verify`, `drill`, `restore`, `extract`, `cat`, `adopt`, `prune`, `mirror`, `heal`, `status`,
//!   `estimate`, `guard`.
//! - [`Events`]: what they tell while they work, as a stream or an iterator; [`event::Observer`] hears the same in
//!   place.
//! - [`Error`]: asks its kind, or one of its predicates such as [`Error::is_retryable`], and has a
//!   [hint](Error::hint).
//! - [`CancelToken`] and [`Context`]: who may stop a call, who listens, what time it is, where scratch files go, which
//!   keys open what is encrypted.
//! - [`prelude`]: most of this in one import.
//!
//! # What can be plugged in
//!
//! | of your own | is | and is given to |
//! | --- | --- | --- |
//! | engine | [`engine::BackupEngine`], four methods | [`BackupsBuilder::engine`] |
//! | store | [`store::Store`] | [`BackupsBuilder::opened_store`] |
//! | verifier | [`verify::Verifier`] | [`JobSettings::with_verifier`], [`Job::with_verifier`] |
//! | retention | [`retention::RetentionPolicy`] | [`JobSettings::with_retention`], [`Job::with_retention`] |
//!
//! A rule about the restored database, whatever its engine:
//!
//! ```
//! # fn main() -> backup::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let database = folder.path().join("shop.db");
//! # rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE orders(cents)").unwrap();
//! # let store = folder.path().join("backups").display().to_string();
//! # let database = database.display().to_string();
//! use std::sync::Arc;
//! use backup::prelude::*;
//!
//! #[derive(Debug)]
//! struct NoGifts;
//!
//! impl Verifier for NoGifts {
//!     fn name(&self) -> &str {
//!         "no-gifts"
//!     }
//!     fn verify(&self, _: &Subject<'_>, _: &Context) -> backup::Result<Vec<Finding>> {
//!         Ok(Vec::new())
//!     }
//!     fn verify_restored(
//!         &self,
//!         restored: &mut dyn Staged,
//!         _: &Subject<'_>,
//!         _: &Context,
//!     ) -> backup::Result<Vec<Finding>> {
//!         let gifts = restored.query("SELECT count(*) FROM orders WHERE cents <= 0")?.unwrap_or_default();
//!         let found = (gifts != "0").then(|| Finding::content(self.name(), "orders", format!("{gifts} cost nothing")));
//!         Ok(found.into_iter().collect())
//!     }
//! }
//!
//! let settings = JobSettings::default().with_verifier(Arc::new(NoGifts));
//! let backups = Backups::builder().store(store).source("shop", database).settings("shop", settings).build()?;
//! let shop = backups.job("shop")?.blocking();
//! let taken = shop.run(RunOptions::default())?;
//! assert!(shop.drill(taken.id(), &DrillOptions::default())?.is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `postgres`, `sqlite` and `object-store` (S3, Google, Azure) are on by default, and each works alone. Without one of
//! them its sources or stores are refused as [`ErrorKind::Unsupported`]; engines and stores of your own need none.

mod adopt;
mod backups;
mod blocking;
mod builder;
pub mod check;
pub mod config;
mod door;
mod engines;
mod events;
mod files;
mod find;
mod guard;
pub mod init;
mod job;
mod mirrors;
mod place;
pub mod prelude;
mod settings;
mod source;
mod stores;
mod vaults;

pub use backup_core::{
    Error, ErrorKind, Result, artifact, cache, capture, capture::CaptureOptions, capture::DumpFormat, census,
    content::Content, context, context::CancelToken, context::Context, crash, encryption,
    encryption::Identity, encryption::Recipient, encryption::Secret, engine, event, file,
    guardrail::Guardrails, id, id::BackupId, id::SourceName, manifest, manifest::Manifest, mirror,
    mirror::Copies, mirror::Mirror, operation, pipeline, proof, proof::Proof, retention, scratch,
    selector::Selector, store, vault, verify, verify::Level,
};
pub use operation::{
    AdoptOptions, DrillOptions, Estimate, Guard, GuardError, GuardOptions, GuardOutcome, GuardReport,
    Guarded, Objectives, PruneOptions, Pruned, RestoreOptions, Restored, RunOptions, Taken, VaultStatus,
    Verified,
};

pub use crate::{
    backups::Backups,
    blocking::BlockingJob,
    builder::BackupsBuilder,
    config::{Config, ConfigFile},
    engines::engine_for,
    events::{BlockingEvents, Events, Told},
    files::open_file,
    init::{Starter, starter},
    job::Job,
    mirrors::{JobMirror, Pruning},
    place::{StoreOptions, open_store, open_store_with},
    settings::JobSettings,
    source::Source,
};
