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
//! dropped future cancels it.

mod backups;
mod door;
mod engines;
mod files;
mod job;
mod place;
mod source;

pub use backup_core::{
    Error, ErrorKind, Result, artifact, capture, capture::CaptureOptions, capture::DumpFormat,
    content::Content, context, context::CancelToken, context::Context, crash, engine, event, file,
    guardrail::Guardrails, id, id::BackupId, id::SourceName, manifest::Manifest, operation, pipeline,
    proof::Proof, retention, scratch, selector::Selector, store, vault, verify, verify::Level,
};
pub use operation::{
    AdoptOptions, DrillOptions, Estimate, Objectives, RestoreOptions, Restored, RunOptions, Taken,
    VaultStatus, Verified,
};

pub use crate::{
    backups::{Backups, BackupsBuilder},
    engines::engine_for,
    files::open_file,
    job::{BlockingJob, Job},
    place::open_store,
    source::Source,
};
