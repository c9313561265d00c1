//! What comes back is what was backed up, proven before anything that stands there is touched.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::process::Command;

use postgres::{
    MAJORS, Server, Writer, consistent_orders, create_keys, create_latin1, create_shape_of_everything,
    create_tables, create_values, schema_dump,
};
use postgres_shop::{PgShop, stated};
use rustix::process::Signal;
use support::SIGKILL;

fn is_full() -> bool {
    std::env::var_os("BACKUP_FULL").is_some()
}

/// The bank is inserted into, updated, deleted from and truncated all the while.
fn a_busy_bank_comes_back_as_of_an_instant(major: u32) {
    let shop = PgShop::open(major);
    let writer = Writer::start(&shop.server, "shop");
    for round in 0..if is_full() { 20 } else { 3 } {
        let before = consistent_orders(&shop.server, "shop");
        let id = shop.back_up_with(&["--cross-check"]);
        let after = consistent_orders(&shop.server, "shop");
        let copy = format!("copy{round}");
        shop.restore(&id, &copy);
        let orders = consistent_orders(&shop.server, &copy);
        assert!((before..=after).contains(&orders), "{before} orders, {orders} in the backup, {after}");
        assert_eq!(shop.counts(&copy), stated(&shop.manifest(&id)));
    }
    assert!(writer.stop() > 0, "nobody worked there");
    shop.backup(&["verify", "--all"]).exits(0);
}

#[test]
fn a_busy_bank_comes_back_as_of_an_instant_on_15() {
    a_busy_bank_comes_back_as_of_an_instant(15);
}

#[test]
fn a_busy_bank_comes_back_as_of_an_instant_on_16() {
    a_busy_bank_comes_back_as_of_an_instant(16);
}

#[test]
fn a_busy_bank_comes_back_as_of_an_instant_on_18() {
    a_busy_bank_comes_back_as_of_an_instant(18);
}

/// A database of some shape, dumped and restored, has the same definitions and rows, and dumps as before.
fn comes_back_the_same(major: u32, create: fn(&Server, &str), options: &[&str]) {
    let shop = PgShop::on(Server::start(major));
    create(&shop.server, "shop");
    let id = shop.back_up_with(options);
    shop.restore(&id, "copy");
    assert_eq!(schema_dump(&shop.server, "copy"), schema_dump(&shop.server, "shop"));
    assert_eq!(without_moods(shop.digests("copy")), without_moods(shop.digests("shop")));
    shop.has_only_databases(&["shop", "copy"]);
    shop.backup(&["run", &shop.server.uri("copy"), "--name", "copy"]).exits(0);
    assert_eq!(shop.manifest("copy/latest")["rows"], shop.manifest(&id)["rows"]);
}

/// Rows of partitions by the hash of an enum are in another partition after a restore.
fn without_moods(mut digests: serde_json::Value) -> serde_json::Value {
    digests.as_object_mut().unwrap().retain(|name, _| !name.starts_with("shop.moods_"));
    digests
}

#[test]
fn everything_comes_back_the_same_on_15() {
    comes_back_the_same(15, create_shape_of_everything, &[]);
}

#[test]
fn everything_comes_back_the_same_on_16() {
    comes_back_the_same(16, create_shape_of_everything, &[]);
}

#[test]
fn everything_comes_back_the_same_on_18() {
    comes_back_the_same(18, create_shape_of_everything, &[]);
}

#[test]
fn everything_comes_back_the_same_from_a_directory_dump() {
    comes_back_the_same(16, create_shape_of_everything, &["--format", "directory", "--jobs", "2"]);
}

#[test]
fn everything_comes_back_the_same_from_a_plain_dump() {
    comes_back_the_same(18, create_shape_of_everything, &["--format", "plain"]);
}

#[test]
fn everything_comes_back_the_same_from_pg_dumps_own_compression() {
    comes_back_the_same(15, create_shape_of_everything, &["--compression", "pg:gzip:6"]);
}

#[test]
fn a_database_in_latin1_comes_back_the_same() {
    for major in MAJORS {
        comes_back_the_same(major, create_latin1, &[]);
    }
}

#[test]
fn a_database_without_tables_comes_back_the_same() {
    for major in MAJORS {
        comes_back_the_same(major, |server, name| server.create_database(name, ""), &[]);
    }
}

#[test]
fn every_kind_of_value_comes_back_the_same() {
    for major in MAJORS {
        comes_back_the_same(major, create_values, &[]);
    }
}

/// Five thousand with `BACKUP_FULL=1`.
#[test]
fn many_tables_come_back_the_same() {
    let create: fn(&Server, &str) = |server, name| {
        server.create_database(name, "");
        create_tables(server, name, if is_full() { 5000 } else { 300 });
    };
    for major in if is_full() { &MAJORS[..] } else { &[16] } {
        comes_back_the_same(*major, create, &[]);
    }
}

#[test]
fn a_drill_restores_proves_answers_and_leaves_nothing() {
    for major in MAJORS {
        let shop = PgShop::open(major);
        let id = shop.back_up();
        let told = shop.backup(&["drill", &id, "--smoke", "SELECT count(*) FROM orders"]).exits(0);
        assert!(format!("{}{}", told.stdout, told.stderr).contains("400"), "{told:#?}");
        shop.has_only_databases(&["shop"]);
        shop.has_no_sessions();
        shop.backup(&["show", &id]).exits(0).says("restored in");
        shop.backup(&["drill", &id, "--smoke", "SELECT FROM nowhere"]).exits(3).says("nowhere");
        shop.has_only_databases(&["shop"]);
    }
}

/// What stood there is kept beside, and the printed line brings it back.
#[test]
fn a_database_that_stands_is_replaced_only_when_asked_and_can_be_brought_back() {
    for major in MAJORS {
        let shop = PgShop::open(major);
        shop.server
            .psql("postgres", "ALTER DATABASE shop SET work_mem = '7MB'; COMMENT ON DATABASE shop IS 'ours'");
        let id = shop.back_up();
        let then = shop.digests("shop");
        shop.execute("DELETE FROM orders WHERE id < 100; CREATE TABLE later (id integer)");
        let now = shop.digests("shop");

        shop.backup(&["restore", &id]).exits(1).says("shop").says("hint: ").says("--replace");
        shop.backup(&["restore", &id, "--replace"]).exits(2).says("--yes");
        shop.backup(&["restore", &id, "--replace", "--dry-run"]).exits(0).says("shop__before_");
        assert_eq!(shop.digests("shop"), now);
        shop.has_only_databases(&["shop"]);

        let restored = shop.backup(&["restore", &id, "--replace", "--yes", "--json"]).exits(0).json();
        assert_eq!(shop.digests("shop"), then);
        assert_eq!(shop.server.psql("shop", "SHOW work_mem"), "7MB");
        let kept =
            shop.server.databases().into_iter().find(|name| name.starts_with("shop__before_")).unwrap();
        assert_eq!(shop.digests(&kept), now);

        let path = format!("{}:{}", shop.server.bin().display(), std::env::var("PATH").unwrap());
        let undo = restored["undo"].as_str().unwrap();
        let undone =
            Command::new("sh").args(["-ec", undo]).env("PATH", path).current_dir("/").status().unwrap();
        assert!(undone.success(), "{undo}");
        assert_eq!(shop.digests("shop"), now, "{undo}");
        assert_eq!(shop.server.psql("shop", "SHOW work_mem"), "7MB");
    }
}

/// Whoever pastes it may sit in another shell.
#[test]
fn the_line_that_undoes_a_restore_says_what_the_environment_said() {
    let shop = PgShop::open(15);
    let id = shop.back_up();
    shop.execute("DELETE FROM orders");
    let now = shop.digests("shop");
    let mut restore = shop.command(&["restore", &id, "--to", "postgres:", "--replace", "--yes", "--json"]);
    restore.env("PGHOST", shop.server.socket_folder()).env("PGPORT", shop.server.port().to_string());
    let output = restore.env("PGUSER", "postgres").env("PGDATABASE", "shop").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let restored: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(shop.digests("shop"), now);

    let mut undo = shop.bare_command_in("sh");
    let path = format!("{}:{}", shop.server.bin().display(), std::env::var("PATH").unwrap());
    let undone = undo.args(["-ec", restored["undo"].as_str().unwrap()]).env("PATH", path).status().unwrap();
    assert!(undone.success(), "{restored}");
    assert_eq!(shop.digests("shop"), now);
}

/// As at each start of a container: what has tables is left as it is, and nobody needs to be asked.
#[test]
fn a_restore_into_what_is_empty_fills_it_once() {
    let shop = PgShop::open(18);
    let id = shop.back_up();
    let then = shop.digests("shop");
    shop.server.create_database("copy", "");
    let restore = ["restore", &id, "--to", &shop.server.uri("copy"), "--into-empty"];
    shop.backup(&restore).exits(0);
    assert_eq!(shop.digests("copy"), then);
    shop.server.psql("copy", "DELETE FROM orders WHERE id < 100");
    let now = shop.digests("copy");
    shop.backup(&restore).exits(0).says("already");
    assert_eq!(shop.digests("copy"), now);
}

/// From here on the transaction that renames is committed.
const SWAPPED: &str = "restore.swapped";

/// The steps of a restore over a database that stands, in order.
const STEPS: [&str; 8] = [
    "restore.planned",
    "load.created",
    "load.filled",
    "restore.proven",
    "swap.locked",
    "swap.old-kept",
    "swap.renamed",
    SWAPPED,
];

#[test]
fn a_killed_restore_leaves_one_of_two_databases_and_the_next_one_clears_up() {
    let shop = PgShop::open(16);
    let id = shop.back_up();
    let then = shop.digests("shop");
    for point in STEPS {
        shop.execute("CREATE TABLE IF NOT EXISTS later (id integer)");
        let now = shop.digests("shop");
        let restore = ["restore", &id, "--replace", "--yes"];
        let mut command = shop.command(&restore);
        let killed = command.env("BACKUP_CRASH_AT", point).output().unwrap();
        postgres_shop::outcome(killed, &restore).dies_of(SIGKILL);
        let standing = if point == SWAPPED { &then } else { &now };
        shop.has_no_sessions();
        assert_eq!(&shop.digests("shop"), standing, "killed at {point}");

        shop.backup(&restore).exits(0);
        assert_eq!(shop.digests("shop"), then, "after a kill at {point}");
        let names = shop.server.databases();
        assert!(!names.iter().any(|name| name.contains("__restoring_")), "killed at {point}: {names:?}");
        for kept in names.iter().filter(|name| name.contains("__before_")) {
            shop.server.psql("postgres", &format!("DROP DATABASE \"{kept}\""));
        }
    }
}

#[test]
fn a_restore_killed_or_interrupted_while_it_loads_leaves_nothing_that_the_next_one_does_not_clear() {
    for (major, signal) in [(15, Signal::KILL), (18, Signal::INT)] {
        let shop = PgShop::with_notes(major, 20_000);
        let id = shop.back_up();
        let restore = shop.begin(&["restore", &id, "--to", &shop.server.uri("copy")]);
        shop.eventually("the notes are loaded", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'copy\\_\\_restoring\\_%' AND query LIKE 'COPY public.notes%'";
            shop.server.psql("postgres", sql) == "1"
        });
        restore.signal(signal);
        let ended = restore.wait();
        shop.has_no_sessions();
        if signal == Signal::KILL {
            ended.dies_of(SIGKILL);
        } else {
            ended.exits(130);
            shop.has_only_databases(&["shop"]);
        }
        assert!(!shop.server.has_database("copy"));
        shop.restore(&id, "copy");
        shop.has_only_databases(&["shop", "copy"]);
        assert_eq!(shop.digests("copy"), shop.digests("shop"));
    }
}

/// Indexes are built beside each other, and are the constraints' own in the end.
#[test]
fn keys_and_indexes_of_large_tables_come_back_the_same() {
    for major in MAJORS {
        let shop = PgShop::on(Server::start(major));
        create_keys(&shop.server, "shop");
        let id = shop.back_up();
        shop.server.psql("postgres", "ALTER SYSTEM SET log_statement = 'all'");
        shop.server.psql("postgres", "SELECT pg_reload_conf()");
        shop.backup(&["restore", &id, "--to", &shop.server.uri("copy"), "--jobs", "2"]).exits(0);
        assert_eq!(schema_dump(&shop.server, "copy"), schema_dump(&shop.server, "shop"));
        assert_eq!(shop.digests("copy"), shop.digests("shop"));
        let log = shop.server.log();
        for made in ["PRIMARY KEY USING INDEX customers_pkey", "USING btree (lower(email) DESC NULLS LAST)"] {
            assert!(log.contains(made), "{made}");
        }
        let unsound = "SELECT count(*) FROM pg_index WHERE NOT (indisvalid AND indisready)";
        assert_eq!(shop.server.psql("copy", unsound), "0");
    }
}

#[test]
fn the_planner_knows_a_restored_database() {
    let shop = PgShop::on(Server::start(16));
    create_keys(&shop.server, "shop");
    shop.server.psql("shop", "ANALYZE");
    let id = shop.back_up();
    shop.server.psql("postgres", "ALTER SYSTEM SET log_statement = 'all'");
    // Nobody else gathers statistics.
    shop.server.psql("postgres", "ALTER SYSTEM SET autovacuum = off");
    shop.server.psql("postgres", "SELECT pg_reload_conf()");
    let known = "SELECT starelid::regclass::text AS of, count(*) FROM pg_statistic WHERE starelid >= 16384 GROUP BY 1
        UNION ALL SELECT stxname::text, count(*) FROM pg_statistic_ext_data JOIN pg_statistic_ext AS e ON e.oid = stxoid GROUP BY 1
        ORDER BY 1";
    for jobs in ["1", "2"] {
        let (copy, before) = (format!("copy{jobs}"), shop.server.log().len());
        shop.backup(&["restore", &id, "--to", &shop.server.uri(&copy), "--jobs", jobs]).exits(0);
        let found = shop.server.psql(&copy, known);
        assert_eq!(found, shop.server.psql("shop", known));
        for of in ["visits", "shouted", "together", "regions"] {
            assert!(found.lines().any(|line| line.starts_with(&format!("{of}|"))), "{of}: {found}");
        }
        for table in ["customers", "visits"] {
            let log = shop.server.log().split_off(before);
            assert_eq!(log.matches(&format!("ANALYZE public.{table}")).count(), 1, "{table}");
        }
    }
}

#[test]
fn rows_that_are_not_unique_end_a_restore_with_their_index() {
    let shop = PgShop::on(Server::start(16));
    create_keys(&shop.server, "shop");
    // As a broken index lets it happen.
    let break_it = "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'plain_unique'::regclass;
        INSERT INTO customers SELECT 30000 + n, 3, 30000 + n, 'twice@example.org' FROM generate_series(1, 2) AS n;
        UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'plain_unique'::regclass";
    shop.server.psql("shop", break_it);
    let id = shop.back_up();
    let restore = ["restore", &id, "--to", &shop.server.uri("copy"), "--jobs", "2"];
    shop.backup(&restore).exits(1).says("plain_unique").says("twice@example.org");
    shop.has_no_sessions();
    shop.has_only_databases(&["shop"]);
}

#[test]
fn a_restore_interrupted_while_it_builds_an_index_does_not_go_on_building() {
    let shop = PgShop::on(Server::start(18));
    create_keys(&shop.server, "shop");
    let slow = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT CASE WHEN pg_sleep(0.1) IS NULL THEN 1 ELSE $1 END';
        CREATE INDEX lasting ON customers (slow(number)) WHERE id <= 2";
    shop.server.psql("shop", slow);
    shop.server.psql("shop", "UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'lasting'::regclass");
    let id = shop.back_up();
    let restore = shop.begin(&["restore", &id, "--to", &shop.server.uri("copy"), "--jobs", "2"]);
    shop.eventually("the index is built", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'copy\\_\\_restoring\\_%' AND query LIKE '%CREATE INDEX lasting%'";
        shop.server.psql("postgres", sql) == "1"
    });
    restore.signal(Signal::INT);
    restore.wait().exits(130);
    shop.has_no_sessions();
    shop.has_only_databases(&["shop"]);
}

/// A run clears what a restore that was killed has left on its server.
#[test]
fn the_next_run_clears_what_a_killed_restore_left() {
    let shop = PgShop::open(18);
    let id = shop.back_up();
    let restore = ["restore", &id, "--to", &shop.server.uri("copy")];
    let killed = shop.command(&restore).env("BACKUP_CRASH_AT", "load.filled").output().unwrap();
    postgres_shop::outcome(killed, &restore).dies_of(SIGKILL);
    assert!(shop.server.databases().iter().any(|name| name.starts_with("copy__restoring_")));
    shop.back_up();
    shop.has_only_databases(&["shop"]);
}
