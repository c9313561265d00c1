//! The stores that receive copies of a job's backups, and how long they stay there.

use std::sync::Arc;

use backup_core::{
    Result,
    context::Context,
    mirror::Mirror,
    operation::{self, MirrorOptions, Mirrored, PruneOptions, Pruned},
    retention::{Plan, RetentionPolicy},
    vault::Vault,
};
use jiff::SignedDuration;

/// A vault and the policy by which it is pruned.
#[derive(Clone, Debug)]
pub struct Pruning {
    /// The vault: a job's own, or its copy in a mirror.
    pub vault: Vault,
    /// What stays.
    pub keep: Arc<dyn RetentionPolicy>,
    /// Nothing goes while the newest good backup is older.
    pub rpo: Option<SignedDuration>,
}

/// A store that receives copies of a job's backups.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobMirror {
    /// The store, and what it is called.
    pub mirror: Mirror,
    /// How long copies stay in it; `None` keeps all.
    pub keep: Option<Arc<dyn RetentionPolicy>>,
}

impl JobMirror {
    /// A mirror that keeps what `keep` says, or everything.
    pub fn new(mirror: Mirror, keep: Option<Arc<dyn RetentionPolicy>>) -> Self {
        Self { mirror, keep }
    }

    /// Copies what it lacks of a vault, except what its own policy would remove at once.
    ///
    /// # Errors
    /// As [`operation::mirror`].
    pub fn catch_up(&self, vault: &Vault, cx: &Context) -> Result<Mirrored> {
        let mut options = MirrorOptions::default();
        if let Some(keep) = &self.keep {
            options = options.without(unkept(vault, keep, cx)?);
        }
        operation::mirror(vault, &self.mirror, &options, cx)
    }

    /// Removes what its policy does not keep; nothing where it has none.
    ///
    /// # Errors
    /// As [`operation::prune`].
    pub fn prune(&self, of: &Vault, options: &PruneOptions, cx: &Context) -> Result<Option<Pruned>> {
        let Some(keep) = &self.keep else { return Ok(None) };
        operation::prune(&of.elsewhere(&self.mirror.store), keep, options, cx).map(Some)
    }
}

fn unkept(vault: &Vault, keep: &dyn RetentionPolicy, cx: &Context) -> Result<Vec<backup_core::id::BackupId>> {
    let manifests = vault.catalogue(None)?.manifests();
    let proofs = vault.all_proofs()?;
    let plan: Plan = keep.plan(&manifests, &proofs, cx.now());
    Ok(plan.removals().map(|decision| decision.id.clone()).collect())
}
