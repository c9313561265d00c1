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
pub mod capture;
pub mod content;
pub mod context;
pub mod crash;
mod dates;
pub mod engine;
pub mod error;
pub mod event;
pub mod file;
pub mod guardrail;
pub mod id;
pub mod manifest;
pub mod operation;
pub mod pipeline;
mod platform;
pub mod proof;
pub mod retention;
pub mod scratch;
pub mod selector;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;
pub mod verify;

pub use error::{Error, ErrorKind, Result};
