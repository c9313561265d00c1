//! What can be done with backups: each operation one short file that tells its story.

mod adopt;
mod cat;
mod drill;
mod estimate;
mod prove;
mod restore;
mod run;
mod status;
mod verify;

pub use adopt::{AdoptOptions, adopt};
pub use cat::{cat, extract, write_sql};
pub use drill::{DrillOptions, drill};
pub use estimate::{Estimate, estimate};
pub use prove::{Proven, prove};
pub use restore::{RestoreOptions, Restored, load_plan, restore};
pub use run::{RunOptions, Taken, run};
pub use status::{Missed, Objectives, VaultStatus, status};
pub use verify::{Verified, verify};
