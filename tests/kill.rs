//! A power cut at any step of a run or a restore leaves whole backups and a whole database.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use backup::crash;
use support::{SIGKILL, Shop, are_the_same, customers, customers_by_stock_shell, names_in};

/// From here on a new backup exists.
const COMMIT_POINT: &str = "run.committed";

/// From here on the restored database stands in the target's place.
const SWAP_POINT: &str = "swap.renamed";

fn is_past(point: &str, mark: &str, order: &[&str]) -> bool {
    let place = |wanted: &str| order.iter().position(|name| *name == wanted).unwrap();
    place(point) >= place(mark)
}

#[test]
fn a_killed_run_leaves_a_whole_backup_or_none() {
    for point in crash::RUN {
        let shop = Shop::open();
        let older = shop.back_up();
        shop.welcome_in_log_only(50);
        let before = shop.valuables();

        shop.backup_killed_at(point, &["run", "shop.db"]).dies_of(SIGKILL);
        shop.has_lost_nothing(&before);
        let listed = shop.listed();
        assert_eq!(
            listed.len() == 2,
            is_past(point, COMMIT_POINT, crash::RUN),
            "killed at {point}: {listed:?}"
        );
        assert_eq!(listed[0], older);
        listed.iter().for_each(|id| {
            shop.backup(&["verify", id]).exits(0);
        });

        let next = shop.back_up();
        shop.has_no_litter();
        shop.has_lost_nothing(&before);
        shop.backup(&["verify", "--all"]).exits(0).says(&next);
        let latest = shop.backup(&["show", "latest", "--json"]).exits(0).json();
        assert_eq!(latest["manifest"]["id"], next.as_str(), "killed at {point}");
        shop.backup(&["restore", &next, "--to", "copy.db"]).exits(0);
        are_the_same(
            &customers(&shop.path("copy.db")),
            &customers(&shop.database()),
            &format!("killed at {point}"),
        );
    }
}

/// A target as an application left it, beyond what the backup holds.
type Leave = fn(&Shop);

fn killed_restores_leave_one_of_two_databases(leave: Leave) {
    for point in crash::RESTORE {
        let shop = Shop::open();
        let restored = customers(&shop.database());
        shop.back_up();
        leave(&shop);
        let old = customers_of_copy(&shop);
        assert_ne!(old, restored, "the two are to be told apart");

        let restore = ["restore", "latest", "--replace", "--yes"];
        shop.backup_killed_at(point, &restore).dies_of(SIGKILL);
        let is_swapped = is_past(point, SWAP_POINT, crash::RESTORE);
        let standing = if is_swapped { &restored } else { &old };
        // The copy is looked at first: opening a database can change what a crash left.
        are_the_same(&customers_of_copy(&shop), standing, &format!("killed at {point}, by the stock shell"));
        are_the_same(&customers(&shop.database()), standing, &format!("killed at {point}"));
        if is_swapped {
            assert!(
                kept(&shop).iter().any(|kept| customers(kept) == old),
                "the old database is kept, killed at {point}"
            );
        }
        can_be_restored_and_undone(&shop, &restored, standing, point);
    }
}

/// Checks that the next restore is as if the killed one had never been.
#[track_caller]
fn can_be_restored_and_undone(shop: &Shop, restored: &[String], standing: &[String], point: &str) {
    age_what_the_dead_restore_left(shop);
    let report = shop.backup(&["restore", "latest", "--replace", "--yes", "--json"]).exits(0).json();
    are_the_same(&customers(&shop.database()), restored, &format!("restored after a kill at {point}"));
    assert_eq!(half_restored(shop), Vec::<PathBuf>::new(), "left behind by the restore killed at {point}");
    let undo = report["undo"].as_str().unwrap();
    let undone = Command::new("sh").arg("-ec").arg(undo).current_dir("/").status().unwrap();
    assert!(undone.success(), "{undo}");
    let what = format!("undone after a kill at {point}: {undo}");
    are_the_same(&customers_by_stock_shell(&shop.database()), standing, &what);
    are_the_same(&customers(&shop.database()), standing, &what);
}

/// A young file could be a living restore's; an old one is a dead one's.
fn age_what_the_dead_restore_left(shop: &Shop) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for path in half_restored(shop) {
        fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }
}

fn half_restored(shop: &Shop) -> Vec<PathBuf> {
    let names = names_in(shop.database().parent().unwrap()).into_iter();
    names.filter(|name| name.contains(".restoring-")).map(|name| shop.path(&name)).collect()
}

/// The customers as the stock shell reads them from a copy of the database's files.
fn customers_of_copy(shop: &Shop) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for part in ["shop.db", "shop.db-wal", "shop.db-journal"] {
        if shop.path(part).exists() {
            fs::copy(shop.path(part), copy.path().join(part)).unwrap();
        }
    }
    customers_by_stock_shell(&copy.path().join("shop.db"))
}

/// What restores kept of the databases that stood there.
fn kept(shop: &Shop) -> Vec<PathBuf> {
    let is_kept = |name: &String| name.starts_with("shop.db.before-") && !is_part(Path::new(name));
    let names = names_in(shop.database().parent().unwrap());
    names.into_iter().filter(is_kept).map(|name| shop.path(&name)).collect()
}

fn is_part(path: &Path) -> bool {
    let name = path.to_string_lossy();
    ["-wal", "-shm", "-journal"].iter().any(|suffix| name.ends_with(suffix))
}

#[test]
fn a_killed_restore_over_commits_in_a_log_leaves_one_of_two_databases() {
    killed_restores_leave_one_of_two_databases(|shop| shop.welcome_in_log_only(50));
}

#[test]
fn a_killed_restore_over_a_rollback_database_leaves_one_of_two_databases() {
    killed_restores_leave_one_of_two_databases(|shop| shop.welcome(50));
}

#[test]
fn a_killed_restore_over_a_hot_journal_leaves_one_of_two_databases() {
    killed_restores_leave_one_of_two_databases(|shop| {
        shop.welcome(50);
        shop.die_in_transaction();
    });
}

/// Where nothing stands there is nothing to lock and to keep; the log of a database that stood there once may be left.
#[test]
fn a_killed_restore_to_a_new_name_leaves_nothing_or_the_whole_database() {
    for point in crash::RESTORE.iter().filter(|point| !["swap.locked", "swap.old-kept"].contains(point)) {
        let shop = Shop::open();
        shop.back_up();
        shop.welcome_in_log_only(50);
        fs::copy(shop.path("shop.db-wal"), shop.path("new.db-wal")).unwrap();
        let restored = 600;

        shop.backup_killed_at(point, &["restore", "latest", "--to", "new.db"]).dies_of(SIGKILL);
        let is_there = is_past(point, SWAP_POINT, crash::RESTORE);
        assert_eq!(shop.path("new.db").exists(), is_there, "killed at {point}");
        if !is_there {
            shop.backup(&["restore", "latest", "--to", "new.db"]).exits(0);
        }
        assert_eq!(customers(&shop.path("new.db")).len(), restored, "killed at {point}");
    }
}

/// A rolling backup is replaced in two steps, so a kill may leave them out of step: that is said, and the next run heals it.
#[test]
fn a_killed_run_of_definitions_leaves_a_whole_backup_or_a_known_bad_one() {
    let is_passed = |point: &&&str| !["run.captured", "run.latest-pointed"].contains(point);
    for point in crash::RUN.iter().filter(is_passed) {
        let shop = Shop::open();
        let run = ["run", "shop.db", "--content", "schema"];
        shop.backup(&run).exits(0);
        shop.execute("CREATE TABLE orders(customer, article)");

        shop.backup_killed_at(point, &run).dies_of(SIGKILL);
        let verified = shop.backup(&["verify", "latest:schema"]);
        let restored = shop.backup(&["restore", "latest:schema", "--to", "copy.db"]);
        assert!([Some(0), Some(3)].contains(&verified.code), "killed at {point}: {verified:#?}");
        assert_eq!(restored.code, verified.code, "killed at {point}: {restored:#?}");

        shop.backup(&run).exits(0);
        shop.has_no_litter();
        shop.backup(&["verify", "latest:schema"]).exits(0);
    }
}

/// The restored database is used, in either mode, and its application dies: the undo line still brings back the old.
#[test]
fn an_undo_after_the_restored_database_was_used_brings_back_the_old_one() {
    let deaths: [Leave; 2] = [|shop| shop.welcome_in_log_only(70), Shop::die_in_transaction];
    for die in deaths {
        let shop = Shop::open();
        shop.back_up();
        shop.welcome(50);
        let old = customers(&shop.database());
        let report = shop.backup(&["restore", "latest", "--replace", "--yes", "--json"]).exits(0).json();
        die(&shop);
        let undo = report["undo"].as_str().unwrap();
        assert!(Command::new("sh").arg("-ec").arg(undo).status().unwrap().success(), "{undo}");
        are_the_same(&customers_of_copy(&shop), &old, undo);
        are_the_same(&customers(&shop.database()), &old, undo);
    }
}
