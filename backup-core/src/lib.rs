//! The contracts and operations of `backup`, without any database driver, storage SDK or user interface.
//!
//! - An [`engine::BackupEngine`] gets bytes out of a source and back in; a [`store::Store`] keeps objects.
//! - A [`vault::Vault`] is all artifacts of one source in one store. An [`artifact::Artifact`] exists when its
//!   [`manifest::Manifest`] does, which is written last.
//! - The [`pipeline`] carries payloads in one pass and bounded memory.
//! - The [`operation`]s tell the stories: `run`, `verify`, `drill`, `restore`, `status`.
//!
//! Everything here blocks; nothing here makes a runtime. The crate `backup` has the asynchronous door.

pub mod artifact;
pub mod cache;
pub mod capture;
pub mod catalogue;
pub mod census;
pub mod content;
pub mod context;
pub mod crash;
mod dates;
pub mod encryption;
pub mod engine;
pub mod error;
pub mod event;
pub mod file;
pub mod guardrail;
pub mod id;
mod listed;
pub mod manifest;
pub mod mirror;
pub mod operation;
pub mod parallel;
pub mod pipeline;
mod plain_file;
mod platform;
pub mod proof;
mod proofs;
pub mod retention;
pub mod scratch;
mod seal;
pub mod selector;
pub mod store;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;
pub mod verify;

pub use error::{Error, ErrorKind, Result};
