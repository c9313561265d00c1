//! Removes what a policy does not keep: plan, then remove, each artifact with its reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::SignedDuration;

use crate::{
    content::Content,
    context::Context,
    crash,
    error::{Error, ErrorKind, Result},
    event::Event,
    id::{BackupId, SourceName},
    manifest::Manifest,
    retention::{Decision, Plan, RetentionPolicy, stored_bytes},
    store::Store,
    vault::{Catalogue, Vault},
    verify::Finding,
};

/// How a prune is done.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Only plan; nothing is locked and nothing changed.
    pub dry_run: bool,
    /// The objective: nothing is removed while the newest good backup is older. `None` is no such objective.
    pub rpo: Option<SignedDuration>,
}

impl PruneOptions {
    /// With or without carrying the plan out.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// With an objective for the age of the newest good backup.
    #[must_use]
    pub fn with_rpo(mut self, rpo: Option<SignedDuration>) -> Self {
        self.rpo = rpo;
        self
    }
}

/// What a prune planned and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The decision for each artifact, those with unusable manifests last.
    pub plan: Plan,
    /// The manifests that the plan was made from, in its order.
    pub manifests: Vec<Manifest>,
    /// Manifests that cannot be used: their artifacts are never touched.
    pub damaged: Vec<Finding>,
    /// What was removed, in this order.
    pub removed: Vec<BackupId>,
    /// What should have gone and did not, and why: the store keeps it, or a child that stays needs it.
    pub refused: Vec<(BackupId, String)>,
    /// Stored bytes of what was removed.
    pub freed_bytes: u64,
}

/// Removes from one vault what the policy does not keep, and never what [`Plan::secured`] keeps.
///
/// Each removal is told as [`Event::Removed`]. What the store refuses to remove (`Locked`, `Denied`) is in
/// [`Pruned::refused`] and no error. An artifact whose manifest cannot be read is kept, and with it everything that it
/// may require. Removed for good: there is no undo. A kill at any moment leaves whole artifacts only; the next prune
/// clears the rest.
///
/// # Errors
/// `Busy` when a run or another prune holds the vault; `Cancelled` between two artifacts; what the store reports while
/// it is listed. What was removed until then stays removed.
pub fn prune(
    vault: &Vault,
    policy: &dyn RetentionPolicy,
    options: &PruneOptions,
    cx: &Context,
) -> Result<Pruned> {
    let _lease = if options.dry_run { None } else { Some(vault.lease()?) };
    crash::point("prune.leased");
    if !options.dry_run {
        clear_leftovers(vault, cx)?;
    }
    let catalogue = vault.catalogue(None)?;
    catalogue.damaged.iter().for_each(|damaged| cx.emit(Event::Found(damaged.clone())));
    let mut pruned = plan(vault, catalogue, policy, options, cx)?;
    crash::point("prune.planned");
    if !options.dry_run {
        remove(vault, &mut pruned, cx)?;
    }
    Ok(pruned)
}

/// Prunes every vault of a store, each on its own: one that is busy or does not answer stops no other. By name.
///
/// # Errors
/// Only when the vaults cannot be listed, or on `Cancelled`.
pub fn prune_all(
    store: &Arc<dyn Store>,
    policy: &dyn RetentionPolicy,
    options: &PruneOptions,
    cx: &Context,
) -> Result<Vec<(SourceName, Result<Pruned>)>> {
    let mut outcomes = Vec::new();
    for vault in Vault::all(store)? {
        cx.cancel().check()?;
        outcomes.push((vault.source().clone(), prune(&vault, policy, options, cx)));
    }
    Ok(outcomes)
}

/// What earlier prunes and runs left when they died; that it cannot be cleared stops nothing.
fn clear_leftovers(vault: &Vault, cx: &Context) -> Result<()> {
    match vault.sweep(cx) {
        Err(error) if is_refusal(&error) => {
            cx.warn(format!("what dead runs left in \"{}\" could not be cleared: {error:?}", vault.source()));
        }
        other => other?,
    }
    let finished = vault.finish_removals()?;
    finished.left.iter().for_each(|left| cx.warn(format!("something of a removed backup is left: {left}")));
    Ok(())
}

fn plan(
    vault: &Vault,
    catalogue: Catalogue,
    policy: &dyn RetentionPolicy,
    options: &PruneOptions,
    cx: &Context,
) -> Result<Pruned> {
    let (manifests, damaged) = (catalogue.manifests(), catalogue.damaged);
    let mut proofs = Vec::new();
    for manifest in &manifests {
        cx.cancel().check()?;
        proofs.extend(vault.proofs(&manifest.id)?);
    }
    let now = cx.now();
    let mut plan = policy.plan(&manifests, &proofs, now).secured(&manifests, &proofs, now);
    hold_for_damaged(&mut plan, &damaged);
    if let Some(rpo) = options.rpo {
        plan = plan.held_unless_fresh(&manifests, &proofs, now, rpo, |manifest| vault.is_complete(manifest));
    }
    Ok(Pruned { plan, manifests, damaged, ..Pruned::default() })
}

/// An unreadable manifest is an artifact all the same, and what it requires is not known.
fn hold_for_damaged(plan: &mut Plan, damaged: &[Finding]) {
    for finding in damaged {
        let name = finding.object.rsplit('/').next().unwrap_or_default();
        let Some(id) = name.strip_suffix(".json").and_then(|stem| stem.parse::<BackupId>().ok()) else {
            continue;
        };
        if id.content() == Content::Incremental {
            let is_link = |content| matches!(content, Content::Base | Content::Incremental);
            let links = plan.decisions.iter_mut().filter(|d| !d.keep && is_link(d.id.content()));
            links.for_each(|decision| {
                decision.keep = true;
                decision.reasons.insert(0, format!("{id}, whose manifest cannot be used, may require it"));
            });
        }
        let reasons = vec![format!("its manifest cannot be used: {}", finding.what)];
        plan.decisions.push(Decision { id, keep: true, reasons });
    }
}

fn remove(vault: &Vault, pruned: &mut Pruned, cx: &Context) -> Result<()> {
    let manifests: BTreeMap<&BackupId, &Manifest> = pruned.manifests.iter().map(|m| (&m.id, m)).collect();
    let going: BTreeMap<&BackupId, &Decision> = pruned.plan.removals().map(|d| (&d.id, d)).collect();
    let mut needed: BTreeSet<&BackupId> = BTreeSet::new();
    for manifest in children_first(&manifests, going.keys().copied()) {
        cx.cancel().check()?;
        let id = &manifest.id;
        let outcome = match needed.contains(id) {
            true => Err(Error::new(ErrorKind::Locked, "a backup that stays requires it")),
            false => vault.remove(manifest),
        };
        match outcome {
            Ok(removal) => {
                removal.left.iter().for_each(|left| cx.warn(format!("removed \"{id}\", but {left}")));
                pruned.freed_bytes = pruned.freed_bytes.saturating_add(stored_bytes(manifest));
                pruned.removed.push(id.clone());
                let reasons = going.get(id).map_or(Vec::new(), |decision| decision.reasons.clone());
                cx.emit(Event::Removed { id: id.clone(), reasons });
                crash::point("prune.removed");
            }
            // Somebody else removed it since it was listed.
            Err(error) if error.is_not_found() => {}
            Err(error) if is_refusal(&error) => {
                needed.extend(manifest.requires.as_ref());
                cx.warn(format!("\"{id}\" is not removed: {error}"));
                pruned.refused.push((id.clone(), told(&error)));
            }
            Err(error) => return Err(error.context(format!("could not remove the backup \"{id}\""))),
        }
    }
    point_latest(vault, &pruned.removed, cx);
    Ok(())
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied)
}

fn told(error: &Error) -> String {
    std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": ")
}

/// What is to go, so that no moment leaves a listed child without its parent; oldest first among the rest.
fn children_first<'m>(
    manifests: &BTreeMap<&'m BackupId, &'m Manifest>,
    going: impl Iterator<Item = &'m BackupId>,
) -> Vec<&'m Manifest> {
    let depth = |manifest: &Manifest| {
        let parent_of =
            |child: &&'m Manifest| child.requires.as_ref().and_then(|id| manifests.get(id).copied());
        let start = manifests.get(&manifest.id).copied();
        // A chain that came back to itself would have no end.
        std::iter::successors(start, parent_of).take(manifests.len()).count()
    };
    let mut going: Vec<(usize, &Manifest)> = going
        .filter_map(|id| manifests.get(id).copied())
        .map(|manifest| (depth(manifest), manifest))
        .collect();
    going.sort_by(|(a_depth, a), (b_depth, b)| {
        (b_depth, a.started_at, &a.id).cmp(&(a_depth, b.started_at, &b.id))
    });
    going.into_iter().map(|(_, manifest)| manifest).collect()
}

/// After a clock went backwards, the name `latest` can stand at a backup that is not the newest by date.
fn point_latest(vault: &Vault, removed: &[BackupId], cx: &Context) {
    let contents: BTreeSet<Content> = removed.iter().map(BackupId::content).collect();
    for content in contents {
        let pointed = vault.newest_good(content).and_then(|(newest, _)| match newest {
            Some(newest) => vault.point_latest(crate::artifact::Artifact::manifest(&newest)),
            None => Ok(()),
        });
        if let Err(error) = pointed {
            cx.warn(format!("the latest link could not be moved: {error:?}"));
        }
    }
}
