//! The command `prune`: what it shows, what it removes, and what a power cut at any step of it leaves.

mod support;

use backup::crash;
use support::{SIGKILL, Shop, names_in};

/// A shop with four backups; one of them is of the time before a rollout.
fn four_backups() -> (Shop, Vec<String>) {
    let shop = Shop::open();
    let mut ids = vec![shop.back_up_with(&["--tag", "pre-rollout"])];
    ids.extend((0..3).map(|_| shop.back_up()));
    (shop, ids)
}

const KEEP: [&str; 3] = ["prune", "--keep", "last=1,tag:pre-rollout=forever"];

#[test]
fn without_a_policy_it_says_how_to_give_one() {
    let (shop, ids) = four_backups();
    let refused = shop.backup(&["prune", "--json"]).exits(2).json();
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("--keep daily=30,weekly=12") && hint.contains("migrations"), "{hint}");
    for bad in ["dayly=3", "daily=0", "", "within=soon"] {
        shop.backup(&["prune", "--keep", bad]).exits(2);
    }
    shop.backup(&["prune", "nobody", "--keep", "last=1"]).exits(4);
    shop.backup(&["prune", "--keep", "last=1", "--rpo", "soon"]).exits(2);
    assert_eq!(shop.listed(), ids);
}

#[test]
fn a_dry_run_shows_each_decision_with_its_reasons_and_removes_nothing() {
    let (shop, ids) = four_backups();
    let before = shop.valuables();
    let table = shop.backup(&[&KEEP[..], &["--dry-run"]].concat()).exits(0).stdout;
    let line =
        |id: &str| table.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap().to_owned();
    assert!(table.starts_with("ID"), "{table}");
    assert!(line(&ids[0]).contains("KEEP") && line(&ids[0]).contains("tag pre-rollout: forever"), "{table}");
    assert!(line(&ids[1]).contains("remove") && line(&ids[1]).contains("last: there are 1 newer"), "{table}");
    assert!(line(&ids[3]).contains("last 1 of 1; newest good; newest proven"), "{table}");

    let shown = shop.backup(&[&KEEP[..], &["--dry-run", "--json"]].concat()).exits(0).json();
    let decisions = shown["decisions"].as_array().unwrap();
    let kept: Vec<bool> = decisions.iter().map(|decision| decision["keep"].as_bool().unwrap()).collect();
    assert_eq!(kept, [true, false, false, true]);
    assert_eq!(
        (decisions[1]["id"].as_str(), shown["dry_run"].as_bool()),
        (Some(ids[1].as_str()), Some(true))
    );
    assert!(decisions[1]["reasons"][0].as_str().unwrap().starts_with("not kept by any rule"));
    shop.has_gained_nothing(&before);
    shop.has_lost_nothing(&before);
}

#[test]
fn it_prints_the_ids_it_removed_and_leaves_nothing_of_them() {
    let (shop, ids) = four_backups();
    let pruned = shop.backup(&KEEP).exits(0);
    let mut removed: Vec<&str> = pruned.stdout.lines().collect();
    removed.sort_unstable();
    assert_eq!(removed, [&ids[1], &ids[2]]);
    assert!(pruned.stderr.contains(": 2 stay, 2 removed"), "{}", pruned.stderr);
    nothing_is_left_of_the_middle_two(&shop, &ids, "a prune");
    assert_eq!(shop.backup(&KEEP).exits(0).stdout, "", "nothing is left to do");
}

#[test]
fn a_killed_prune_leaves_whole_backups_and_the_next_one_finishes() {
    for point in crash::PRUNE {
        let (shop, ids) = four_backups();
        shop.backup_killed_at(point, &KEEP).dies_of(SIGKILL);
        let listed = shop.listed();
        assert!(listed.contains(&ids[0]) && listed.contains(&ids[3]), "killed at {point}: {listed:?}");
        shop.backup(&["verify", "--all"]).exits(0);

        shop.backup(&KEEP).exits(0);
        nothing_is_left_of_the_middle_two(&shop, &ids, point);
    }
}

#[track_caller]
fn nothing_is_left_of_the_middle_two(shop: &Shop, ids: &[String], when: &str) {
    assert_eq!(shop.listed(), [ids[0].clone(), ids[3].clone()], "{when}");
    let names = names_in(&shop.store().join("shop/full")).into_iter();
    // The folder of an artifact's proofs may stay, empty.
    let proofs = names_in(&shop.store().join("shop/proofs")).into_iter();
    let proven = proofs.filter(|id| !names_in(&shop.store().join("shop/proofs").join(id)).is_empty());
    for gone in &ids[1..3] {
        let is_of = |name: &String| {
            name.strip_prefix(gone.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let left: Vec<String> = names.clone().chain(proven.clone()).filter(is_of).collect();
        assert_eq!(left, Vec::<String>::new(), "{when}");
    }
    shop.has_no_litter();
    shop.backup(&["verify", "--all"]).exits(0);
    shop.backup(&["restore", "latest", "--to", "copy.db"]).exits(0);
}
