//! A migration under the guard of a proven backup: when it fails, the database is as it was before.
//!
//! `cargo run --example guarded_migration -- app.db backups migration.sql`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, fs, process::ExitCode};

use backup::prelude::*;
use rusqlite::Connection;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [database, store, migration] = arguments.as_slice() else {
        return Err("usage: guarded_migration DATABASE STORE MIGRATION.SQL".into());
    };
    let sql = fs::read_to_string(migration)?;
    let backups = Backups::builder().store(store.as_str()).source("app", database).build()?;
    let app = backups.job("app")?.blocking();

    let options = GuardOptions::default().with_restore_on_failure(true).with_work("migration");
    let outcome = app.guard_with(&options, |guard| {
        println!("guarded by {}", guard.backup().id);
        // Closed again when it returns, so that a restore may swap the file.
        Connection::open(database)?.execute_batch(&sql)
    });
    match outcome {
        Ok(guarded) => {
            guarded.report.lines().iter().for_each(|line| println!("{line}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(GuardError::Failed { error, report }) => {
            eprintln!("the migration failed: {error}");
            report.lines().iter().for_each(|line| eprintln!("{line}"));
            Ok(ExitCode::FAILURE)
        }
        // Without a proven backup the migration did not begin.
        Err(other) => Err(other.into()),
    }
}
