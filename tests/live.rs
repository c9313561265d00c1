//! Backups of a database that another process writes to, a thousand transactions a second, as if we were not there.
//!
//! `BACKUP_FULL=1` makes it a gigabyte and twenty backups.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use backup::{Backups, BlockingJob, RestoreOptions, RunOptions, engine::Target};
use rusqlite::Connection;
use serde_json::Value;

const ACCOUNTS: i64 = 1000;
const TOTAL_CENTS: i64 = ACCOUNTS * 10_000;
const RATE: u32 = 1000;

/// A process of its own, with another SQLite library and no patience for locks.
struct Bank {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Bank {
    fn open(database: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/ledger.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(database)
            .arg(RATE.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs (apt-get install python3)");
        let ask = child.stdin.take();
        let mut bank = Self { answers: BufReader::new(child.stdout.take().unwrap()), ask, child };
        assert_eq!(bank.answer().trim(), "ready");
        bank
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// What happened since the last question.
    fn figures(&mut self) -> Value {
        self.ask.as_mut().unwrap().write_all(b"?\n").unwrap();
        serde_json::from_str(&self.answer()).expect("the bank is still working")
    }

    fn close(mut self) {
        drop(self.ask.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn open_bank_database(path: &Path, mib: u32, journal_mode: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode={journal_mode}; PRAGMA synchronous=OFF;
             CREATE TABLE accounts(id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
             CREATE TABLE ledger(seq INTEGER PRIMARY KEY, source INTEGER, sink INTEGER, amount INTEGER);
             CREATE TABLE archive(id INTEGER PRIMARY KEY, text TEXT, number REAL);
             CREATE INDEX ledger_source ON ledger(source);
             WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS} - 1)
             INSERT INTO accounts SELECT i, 10000 FROM n;
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {mib} * 1024)
             INSERT INTO archive SELECT i, hex(randomblob(250)) || ' filed under ' || (i % 31) || printf('%0460d', i), i / 7.0 FROM n;"
        ))
        .unwrap();
}

fn job(folder: &Path, database: &Path) -> BlockingJob {
    let backups = Backups::builder()
        .store(folder.join("backups").display().to_string())
        .source("bank", format!("sqlite:{}", database.display()))
        .build()
        .unwrap();
    backups.job("bank").unwrap().blocking()
}

/// Checks that a restored bank is one moment of the living one, and returns its last transaction.
fn last_transaction_of_a_whole_prefix(path: &Path) -> i64 {
    let bank = Connection::open(path).unwrap();
    let one = |sql: &str| bank.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let integrity: String = bank.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    assert_eq!(one("SELECT sum(cents) FROM accounts"), TOTAL_CENTS, "money came from nowhere");
    let last = one("SELECT coalesce(max(seq), 0) FROM ledger");
    assert_eq!(one("SELECT count(*) FROM ledger"), last, "a committed transaction is missing");
    let unbooked = one("SELECT count(*) FROM accounts a WHERE cents <> 10000
           - (SELECT coalesce(sum(amount), 0) FROM ledger WHERE source = a.id)
           + (SELECT coalesce(sum(amount), 0) FROM (SELECT amount, sink FROM ledger) WHERE sink = a.id)");
    assert_eq!(unbooked, 0, "accounts and ledger are of different moments");
    last
}

#[test]
fn every_backup_of_a_busy_bank_is_one_of_its_moments_and_nobody_waited() {
    let full = std::env::var_os("BACKUP_FULL").is_some();
    let (mib, rounds) = if full { (1000, 20) } else { (48, 6) };
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("bank.db");
    open_bank_database(&database, mib, "WAL");
    let job = job(folder.path(), &database);
    let mut bank = Bank::open(&database);

    let mut alone = bank.figures();
    while alone["count"].as_i64().unwrap() < 2000 {
        std::thread::sleep(std::time::Duration::from_millis(2500));
        alone = bank.figures();
    }
    let (mut last, mut waits) = (0, Vec::new());
    for _ in 0..rounds {
        let before = bank.figures();
        let taken = job.run(RunOptions::default()).unwrap();
        let during = bank.figures();
        assert!(taken.is_good(), "{:?}", taken.manifest.suspect);
        assert_eq!(taken.manifest.facts["method"], "wal-read-lock");
        assert_eq!(during["busy"], 0, "a writer met a lock of ours");
        waits.push(during["p99_ms"].as_f64().unwrap());

        let copy = folder.path().join("restored.db");
        job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
        let moment = last_transaction_of_a_whole_prefix(&copy);
        assert!(
            moment >= before["seq"].as_i64().unwrap(),
            "what was committed before the backup is not in it"
        );
        assert!(moment <= during["seq"].as_i64().unwrap() && moment >= last);
        last = moment;
        std::fs::remove_file(&copy).unwrap();
    }
    waits.sort_by(f64::total_cmp);
    println!(
        "p99 of a commit: {} ms alone, {:.2} ms (median of {rounds}) during backups",
        alone["p99_ms"],
        waits[rounds / 2]
    );
    bank.close();
    last_transaction_of_a_whole_prefix(&database);
}

#[test]
fn a_busy_bank_in_rollback_mode_is_copied_under_one_short_lock() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("bank.db");
    open_bank_database(&database, 8, "DELETE");
    let job = job(folder.path(), &database);
    let mut bank = Bank::open(&database);
    for _ in 0..3 {
        let before = bank.figures();
        let taken = job.run(RunOptions::default()).unwrap();
        assert!(taken.is_good());
        let copy = folder.path().join("restored.db");
        job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
        assert!(last_transaction_of_a_whole_prefix(&copy) >= before["seq"].as_i64().unwrap());
        std::fs::remove_file(&copy).unwrap();
    }
    bank.close();
    last_transaction_of_a_whole_prefix(&database);

    let at_rest = job.run(RunOptions::default()).unwrap();
    assert_eq!(at_rest.manifest.facts["method"], "unlocked-read");
}

/// The command as a user who may read the database and its log, and write neither.
#[cfg(unix)]
#[test]
fn a_user_who_may_only_read_backs_up_a_busy_bank() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let open_to =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open_to(folder.path(), 0o755);
    let (database, store) = (folder.path().join("bank.db"), folder.path().join("store"));
    open_bank_database(&database, 4, "WAL");
    std::fs::create_dir(&store).unwrap();
    open_to(&store, 0o777);
    let backup = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("backup");
    assert!(backup.exists(), "build it first: cargo build -p backup-cli");

    let bank = Bank::open(&database);
    for _ in 0..5 {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&backup)
            .arg("--store")
            .arg(&store)
            .arg("run")
            .arg(&database)
            .output()
            .expect("setpriv runs (apt-get install util-linux; the tests need root)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    bank.close();
    let newest = folder.path().join("newest.db");
    let backups = Backups::builder()
        .store(store.display().to_string())
        .source("bank", database.display().to_string())
        .build()
        .unwrap();
    let job = backups.job("bank").unwrap().blocking();
    let last = job.list().unwrap().pop().unwrap();
    job.restore(&last.id, RestoreOptions::into(Target::SqliteFile(newest.clone()))).unwrap();
    last_transaction_of_a_whole_prefix(&newest);
}
