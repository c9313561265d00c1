//! Programs that know nothing of this one read its artifacts.

mod support;

use std::{fs, io::Write, path::Path, process::Command};

use support::{Shop, are_the_same, customers, customers_by_stock_shell, stock_shell};

/// Larger than two frames of 8 MiB, so that there are several.
const MANY_CUSTOMERS: u32 = 400_000;

fn large_shop() -> Shop {
    let shop = Shop::open();
    shop.welcome(MANY_CUSTOMERS);
    assert!(fs::metadata(shop.database()).unwrap().len() > 20 << 20, "it is to have several frames");
    shop
}

/// What a program writes to stdout, as a file of its own.
#[track_caller]
fn decoded_by(program: &str, arguments: &[&str], payload: &Path, into: &Path) {
    let output = Command::new(program).args(arguments).arg(payload).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::File::create(into).unwrap().write_all(&output.stdout).unwrap();
}

/// Checks that a decoded copy is the shop's database, byte for byte and to the stock shell.
#[track_caller]
fn is_the_database(copy: &Path, shop: &Shop) {
    assert!(fs::read(copy).unwrap() == fs::read(shop.database()).unwrap(), "the copy has other bytes");
    assert_eq!(stock_shell(copy, "PRAGMA integrity_check"), "ok\n");
    are_the_same(&customers_by_stock_shell(copy), &customers(&shop.database()), "decoded");
}

#[test]
fn zstd_and_sqlite3_read_what_was_stored() {
    let shop = large_shop();
    let payload = shop.payload(&shop.back_up());
    decoded_by("zstd", &["-dc"], &payload, &shop.path("copy.db"));
    is_the_database(&shop.path("copy.db"), &shop);
    let tested = Command::new("zstd").args(["-t", "-q"]).arg(&payload).status().unwrap();
    assert!(tested.success());
}

#[test]
fn gzip_and_sqlite3_read_what_was_stored() {
    let shop = large_shop();
    let payload = shop.payload(&shop.back_up_with(&["--compression", "gzip:6"]));
    decoded_by("gzip", &["-dc"], &payload, &shop.path("copy.db"));
    is_the_database(&shop.path("copy.db"), &shop);
}

#[test]
fn sqlite3_reads_a_plain_payload_where_it_lies() {
    let shop = Shop::open();
    let payload = shop.payload(&shop.back_up_with(&["--compression", "none"]));
    decoded_by("cat", &[], &payload, &shop.path("copy.db"));
    is_the_database(&shop.path("copy.db"), &shop);
}

/// The commits of the log are in the artifact, which is a database on its own.
#[test]
fn zstd_and_sqlite3_read_commits_that_were_only_in_the_log() {
    let shop = Shop::open();
    shop.welcome_in_log_only(50);
    let payload = shop.payload(&shop.back_up());
    decoded_by("zstd", &["-dc"], &payload, &shop.path("copy.db"));
    are_the_same(&customers_by_stock_shell(&shop.path("copy.db")), &customers(&shop.database()), "decoded");
}

#[test]
fn an_independent_reader_finds_every_frame_by_the_seek_table() {
    let shop = large_shop();
    let payload = shop.payload(&shop.back_up());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/seek_table.py");
    let judged = Command::new("python3").arg(script).arg(&payload).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let plain = fs::metadata(shop.database()).unwrap().len();
    let frames = plain.div_ceil(8 << 20);
    assert_eq!(String::from_utf8(judged.stdout).unwrap(), format!("{frames} frames, {plain} bytes\n"));
}

#[test]
fn cat_writes_what_the_stock_tools_decode() {
    let shop = Shop::open();
    let id = shop.back_up();
    let cat = shop.command(&["cat", &id]).output().unwrap();
    assert!(cat.status.success());
    assert!(cat.stdout == fs::read(shop.database()).unwrap());
}

#[test]
fn an_extracted_table_runs_in_the_stock_shell() {
    let shop = Shop::open();
    let id = shop.back_up();
    shop.backup(&["extract", &id, "--table", "customers", "--output", "customers.sql"]).exits(0);
    let rebuilt = shop.path("rebuilt.db");
    stock_shell(&rebuilt, "CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, note TEXT)");
    stock_shell(&rebuilt, &format!(".read '{}'", shop.path("customers.sql").display()));
    are_the_same(&customers_by_stock_shell(&rebuilt), &customers(&shop.database()), "rebuilt");
}
