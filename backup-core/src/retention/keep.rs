//! The policy of configurations and flags: so many of each period, ages, tags, and a limit of bytes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    Plan, RetentionPolicy, SUSPECT_GRACE,
    ledger::Ledger,
    periods::{Kind, Period, slots},
    secured::secure,
    units::show_age,
    view::{Item, Standing, View},
};
use crate::{manifest::Manifest, proof::Proof};

/// What is kept. An artifact that any rule keeps stays; a policy without rules keeps everything.
///
/// # Sets
/// Each content is judged by itself, and within it each selection of tables, and each cluster or database that ever
/// had this name (`system_id`; where only one is known, artifacts that name none are of that one). Rolling contents are
/// never removed.
///
/// # Rules
/// Only good artifacts count: no guardrail was broken, and no later verification found damage. Periods are counted
/// backwards over those that hold an artifact, so a pause in backups removes nothing. A count of `None` or zero is no
/// rule. Where neither a count nor `within` is set, only artifacts with a tag that has a rule go by age.
///
/// # What stays whatever the rules say
/// Per set the newest good, the newest proven (to `structure` or by a drill), the newest that a drill restored and the
/// newest of all; what a kept artifact requires; what is dated after `now`. Suspect artifacts stay until
/// [`SUSPECT_GRACE`] after a good one followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest.
    pub last: Option<u32>,
    /// The newest of so many hours.
    pub hourly: Option<u32>,
    /// The newest of so many days, from midnight to midnight.
    pub daily: Option<u32>,
    /// The newest of so many ISO weeks, from Monday to Sunday.
    pub weekly: Option<u32>,
    /// The newest of so many months.
    pub monthly: Option<u32>,
    /// The newest of so many years.
    pub yearly: Option<u32>,
    /// Everything that is at most so old.
    pub within: Option<SignedDuration>,
    /// How long artifacts stay that have this tag, suspect ones included. They hold a place in the counts above only
    /// where there is no other artifact: a backup before a migration does not take the place of the nightly one.
    pub tags: BTreeMap<String, KeepFor>,
    /// Stored bytes of a vault, all sets together: as much goes as is needed to come below, suspect artifacts first,
    /// then the oldest, but nothing that stays whatever the rules say, nor what a tag keeps forever.
    pub max_bytes: Option<u64>,
    /// Whose hours, days, weeks, months and years; by default UTC's.
    pub zone: TimeZone,
}

/// How long a tag keeps an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFor {
    /// While it is at most so old.
    For(SignedDuration),
    /// Always; no limit of bytes removes it.
    Forever,
}

impl Default for Keep {
    /// No rule: everything is kept.
    fn default() -> Self {
        Self {
            last: None,
            hourly: None,
            daily: None,
            weekly: None,
            monthly: None,
            yearly: None,
            within: None,
            tags: BTreeMap::new(),
            max_bytes: None,
            zone: TimeZone::UTC,
        }
    }
}

impl RetentionPolicy for Keep {
    fn plan(&self, artifacts: &[Manifest], proofs: &[Proof], now: Timestamp) -> Plan {
        let view = View::new(artifacts, proofs, now);
        let mut ledger = Ledger::new(artifacts.len());
        for set in &view.sets {
            self.judge(set, &view, &mut ledger);
        }
        secure(&view, &mut ledger);
        if let Some(limit) = self.max_bytes {
            ledger.fit(limit, &view);
        }
        ledger.into_plan(&view)
    }
}

impl Keep {
    /// Whether no rule is set, so that everything is kept.
    pub fn keeps_everything(&self) -> bool {
        !self.thins() && self.tags.is_empty() && self.max_bytes.is_none()
    }

    /// Whether there is a rule for artifacts without tags.
    fn thins(&self) -> bool {
        self.last.is_some_and(|last| last > 0) || self.periods().next().is_some() || self.within.is_some()
    }

    fn periods(&self) -> impl Iterator<Item = (Kind, u32)> {
        let counts = [
            (Kind::Hour, self.hourly),
            (Kind::Day, self.daily),
            (Kind::Week, self.weekly),
            (Kind::Month, self.monthly),
            (Kind::Year, self.yearly),
        ];
        counts.into_iter().filter_map(|(kind, count)| Some((kind, count.filter(|count| *count > 0)?)))
    }

    fn judge(&self, set: &[usize], view: &View<'_>, ledger: &mut Ledger) {
        if self.keeps_everything() {
            set.iter().for_each(|&place| ledger.keep(place, "everything is kept: no rule is set"));
            return;
        }
        set.iter().for_each(|&place| self.judge_tags(place, view, ledger));
        if !self.thins() {
            let untagged = set.iter().filter(|place| !self.has_ruled_tag(&view.items[**place]));
            untagged.for_each(|&place| ledger.keep(place, "no rule speaks of it"));
            return;
        }
        judge_suspects(set, view, ledger);
        let good: Vec<usize> = set.iter().copied().filter(|&place| view.items[place].is_good()).collect();
        self.judge_last(&good, view, ledger);
        for (kind, count) in self.periods() {
            self.judge_periods(kind, count, &good, view, ledger);
        }
        self.judge_within(&good, view, ledger);
    }

    fn judge_tags(&self, place: usize, view: &View<'_>, ledger: &mut Ledger) {
        let manifest = view.items[place].manifest;
        for tag in &manifest.tags {
            match self.tags.get(tag) {
                Some(KeepFor::Forever) => ledger.must_keep(place, format!("tag {tag}: forever")),
                Some(KeepFor::For(age)) if view.now.duration_since(manifest.started_at) <= *age => {
                    ledger.keep(place, format!("tag {tag}: {}", show_age(*age)));
                }
                Some(KeepFor::For(age)) => {
                    ledger.miss(place, format!("tag {tag}: older than {}", show_age(*age)))
                }
                None => {}
            }
        }
    }

    fn has_ruled_tag(&self, item: &Item<'_>) -> bool {
        item.manifest.tags.iter().any(|tag| self.tags.contains_key(tag))
    }

    fn judge_last(&self, good: &[usize], view: &View<'_>, ledger: &mut Ledger) {
        let Some(last) = self.last.filter(|last| *last > 0) else { return };
        let mut order = good.to_vec();
        order.sort_by_key(|&place| self.has_ruled_tag(&view.items[place]));
        for (rank, &place) in (1..).zip(&order) {
            if rank <= last {
                ledger.keep(place, format!("last {rank} of {last}"));
            } else {
                ledger.miss(place, format!("last: there are {last} newer"));
            }
        }
    }

    fn judge_periods(&self, kind: Kind, count: u32, good: &[usize], view: &View<'_>, ledger: &mut Ledger) {
        let local = |place: usize| view.items[place].manifest.started_at.to_zoned(self.zone.clone());
        let period_of = |place: usize| Period::of(kind, &local(place));
        let (slots, place_of_each) = slots(good, period_of, |place| self.has_ruled_tag(&view.items[place]));
        let (rule, limit) = (kind.rule(), usize::try_from(count).unwrap_or(usize::MAX));
        for (&candidate, place) in good.iter().zip(place_of_each) {
            let Some(slot) = slots.get(place) else { continue };
            let period = slot.period;
            if place >= limit {
                ledger.miss(candidate, format!("{rule}: {period} is older than the newest {count}"));
            } else if slot.holder == candidate {
                ledger.keep(candidate, format!("{rule} {} of {count} ({period})", place + 1));
            } else {
                let holder = &view.items[slot.holder].manifest.id;
                ledger.miss(candidate, format!("{rule}: {period} is held by {holder}"));
            }
        }
    }

    fn judge_within(&self, good: &[usize], view: &View<'_>, ledger: &mut Ledger) {
        let Some(within) = self.within else { return };
        for &place in good {
            let age = view.now.duration_since(view.items[place].manifest.started_at);
            if age <= within {
                ledger.keep(place, format!("within {}", show_age(within)));
            } else {
                ledger.miss(place, format!("within: older than {}", show_age(within)));
            }
        }
    }
}

/// A suspect artifact stays while nothing better followed, and for a while after that.
fn judge_suspects(set: &[usize], view: &View<'_>, ledger: &mut Ledger) {
    let mut followed_by = None;
    for &place in set {
        let item = &view.items[place];
        let Standing::Suspect { why, since } = &item.standing else {
            followed_by = Some(item.manifest.started_at);
            continue;
        };
        let Some(followed) = followed_by else {
            ledger.keep(place, format!("{why}, and no good one followed"));
            continue;
        };
        let known = since.map_or(followed, |since| since.max(followed));
        let grace = show_age(SUSPECT_GRACE);
        if view.now.duration_since(known) <= SUSPECT_GRACE {
            ledger.keep(place, format!("{why}: kept for {grace} from {known:.0}"));
        } else {
            ledger.miss(place, format!("{why}, and a good one followed more than {grace} ago"));
        }
    }
}
