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

/// The points of copying one artifact to a mirror, in the order they are passed.
pub const MIRROR: &[&str] = &[
    "mirror.leased",
    "mirror.object-written",
    "mirror.object-finished",
    "mirror.objects-proven",
    "mirror.manifest-written",
    "mirror.committed",
    "mirror.proofs-copied",
];

/// The points of mending one artifact from another store, in the order they are passed.
pub const HEAL: &[&str] = &[
    "heal.leased",
    "heal.object-written",
    "heal.object-finished",
    "heal.objects-proven",
    "heal.manifest-written",
    "heal.committed",
];

/// The points of a prune that removes something, in the order they are passed.
pub const PRUNE: &[&str] = &[
    "prune.leased",
    "prune.planned",
    "prune.manifest-removed",
    "prune.payload-removed",
    "prune.proofs-removed",
    "prune.removed",
];

/// The points of a guard around the work, in the order they are passed; [`RUN`] comes before, [`RESTORE`] between.
pub const GUARD: &[&str] = &["guard.begun", "guard.ending"];

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
