//! The programs of `examples/` do what they promise, on real databases.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use backup::{Backups, Level};
use postgres_shop::PgShop;
use rusqlite::Connection;
use serde_json::Value;
use support::{Outcome, Shop, are_the_same, customers};

const PATIENCE: Duration = Duration::from_secs(90);

/// An example, built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(program.is_file(), "build it first: cargo build --examples");
    program
}

fn run(shop: &Shop, name: &str, arguments: &[&str]) -> Outcome {
    Outcome::of(shop.bare_command_of(&example(name)).args(arguments).output().unwrap(), arguments)
}

/// A service that runs until it is dropped, and the lines it prints.
struct Service {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Service {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (heard, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));
        let first = lines.recv_timeout(PATIENCE).unwrap();
        let address = first.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, lines, address }
    }

    /// The status code and the document of the health route.
    fn health(&self) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}")))
    }

    fn becomes(&self, expected: u16) -> Value {
        let begun = Instant::now();
        loop {
            let (code, document) = self.health();
            if code == expected {
                return document;
            }
            assert!(begun.elapsed() < PATIENCE, "never {expected}: {code} {document}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_is_healthy_while_its_newest_backup_is_young_enough() {
    let shop = Shop::open();
    let start = |every: &str, rpo: &str| {
        let mut command = shop.bare_command_of(&example("service"));
        command.args(["shop.db", "backups", "127.0.0.1:0", every, rpo]);
        Service::start(command)
    };
    let service = start("5s", "1h");
    let (code, document) = service.health();
    assert_eq!(code, 503, "nothing was backed up yet: {document}");
    assert_eq!(document["missed"][0]["objective"], "backup");
    let document = service.becomes(200);
    assert!(document["newest"].as_str().unwrap().starts_with("app-full-"), "{document}");
    let told = service.lines.iter().take(100).find(|line| line.contains(r#""event":"taken""#)).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["source"], &told["good"]), (&Value::from("app"), &Value::from(true)));
    drop(service);

    let document = start("24h", "1s").becomes(503);
    assert_eq!(document["missed"][0]["objective"], "rpo", "{document}");
}

#[test]
fn a_migration_that_fails_leaves_the_data_as_they_were() {
    let shop = Shop::open();
    let before = customers(&shop.database());
    let half =
        "DELETE FROM customers WHERE id > 10; ALTER TABLE customers ADD email; SELECT nonsense FROM nowhere";
    fs::write(shop.path("half.sql"), half).unwrap();
    let failed = run(&shop, "guarded_migration", &["shop.db", "backups", "half.sql"]).exits(1);
    failed.says("the migration failed: no such table: nowhere").says("restored from \"app-full-");
    are_the_same(&customers(&shop.database()), &before, "after a restore");

    fs::write(shop.path("whole.sql"), "ALTER TABLE customers ADD email").unwrap();
    run(&shop, "guarded_migration", &["shop.db", "backups", "whole.sql"])
        .exits(0)
        .says("definitions changed");
    let columns: i64 = Connection::open(shop.database())
        .unwrap()
        .query_row("SELECT count(*) FROM pragma_table_info('customers') WHERE name = 'email'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(columns, 1);
}

#[test]
fn a_backup_that_breaks_a_business_rule_is_suspect_and_its_proofs_say_why() {
    let shop = Shop::open();
    shop.execute(
        "CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance REAL); CREATE TABLE bookings(account, amount);
         INSERT INTO accounts VALUES(1, 30), (2, 5); INSERT INTO bookings VALUES(1, 10), (1, 20), (2, 5)",
    );
    run(&shop, "business_rule", &["shop.db", "backups"]).exits(0).says("is good");
    shop.execute("UPDATE accounts SET balance = 500 WHERE id = 2");
    let broken = run(&shop, "business_rule", &["shop.db", "backups"]).exits(3);
    let broken = broken.says("is suspect").says("books-balance: account 2: holds 500, and 5 was booked");

    let backups = Backups::builder().store(shop.store().display().to_string()).build().unwrap();
    let latest = backups.find("bank/latest").unwrap();
    let suspect = backups.find(broken.stdout.split(' ').next().unwrap()).unwrap();
    assert_ne!(latest.manifest().id, suspect.manifest().id, "what is suspect is never the latest");
    let rule = &suspect.manifest().suspect[0];
    assert_eq!((rule.rule.as_str(), suspect.manifest().suspect.len()), ("books-balance", 1));
    let proofs = suspect.nearest().vault.proofs(&suspect.manifest().id).unwrap();
    let levels: Vec<Level> = proofs.iter().map(|proof| proof.level).collect();
    assert_eq!(levels, [Level::Structure, Level::Restore]);
    for proof in proofs {
        assert!(
            !proof.ok && proof.findings.iter().any(|finding| finding.check == "books-balance"),
            "{proof:?}"
        );
    }
}

#[test]
fn another_project_gets_last_nights_data_into_a_file() {
    let shop = Shop::open();
    shop.back_up();
    let store = shop.store();
    let arguments = [store.to_str().unwrap(), "shop/latest", "sqlite:ci.db"];
    run(&shop, "ci_restore", &arguments).exits(0);
    run(&shop, "ci_restore", &arguments).exits(0).says("ci.db holds shop-full-");
    are_the_same(&customers(&shop.path("ci.db")), &customers(&shop.database()), "in the test database");
    run(&shop, "ci_restore", &[arguments[0], "nobody/latest", "sqlite:ci.db"]).exits(1);
}

#[test]
fn another_project_gets_the_tables_it_names_into_a_test_database() {
    let shop = PgShop::open(15);
    shop.back_up();
    let (store, target) = (shop.path("backups"), shop.server.uri("shop_ci"));
    let program = example("ci_restore");
    let arguments = [store.to_str().unwrap(), "shop/latest", &target, "public.customers"];
    for build in 0..2 {
        let output = shop.bare_command_in(program.to_str().unwrap()).args(arguments).output().unwrap();
        Outcome::of(output, &arguments).exits(0).says("shop_ci holds shop-full-");
        let count =
            |database, table: &str| shop.server.psql(database, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(count("shop_ci", "customers"), count("shop", "customers"), "in build {build}");
        let tables = shop.server.psql(
            "shop_ci",
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        );
        assert_eq!(tables.trim(), "customers");
    }
}

#[test]
fn an_engine_of_ones_own_backs_up_whole_lines_and_brings_them_back() {
    let shop = Shop::open();
    let whole = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
    fs::write(shop.path("events.jsonl"), format!("{whole}{{\"n\":")).unwrap();
    run(&shop, "own_engine", &["events.jsonl", "backups"]).exits(0).says(": 3 lines, drill ok: true");
    assert_eq!(stock_zstd(&only_payload(&shop.store().join("log/full"))), whole);
}

fn only_payload(folder: &Path) -> PathBuf {
    let is_payload = |path: &PathBuf| path.to_string_lossy().ends_with("Z.jsonl.zst");
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(is_payload).unwrap_or_else(|| panic!("{:?}", support::names_in(folder)))
}

fn stock_zstd(path: &Path) -> String {
    let output =
        Command::new("zstd").arg("-dcq").arg(path).output().expect("zstd runs (apt-get install zstd)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_store_of_ones_own_may_refuse_what_retention_asks() {
    let shop = Shop::open();
    let outcome = run(&shop, "own_store", &["shop.db", "backups"]).exits(0).says("0 removed, 3 there");
    assert_eq!(outcome.stdout.matches("is kept for ever").count(), 2, "{outcome:?}");
}

#[test]
fn a_policy_of_ones_own_decides_what_goes_after_each_run() {
    let shop = Shop::open();
    let outcome = run(&shop, "own_retention", &["shop.db", "backups"]).exits(0).says("is there, release");
    let counts = [" went", " is there"].map(|what| outcome.stdout.matches(what).count());
    assert_eq!(counts, [2, 3], "{outcome:?}");
}

#[test]
fn a_program_backs_its_own_database_up_and_proves_it() {
    let shop = Shop::open();
    let told = run(&shop, "nightly", &["shop.db", "backups"]).exits(0);
    told.says("holds 600 rows").says("restored and proven in");
}
