//! What stands above every policy.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    Decision, Plan,
    ledger::Ledger,
    units::show_age,
    view::{Standing, View},
};
use crate::{id::BackupId, manifest::Manifest, proof::Proof};

/// Enters what no policy may remove.
pub(super) fn secure(view: &View<'_>, ledger: &mut Ledger) {
    for (place, item) in view.items.iter().enumerate() {
        match item.standing {
            Standing::Rolling => {
                ledger.must_keep(place, format!("the one {} backup there is", item.manifest.content));
            }
            Standing::Future => {
                let date = item.manifest.started_at;
                ledger.must_keep(place, format!("dated in the future ({date:.0}): a clock was wrong"));
                ledger.do_not_count(place);
            }
            Standing::Good | Standing::Suspect { .. } => {}
        }
    }
    for set in &view.sets {
        let newest_good = view.newest_good(set);
        if let Some(newest) = newest_good {
            ledger.must_keep(newest, "newest good");
        }
        let is_proven = |place: &usize| view.items[*place].is_good() && view.items[*place].is_proven;
        if let Some(proven) = set.iter().copied().find(is_proven) {
            ledger.must_keep(proven, "newest proven");
        }
        // Each run proves its own backup; what a restore takes, and that it works, only drills have shown.
        let is_drilled = |place: &usize| view.items[*place].is_good() && view.items[*place].is_drilled;
        if let Some(drilled) = set.iter().copied().find(is_drilled) {
            ledger.must_keep(drilled, "newest that a drill restored");
        }
        if let Some(&newest) = set.first().filter(|newest| Some(**newest) != newest_good) {
            ledger.must_keep(newest, "newest of all, although suspect");
            ledger.do_not_count(newest);
        }
    }
}

impl Plan {
    /// The plan with everything kept that no policy may remove, whoever made it: per set the newest good artifact, the
    /// newest proven one, the newest that a drill restored and the newest of all; rolling artifacts; those dated in the future; those that a kept one
    /// requires; and those the policy did not decide.
    #[must_use]
    pub fn secured(self, artifacts: &[Manifest], proofs: &[Proof], now: Timestamp) -> Self {
        let view = View::new(artifacts, proofs, now);
        let mut ledger = Ledger::new(artifacts.len());
        let mut decided: HashMap<BackupId, Decision> =
            self.decisions.into_iter().map(|decision| (decision.id.clone(), decision)).collect();
        for (place, manifest) in artifacts.iter().enumerate() {
            match decided.remove(&manifest.id) {
                Some(decision) if decision.keep => {
                    decision.reasons.into_iter().for_each(|reason| ledger.keep(place, reason));
                    ledger.keep_anyhow(place, "the policy keeps it");
                }
                Some(decision) => ledger.condemn(place, decision.reasons),
                None => ledger.keep(place, "the policy did not decide it"),
            }
        }
        secure(&view, &mut ledger);
        ledger.into_plan(&view)
    }

    /// The plan with nothing removed while the newest good artifact of the vault is older than the objective, or there
    /// is none: a source that no longer gets backups does not lose those it has.
    ///
    /// Artifacts dated in the future say nothing of this, nor do partial and rolling ones.
    #[must_use]
    pub fn held_while_stale(
        self,
        artifacts: &[Manifest],
        proofs: &[Proof],
        now: Timestamp,
        rpo: SignedDuration,
    ) -> Self {
        self.held_unless_fresh(artifacts, proofs, now, rpo, |manifest| !manifest.is_partial())
    }

    /// The same where other artifacts count than whole ones.
    pub(crate) fn held_unless_fresh(
        mut self,
        artifacts: &[Manifest],
        proofs: &[Proof],
        now: Timestamp,
        rpo: SignedDuration,
        counts: impl Fn(&Manifest) -> bool,
    ) -> Self {
        let view = View::new(artifacts, proofs, now);
        let good = view.items.iter().filter(|item| item.is_good() && counts(item.manifest));
        let newest = good.map(|item| item.manifest.snapshot_at).filter(|at| *at <= now).max();
        let why = match newest.map(|newest| now.duration_since(newest)) {
            Some(age) if age <= rpo => return self,
            Some(age) => format!("is {}", too_old(age, rpo)),
            None => "does not exist".to_owned(),
        };
        for decision in self.decisions.iter_mut().filter(|decision| !decision.keep) {
            decision.keep = true;
            decision.reasons.insert(0, format!("nothing goes while the newest good backup {why}"));
        }
        self
    }
}

/// An age and the one that is allowed: `2d old, 1d is allowed`. In whole days, hours or minutes where that shows the
/// difference, else to the second.
pub(crate) fn too_old(age: SignedDuration, allowed: SignedDuration) -> String {
    let minutes = age.as_mins();
    let rough = SignedDuration::from_mins(match minutes {
        2880.. => minutes / 1440 * 1440,
        120.. => minutes / 60 * 60,
        _ => minutes,
    });
    let age = if rough > allowed { rough } else { SignedDuration::from_secs(age.as_secs()) };
    format!("{} old, {} is allowed", show_age(age), show_age(allowed))
}
