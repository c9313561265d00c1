//! Backups that were taken for a reason.

use jiff::SignedDuration;

use super::kit::*;

#[test]
fn a_backup_before_a_migration_does_not_take_the_place_of_the_nightly_one() {
    let nightly = full(at("2026-03-10T02:00:00Z"));
    let migration = full(at("2026-03-10T14:00:00Z")).tagged("pre-migration");
    let newer = full(at("2026-06-30T02:00:00Z"));
    let artifacts = [nightly.clone(), migration.clone(), newer];
    let plan = plan(&policy("daily=30,tag:pre-migration=90d"), &artifacts, at("2026-06-30T03:00:00Z"));
    assert!(keeps(&plan, &nightly), "{plan:?}");
    assert!(!keeps(&plan, &migration), "its 90 days are over: {plan:?}");
    has_reason(&plan, &migration, "tag pre-migration: older than 90d");
    has_reason(&plan, &migration, nightly.id.as_str());
}

#[test]
fn it_takes_the_place_of_a_night_without_a_backup() {
    let migration = full(at("2026-03-10T14:00:00Z")).tagged("pre-migration");
    let newer = full(at("2026-06-30T02:00:00Z"));
    let artifacts = [migration.clone(), newer];
    let plan = plan(&policy("daily=30,tag:pre-migration=90d"), &artifacts, at("2026-06-30T03:00:00Z"));
    has_reason(&plan, &migration, "daily 2 of 30 (2026-03-10)");
}

#[test]
fn the_last_three_are_the_last_three_regular_ones() {
    let night = |day: i64| full(at("2026-06-01T02:00:00Z") + days(day));
    let nights: Vec<_> = (0..5).map(night).collect();
    let hot = full(at("2026-06-05T12:00:00Z")).tagged("hot");
    let mut artifacts = nights.clone();
    artifacts.push(hot.clone());
    let plan = plan(&policy("last=3,tag:hot=1h"), &artifacts, at("2026-06-05T18:00:00Z"));
    let kept: Vec<bool> = nights.iter().map(|night| keeps(&plan, night)).collect();
    assert_eq!(kept, [false, false, true, true, true], "{plan:?}");
    has_reason(&plan, &hot, "newest good");
}

#[test]
fn a_tag_keeps_for_its_time_and_not_longer() {
    let hot = full(at("2026-06-01T12:00:00Z")).tagged("hot");
    let nightly = full(at("2026-06-01T02:00:00Z"));
    let newest = full(at("2026-06-08T02:00:00Z"));
    let artifacts = [nightly, hot.clone(), newest];
    let keep = policy("daily=30,tag:hot=7d");
    let last_moment = at("2026-06-08T12:00:00Z");
    has_reason(&plan(&keep, &artifacts, last_moment), &hot, "tag hot: 7d");
    assert!(!keeps(&plan(&keep, &artifacts, last_moment + SignedDuration::from_secs(1)), &hot));
}

#[test]
fn forever_is_forever_even_for_a_suspect_and_under_a_limit() {
    let before = full(at("2020-01-01T00:00:00Z")).tagged("pre-rollout").suspect();
    let artifacts = [before.clone(), full(at("2026-06-01T00:00:00Z"))];
    let plan =
        plan(&policy("last=1,max_bytes=1B,tag:pre-rollout=forever"), &artifacts, at("2026-06-01T01:00:00Z"));
    has_reason(&plan, &before, "tag pre-rollout: forever");
}

#[test]
fn rules_for_tags_alone_say_nothing_of_other_backups() {
    let (hot, plain) = (full(at("2020-01-01T00:00:00Z")).tagged("hot"), full(at("2020-01-02T00:00:00Z")));
    let artifacts = [hot.clone(), plain.clone(), full(at("2026-01-01T00:00:00Z"))];
    let plan = plan(&policy("tag:hot=7d"), &artifacts, at("2026-01-01T01:00:00Z"));
    assert!(!keeps(&plan, &hot));
    has_reason(&plan, &plain, "no rule speaks of it");
}

#[test]
fn a_tag_without_a_rule_is_a_word_like_any_other() {
    let (nightly, manual) =
        (full(at("2026-06-01T02:00:00Z")), full(at("2026-06-01T12:00:00Z")).tagged("manual"));
    let artifacts = [nightly.clone(), manual.clone()];
    let plan = plan(&policy("daily=30,tag:hot=7d"), &artifacts, at("2026-06-01T13:00:00Z"));
    assert!(keeps(&plan, &manual) && !keeps(&plan, &nightly));
}
