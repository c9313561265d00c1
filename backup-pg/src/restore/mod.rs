//! Restores that load beside, prove and swap.
//!
//! A restore never writes into the database that it replaces: it loads a new one on the same server, compares it with
//! the backup row by row, and renames. What stood there is kept under another name.

mod closure;
mod existing;
mod load;
mod messages;
mod names;
mod objects;
mod parallel;
mod plan;
mod present;
mod properties;
mod prove;
mod rows_only;
mod server;
mod staged;
mod swap;
mod tables;
mod temporary;
mod unpacked;

use std::collections::{BTreeSet, HashSet};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    context::Context,
    engine::{RestorePlan, Staged, Target},
    manifest::Manifest,
};
use jiff::Timestamp;

pub(crate) use self::plan::plan;
use self::{
    load::Selection,
    server::TargetServer,
    staged::StagedDatabase,
    temporary::TemporaryDatabase,
    unpacked::{Unpacked, expected_tables},
};
use crate::conninfo::{Conninfo, Environment};

/// Loads an artifact into a new database beside the plan's target.
///
/// # Errors
/// `Corrupt` when the artifact is damaged, found before anything is made; `NotFound` when owners are missing on the
/// server; what the server refuses, by its kind. The new database is dropped on any of them.
pub(crate) fn load(artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
    let (server, mut control) = TargetServer::open(&connection(plan)?, cx)?;
    let (manifest, request) = (artifact.manifest(), &plan.request);
    if !request.tables.is_empty() {
        return tables::load(artifact, plan, &server, control, cx);
    }
    if plan::is_data_only(manifest, request) {
        return rows_only::load(artifact, plan, &server, control, cx);
    }
    let dump = Unpacked::decode(artifact, cx)?;
    require_owners(&dump, manifest, plan, &mut control)?;
    let mut database = TemporaryDatabase::create(&server, control, manifest, dump.archive(), cx)?;
    let jobs = load::jobs(request, cx);
    load::fill(&mut database, &dump, manifest, &Selection::of(request, manifest), jobs, cx)?;
    load::analyze(&database.place, jobs, cx)?;
    backup_core::crash::point("load.filled");
    let (tools, expected) = (load::tools_for(&dump, manifest)?, expected_tables(artifact, &dump.contents));
    Ok(Box::new(StagedDatabase {
        database,
        manifest: manifest.clone(),
        expected,
        archive: dump.contents.archive,
        definitions: None,
        plan: plan.clone(),
        tools,
        left_out: HashSet::new(),
        is_dressed: false,
    }))
}

/// How the target is reached, its password included.
fn connection(plan: &RestorePlan) -> Result<Conninfo> {
    match plan.request.target.as_ref().unwrap_or(&plan.target) {
        Target::Postgres(text) => Conninfo::parse(text),
        other => Err(Error::invalid(format!("\"{other}\" is not a PostgreSQL database"))),
    }
}

/// The archive itself names the owners, also where a manifest does not.
fn require_owners(
    dump: &Unpacked,
    manifest: &Manifest,
    plan: &RestorePlan,
    control: &mut crate::session::Session,
) -> Result<()> {
    if plan.request.no_owner {
        return Ok(());
    }
    let entries = dump.contents.archive.iter().flat_map(|archive| &archive.entries);
    let owned = entries.filter(|entry| !entry.owner.is_empty() && !entry.owner.contains('\u{fffd}'));
    let owners: BTreeSet<String> = owned
        .filter(|entry| !entry.definition.is_empty() && entry.desc != "DATABASE")
        .map(|entry| entry.owner.clone())
        .collect();
    plan::require_roles(manifest, owners, control)
}

/// A database for a drill, new on the server of `on`, else on the source's.
pub(crate) fn drill_target(source: &Conninfo, on: Option<&Target>) -> Result<Target> {
    let conninfo = match on {
        Some(Target::Postgres(text)) => Conninfo::parse(text)?,
        Some(other) => {
            return Err(Error::invalid(format!("a PostgreSQL backup cannot be drilled on \"{other}\""))
                .with_hint("Name a server: postgres://user@host."));
        }
        None => source.clone(),
    };
    let database = source.resolve(&Environment::of_process())?.database;
    let name = names::drill(&database, Timestamp::now(), std::process::id());
    Ok(Target::Postgres(plan::in_full(&conninfo.with_database(&name))))
}

/// Drops what killed restores and drills left on a server. Whoever may not look at the server's databases has left
/// none there either.
pub(crate) fn sweep(conninfo: &Conninfo, cx: &Context) -> Result<()> {
    match TargetServer::open(conninfo, cx) {
        Ok((server, mut control)) => temporary::sweep(&server, &mut control, cx),
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
