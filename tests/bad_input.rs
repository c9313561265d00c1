//! Whatever is wrong with what the command is given, it says so, exits with the right code, and loses nothing.

mod support;

use std::{fs, io::Write, path::Path, process};

use serde_json::Value;
use support::{Disk, Shell, Shop, are_the_same, customers};

/// How a command refuses: its exit code, and what its error must say. An empty hint asks for none.
#[derive(Clone, Copy, Debug)]
struct Refusal<'a> {
    code: i32,
    kind: &'a str,
    names: &'a str,
    hint: &'a str,
}

/// Checks the refusal as people read it and as programs do.
#[track_caller]
fn refuses(shop: &Shop, arguments: &[&str], refusal: Refusal<'_>) {
    let told = shop.backup(arguments).exits(refusal.code);
    assert_eq!(told.stdout, "", "{told:#?}");
    assert!(told.stderr.contains("error: ") && told.stderr.contains(refusal.names), "{refusal:?}: {told:#?}");
    let hint = told.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default();
    assert!(hint.contains(refusal.hint), "{refusal:?}: {told:#?}");
    refuses_in_json(shop, arguments, refusal);
}

#[track_caller]
fn refuses_in_json(shop: &Shop, arguments: &[&str], refusal: Refusal<'_>) {
    let told = shop.backup(&[arguments, &["--json"]].concat()).exits(refusal.code);
    let document = told.json();
    let error = document["error"].as_object().unwrap_or_else(|| panic!("{told:#?}"));
    let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["causes", "hint", "kind", "message"]);
    assert_eq!(error["kind"], refusal.kind, "{told:#?}");
    assert!(error["causes"].is_array(), "{told:#?}");
    let text = format!("{} {}", error["message"], error["causes"]);
    assert!(text.contains(refusal.names), "{refusal:?}: {told:#?}");
    assert!(
        refusal.hint.is_empty() || error["hint"].as_str().is_some_and(|hint| hint.contains(refusal.hint)),
        "{told:#?}"
    );
}

/// Checks a refusal of a shop with a backup, which stays as it was.
#[track_caller]
fn refuses_and_loses_nothing(shop: &Shop, arguments: &[&str], refusal: Refusal<'_>) {
    let before = shop.valuables();
    assert!(!before.ids.is_empty(), "there is something to lose");
    refuses(shop, arguments, refusal);
    shop.has_gained_nothing(&before);
    shop.has_lost_nothing(&before);
}

fn shop_with_a_backup() -> (Shop, String) {
    let shop = Shop::open();
    let id = shop.back_up();
    (shop, id)
}

#[test]
fn a_source_that_is_not_there() {
    let (shop, _) = shop_with_a_backup();
    let refusal = Refusal { code: 4, kind: "not-found", names: "missing.db", hint: "Check the path" };
    refuses_and_loses_nothing(&shop, &["run", "missing.db", "--name", "shop"], refusal);
}

#[test]
fn a_source_that_is_no_database() {
    let (shop, _) = shop_with_a_backup();
    fs::write(shop.path("letter.txt"), "Dear customer, ".repeat(400)).unwrap();
    let refusal = Refusal { code: 1, kind: "failed", names: "letter.txt", hint: "Check the path" };
    refuses_and_loses_nothing(&shop, &["run", "letter.txt", "--name", "shop"], refusal);
}

#[test]
fn a_source_that_is_a_folder() {
    let (shop, _) = shop_with_a_backup();
    fs::create_dir(shop.path("databases")).unwrap();
    let refusal = Refusal { code: 2, kind: "invalid", names: "databases", hint: "file inside it" };
    refuses_and_loses_nothing(&shop, &["run", "databases", "--name", "shop"], refusal);
}

#[test]
fn a_source_without_a_byte() {
    let (shop, _) = shop_with_a_backup();
    fs::write(shop.path("empty.db"), "").unwrap();
    let refusal = Refusal { code: 1, kind: "failed", names: "empty.db", hint: "restore it" };
    refuses_and_loses_nothing(&shop, &["run", "empty.db", "--name", "shop"], refusal);
    assert_eq!(fs::read(shop.path("empty.db")).unwrap(), b"", "it is left as it was");
}

#[test]
fn a_source_with_a_damaged_page_is_kept_as_suspect_and_is_not_the_latest() {
    let (shop, good) = shop_with_a_backup();
    let sound = customers(&shop.database());
    damage_last_page(&shop.database());
    let before = shop.valuables();

    let told = shop.backup(&["run", "shop.db"]).exits(3).says("SUSPECT");
    let suspect = told.stdout.trim().to_owned();
    let document = shop.backup(&["run", "shop.db", "--json"]).exits(3).json();
    assert_eq!(document["good"], false);
    assert_ne!(document["manifest"]["suspect"], Value::Array(Vec::new()));

    shop.has_lost_nothing(&before);
    shop.has_no_litter();
    assert!(shop.listed().contains(&suspect), "a damaged database is worth keeping");
    shop.backup(&["list"]).exits(0).says("SUSPECT");
    let latest = shop.backup(&["show", "latest", "--json"]).exits(0).json();
    assert_eq!(latest["manifest"]["id"], good.as_str());
    shop.backup(&["restore", "latest", "--to", "copy.db"]).exits(0);
    are_the_same(&customers(&shop.path("copy.db")), &sound, "latest");
}

fn damage_last_page(database: &Path) {
    let mut bytes = fs::read(database).unwrap();
    let page = bytes.len() - 4096;
    bytes[page..page + 100].fill(0xff);
    fs::write(database, bytes).unwrap();
}

#[test]
fn a_store_without_room_is_found_before_anything_is_read() {
    let shop = Shop::open();
    let _disk = Disk::mount(&shop.store(), "1m");
    shop.back_up();
    shop.execute("CREATE TABLE photos(photo); INSERT INTO photos VALUES(randomblob(3000000))");
    let store = shop.store().display().to_string();
    let refusal = Refusal { code: 1, kind: "no-space", names: &store, hint: "choose another store" };
    refuses_and_loses_nothing(&shop, &["run", "shop.db"], refusal);
}

/// The last backup was small for its size, so this one is expected to be: what the disk says comes as a surprise.
#[test]
fn a_store_that_fills_up_half_way() {
    let shop = Shop::open();
    let _disk = Disk::mount(&shop.store(), "12m");
    shop.execute("CREATE TABLE photos(photo); INSERT INTO photos VALUES(zeroblob(8000000))");
    shop.back_up_with(&["--verify", "none"]);
    shop.execute("UPDATE photos SET photo = randomblob(20000000)");
    let store = shop.store().display().to_string();
    let refusal = Refusal { code: 1, kind: "no-space", names: &store, hint: "Free some room" };
    refuses_and_loses_nothing(&shop, &["run", "shop.db", "--verify", "none"], refusal);
}

#[test]
fn a_store_that_cannot_be_written() {
    let shop = Shop::open();
    let disk = Disk::mount(&shop.store(), "4m");
    shop.back_up();
    disk.make_read_only();
    let store = shop.store().display().to_string();
    let refusal = Refusal { code: 1, kind: "denied", names: &store, hint: "read-only" };
    refuses_and_loses_nothing(&shop, &["run", "shop.db"], refusal);
    refuses_and_loses_nothing(&shop, &["run", "shop.db", "--name", "new"], refusal);
}

#[test]
fn a_store_that_is_a_file() {
    let shop = Shop::open();
    fs::write(shop.store(), "not a folder").unwrap();
    let store = shop.store().display().to_string();
    let refusal = Refusal { code: 2, kind: "invalid", names: &store, hint: "Give a folder" };
    for arguments in [&["run", "shop.db"][..], &["list"], &["verify"], &["restore", "latest"]] {
        refuses(&shop, arguments, refusal);
    }
    assert_eq!(fs::read(shop.store()).unwrap(), b"not a folder");
}

#[test]
fn a_restore_onto_a_database_that_stands() {
    let (shop, _) = shop_with_a_backup();
    shop.welcome(5);
    let refusal = Refusal { code: 1, kind: "already-exists", names: "shop.db", hint: "--replace" };
    refuses_and_loses_nothing(&shop, &["restore", "latest"], refusal);
    let refusal = Refusal { code: 2, kind: "invalid", names: "shop.db", hint: "--yes" };
    refuses_and_loses_nothing(&shop, &["restore", "latest", "--replace"], refusal);
}

#[test]
fn a_restore_into_a_folder_that_is_not_there() {
    let (shop, _) = shop_with_a_backup();
    let refusal = Refusal { code: 4, kind: "not-found", names: "nowhere", hint: "Create it" };
    refuses_and_loses_nothing(&shop, &["restore", "latest", "--to", "nowhere/copy.db"], refusal);
    assert!(!shop.path("nowhere").exists());
}

#[test]
fn an_id_nothing_has() {
    let (shop, _) = shop_with_a_backup();
    for id in ["shop-full-20200101T000000Z", "shop-full-1999", "attic-full-20200101T000000Z"] {
        let refusal = Refusal { code: 4, kind: "not-found", names: id, hint: "backup list" };
        for command in ["show", "verify", "cat", "drill"] {
            refuses(&shop, &[command, id], refusal);
        }
        refuses_and_loses_nothing(&shop, &["restore", id, "--to", "copy.db"], refusal);
        assert!(!shop.path("copy.db").exists());
    }
}

#[test]
fn the_beginning_of_several_ids() {
    let (shop, first) = shop_with_a_backup();
    let second = shop.back_up();
    for named in [&first, &second] {
        let refusal = Refusal { code: 2, kind: "invalid", names: "shop-full-", hint: named };
        refuses_and_loses_nothing(&shop, &["restore", "shop-full-", "--replace", "--yes"], refusal);
    }
}

#[test]
fn flags_and_commands_nobody_knows() {
    let (shop, _) = shop_with_a_backup();
    for (arguments, names) in [
        (&["run", "shop.db", "--frobnicate"][..], "--frobnicate"),
        (&["frobnicate"], "frobnicate"),
        (&["run", "shop.db", "--content", "everything"], "everything"),
        (&["verify", "latest", "--level", "deepest"], "deepest"),
        (&["run", "shop.db", "--compression", "rar"], "rar"),
    ] {
        let refusal = Refusal { code: 2, kind: "invalid", names, hint: "" };
        refuses_and_loses_nothing(&shop, arguments, refusal);
    }
}

#[test]
fn a_manifest_of_a_later_format_asks_for_an_upgrade_and_hides_no_other() {
    let (shop, id) = shop_with_a_backup();
    let later = "shop-full-20991231T000000Z";
    fs::write(shop.manifest(later), format!("{{\"format\": 2, \"id\": \"{later}\"}}")).unwrap();
    shop.backup(&["list"]).exits(0).says(&id).says(later);
    assert_eq!(shop.listed(), [id.as_str()]);
    let refusal = Refusal { code: 2, kind: "unsupported", names: later, hint: "upgrade" };
    for arguments in [&["show", later][..], &["restore", later, "--to", "copy.db"]] {
        refuses_and_loses_nothing(&shop, arguments, refusal);
    }
    shop.back_up();
    assert!(shop.manifest(later).is_file(), "a newer version's backup is not ours to remove");
}

#[test]
fn a_table_the_backup_has_not() {
    let (shop, _) = shop_with_a_backup();
    let refusal = Refusal { code: 4, kind: "not-found", names: "custmers", hint: "customers" };
    refuses_and_loses_nothing(&shop, &["extract", "latest", "--table", "custmers"], refusal);
    refuses_and_loses_nothing(
        &shop,
        &["extract", "latest", "--table", "custmers", "--output", "table.sql"],
        refusal,
    );
    assert!(!shop.path("table.sql").exists(), "half a table looks like a whole one");
}

#[test]
fn a_target_somebody_uses() {
    for mode in ["DELETE", "WAL"] {
        let (shop, _) = shop_with_a_backup();
        let mut clerk = Shell::open(&shop.database());
        clerk.run(&format!(
            "PRAGMA journal_mode={mode}; BEGIN IMMEDIATE; DELETE FROM customers WHERE id = 1;"
        ));
        let who = clerk.pid().to_string();
        let refusal = Refusal { code: 5, kind: "busy", names: &who, hint: "Stop the application" };
        refuses_and_loses_nothing(&shop, &["restore", "latest", "--replace", "--yes"], refusal);

        clerk.run("COMMIT;");
        refuses_and_loses_nothing(&shop, &["restore", "latest", "--replace", "--yes"], refusal);
        clerk.kill();
        assert_eq!(customers(&shop.database()).len(), 599, "in mode {mode} the clerk's work is kept");
    }
}

#[test]
fn a_second_run_while_one_holds_the_vault() {
    let (shop, _) = shop_with_a_backup();
    let store = backup::open_store(&shop.store().display().to_string()).unwrap();
    let lease = store.lease("shop").unwrap();
    let holder = format!("process {}", process::id());
    let refusal = Refusal { code: 5, kind: "busy", names: &holder, hint: "Wait for it to end" };
    refuses_and_loses_nothing(&shop, &["run", "shop.db"], refusal);
    drop(lease);
    shop.back_up();
}

#[test]
fn another_database_under_a_name_that_is_taken() {
    let (shop, _) = shop_with_a_backup();
    fs::create_dir(shop.path("attic")).unwrap();
    fs::copy(shop.database(), shop.path("attic/shop.db")).unwrap();
    let refusal = Refusal { code: 1, kind: "already-exists", names: "attic/shop.db", hint: "--name" };
    refuses_and_loses_nothing(&shop, &["run", "attic/shop.db"], refusal);
}

#[test]
fn an_output_that_exists_is_not_overwritten() {
    let (shop, _) = shop_with_a_backup();
    fs::File::create(shop.path("table.sql")).unwrap().write_all(b"mine").unwrap();
    let refusal = Refusal { code: 1, kind: "already-exists", names: "table.sql", hint: "" };
    refuses_and_loses_nothing(
        &shop,
        &["extract", "latest", "--table", "customers", "--output", "table.sql"],
        refusal,
    );
    assert_eq!(fs::read(shop.path("table.sql")).unwrap(), b"mine");
}
