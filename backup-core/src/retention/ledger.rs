//! What is said for and against each artifact, until it becomes a plan.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Decision, Plan,
    units::show_size,
    view::{Standing, View, stored_bytes},
};

/// What is said of one artifact.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Why it stays.
    keeps: Vec<String>,
    /// Why rules do not keep it.
    misses: Vec<String>,
    /// Why it goes, where that is already said in full.
    verdict: Vec<String>,
    /// No limit of bytes may remove it.
    must: bool,
    /// Its bytes push nothing out.
    is_uncounted: bool,
}

#[derive(Debug)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    pub(super) fn new(artifacts: usize) -> Self {
        Self { entries: vec![Entry::default(); artifacts] }
    }

    pub(super) fn keep(&mut self, place: usize, reason: impl Into<String>) {
        let (keeps, reason) = (&mut self.entries[place].keeps, reason.into());
        if !keeps.contains(&reason) {
            keeps.push(reason);
        }
    }

    /// Gives a reason to what has none.
    pub(super) fn keep_anyhow(&mut self, place: usize, reason: &str) {
        if self.entries[place].keeps.is_empty() {
            self.keep(place, reason);
        }
    }

    pub(super) fn must_keep(&mut self, place: usize, reason: impl Into<String>) {
        self.keep(place, reason);
        self.entries[place].must = true;
    }

    pub(super) fn miss(&mut self, place: usize, reason: impl Into<String>) {
        self.entries[place].misses.push(reason.into());
    }

    pub(super) fn condemn(&mut self, place: usize, reasons: Vec<String>) {
        self.entries[place].verdict = reasons;
    }

    pub(super) fn do_not_count(&mut self, place: usize) {
        self.entries[place].is_uncounted = true;
    }

    /// Those chosen, and what they require.
    fn with_ancestors(&self, view: &View<'_>, chosen: impl Fn(&Entry) -> bool) -> Vec<bool> {
        let mut marked: Vec<bool> = self.entries.iter().map(&chosen).collect();
        let roots: Vec<usize> = (0..marked.len()).filter(|&place| marked[place]).collect();
        roots.into_iter().flat_map(|place| view.ancestors(place)).for_each(|place| marked[place] = true);
        marked
    }

    /// Takes artifacts out until the rest has at most `limit` bytes, or nothing is left that may go: suspect ones
    /// first, then the oldest first, children before their parents.
    pub(super) fn fit(&mut self, limit: u64, view: &View<'_>) {
        let mut kept = self.with_ancestors(view, |entry| !entry.keeps.is_empty());
        let must = self.with_ancestors(view, |entry| entry.must);
        let bytes = |place: usize| u128::from(stored_bytes(view.items[place].manifest));
        let counted = |place: &usize| kept[*place] && !self.entries[*place].is_uncounted;
        let mut total: u128 = (0..kept.len()).filter(counted).map(bytes).sum();
        let mut children = vec![0usize; kept.len()];
        (0..kept.len())
            .filter(|&p| kept[p])
            .filter_map(|p| view.items[p].parent)
            .for_each(|p| children[p] += 1);

        let rank = |place: usize| {
            let item = &view.items[place];
            Reverse((!matches!(item.standing, Standing::Suspect { .. }), item.order(), place))
        };
        let may_go = |place: &usize| kept[*place] && !must[*place] && children[*place] == 0;
        let mut leaves: BinaryHeap<_> = (0..kept.len()).filter(may_go).map(rank).collect();
        while total > u128::from(limit) {
            let Some(Reverse((_, _, place))) = leaves.pop() else { break };
            let mut next = Some(place);
            while let Some(place) = next {
                kept[place] = false;
                total -= bytes(place);
                self.give_up(place, limit);
                next = view.items[place].parent.filter(|&parent| {
                    children[parent] -= 1;
                    kept[parent] && !must[parent] && children[parent] == 0
                });
                // A parent that rules keep for itself waits for its own turn.
                if let Some(parent) = next.filter(|&parent| !self.entries[parent].keeps.is_empty()) {
                    leaves.push(rank(parent));
                    next = None;
                }
            }
        }
    }

    fn give_up(&mut self, place: usize, limit: u64) {
        let entry = &mut self.entries[place];
        let mut reasons = vec![format!("max_bytes {}: the oldest go first", show_size(limit))];
        reasons.extend(entry.keeps.drain(..).map(|reason| format!("it would have been kept by {reason}")));
        entry.verdict = reasons;
    }

    /// The plan: what is kept for a reason, and what that requires.
    pub(super) fn into_plan(mut self, view: &View<'_>) -> Plan {
        let kept = self.with_ancestors(view, |entry| !entry.keeps.is_empty());
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); kept.len()];
        for place in (0..kept.len()).filter(|&place| kept[place]) {
            if let Some(parent) = view.items[place].parent {
                children[parent].push(place);
            }
        }
        for (place, children) in children.iter().enumerate() {
            let Some(newest) = children.iter().copied().max_by_key(|&child| view.items[child].order()) else {
                continue;
            };
            let more =
                if children.len() > 1 { format!(" and {} more", children.len() - 1) } else { String::new() };
            self.keep(place, format!("parent of {}{more}", view.items[newest].manifest.id));
        }
        let decisions = self.entries.into_iter().zip(&kept).zip(&view.items).map(|((entry, &keep), item)| {
            let reasons = match (keep, entry.verdict.is_empty()) {
                (true, _) => entry.keeps,
                (false, false) => entry.verdict,
                (false, true) => vec![format!("not kept by any rule: {}", entry.misses.join("; "))],
            };
            Decision { id: item.manifest.id.clone(), keep, reasons }
        });
        Plan { decisions: decisions.collect() }
    }
}
