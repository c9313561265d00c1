//! Places where tests kill the process, to see what a power cut there would leave.
//!
//! A debug build ends itself with SIGKILL at the point named by `BACKUP_CRASH_AT`; a release build has none of this.

/// The points of `run`, in the order they are passed.
pub const RUN: &[&str] = &[
    "run.leased",
    "payload.written",
    "payload.finished",
    "run.proven",
    "manifest.written",
    "run.committed",
    "run.proof-stored",
    "run.latest-pointed",
];

/// The points of a restore over an existing database, in the order they are passed.
pub const RESTORE: &[&str] = &[
    "restore.planned",
    "restore.loaded",
    "restore.proven",
    "swap.locked",
    "swap.old-kept",
    "swap.log-removed",
    "swap.renamed",
    "restore.swapped",
];

/// The points between `restore.planned` and `restore.loaded` of a restore that fills a new database on a server.
pub const LOAD: &[&str] = &["load.created", "load.filled"];

/// Dies here if the environment says so.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("BACKUP_CRASH_AT").is_some_and(|wanted| wanted == name) {
        crate::platform::die();
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
