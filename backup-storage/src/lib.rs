//! Where backups live: [`LocalStore`] on a disk, [`MemoryStore`] in tests.
//!
//! Stores know keys and bytes, never databases.

mod local;
mod memory;
mod platform;

pub use local::LocalStore;
pub use memory::MemoryStore;
