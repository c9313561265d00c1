//! What stays whatever a policy says, and what counts for nothing.

use backup_core::{
    content::Content,
    manifest::Manifest,
    proof::Proof,
    retention::{Decision, Keep, Plan, RetentionPolicy},
};
use jiff::{SignedDuration, Timestamp};

use super::kit::*;

const NOW: &str = "2026-11-20T12:00:00Z";

#[test]
fn an_empty_policy_keeps_everything() {
    let artifacts =
        [full(at("2001-01-01T00:00:00Z")).suspect(), full(at("2001-01-02T00:00:00Z")), full(at(NOW))];
    let zeros = Keep { last: Some(0), daily: Some(0), ..Keep::default() };
    for keep in [Keep::default(), policy("everything"), policy("zone=+02:00"), zeros] {
        assert_eq!(plan(&keep, &artifacts, at(NOW)).removals().count(), 0, "{keep}");
    }
}

#[test]
fn a_pause_in_backups_empties_nothing() {
    let artifacts: Vec<Manifest> = (0..40).map(|day| full(at("2020-01-01T02:00:00Z") + days(day))).collect();
    let keep = policy("daily=30,weekly=4");
    let then = carried_out(&plan(&keep, &artifacts, at("2020-02-10T03:00:00Z")), &artifacts);
    assert_eq!(plan(&keep, &then, at("2035-01-01T00:00:00Z")).removals().count(), 0);
}

#[test]
fn the_newest_good_stays_when_only_ages_are_asked_for() {
    let (older, newest) = (full(at("2026-01-01T00:00:00Z")), full(at("2026-01-02T00:00:00Z")));
    let plan = plan(&policy("within=7d"), &[older.clone(), newest.clone()], at(NOW));
    has_reason(&plan, &newest, "newest good");
    has_reason(&plan, &older, "not kept by any rule: within: older than 7d");
}

#[test]
fn the_newest_proven_stays_until_a_newer_one_is_proven() {
    let artifacts: Vec<Manifest> = (0..5).map(|day| full(at("2026-11-10T00:00:00Z") + days(day))).collect();
    let keep = policy("last=1");
    let proofs = |proven: &[usize]| -> Vec<Proof> {
        proven.iter().map(|&n| proof(&artifacts[n], "structure", at(NOW), true)).collect()
    };
    let kept = |proofs: &[Proof]| -> Vec<bool> {
        keep.plan(&artifacts, proofs, at(NOW)).decisions.iter().map(|decision| decision.keep).collect()
    };
    assert_eq!(kept(&proofs(&[1])), [false, true, false, false, true]);
    assert_eq!(kept(&proofs(&[1, 3])), [false, false, false, true, true]);
    let shallow = proof(&artifacts[2], "checksum", at(NOW), true);
    assert_eq!(kept(&[shallow]), [false, false, false, false, true], "a checksum proves no backup");
}

#[test]
fn the_newest_that_a_drill_restored_stays_although_newer_ones_are_proven() {
    let artifacts: Vec<Manifest> =
        (8..11).map(|hour| full(at(&format!("2026-11-20T{hour:02}:00:00Z")))).collect();
    let mut proofs: Vec<Proof> =
        artifacts.iter().map(|artifact| proof(artifact, "structure", at(NOW), true)).collect();
    proofs.push(proof(&artifacts[0], "restore", at(NOW), true));
    let keep = policy("daily=30");
    let plan = keep.plan(&artifacts, &proofs, at(NOW));
    assert!(!keeps(&plan, &artifacts[1]), "the day has a newer one");
    has_reason(&plan, &artifacts[0], "newest that a drill restored");

    proofs.push(proof(&artifacts[2], "restore", at(NOW), true));
    assert!(!keeps(&keep.plan(&artifacts, &proofs, at(NOW)), &artifacts[0]), "a newer one was drilled");
    proofs.push(proof(&artifacts[2], "restore", at("2026-11-20T13:00:00Z"), false));
    assert!(keeps(&keep.plan(&artifacts, &proofs, at(NOW)), &artifacts[0]), "a later drill of it failed");
}

#[test]
fn a_suspect_pushes_nothing_out_and_goes_a_week_after_a_good_one_followed() {
    let good = full(at("2026-11-01T02:00:00Z"));
    let suspect = full(at("2026-11-01T12:00:00Z")).suspect();
    let keep = policy("daily=2");
    let alone = plan(&keep, &[good.clone(), suspect.clone()], at(NOW));
    has_reason(&alone, &good, "daily 1 of 2 (2026-11-01)");
    has_reason(&alone, &suspect, "no good one followed");

    let artifacts = [good.clone(), suspect.clone(), full(at("2026-11-05T02:00:00Z"))];
    has_reason(&plan(&keep, &artifacts, at("2026-11-12T02:00:00Z")), &suspect, "kept for 7d from 2026-11-05");
    let later = plan(&keep, &artifacts, at("2026-11-12T02:00:01Z"));
    assert!(keeps(&later, &good) && !keeps(&later, &suspect), "{later:?}");
}

#[test]
fn a_backup_found_damaged_no_longer_holds_the_place_of_a_sound_one() {
    let (sound, damaged) = (full(at("2026-11-01T02:00:00Z")), full(at("2026-11-01T12:00:00Z")));
    let artifacts = [sound.clone(), damaged.clone(), full(at("2026-11-20T02:00:00Z"))];
    let failed = proof(&damaged, "checksum", at("2026-11-15T00:00:00Z"), false);
    let keep = policy("daily=2");
    let during = keep.plan(&artifacts, std::slice::from_ref(&failed), at(NOW));
    assert!(keeps(&during, &sound));
    has_reason(&during, &damaged, "damaged (the checksum verification of 2026-11-15T00:00:00Z failed)");

    let after = keep.plan(&artifacts, std::slice::from_ref(&failed), at("2026-11-28T00:00:00Z"));
    assert!(keeps(&after, &sound) && !keeps(&after, &damaged), "{after:?}");

    // A fault of the machine that looked, not of the backup.
    let healed = [failed, proof(&damaged, "structure", at("2026-11-16T00:00:00Z"), true)];
    assert!(keeps(&keep.plan(&artifacts, &healed, at(NOW)), &damaged));
}

#[test]
fn each_content_selection_and_cluster_is_a_set_of_its_own() {
    let day = |day: i64| at("2026-01-01T00:00:00Z") + days(day);
    let old_cluster = full(day(0)).of_cluster("one");
    let old_cluster_newest = full(day(1)).of_cluster("one");
    let (base, schema) = (artifact(Content::Base, day(2), 1), artifact(Content::Schema, day(3), 1));
    let partial = full(day(4)).of_cluster("two").only_table("orders");
    let other_partial = full(day(5)).of_cluster("two").only_table("customers");
    let newest = [full(day(6)).of_cluster("two"), full(day(7)).of_cluster("two")];
    let artifacts = [
        old_cluster.clone(),
        old_cluster_newest.clone(),
        base.clone(),
        schema.clone(),
        partial.clone(),
        other_partial.clone(),
        newest[0].clone(),
        newest[1].clone(),
    ];
    let plan = plan(&policy("last=1"), &artifacts, at(NOW));
    assert!(!keeps(&plan, &old_cluster), "within its own set the rules apply");
    assert!(!keeps(&plan, &newest[0]));
    for stays in [&old_cluster_newest, &base, &schema, &partial, &other_partial, &newest[1]] {
        assert!(keeps(&plan, stays), "{}", stays.id);
    }
}

#[test]
fn adopted_dumps_that_name_no_cluster_count_with_the_only_one_there_is() {
    let adopted = full(at("2026-01-01T00:00:00Z"));
    let own = |day: &str, cluster: &str| full(at(day)).of_cluster(cluster);
    let one = own("2026-01-01T12:00:00Z", "one");
    let keep = policy("daily=5");
    assert!(!keeps(&plan(&keep, &[adopted.clone(), one.clone()], at(NOW)), &adopted));
    let two = own("2026-02-01T12:00:00Z", "two");
    assert!(keeps(&plan(&keep, &[adopted.clone(), one, two], at(NOW)), &adopted), "it may be of either");
}

#[test]
fn parents_stay_as_long_as_a_child_needs_them() {
    let base = artifact(Content::Base, at("2026-01-01T00:00:00Z"), 1);
    let first = artifact(Content::Incremental, at("2026-01-02T00:00:00Z"), 1).requiring(&base);
    let second = artifact(Content::Incremental, at("2026-01-03T00:00:00Z"), 1).requiring(&first);
    let newer_base = artifact(Content::Base, at("2026-02-01T00:00:00Z"), 1);
    let artifacts = [base.clone(), first.clone(), second.clone(), newer_base.clone()];
    let kept = plan(&policy("last=1"), &artifacts, at(NOW));
    has_reason(&kept, &base, &format!("parent of {}", first.id));
    has_reason(&kept, &first, &format!("parent of {}", second.id));

    let newer = artifact(Content::Incremental, at("2026-02-02T00:00:00Z"), 1).requiring(&newer_base);
    let artifacts = [base, first, second, newer_base, newer];
    let plan = plan(&policy("last=1"), &artifacts, at(NOW));
    let kept: Vec<bool> = plan.decisions.iter().map(|decision| decision.keep).collect();
    assert_eq!(kept, [false, false, false, true, true], "the whole chain goes at once");
}

#[test]
fn a_date_in_the_future_pushes_nothing_out_and_goes_nowhere() {
    let past: Vec<Manifest> = (1..=3).map(|day| full(at("2026-11-01T00:00:00Z") + days(day))).collect();
    let wrong = full(at("2038-01-19T03:14:07Z"));
    let mut artifacts = past.clone();
    artifacts.push(wrong.clone());
    let plan = plan(&policy("last=2,daily=3"), &artifacts, at(NOW));
    past.iter().for_each(|stays| assert!(keeps(&plan, stays), "{plan:?}"));
    has_reason(&plan, &wrong, "dated in the future (2038-01-19T03:14:07Z)");
}

#[test]
fn a_clock_that_fell_back_removes_nothing() {
    let artifacts: Vec<Manifest> = (0..20).map(|day| full(at("2026-11-01T00:00:00Z") + days(day))).collect();
    assert_eq!(plan(&policy("last=1"), &artifacts, at("1970-01-01T00:00:00Z")).removals().count(), 0);
}

#[test]
fn a_limit_of_bytes_takes_the_oldest_and_never_what_must_stay() {
    let artifacts: Vec<Manifest> = (0..10).map(|day| full(at("2026-11-01T00:00:00Z") + days(day))).collect();
    let kept = |text: &str| {
        let plan = plan(&policy(text), &artifacts, at(NOW));
        plan.decisions.iter().map(|decision| u8::from(decision.keep)).collect::<Vec<u8>>()
    };
    assert_eq!(kept("max_bytes=350B"), [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(kept("daily=5,max_bytes=1000B"), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(kept("daily=5,max_bytes=1B"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let plan = plan(&policy("daily=5,max_bytes=300B"), &artifacts, at(NOW));
    has_reason(&plan, &artifacts[5], "max_bytes 300B: the oldest go first");
    has_reason(&plan, &artifacts[5], "it would have been kept by daily 5 of 5 (2026-11-06)");
}

#[test]
fn under_a_limit_suspects_go_first_and_the_newest_of_all_pushes_nothing_out() {
    let day = |day: i64| at("2026-11-01T00:00:00Z") + days(day);
    let good = [full(day(0)), full(day(1))];
    let suspects = [full(day(2)).suspect().of_bytes(5000), full(day(3)).suspect().of_bytes(5000)];
    let artifacts = [good.as_slice(), suspects.as_slice()].concat();
    let plan = plan(&policy("max_bytes=200B"), &artifacts, at(NOW));
    let kept: Vec<bool> = plan.decisions.iter().map(|decision| decision.keep).collect();
    assert_eq!(kept, [true, true, false, true], "{plan:?}");
}

#[test]
fn a_limit_takes_whole_chains_from_their_ends() {
    let day = |day: i64| at("2026-11-01T00:00:00Z") + days(day);
    let base = artifact(Content::Base, day(0), 1);
    let link = artifact(Content::Incremental, day(1), 1).requiring(&base);
    let end = artifact(Content::Incremental, day(2), 1).requiring(&link);
    let newer_base = artifact(Content::Base, day(3), 1);
    let newest = artifact(Content::Incremental, day(4), 1).requiring(&newer_base);
    let artifacts = [base, link, end, newer_base, newest];
    let kept = |limit: &str| {
        let plan = plan(&policy(limit), &artifacts, at(NOW));
        plan.decisions.iter().map(|decision| u8::from(decision.keep)).collect::<Vec<u8>>()
    };
    assert_eq!(kept("max_bytes=400B"), [1, 1, 0, 1, 1]);
    assert_eq!(kept("max_bytes=300B"), [1, 0, 0, 1, 1]);
    assert_eq!(kept("max_bytes=1B"), [0, 0, 0, 1, 1]);
}

#[test]
fn nothing_goes_while_the_newest_good_backup_is_older_than_the_objective() {
    let artifacts = [
        full(at("2026-11-01T00:00:00Z")),
        full(at("2026-11-18T00:00:00Z")),
        full(at("2026-11-19T00:00:00Z")).suspect(),
        full(at("2026-11-20T00:00:00Z")).only_table("orders"),
        full(at("2030-01-01T00:00:00Z")),
    ];
    let plan = plan(&policy("last=1"), &artifacts, at(NOW));
    assert!(!keeps(&plan, &artifacts[0]));
    let held =
        |hours| plan.clone().held_while_stale(&artifacts, &[], at(NOW), SignedDuration::from_hours(hours));
    assert_eq!(held(24).removals().count(), 0);
    has_reason(
        &held(24),
        &artifacts[0],
        "nothing goes while the newest good backup is 2d old, 1d is allowed",
    );
    assert_eq!(held(72), plan);
}

/// A policy of somebody who did not read the contract.
#[derive(Debug)]
struct Reckless(Vec<usize>);

impl RetentionPolicy for Reckless {
    fn plan(&self, artifacts: &[Manifest], _proofs: &[Proof], _now: Timestamp) -> Plan {
        let decide = |at: &usize| Decision {
            id: artifacts[*at].id.clone(),
            keep: artifacts[*at].content == Content::Incremental,
            reasons: vec![],
        };
        Plan { decisions: self.0.iter().map(decide).collect() }
    }
}

#[test]
fn no_policy_removes_what_must_stay() {
    let day = |day: i64| at("2026-11-01T00:00:00Z") + days(day);
    let base = artifact(Content::Base, day(0), 1);
    let artifacts = [
        full(day(0)),
        full(day(1)),
        full(day(2)),
        full(day(3)),
        artifact(Content::Schema, day(4), 1),
        base.clone(),
        artifact(Content::Incremental, day(5), 1).requiring(&base),
        artifact(Content::Base, day(6), 1),
        full(at("2030-01-01T00:00:00Z")),
        full(day(7)).only_table("orders"),
    ];
    let proofs = [proof(&artifacts[1], "restore", at(NOW), true)];
    let undecided = 0;
    let reckless = Reckless((1..artifacts.len()).filter(|n| *n != undecided).collect());
    let plan = reckless.plan(&artifacts, &proofs, at(NOW)).secured(&artifacts, &proofs, at(NOW));
    let removed: Vec<_> = plan.removals().map(|decision| decision.id.clone()).collect();
    assert_eq!(removed, [artifacts[2].id.clone()], "{plan:?}");
    has_reason(&plan, &artifacts[undecided], "the policy did not decide it");
}
