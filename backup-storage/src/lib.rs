//! Where backups live: [`LocalStore`] on a disk, [`DropboxStore`] in a synced folder, [`ObjectStore`] in a
//! bucket, [`MemoryStore`] in tests.
//!
//! Stores know keys and bytes, never databases.

mod conflict;
mod dropbox;
mod local;
mod memory;
#[cfg(feature = "object-store")]
mod object;
mod platform;

pub use dropbox::DropboxStore;
pub use local::LocalStore;
pub use memory::MemoryStore;
#[cfg(feature = "object-store")]
pub use object::{AccessKeys, ObjectOptions, ObjectStore, Probe, ServerSideEncryption};
