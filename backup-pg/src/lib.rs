//! The PostgreSQL engine. This version holds its place in the house: what a PostgreSQL source is called, and the
//! refusal to back one up.

#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod conninfo;
#[doc(hidden)]
pub mod rows;
#[doc(hidden)]
pub mod session;

use backup_core::{Error, ErrorKind};

/// The engine's name in manifests.
pub const ENGINE: &str = "postgres";

/// Whether a source is PostgreSQL's: `postgres:`, `postgres://…` or `postgresql://…`.
pub fn is_source(text: &str) -> bool {
    text.starts_with("postgres:") || text.starts_with("postgresql:")
}

/// Why this version cannot back up or bring back PostgreSQL.
pub fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "this version of backup cannot handle PostgreSQL yet")
        .with_hint("SQLite databases work: name a file, or sqlite:PATH.")
}
