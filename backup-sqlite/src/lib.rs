//! The SQLite engine: hot snapshots of live databases, their checks, and restores that swap.
//!
//! # Locks
//! POSIX advisory locks belong to a process: closing *any* descriptor of a database file drops every lock the process
//! holds on it, those of an application's own connections included (<https://www.sqlite.org/howtocorrupt.html>,
//! section 2.2). This crate runs inside such applications, so nothing in it opens a live database except through
//! SQLite, whose own bookkeeping avoids the trap; bytes are read through SQLite's file handle. One SQLite library per
//! process is assumed, which Cargo enforces for Rust programs (`links = "sqlite3"`).

#[doc(hidden)]
pub mod agreement;
mod cell;
mod census;
mod check;
mod connection;
mod count;
mod doubt;
mod dump;
mod engine;
mod extract;
mod findings;
mod handle;
mod indexed_table;
mod memory;
mod overview;
#[doc(hidden)]
pub mod ownership;
#[doc(hidden)]
pub mod page;
mod page_file;
mod pages;
mod platform;
mod record;
mod references;
mod restore;
mod schema;
mod snapshot;
mod source;
mod stamp;
mod swap;
mod table_check;
mod tables;
mod tree;
#[doc(hidden)]
pub mod wal;

pub use engine::SqliteEngine;
pub use overview::tables_by_size;

/// The engine's name in manifests.
pub const ENGINE: &str = "sqlite";
