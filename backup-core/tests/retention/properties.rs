//! What holds for every policy and every vault.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backup_core::{
    content::Content,
    id::BackupId,
    manifest::Manifest,
    proof::Proof,
    retention::{Keep, KeepFor, Plan, RetentionPolicy},
    verify::Level,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::{option, prelude::*};

use super::kit::*;

const NOW: &str = "2026-11-20T12:00:00Z";

/// Hours before `NOW` that artifacts are dated, some of them after it.
const HOURS: std::ops::Range<i64> = -200..20_000;

#[derive(Clone, Debug)]
struct Spec {
    hours_ago: i64,
    content: usize,
    tag: Option<usize>,
    is_suspect: bool,
    is_partial: bool,
    cluster: Option<usize>,
    parent: Option<prop::sample::Index>,
    proof: Option<bool>,
    bytes: u64,
}

const TAGS: [&str; 3] = ["hot", "pre-migration", "pre-rollout"];

fn spec() -> impl Strategy<Value = Spec> {
    let rare = |chance| prop::bool::weighted(chance);
    let what = (0usize..6, option::weighted(0.3, 0usize..3), rare(0.15), rare(0.1));
    let whence = (option::weighted(0.3, 0usize..2), option::of(any::<prop::sample::Index>()));
    let worth = (option::weighted(0.4, prop::bool::weighted(0.8)), 1u64..1000);
    (HOURS, what, whence, worth).prop_map(
        |(hours_ago, (content, tag, is_suspect, is_partial), (cluster, parent), (proof, bytes))| {
            // Most vaults hold full backups.
            let content = if content == 5 { 0 } else { content };
            Spec { hours_ago, content, tag, is_suspect, is_partial, cluster, parent, proof, bytes }
        },
    )
}

fn vault(size: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = (Vec<Manifest>, Vec<Proof>)> {
    prop::collection::vec(spec(), size).prop_map(|specs| build(&specs))
}

fn build(specs: &[Spec]) -> (Vec<Manifest>, Vec<Proof>) {
    let (mut artifacts, mut proofs): (Vec<Manifest>, Vec<Proof>) = Default::default();
    for (number, spec) in (1u32..).zip(specs) {
        let started_at = at(NOW) - SignedDuration::from_hours(spec.hours_ago);
        let mut made = artifact(Content::ALL[spec.content], started_at, number).of_bytes(spec.bytes);
        made = spec.tag.map(|tag| made.clone().tagged(TAGS[tag])).unwrap_or(made);
        made = if spec.is_suspect { made.suspect() } else { made };
        made = if spec.is_partial { made.only_table("orders") } else { made };
        made = spec.cluster.map(|n| made.clone().of_cluster(["one", "two"][n])).unwrap_or(made);
        if let (Content::Incremental, Some(parent)) =
            (made.content, spec.parent.filter(|_| !artifacts.is_empty()))
        {
            made = made.requiring(parent.get(&artifacts));
        }
        let seen_at = started_at + SignedDuration::from_hours(1);
        proofs.extend(
            spec.proof.map(|ok| {
                proof(&made, ["checksum", "structure", "restore"][number as usize % 3], seen_at, ok)
            }),
        );
        artifacts.push(made);
    }
    (artifacts, proofs)
}

fn counts() -> impl Strategy<Value = Keep> {
    let count = || option::weighted(0.5, 1u32..12);
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin"]);
    (count(), count(), count(), count(), count(), count(), zone).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, zone)| Keep {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            zone: crate::kit::zone(zone),
            ..Keep::default()
        },
    )
}

fn timed() -> impl Strategy<Value = Keep> {
    let rule = prop_oneof![Just(KeepFor::Forever), (1i64..800).prop_map(|d| KeepFor::For(days(d)))];
    let tags =
        prop::collection::btree_map(prop::sample::select(TAGS.map(str::to_owned).to_vec()), rule, 0..3);
    (counts(), option::weighted(0.4, 1i64..400), tags).prop_map(|(keep, within, tags)| Keep {
        within: within.map(days),
        tags,
        ..keep
    })
}

fn any_policy() -> impl Strategy<Value = Keep> {
    (timed(), option::weighted(0.4, 1u64..20_000)).prop_map(|(keep, max_bytes)| Keep { max_bytes, ..keep })
}

fn kept_ids(plan: &Plan) -> BTreeSet<BackupId> {
    plan.decisions.iter().filter(|decision| decision.keep).map(|decision| decision.id.clone()).collect()
}

fn is_good(artifact: &Manifest, proofs: &[Proof]) -> bool {
    // Each artifact has at most one proof here.
    artifact.is_good() && !proofs.iter().any(|proof| proof.id == artifact.id && !proof.ok)
}

/// Sets as the manual tells them, where every artifact names its cluster or none does.
fn set_of(artifact: &Manifest) -> (Content, bool, Option<String>) {
    (artifact.content, artifact.is_partial(), artifact.source.system_id.clone())
}

fn without_clusters(artifacts: Vec<Manifest>) -> Vec<Manifest> {
    let one_name = |mut artifact: Manifest| {
        artifact.source.system_id.get_or_insert_with(|| "one".to_owned());
        artifact
    };
    artifacts.into_iter().map(one_name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_artifact_is_decided_once_with_a_reason((artifacts, proofs) in vault(0..60), keep in any_policy()) {
        let plan = keep.plan(&artifacts, &proofs, at(NOW));
        let decided: Vec<&BackupId> = plan.decisions.iter().map(|decision| &decision.id).collect();
        let given: Vec<&BackupId> = artifacts.iter().map(|artifact| &artifact.id).collect();
        prop_assert_eq!(decided, given);
        prop_assert_eq!(kept_ids(&plan).len() + plan.removals().count(), artifacts.len());
        for decision in &plan.decisions {
            prop_assert!(!decision.reasons.is_empty() && decision.reasons.iter().all(|reason| !reason.is_empty()));
        }
    }

    #[test]
    fn the_newest_good_proven_and_drilled_of_each_set_stay(
        (artifacts, proofs) in vault(1..60),
        keep in any_policy(),
    ) {
        let artifacts = without_clusters(artifacts);
        let plan = keep.plan(&artifacts, &proofs, at(NOW));
        let kept = kept_ids(&plan);
        let mut sets: BTreeMap<_, Vec<&Manifest>> = BTreeMap::new();
        for artifact in artifacts.iter().filter(|a| a.started_at <= at(NOW) && is_good(a, &proofs)) {
            sets.entry(set_of(artifact)).or_default().push(artifact);
        }
        for good in sets.values() {
            let newest = good.iter().max_by_key(|artifact| (artifact.started_at, &artifact.id)).unwrap();
            prop_assert!(kept.contains(&newest.id), "the newest good of {:?}: {:?}", set_of(newest), plan);
            for level in [Level::Structure, Level::Restore] {
                let proves = |proof: &Proof| proof.ok && proof.level >= level;
                let is_proven = |a: &&&Manifest| proofs.iter().any(|proof| proof.id == a.id && proves(proof));
                if let Some(proven) = good.iter().filter(is_proven).max_by_key(|a| (a.started_at, &a.id)) {
                    prop_assert!(kept.contains(&proven.id), "the newest {level} of {:?}: {plan:?}", set_of(proven));
                }
            }
        }
    }

    #[test]
    fn a_kept_child_has_its_parents((artifacts, proofs) in vault(0..60), keep in any_policy()) {
        let kept = kept_ids(&keep.plan(&artifacts, &proofs, at(NOW)));
        for child in artifacts.iter().filter(|artifact| kept.contains(&artifact.id)) {
            prop_assert!(child.requires.as_ref().is_none_or(|parent| kept.contains(parent)), "{}", child.id);
        }
    }

    #[test]
    fn rolling_backups_and_those_of_the_future_are_never_removed(
        (artifacts, proofs) in vault(0..60),
        keep in any_policy(),
    ) {
        let plan = keep.plan(&artifacts, &proofs, at(NOW));
        let stays = |a: &&Manifest| a.content.is_rolling() || a.started_at > at(NOW);
        for artifact in artifacts.iter().filter(stays) {
            prop_assert!(keeps(&plan, artifact), "{}", artifact.id);
        }
    }

    /// A plan that was carried out has nothing left to do, and no safeguard objects to it.
    #[test]
    fn a_plan_is_final_and_safe((artifacts, proofs) in vault(0..60), keep in any_policy()) {
        let plan = keep.plan(&artifacts, &proofs, at(NOW));
        let left = carried_out(&plan, &artifacts);
        let again = keep.plan(&left, &proofs, at(NOW));
        prop_assert_eq!(again.removals().collect::<Vec<_>>(), Vec::<&backup_core::retention::Decision>::new());
        prop_assert_eq!(plan.clone().secured(&artifacts, &proofs, at(NOW)), plan);
    }

    #[test]
    fn neither_order_nor_another_policy_changes_a_plan(
        (artifacts, proofs) in vault(0..40),
        keep in any_policy(),
        other in any_policy(),
    ) {
        let plan = keep.plan(&artifacts, &proofs, at(NOW));
        let theirs = other.plan(&artifacts, &proofs, at(NOW));
        let reversed: Vec<Manifest> = artifacts.iter().rev().cloned().collect();
        let mut again = keep.plan(&reversed, &proofs, at(NOW));
        again.decisions.reverse();
        prop_assert_eq!(again, plan);
        prop_assert_eq!(other.plan(&artifacts, &proofs, at(NOW)), theirs);
    }

    /// Suspects and dates in the future count for nothing: with or without them, the same good backups stay.
    #[test]
    fn what_does_not_count_pushes_nothing_out((artifacts, proofs) in vault(0..60), mut keep in any_policy()) {
        // A tag's "forever" is a person's word, for suspects too, and takes its room.
        keep.tags.retain(|_, rule| *rule != KeepFor::Forever);
        let mut artifacts = without_clusters(artifacts);
        artifacts.iter_mut().for_each(|artifact| artifact.requires = None);
        let counts = |a: &&Manifest| a.content.is_rolling() || (a.started_at <= at(NOW) && is_good(a, &proofs));
        let counting: Vec<Manifest> = artifacts.iter().filter(counts).cloned().collect();
        let alone = kept_ids(&keep.plan(&counting, &proofs, at(NOW)));
        let all = kept_ids(&keep.plan(&artifacts, &proofs, at(NOW)));
        prop_assert!(alone.is_subset(&all), "{:?}", alone.difference(&all).collect::<Vec<_>>());
    }

    /// Whoever prunes every day loses nothing that one prune at the end would have kept.
    #[test]
    fn pruning_along_the_way_loses_nothing(
        (mut artifacts, proofs) in vault(0..60),
        keep in timed(),
        hours_ago in HOURS,
    ) {
        artifacts.sort_by_key(|artifact| artifact.started_at);
        let then = at(NOW) - SignedDuration::from_hours(hours_ago.max(0));
        let split = artifacts.partition_point(|artifact| artifact.started_at <= then);
        // Children come with or after their parents.
        let places: HashMap<BackupId, usize> = artifacts.iter().enumerate().map(|(n, a)| (a.id.clone(), n)).collect();
        for (place, artifact) in artifacts.iter_mut().enumerate() {
            let comes_first = |parent: &usize| *parent < place && (*parent < split) == (place < split);
            artifact.requires = artifact.requires.take().filter(|parent| comes_first(&places[parent]));
        }
        let artifacts = without_clusters(artifacts);
        let known: Vec<Proof> = proofs.iter().filter(|proof| proof.started_at <= then).cloned().collect();
        // A verification that fails after a prune cannot bring back what that prune removed.
        let known_failures = |proofs: &[Proof]| proofs.iter().filter(|proof| !proof.ok).count();
        prop_assume!(known_failures(&known) == known_failures(&proofs) || hours_ago <= 0);

        let mut pruned = carried_out(&keep.plan(&artifacts[..split], &known, then), &artifacts[..split]);
        pruned.extend_from_slice(&artifacts[split..]);
        let at_once = kept_ids(&keep.plan(&artifacts, &proofs, at(NOW)));
        let in_steps = kept_ids(&keep.plan(&pruned, &proofs, at(NOW)));
        prop_assert!(at_once.is_subset(&in_steps), "{:?}", at_once.difference(&in_steps).collect::<Vec<_>>());
    }

    /// More backups can take a place only by being the newer one of the same period, or one period more.
    #[test]
    fn more_backups_never_cost_a_period_its_own(
        dates in prop::collection::btree_set(0i64..40_000, 1..50),
        more in prop::collection::btree_set(0i64..40_000, 1..20),
        count in 1u32..14,
        kind in 0usize..5,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin"]),
    ) {
        let zone = crate::kit::zone(zone);
        let keep = one_rule(kind, count, &zone);
        let make = |hours: &i64| full(at(NOW) - SignedDuration::from_hours(*hours));
        let before: Vec<Manifest> = dates.iter().map(make).collect();
        let after: Vec<Manifest> = dates.union(&more).map(make).collect();
        let (plan_before, plan_after) = (plan(&keep, &before, at(NOW)), plan(&keep, &after, at(NOW)));
        let period = |artifact: &Manifest| period_of(kind, artifact.started_at, &zone);
        let lost = |artifact: &&Manifest| keeps(&plan_before, artifact) && !keeps(&plan_after, artifact);
        for artifact in before.iter().filter(lost) {
            let newer: Vec<&Manifest> = after.iter().filter(|a| a.started_at > artifact.started_at).collect();
            let (same, others): (Vec<&Manifest>, Vec<&Manifest>) =
                newer.into_iter().partition(|other| period(other) == period(artifact));
            let newer_periods: BTreeSet<String> = others.into_iter().map(period).collect();
            let is_full = newer_periods.len() >= count as usize;
            let is_followed = same.iter().any(|other| keeps(&plan_after, other));
            prop_assert!(is_full || is_followed, "{} lost its place", artifact.id);
        }
    }

    /// Of the newest periods that hold a backup, each keeps its newest, by a calendar that is not ours.
    #[test]
    fn each_rule_keeps_the_newest_of_each_period(
        dates in prop::collection::btree_set(0i64..60_000, 1..80),
        count in 1u32..40,
        kind in 0usize..5,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]),
    ) {
        let zone = crate::kit::zone(zone);
        let make = |half_hours: &i64| full(at(NOW) - SignedDuration::from_mins(30 * half_hours));
        let artifacts: Vec<Manifest> = dates.iter().map(make).collect();
        let mut newest: BTreeMap<Timestamp, BackupId> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for artifact in &artifacts {
            // Dates come newest first: fewest hours ago.
            if seen.insert(period_of(kind, artifact.started_at, &zone)) && newest.len() < count as usize {
                newest.insert(artifact.started_at, artifact.id.clone());
            }
        }
        let kept = kept_ids(&plan(&one_rule(kind, count, &zone), &artifacts, at(NOW)));
        prop_assert_eq!(kept, newest.into_values().collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_limit_takes_no_more_than_it_needs(
        dates in prop::collection::btree_set(0i64..40_000, 1..50),
        limit in 100u64..6000,
    ) {
        let make = |hours: &i64| full(at(NOW) - SignedDuration::from_hours(*hours));
        let artifacts: Vec<Manifest> = dates.iter().map(make).collect();
        let keep = Keep { max_bytes: Some(limit), ..Keep::default() };
        let left = carried_out(&plan(&keep, &artifacts, at(NOW)), &artifacts);
        let newest = usize::try_from(limit / 100).unwrap().min(artifacts.len());
        prop_assert_eq!(left, artifacts[..newest].to_vec(), "the newest that fit, and no more go than need to");
    }
}

fn one_rule(kind: usize, count: u32, zone: &TimeZone) -> Keep {
    let mut keep = Keep { zone: zone.clone(), ..Keep::default() };
    match kind {
        0 => keep.hourly = Some(count),
        1 => keep.daily = Some(count),
        2 => keep.weekly = Some(count),
        3 => keep.monthly = Some(count),
        _ => keep.yearly = Some(count),
    }
    keep
}

/// Periods by arithmetic on civil dates.
fn period_of(kind: usize, instant: Timestamp, zone: &TimeZone) -> String {
    let local = instant.to_zoned(zone.clone());
    let date = local.date();
    match kind {
        0 => format!("{date} {} {}", local.hour(), local.offset()),
        1 => date.to_string(),
        2 => {
            let monday =
                date.checked_sub(jiff::Span::new().days(date.weekday().to_monday_zero_offset())).unwrap();
            monday.to_string()
        }
        3 => date.first_of_month().to_string(),
        _ => date.year().to_string(),
    }
}
