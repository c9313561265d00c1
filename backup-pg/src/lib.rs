//! The PostgreSQL engine: dumps that are counted as they pass by, and restores that load beside and swap.
//!
//! Dumps are made by the `pg_dump` of the server's own version and read back by its `pg_restore`; this crate holds the
//! snapshot they see, reads the archive on its way, and proves what was restored against it.

#[doc(hidden)]
pub mod archive;
mod check;
mod child;
#[doc(hidden)]
pub mod conninfo;
mod contents;
mod directory;
mod dump;
mod engine;
mod extract;
mod locks;
mod messages;
mod plain;
mod platform;
mod recognise;
mod restore;
mod roles;
#[doc(hidden)]
pub mod rows;
#[doc(hidden)]
pub mod session;
mod snapshot;
mod source;
mod tools;

pub use directory::pack_folder;
pub use engine::{PgEngine, database_name};
pub use recognise::recognise;

/// The engine's name in manifests.
pub const ENGINE: &str = "postgres";

/// Whether a source is PostgreSQL's: `postgres:`, `postgres://…` or `postgresql://…`.
pub fn is_source(text: &str) -> bool {
    text.starts_with("postgres:") || text.starts_with("postgresql:")
}
