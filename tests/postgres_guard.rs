//! Risky work on PostgreSQL databases under the guard of a proven backup.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    fs,
    process::{Command, Stdio},
};

use backup::{Context, Source, census::Census};
use postgres_shop::PgShop;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use support::Outcome;

const SOME_OF_EVERYTHING: &str = "
CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE SCHEMA \"Odd Schema\"; CREATE TABLE \"Odd Schema\".\"odd table\" (a percent, b mood DEFAULT 'glad');
INSERT INTO \"Odd Schema\".\"odd table\" SELECT n FROM generate_series(1, 30) n;
CREATE TABLE parts (id integer, at date) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
INSERT INTO parts SELECT n, '2024-01-01' FROM generate_series(1, 150) n;
CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * $1';
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM parts;
CREATE TRIGGER stamp BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE customers ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_them ON customers USING (true);
GRANT SELECT ON orders TO PUBLIC";

/// Half of a migration: definitions are other ones, rows are gone, and then it fails.
const HALF_A_MIGRATION: &str = "ALTER TABLE orders ADD shipped date; DELETE FROM orders WHERE id > 150; \
    CREATE TABLE returns (id integer); SELECT no_such_column FROM orders";

impl PgShop {
    /// Guards psql, which stops at the first error.
    fn guard(&self, options: &[&str], sql: &str) -> Outcome {
        let (uri, psql) = (self.uri(), self.server.bin().join("psql"));
        let psql = [psql.to_str().unwrap(), "-qX", "-v", "ON_ERROR_STOP=1", "-d", &uri, "-c", sql];
        let report = ["--report", "report.json"];
        // psql runs several statements of one -c in one transaction; here each is to last.
        let statements: Vec<&str> = sql.split("; ").flat_map(|statement| ["-c", statement]).collect();
        self.backup(&[&["guard", &uri], options, &report, &["--"], &psql[..6], &statements].concat())
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("report.json")).unwrap()).unwrap()
    }

    fn census(&self) -> Census {
        self.uri().parse::<Source>().unwrap().engine().unwrap().census(&Context::default()).unwrap()
    }

    /// The line of the last report, pasted into a shell.
    #[track_caller]
    fn paste(&self, line: &str) {
        let mut shell = self.command(&[]);
        let environment: Vec<_> =
            shell.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        shell = Command::new("sh");
        for (name, value) in environment {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let output = shell.arg("-c").arg(line).current_dir("/").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
}

fn a_failed_migration_is_undone(major: u32) {
    let shop = PgShop::open(major);
    shop.execute(SOME_OF_EVERYTHING);
    let (old, census) = (shop.digests("shop"), shop.census());
    shop.guard(&["--restore-on-failure"], HALF_A_MIGRATION).exits(1).says("restored from").says("undo: ");
    assert_eq!(shop.digests("shop"), old);
    let difference = census.compare(&shop.census());
    assert!(difference.is_empty(), "{difference:?}");
    assert_eq!(shop.report()["outcome"], "restored");
    let kept = shop.report()["restored"]["kept"][0].as_str().unwrap().to_owned();
    assert!(kept.contains("shop__before_"), "{kept}");
    shop.has_no_sessions();

    shop.guard(&[], HALF_A_MIGRATION).exits(1).says("to restore: ");
    assert_ne!(shop.digests("shop"), old, "nothing is restored unasked");
    shop.paste(shop.report()["restore"].as_str().unwrap());
    assert_eq!(shop.digests("shop"), old);
    assert!(census.compare(&shop.census()).is_empty());
}

#[test]
fn a_failed_migration_is_undone_on_postgresql_15() {
    a_failed_migration_is_undone(15);
}

#[test]
fn a_failed_migration_is_undone_on_postgresql_18() {
    a_failed_migration_is_undone(18);
}

#[test]
fn what_a_migration_changed_is_told_by_table() {
    let shop = PgShop::open(16);
    shop.execute(SOME_OF_EVERYTHING);
    let sql = "DELETE FROM parts WHERE id < 10; DROP TABLE \"Odd Schema\".\"odd table\"; CREATE TABLE fresh AS SELECT 1 AS n";
    shop.guard(&[], sql).exits(0).says("table \"Odd Schema\".\"odd table\" is gone, with its 30 rows");
    let report = shop.report();
    let tables = report["difference"]["tables"].as_array().unwrap();
    let told: Vec<(&str, &Value, &Value)> = tables
        .iter()
        .map(|table| (table["name"].as_str().unwrap(), &table["before"], &table["after"]))
        .collect();
    let expected: [(&str, Value, Value); 3] = [
        ("\"Odd Schema\".\"odd table\"", 30.into(), Value::Null),
        ("public.fresh", Value::Null, 1.into()),
        ("public.parts_1", 99.into(), 90.into()),
    ];
    assert_eq!(told, expected.each_ref().map(|(name, before, after)| (*name, before, after)));
    assert_eq!(report["difference"]["schema_changed"], true);
}

#[test]
fn every_kind_of_definition_counts_and_rows_do_not() {
    let shop = PgShop::open(16);
    shop.execute(SOME_OF_EVERYTHING);
    let mut before = shop.census();
    shop.execute("UPDATE orders SET cents = 0; SELECT nextval('orders_id_seq'); ANALYZE; VACUUM orders");
    assert!(before.compare(&shop.census()).is_empty());
    for change in [
        "ALTER TABLE orders ALTER cents SET NOT NULL",
        "ALTER TABLE orders ALTER placed SET DEFAULT now()",
        "ALTER TABLE orders RENAME cents TO pence",
        "ALTER TABLE orders ADD CHECK (pence > -5)",
        "CREATE INDEX ON orders (pence)",
        "ALTER TYPE mood ADD VALUE 'odd'",
        "ALTER DOMAIN percent SET NOT NULL",
        "CREATE OR REPLACE FUNCTION twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 + $1'",
        "CREATE OR REPLACE VIEW sums AS SELECT customer, sum(pence) + 1 AS cents FROM orders GROUP BY customer",
        "ALTER TABLE orders DISABLE TRIGGER stamp",
        "DROP POLICY all_of_them ON customers",
        "REVOKE SELECT ON orders FROM PUBLIC",
        "ALTER SEQUENCE orders_id_seq INCREMENT 2",
        "ALTER TABLE parts DETACH PARTITION parts_2",
        "CREATE SCHEMA empty",
        "DROP SCHEMA empty",
    ] {
        shop.execute(change);
        let after = shop.census();
        assert!(before.compare(&after).schema_changed, "unseen: {change}");
        before = after;
    }
}

#[test]
fn a_migration_does_not_start_where_no_backup_can_be_made() {
    let shop = PgShop::open(15);
    let gone = shop.server.uri("no_such_database");
    shop.backup(&["guard", &gone, "--", "touch", "started"]).exits(4).says("was not started");
    assert!(!shop.path("started").exists());
}

#[test]
fn a_signal_during_the_backup_stops_it_and_the_migration_does_not_start() {
    let shop = PgShop::open(15);
    let (psql, uri) = (shop.server.bin().join("psql"), shop.uri());
    let mut holder = Command::new(psql);
    holder.args(["-qX", "-d", &uri, "-c", "BEGIN; LOCK TABLE orders; SELECT pg_sleep(600)"]);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let says_yes = |sql: &str| shop.server.psql("postgres", sql) == "t";
    let is_held = "SELECT EXISTS (SELECT FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' AND relation > 16384)";
    shop.eventually("the table is locked", || says_yes(is_held));
    let guard = shop.begin(&["guard", &uri, "--", "touch", "started"]);
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'backup%' AND wait_event_type = 'Lock')";
    shop.eventually("the backup waits", || says_yes(waits));
    guard.signal(Signal::TERM);
    guard.wait().exits(130).says("was not started");
    assert!(!shop.path("started").exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_killed_guard_is_told_and_its_migration_can_be_undone() {
    let shop = PgShop::open(15);
    let old = shop.digests("shop");
    let psql = format!(
        "{} -qX -d '{}' -c 'DELETE FROM orders WHERE id > 20'; touch begun; exec sleep 600",
        shop.server.bin().join("psql").display(),
        shop.uri()
    );
    let guard = shop.begin(&["guard", &shop.uri(), "--", "sh", "-c", &psql]);
    shop.eventually("the migration is half way", || shop.path("begun").exists());
    shop.backup(&["run", &shop.uri()]).exits(5);
    let group = guard.process_of("sleep");
    guard.signal(Signal::KILL);
    guard.wait().dies_of(support::SIGKILL);
    let _ = kill_process(group, Signal::KILL);
    let told = shop.backup(&["status"]).exits(3).says("was interrupted").stdout;
    let line = told.lines().find_map(|line| Some(line.split_once("to go back: ")?.1)).unwrap();
    shop.paste(line);
    assert_eq!(shop.digests("shop"), old);
    shop.backup(&["run", &shop.uri()]).exits(0).says("was interrupted");
    shop.backup(&["status"]).exits(0);
}
