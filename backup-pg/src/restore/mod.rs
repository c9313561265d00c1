//! Restores that load beside, prove and swap.
//!
//! A restore never writes into the database that it replaces: it loads a new one on the same server, compares it with
//! the backup row by row, and renames. What stood there is kept under another name.

mod binary;
mod closure;
mod copying;
mod existing;
mod indexes;
mod load;
mod messages;
mod names;
mod objects;
mod order;
mod parallel;
mod plan;
mod present;
mod properties;
mod prove;
mod rows_only;
mod server;
mod staged;
mod statistics;
mod streamed;
mod swap;
mod tables;
mod temporary;
mod unpacked;
mod values;

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
use crate::{
    archive::Archive,
    conninfo::{Conninfo, Environment},
    contents::Contents,
    session::Session,
    tools::Tools,
};

/// Loads an artifact into a new database beside the plan's target.
///
/// # Errors
/// `Corrupt` when the artifact is damaged, found before anything is made; `NotFound` when owners are missing on the
/// server; what the server refuses, by its kind. The new database is dropped on any of them.
pub(crate) fn load(artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
    let (server, control) = TargetServer::open(&connection(plan)?, cx)?;
    let (manifest, request) = (artifact.manifest(), &plan.request);
    if !request.tables.is_empty() {
        return tables::load(artifact, plan, &server, control, cx);
    }
    if plan::is_data_only(manifest, request) {
        return rows_only::load(artifact, plan, &server, control, cx);
    }
    let jobs = load::jobs(request, cx);
    let Filled { database, contents, tools, gathered } =
        match fill(artifact, plan, (&server, control), jobs, cx) {
            Err(error) if jobs > 1 && messages::is_deadlock(&error) => {
                cx.warn(format!(
                    "sessions that loaded waited for each other; one session begins anew: {error}"
                ));
                let control = server.session(&server.maintenance, "backup control", &[])?;
                fill(artifact, plan, (&server, control), 1, cx)?
            }
            filled => filled?,
        };
    statistics::gather(&database.place, &gathered, jobs, cx)?;
    backup_core::crash::point("load.filled");
    Ok(Box::new(StagedDatabase {
        database,
        manifest: manifest.clone(),
        expected: expected_tables(artifact, &contents),
        archive: contents.archive,
        definitions: None,
        plan: plan.clone(),
        tools,
        left_out: HashSet::new(),
        is_dressed: false,
    }))
}

/// A new database with everything in it.
struct Filled {
    database: TemporaryDatabase,
    /// What the dump holds.
    contents: Contents,
    /// The programs that loaded it.
    tools: Tools,
    /// The tables that have the planner's statistics.
    gathered: HashSet<String>,
}

/// Fills a new database, by streaming where the dump allows it.
fn fill(
    artifact: &dyn Artifact,
    plan: &RestorePlan,
    (server, mut control): (&TargetServer, Session),
    jobs: usize,
    cx: &Context,
) -> Result<Filled> {
    let Some(head) = streamed::head(artifact, plan, &mut control, cx)? else {
        return load_unpacked(artifact, plan, (server, control), jobs, cx);
    };
    require_owners(Some(head.archive()), artifact.manifest(), plan, &mut control)?;
    streamed::load(artifact, head, plan, (server, control), jobs, cx)
}

/// By a decoded copy in a working folder.
fn load_unpacked(
    artifact: &dyn Artifact,
    plan: &RestorePlan,
    (server, mut control): (&TargetServer, Session),
    jobs: usize,
    cx: &Context,
) -> Result<Filled> {
    let manifest = artifact.manifest();
    let dump = Unpacked::decode(artifact, cx)?;
    require_owners(dump.archive(), manifest, plan, &mut control)?;
    let mut database = TemporaryDatabase::create(server, control, manifest, dump.archive(), cx)?;
    load::fill(&mut database, &dump, manifest, &Selection::of(&plan.request, manifest), jobs, cx)?;
    let tools = load::tools_for(dump.archive(), manifest)?;
    Ok(Filled { database, contents: dump.contents, tools, gathered: HashSet::new() })
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
    archive: Option<&Archive>,
    manifest: &Manifest,
    plan: &RestorePlan,
    control: &mut Session,
) -> Result<()> {
    if plan.request.no_owner {
        return Ok(());
    }
    let entries = archive.iter().flat_map(|archive| &archive.entries);
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
