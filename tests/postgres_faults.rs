//! Whatever happens to a dump while it is taken, there is a whole backup or none, and nothing is left on the server.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    io::Write,
    process::{Child, Stdio},
};

use postgres::MAJORS;
use postgres_shop::{PgShop, Underway};
use rustix::process::{Signal, kill_process};
use support::{Outcome, SIGKILL};

/// Rows that take a dump a second or so.
const MANY: u32 = 60_000;

/// Somebody's transaction that holds a table.
struct Migration(Child);

impl Migration {
    /// Locks a table so that nobody can read it.
    fn of(shop: &PgShop, table: &str) -> Self {
        let mut psql = shop.server.tool("psql", "shop");
        psql.args(["-Xq"]).env("PGAPPNAME", "migration").stdin(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "BEGIN; LOCK TABLE {table};").unwrap();
        let locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
        shop.eventually("the table is locked", || shop.server.psql("shop", locks) == "1");
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Migration {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a run and waits until its pg_dump waits for a lock.
fn begin_and_wait_for_the_lock(shop: &PgShop) -> Underway {
    let run = shop.begin(&["run", &shop.uri()]);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup dump%' AND wait_event_type = 'Lock'";
    shop.eventually("pg_dump waits for the lock", || shop.server.psql("postgres", sql) == "1");
    run
}

/// Checks that a run failed in words that say what happened.
#[track_caller]
fn failed(run: Underway, code: i32, words: &str) -> Outcome {
    let ended = run.wait().exits(code).says(words);
    assert!(ended.stderr.starts_with("error: ") && ended.stdout.is_empty(), "{ended:#?}");
    ended
}

#[test]
fn a_run_killed_in_the_middle_of_a_dump_leaves_nothing() {
    for major in [15, 18] {
        let shop = PgShop::with_notes(major, MANY);
        let older = shop.back_up();
        let before = shop.folder.valuables();
        let run = shop.begin_and_halt_among_the_notes();
        run.signal(Signal::KILL);
        run.wait().dies_of(SIGKILL);
        shop.folder.has_lost_nothing(&before);
        let next = shop.recovers(std::slice::from_ref(&older));
        assert_eq!(shop.manifest("latest")["id"], next.as_str());
    }
}

#[test]
fn a_run_killed_while_it_waits_for_a_lock_does_not_go_on_waiting() {
    for major in [16, 18] {
        let shop = PgShop::open(major);
        let migration = Migration::of(&shop, "customers");
        let run = begin_and_wait_for_the_lock(&shop);
        run.signal(Signal::KILL);
        run.wait().dies_of(SIGKILL);
        shop.has_no_sessions();
        migration.end();
        shop.recovers(&[]);
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for (major, signal) in [(16, Signal::TERM), (18, Signal::INT)] {
        let shop = PgShop::with_notes(major, MANY);
        let run = shop.begin_and_halt_among_the_notes();
        run.signal(signal);
        run.signal(Signal::CONT);
        run.wait().exits(130);
        shop.folder.has_no_litter();
        shop.recovers(&[]);
    }
}

#[test]
fn a_run_interrupted_while_it_waits_for_a_lock_does_not_go_on_waiting() {
    for major in [15, 16] {
        let shop = PgShop::open(major);
        let migration = Migration::of(&shop, "customers");
        let run = begin_and_wait_for_the_lock(&shop);
        run.signal(Signal::INT);
        run.wait().exits(130);
        shop.has_no_sessions();
        shop.folder.has_no_litter();
        migration.end();
        shop.recovers(&[]);
    }
}

#[test]
fn a_killed_pg_dump_is_told_and_leaves_nothing() {
    let shop = PgShop::with_notes(16, MANY);
    let run = shop.begin_and_halt_among_the_notes();
    kill_process(run.process_of("pg_dump"), Signal::KILL).unwrap();
    run.signal(Signal::CONT);
    failed(run, 1, "pg_dump").says("signal: 9");
    shop.folder.has_no_litter();
    shop.recovers(&[]);
}

#[test]
fn a_killed_server_is_told_and_leaves_nothing() {
    for major in [16, 18] {
        let shop = PgShop::with_notes(major, MANY);
        let run = shop.begin_and_halt_among_the_notes();
        shop.server.kill_postmaster();
        run.signal(Signal::CONT);
        failed(run, 1, "closed the connection");
        shop.folder.has_no_litter();
        shop.server.restart();
        shop.recovers(&[]);
    }
}

#[test]
fn a_stopped_server_is_told_and_leaves_nothing() {
    let shop = PgShop::with_notes(18, MANY);
    let run = shop.begin_and_halt_among_the_notes();
    shop.server.fast_stop();
    run.signal(Signal::CONT);
    failed(run, 1, "connection");
    shop.folder.has_no_litter();
    shop.server.restart();
    shop.recovers(&[]);
}

/// Ends the sessions with such a name, of which there is one.
fn end_session(shop: &PgShop, condition: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'backup dump%' AND {condition}"
    );
    assert_eq!(shop.server.psql("postgres", &sql), "1");
}

#[test]
fn an_ended_session_of_pg_dump_is_told_and_leaves_nothing() {
    for major in [15, 18] {
        let shop = PgShop::with_notes(major, MANY);
        let run = shop.begin_and_halt_among_the_notes();
        end_session(&shop, "application_name NOT LIKE '% snapshot'");
        run.signal(Signal::CONT);
        failed(run, 1, "connection");
        shop.folder.has_no_litter();
        shop.recovers(&[]);
    }
}

/// pg_dump itself goes on; but what nobody can ask about its instant any more is not called a backup.
#[test]
fn an_ended_session_of_the_snapshot_is_told_and_leaves_nothing() {
    for major in [15, 16] {
        let shop = PgShop::with_notes(major, MANY);
        let run = shop.begin_and_halt_among_the_notes();
        end_session(&shop, "application_name LIKE '% snapshot'");
        run.signal(Signal::CONT);
        failed(run, 1, "snapshot");
        shop.folder.has_no_litter();
        shop.recovers(&[]);
    }
}

#[test]
fn a_table_that_somebody_holds_is_named() {
    for major in MAJORS {
        let shop = PgShop::open(major);
        let migration = Migration::of(&shop, "customers");
        let run = shop.backup(&["run", &shop.uri(), "--lock-wait", "1"]).exits(5);
        run.says("customers").says("lock").says("hint: ").says("--lock-wait");
        shop.has_no_sessions();
        shop.folder.has_no_litter();
        migration.end();
        shop.recovers(&[]);
    }
}

#[test]
fn a_lock_given_back_in_time_delays_a_run_and_no_more() {
    let shop = PgShop::open(15);
    let migration = Migration::of(&shop, "customers");
    let run = begin_and_wait_for_the_lock(&shop);
    migration.end();
    let id = run.wait().exits(0).stdout.trim().to_owned();
    shop.backup(&["verify", &id]).exits(0);
    shop.has_no_sessions();
}

/// Each dump of its own in a vault: a second run does not disturb the first.
#[test]
fn a_second_run_of_the_same_database_does_not_disturb_the_first() {
    let shop = PgShop::with_notes(15, MANY);
    let run = shop.begin_and_halt_among_the_notes();
    shop.backup(&["run", &shop.uri()]).exits(5);
    run.signal(Signal::CONT);
    let id = run.wait().exits(0).stdout.trim().to_owned();
    shop.backup(&["verify", &id]).exits(0);
    assert_eq!(shop.folder.listed(), [id]);
}

/// A dump in the directory format has several sessions and a working folder.
#[test]
fn a_killed_directory_dump_leaves_nothing() {
    let shop = PgShop::open(15);
    let migration = Migration::of(&shop, "customers");
    for signal in [Signal::KILL, Signal::INT] {
        let run = shop.begin(&["run", &shop.uri(), "--format", "directory", "--jobs", "2"]);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup dump%' AND wait_event_type = 'Lock'";
        shop.eventually("pg_dump waits for the lock", || shop.server.psql("postgres", sql) != "0");
        run.signal(signal);
        let ended = run.wait();
        assert!(ended.signal == Some(SIGKILL) || ended.code == Some(130), "{ended:#?}");
        shop.has_no_sessions();
    }
    migration.end();
    shop.recovers(&[]);
}
