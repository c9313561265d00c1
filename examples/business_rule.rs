//! A verifier of your own: a backup whose books do not balance is suspect, and never becomes `latest`.
//!
//! `cargo run --example business_rule -- bank.db backups`
#![allow(clippy::print_stdout)]

use std::{env, process::ExitCode, sync::Arc};

use backup::{Error, Result, prelude::*};
use rusqlite::{Connection, OpenFlags};

/// Every account holds what was booked on it.
const UNBALANCED: &str =
    "SELECT id, balance, (SELECT total(amount) FROM bookings WHERE account = accounts.id) AS booked
     FROM accounts WHERE balance <> booked";

#[derive(Debug)]
struct BooksBalance;

impl Verifier for BooksBalance {
    fn name(&self) -> &str {
        "books-balance"
    }

    fn verify(&self, subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>> {
        // A copy that is not whole is told already.
        let Some(path) = subject.whole_copy(cx)? else { return Ok(Vec::new()) };
        let unbalanced = || -> rusqlite::Result<Vec<Finding>> {
            let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut query = copy.prepare(UNBALANCED)?;
            let found = query.query_map([], |row| {
                let (id, balance, booked): (i64, f64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let what = format!("holds {balance}, and {booked} was booked");
                Ok(Finding::content(self.name(), format!("account {id}"), what))
            })?;
            found.collect()
        };
        unbalanced().map_err(|e| Error::failed("the books could not be read").with_source(e))
    }
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [database, store] = arguments.as_slice() else {
        return Err(Error::invalid("usage: business_rule DATABASE STORE"));
    };
    let settings = JobSettings::default().with_verifier(Arc::new(BooksBalance));
    let backups =
        Backups::builder().store(store.as_str()).source("bank", database).settings("bank", settings);
    let bank = backups.build()?.job("bank")?.blocking();

    let taken = bank.run(RunOptions::default())?;
    let drilled = bank.drill(taken.id(), &DrillOptions::default())?;
    println!("{} is {}", taken.id(), if taken.is_good() { "good" } else { "suspect" });
    drilled.proof.findings.iter().for_each(|finding| println!("{finding}"));
    Ok(if taken.is_good() && drilled.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
