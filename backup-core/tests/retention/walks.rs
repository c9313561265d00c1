//! Three years under each runbook's policy, day by day: backups appear, the policy plans, the plan is carried out.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::{
    content::Content,
    id::BackupId,
    manifest::Manifest,
    retention::{Keep, RetentionPolicy},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::kit::*;

const FIRST: Date = jiff::civil::date(2026, 1, 1);
const DAYS: i32 = 3 * 365 + 1;

/// A vault that is pruned at noon of each day.
struct Walk {
    keep: Keep,
    left: Vec<Manifest>,
    taken: Vec<Manifest>,
}

impl Walk {
    fn under(keep: &str) -> Self {
        Self { keep: policy(keep), left: Vec::new(), taken: Vec::new() }
    }

    fn take(&mut self, artifact: Manifest) {
        self.taken.push(artifact.clone());
        self.left.push(artifact);
    }

    fn prune(&mut self, date: Date) {
        let plan = self.keep.plan(&self.left, &[], instant(date, 12, &self.keep.zone));
        self.left = carried_out(&plan, &self.left);
    }

    fn stands(&self, artifact: &Manifest) -> bool {
        self.left.iter().any(|left| left.id == artifact.id)
    }

    fn ids(&self, which: impl Fn(&Manifest) -> bool) -> BTreeSet<BackupId> {
        self.left.iter().filter(|artifact| which(artifact)).map(|artifact| artifact.id.clone()).collect()
    }

    fn tagged(&self, tag: &str) -> Vec<&Manifest> {
        self.left.iter().filter(|artifact| artifact.tags.iter().any(|own| own == tag)).collect()
    }
}

fn dates() -> impl Iterator<Item = (i32, Date)> {
    (0..DAYS).map(|day| (day, FIRST.checked_add(day.days()).unwrap()))
}

fn instant(date: Date, hour: i8, zone: &TimeZone) -> Timestamp {
    date.at(hour, 0, 0, 0).to_zoned(zone.clone()).unwrap().timestamp()
}

/// What a ladder keeps of all that was ever taken: of each of the newest periods that hold a backup, the last. One
/// look at the whole history, where the walk prunes it every day.
#[derive(Default)]
struct History {
    of_day: BTreeMap<Date, BackupId>,
    of_week: BTreeMap<Date, BackupId>,
    of_month: BTreeMap<Date, BackupId>,
    of_year: BTreeMap<i16, BackupId>,
}

impl History {
    fn add(&mut self, date: Date, id: &BackupId) {
        let monday = date.checked_sub(i32::from(date.weekday().to_monday_zero_offset()).days()).unwrap();
        self.of_day.insert(date, id.clone());
        self.of_week.insert(monday, id.clone());
        self.of_month.insert(date.first_of_month(), id.clone());
        self.of_year.insert(date.year(), id.clone());
    }

    fn ladder(&self, days: usize, weeks: usize, months: usize, years: usize) -> BTreeSet<BackupId> {
        let of_day = self.of_day.values().rev().take(days);
        let of_week = self.of_week.values().rev().take(weeks);
        let of_month = self.of_month.values().rev().take(months);
        let of_year = self.of_year.values().rev().take(years);
        of_day.chain(of_week).chain(of_month).chain(of_year).cloned().collect()
    }
}

/// Ages at noon of a day.
fn younger_than(age: SignedDuration, date: Date, zone: &TimeZone) -> impl Fn(&&Manifest) -> bool {
    let noon = instant(date, 12, zone);
    move |artifact| noon.duration_since(artifact.started_at) <= age
}

#[test]
fn append_only_snapshots_beside_an_ingestion_all_stay() {
    let mut walk = Walk::under("everything");
    let zone = walk.keep.zone.clone();
    for (day, date) in dates() {
        let before_ingest = full(instant(date, 5, &zone)).tagged("pre-ingest");
        walk.take(if day % 97 == 96 { before_ingest.suspect() } else { before_ingest });
        for rolling in [Content::Schema, Content::Data] {
            walk.left.retain(|artifact| artifact.content != rolling);
            walk.left.push(artifact(rolling, instant(date, 6, &zone), 1));
        }
        walk.prune(date);
        assert_eq!(walk.left.len(), walk.taken.len() + 2, "{date}");
    }
    assert_eq!(walk.left.len(), 1098);
}

#[test]
fn dumps_that_are_published_and_removed_by_hand_all_stay() {
    let mut walk = Walk::under("everything");
    let zone = walk.keep.zone.clone();
    for (day, date) in dates() {
        if day % 9 == 0 {
            walk.take(full(instant(date, 9, &zone)));
        }
        if day % 180 == 179 {
            // Somebody makes room.
            walk.left.drain(..10);
        }
        let before = walk.left.len();
        walk.prune(date);
        assert_eq!(walk.left.len(), before, "{date}");
    }
    assert_eq!((walk.taken.len(), walk.left.len()), (122, 62));
}

#[test]
fn rollouts_stay_forever_hot_copies_a_week_and_nights_climb_the_ladder() {
    let mut walk = Walk::under("rollouts,zone=Europe/Berlin");
    let (zone, mut history) = (walk.keep.zone.clone(), History::default());
    for (day, date) in dates() {
        let nightly = full(instant(date, 2, &zone));
        history.add(date, &nightly.id);
        walk.take(nightly);
        if day % 3 == 0 {
            walk.take(full(instant(date, 10, &zone)).tagged("hot"));
        }
        if day % 45 == 44 {
            walk.take(full(instant(date, 11, &zone)).tagged("pre-rollout"));
        }
        walk.prune(date);

        assert_eq!(walk.ids(|artifact| artifact.tags.is_empty()), history.ladder(30, 12, 12, 0), "{date}");
        let is_young = younger_than(days(7), date, &zone);
        assert!(walk.tagged("hot").iter().all(&is_young), "{date}");
        let young: Vec<&Manifest> = walk.taken.iter().filter(is_young).collect();
        assert!(young.iter().filter(|a| a.tags == ["hot"]).all(|hot| walk.stands(hot)), "{date}");
        assert_eq!(walk.tagged("pre-rollout").len(), usize::try_from((day + 1) / 45).unwrap(), "{date}");
    }
    // On Sunday, 31 December 2028: 30 days, 7 Sundays before them, and the ends of 11 months before this one.
    assert_eq!(walk.ids(|artifact| artifact.tags.is_empty()).len(), 30 + 7 + 11);
    assert_eq!((walk.tagged("hot").len(), walk.tagged("pre-rollout").len()), (3, 24));
}

#[test]
fn backups_before_migrations_stay_a_quarter_and_a_broken_night_costs_nothing() {
    let mut walk = Walk::under("migrations");
    let (zone, mut history) = (walk.keep.zone.clone(), History::default());
    let mut migrations = Vec::new();
    for (day, date) in dates() {
        // The job is broken for three weeks of the second summer, and every fiftieth night is suspect.
        let is_broken = (550..571).contains(&day);
        if !is_broken && day % 50 != 49 {
            let nightly = full(instant(date, 0, &zone));
            history.add(date, &nightly.id);
            walk.take(nightly);
        } else if !is_broken {
            walk.take(full(instant(date, 0, &zone)).suspect());
        }
        if day % 20 == 5 && !is_broken {
            let migration = full(instant(date, 8, &zone)).tagged("pre-migration");
            migrations.push(migration.clone());
            walk.take(migration);
        }
        walk.prune(date);

        let untagged = walk.ids(|artifact| artifact.tags.is_empty() && artifact.is_good());
        assert_eq!(untagged, history.ladder(30, 12, 12, 0), "{date}");
        let is_young = younger_than(days(90), date, &zone);
        for migration in &migrations {
            assert_eq!(walk.stands(migration), is_young(&migration), "{date}: {}", migration.id);
        }
        // A suspect night stays until a week after the night that followed it.
        let noon = instant(date, 12, &zone);
        for suspect in walk.taken.iter().filter(|artifact| !artifact.is_good()) {
            let followed = walk.taken.iter().find(|a| a.started_at > suspect.started_at && a.is_good());
            let stays = followed.is_none_or(|good| noon.duration_since(good.started_at) <= days(7));
            assert_eq!(walk.stands(suspect), stays, "{date}: {}", suspect.id);
        }
    }
    assert_eq!(walk.tagged("pre-migration").len(), 4);
    assert_eq!(walk.ids(|artifact| !artifact.is_good()).len(), 0, "the last suspect night is long past");
    assert_eq!(walk.left.len(), 30 + 7 + 11 + 4);
}

#[test]
fn a_production_server_keeps_seven_years_and_every_hour_of_a_week() {
    let mut walk = Walk::under("compliance,zone=Europe/Berlin");
    let zone = walk.keep.zone.clone();
    let mut histories = [History::default(), History::default()];
    const UPGRADE: i32 = 700;
    for (day, date) in dates() {
        // The server moves to a new cluster; the dumps of the old one stand as they stood then.
        let cluster = usize::from(day >= UPGRADE);
        let system_id = ["7300000000000000001", "7400000000000000002"][cluster];
        let nightly = full(instant(date, 2, &zone)).of_cluster(system_id);
        histories[cluster].add(date, &nightly.id);
        walk.take(nightly);
        let base = artifact(Content::Base, instant(date, 3, &zone), 1).of_cluster(system_id);
        let mut hour = base.started_at;
        walk.take(base.clone());
        for _ in 0..8 {
            hour += SignedDuration::from_hours(1);
            walk.take(artifact(Content::Incremental, hour, 1).of_cluster(system_id).requiring(&base));
        }
        walk.prune(date);
        walk.taken.retain(younger_than_a_month(date, &zone));
        check_production(&walk, &histories, date);
    }
    let nights = |system: &str| {
        let of = |a: &Manifest| a.content == Content::Full && a.source.system_id.as_deref() == Some(system);
        walk.ids(of).len()
    };
    // The ladder of the rollouts' walk, and the end of 2027; of the older cluster what it ended with.
    assert_eq!(nights("7400000000000000002"), 30 + 7 + 11 + 1);
    assert_eq!(nights("7300000000000000001"), histories[0].ladder(30, 12, 12, 7).len());
}

fn younger_than_a_month(date: Date, zone: &TimeZone) -> impl FnMut(&Manifest) -> bool {
    let is_young = younger_than(days(31), date, zone);
    move |artifact| is_young(&artifact)
}

fn check_production(walk: &Walk, histories: &[History; 2], date: Date) {
    let expected: BTreeSet<BackupId> =
        histories.iter().flat_map(|history| history.ladder(30, 12, 12, 7)).collect();
    assert_eq!(walk.ids(|artifact| artifact.content == Content::Full), expected, "{date}");
    let is_young = younger_than(days(7), date, &walk.keep.zone);
    for young in walk.taken.iter().filter(is_young) {
        assert!(walk.stands(young), "{date}: {} is of the last week", young.id);
    }
    for child in walk.left.iter().filter(|artifact| artifact.requires.is_some()) {
        let parent = child.requires.as_ref().unwrap();
        assert!(
            walk.left.iter().any(|artifact| artifact.id == *parent),
            "{date}: {} lost its base",
            child.id
        );
    }
}
