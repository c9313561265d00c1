//! A program that writes to its database and backs it up itself, on its own schedule.
//!
//! `cargo run --example nightly -- app.db backups`
#![allow(clippy::print_stdout)]

use backup::{Backups, DrillOptions, Objectives, Result, RunOptions};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err(backup::Error::invalid("usage: nightly DATABASE STORE"));
    };
    let backups = Backups::builder().store(store).source("app", database).build()?;
    let app = backups.job("app")?.blocking();

    let taken = app.run(RunOptions::default().with_tag("nightly"))?;
    println!("{} holds {} rows", taken.id(), taken.manifest.rows.unwrap_or(0));

    let drill =
        app.drill(taken.id(), &DrillOptions::default().with_smoke(["SELECT count(*) FROM sqlite_schema"]))?;
    println!("restored and proven in {:.2} s", drill.proof.restore_seconds.unwrap_or(0.0));

    let a_day = jiff::SignedDuration::from_hours(24);
    let status = app.status(&Objectives::new(Some(a_day), None, Some(a_day)))?;
    for missed in &status.missed {
        println!("{}: {}", missed.objective, missed.what);
    }
    Ok(())
}
