//! The PostgreSQL engine: dumps that are counted as they pass by, and restores that load beside and swap.
//!
//! Dumps are made by the `pg_dump` of the server's own version and read back by its `pg_restore`; this crate holds the
//! snapshot they see, reads the archive on its way, and proves what was restored against it.

#[doc(hidden)]
pub mod archive;
mod census;
mod check;
mod child;
#[doc(hidden)]
pub mod conninfo;
mod contents;
mod copy;
mod directory;
mod dump;
mod engine;
mod extract;
mod left_out;
mod locks;
mod messages;
mod overview;
mod plain;
mod platform;
mod recognise;
mod restore;
mod rights;
mod roles;
#[doc(hidden)]
pub mod rows;
#[doc(hidden)]
pub mod session;
mod snapshot;
mod source;
mod tap;
mod tools;

pub use directory::pack_folder;
pub use engine::{PgEngine, client_programs, database_name};
pub use overview::tables_by_size;
pub use recognise::recognise;
pub use rights::unreadable_tables;

/// The engine's name in manifests.
pub const ENGINE: &str = "postgres";

/// Whether a source is PostgreSQL's: `postgres:`, `postgres://…` or `postgresql://…`.
pub fn is_source(text: &str) -> bool {
    text.starts_with("postgres:") || text.starts_with("postgresql:")
}
