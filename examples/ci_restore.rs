//! Last night's data in a test database, for the CI of another project: it knows the store, and no more of the source.
//!
//! `cargo run --example ci_restore -- s3://acme-backups/db shop/latest postgres://ci@localhost/shop_ci orders customers`
#![allow(clippy::print_stdout)]

use std::env;

use backup::{Error, Result, engine::RestoreRequest, prelude::*};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [store, backup, target, tables @ ..] = arguments.as_slice() else {
        return Err(Error::invalid("usage: ci_restore STORE BACKUP TARGET [TABLE…]"));
    };
    let backups = Backups::builder().store(store.as_str()).build()?;
    let copies = backups.find(backup)?;
    let job = backups.job_of_copies(&copies)?.blocking();

    let mut request = RestoreRequest::default();
    request.target = Some(target.as_str().into());
    request.tables = tables.to_vec();
    // Owners and grants of production mean nothing here, and the last build's database goes.
    (request.no_owner, request.no_privileges) = (target.contains("postgres"), target.contains("postgres"));
    request.replace = true;
    let restored = job.restore(&copies.manifest().id, RestoreOptions::of(request))?;
    println!(
        "{} holds {} of {} in {:.1} s",
        restored.plan.target,
        copies.manifest().id,
        copies.manifest().snapshot_at,
        restored.seconds
    );
    Ok(())
}
