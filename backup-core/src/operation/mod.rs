//! What can be done with backups: each operation one short file that tells its story.

mod adopt;
mod cat;
mod drill;
mod estimate;
mod guard;
mod heal;
mod mirror;
mod prove;
mod prune;
mod queue;
mod restore;
mod run;
mod status;
mod transfer;
mod verify;

pub use adopt::{AdoptOptions, adopt};
pub use cat::{Unbroken, cat, cat_from, extract, extract_from, write_sql, write_sql_from};
pub use drill::{DrillOptions, drill};
pub use estimate::{Estimate, estimate};
pub use guard::{Guard, GuardError, GuardOptions, GuardOutcome, GuardReport, Guarded, guard};
pub use heal::{Healed, Mended, heal, heal_manifest};
pub use mirror::{Copied, Failed, MirrorOptions, MirrorOutcome, Mirrored, mirror, mirror_new};
pub use prove::{Proven, prove};
pub use prune::{PruneOptions, Pruned, prune, prune_all};
pub use restore::{RestoreOptions, Restored, load_plan, restore, restore_from};
pub use run::{RunOptions, Taken, run};
pub use status::{Missed, Objectives, VaultStatus, status};
pub use verify::{Verified, verify};
