//! Whatever happens to a dump while it is taken, there is a whole backup or none, and nothing is left on the server.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use postgres_shop::{PgShop, Underway};
use rustix::process::{Signal, kill_process};
use support::{Outcome, SIGKILL};

/// Rows that take a dump a second or so.
const MANY: u32 = 60_000;

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
