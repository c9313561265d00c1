//! A program that has its database open backs it up through the library, and keeps its locks.
//!
//! POSIX locks go when a process closes *any* descriptor of a file. The first tests show that this is so, the others
//! that nothing of ours does it.

use std::{
    fs::File,
    path::Path,
    process::{Command, Output},
};

use backup::{Backups, BlockingJob, DrillOptions, RunOptions};
use rusqlite::Connection;

const ROUNDS: i64 = 100;

fn open_notes(path: &Path, journal_mode: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!("PRAGMA journal_mode={journal_mode}; CREATE TABLE note(n INTEGER, who TEXT); INSERT INTO note VALUES(0, 'us')"))
        .unwrap();
    connection
}

/// Another process opens the database, runs something, and closes it: what makes lost locks hurt.
fn neighbour(path: &Path, sql: &str) -> Output {
    Command::new("sqlite3").arg(path).arg(sql).output().expect("sqlite3 runs (apt-get install sqlite3)")
}

fn neighbour_counts(path: &Path) -> i64 {
    let output = neighbour(path, "SELECT count(*) FROM note");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn naive_look(path: &Path) {
    drop(File::open(path).unwrap());
}

fn job(folder: &Path, path: &Path) -> BlockingJob {
    let backups = Backups::builder()
        .store(folder.join("backups").display().to_string())
        .source("notes", format!("sqlite:{}", path.display()))
        .build()
        .unwrap();
    backups.job("notes").unwrap().blocking()
}

#[test]
fn a_naive_open_and_close_loses_a_commit_in_wal_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let ours = open_notes(&path, "WAL");
    naive_look(&path);
    neighbour_counts(&path);
    let _ = ours.execute("INSERT INTO note VALUES(1, 'us')", []);
    assert_eq!(
        neighbour_counts(&path),
        1,
        "the trap is gone: this test, and the care it is about, can go too"
    );
}

#[test]
fn a_naive_open_and_close_loses_a_write_lock_in_rollback_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let ours = open_notes(&path, "DELETE");
    ours.execute_batch("BEGIN IMMEDIATE; INSERT INTO note VALUES(1, 'us')").unwrap();
    assert!(!neighbour(&path, "BEGIN IMMEDIATE").status.success());
    naive_look(&path);
    assert!(neighbour(&path, "BEGIN IMMEDIATE").status.success(), "the trap is gone");
}

#[test]
fn a_hundred_backups_lose_no_commit_in_wal_mode() {
    no_commit_is_lost("WAL");
}

#[test]
fn a_hundred_backups_lose_no_commit_in_rollback_mode() {
    no_commit_is_lost("DELETE");
}

fn no_commit_is_lost(journal_mode: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let ours = open_notes(&path, journal_mode);
    let job = job(folder.path(), &path);
    for round in 1..=ROUNDS {
        let taken = job.run(RunOptions::default()).unwrap();
        assert!(taken.is_good(), "{:?}", taken.findings);
        // The neighbour's close would delete the log if our process had lost its locks.
        let booked =
            neighbour(&path, &format!("PRAGMA busy_timeout=5000; INSERT INTO note VALUES({round}, 'them')"));
        assert!(booked.status.success(), "{booked:?}");
        ours.execute("INSERT INTO note VALUES(?1, 'us')", [round]).unwrap();
        assert_eq!(neighbour_counts(&path), 1 + 2 * round);
    }
    let seen: i64 = ours.query_row("SELECT count(*) FROM note", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 1 + 2 * ROUNDS);
}

#[test]
fn a_write_transaction_keeps_its_lock_through_backups_in_wal_mode() {
    no_lock_is_lost("WAL");
}

#[test]
fn a_write_transaction_keeps_its_lock_through_backups_in_rollback_mode() {
    no_lock_is_lost("DELETE");
}

fn no_lock_is_lost(journal_mode: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let ours = open_notes(&path, journal_mode);
    let job = job(folder.path(), &path);
    for round in 1..=ROUNDS {
        ours.execute_batch("BEGIN IMMEDIATE").unwrap();
        ours.execute("INSERT INTO note VALUES(?1, 'us')", [round]).unwrap();
        let taken = job.run(RunOptions::default()).unwrap();
        assert_eq!(
            taken.manifest.rows,
            Some(u64::try_from(round).unwrap()),
            "an open transaction is not in the backup"
        );
        assert!(
            !neighbour(&path, "BEGIN IMMEDIATE").status.success(),
            "somebody else could take our write lock"
        );
        ours.execute_batch("COMMIT").unwrap();
    }
    assert_eq!(neighbour_counts(&path), 1 + ROUNDS);
}

#[test]
fn the_asynchronous_door_works_on_any_runtime_and_a_dropped_future_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let _ours = open_notes(&path, "WAL");
    let backups = Backups::builder()
        .store(folder.path().join("backups").display().to_string())
        .source("notes", format!("sqlite:{}", path.display()))
        .build()
        .unwrap();
    let job = backups.job("notes").unwrap();
    drop(job.run(RunOptions::default()));
    let taken = pollster::block_on(async {
        loop {
            // The dropped call may still be cleaning up.
            match job.run(RunOptions::default().with_tag("nightly")).await {
                Err(error) if error.is_retryable() => {}
                other => return other.unwrap(),
            }
        }
    });
    let listed = pollster::block_on(job.list()).unwrap();
    assert!(listed.iter().any(|manifest| manifest.id == *taken.id()));
    assert!(
        pollster::block_on(job.drill(taken.id(), DrillOptions::default().with_smoke(["SELECT 1"])))
            .unwrap()
            .is_ok()
    );
}
