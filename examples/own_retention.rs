//! A retention policy of your own: every release for ever, of the rest the last two.
//!
//! `cargo run --example own_retention -- app.db backups`
#![allow(clippy::print_stdout)]

use backup::{
    Error, Proof, Result,
    prelude::*,
    retention::{Decision, Plan},
};
use jiff::Timestamp;

#[derive(Debug)]
struct Releases;

impl RetentionPolicy for Releases {
    fn plan(&self, artifacts: &[Manifest], _proofs: &[Proof], _now: Timestamp) -> Plan {
        let is_release = |manifest: &Manifest| manifest.tags.iter().any(|tag| tag == "release");
        let mut rest: Vec<&Manifest> = artifacts.iter().filter(|m| m.is_good() && !is_release(m)).collect();
        rest.sort_by_key(|manifest| manifest.started_at);
        let last: Vec<&BackupId> = rest.iter().rev().take(2).map(|manifest| &manifest.id).collect();
        let decide = |manifest: &Manifest| match &manifest.id {
            id if is_release(manifest) => Decision::keep(id, "a release"),
            id if last.contains(&id) => Decision::keep(id, "one of the last two"),
            id => Decision::remove(id, "two newer ones are kept"),
        };
        artifacts.iter().map(decide).collect()
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err(Error::invalid("usage: own_retention DATABASE STORE"));
    };
    let settings = JobSettings::default().with_retention(Releases);
    let backups =
        Backups::builder().store(store).source("app", database).settings("app", settings).build()?;
    let app = backups.job("app")?.blocking();
    app.run(RunOptions::default().with_tag("release"))?;
    for _ in 0..4 {
        let taken = app.run(RunOptions::default())?;
        taken.pruned.iter().for_each(|id| println!("{id} went"));
    }
    for manifest in app.list()? {
        println!("{} is there, {}", manifest.id, manifest.tags.join(", "));
    }
    Ok(())
}
