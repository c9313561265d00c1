//! What a restore would do, and whether it can: looked at, nothing done.

use std::collections::BTreeSet;

use backup_core::{
    Error, ErrorKind, Result,
    capture::DumpFormat,
    content::Content,
    context::Context,
    engine::{RestorePart, RestorePlan, RestoreRequest, Target},
    manifest::Manifest,
};
use serde_json::Value;

use super::{
    names::{BEFORE, RESTORING},
    present::{UserObjects, has_tables, present_objects},
    server::TargetServer,
    temporary,
    unpacked::major_in,
};
use crate::{
    conninfo::{Conninfo, Environment},
    contents::format_in,
    session::{Session, explain},
    tools::Tools,
};

/// Databases that a cluster cannot do without.
const TEMPLATES: [&str; 2] = ["template0", "template1"];

pub(crate) fn plan(
    source: &Conninfo,
    manifest: &Manifest,
    request: &RestoreRequest,
    cx: &Context,
) -> Result<RestorePlan> {
    require_known(manifest, request)?;
    let conninfo = target(source, manifest, request)?;
    let (server, mut control) = TargetServer::open(&conninfo, cx)?;
    require_usable(&server, &mut control)?;
    require_tools(manifest, &server, cx)?;
    // A part of the backup may need none of them; what it does need is told when it is loaded.
    if request.tables.is_empty() && !is_data_only(manifest, request) {
        require_extensions(manifest, &mut control)?;
        if !(request.no_owner && request.no_privileges) {
            require_roles(manifest, stated_names(manifest, "roles"), &mut control)?;
        }
    }
    if let Err(error) = temporary::sweep(&server, &mut control, cx) {
        cx.warn(format!("what earlier restores left could not be cleared: {error:?}"));
    }
    let present = present_objects(&server, &mut control)?;
    let shown = Target::Postgres(server.display(server.database()));
    let mut plan = RestorePlan::new(shown, manifest.payload.plain_bytes);
    plan.request = request.clone();
    // With its password, where one was written: a load connects by it.
    plan.request.target = Some(Target::Postgres(in_full(&conninfo)));
    decide(&server, present, manifest, &mut plan)?;
    if present.is_some() && plan.skipped.is_none() && plan.request.tables.is_empty() {
        require_no_prepared(&server, &mut control)?;
    }
    if plan.replaces && !plan.request.tables.is_empty() {
        plan.replaces = has_tables(&server, &plan.request.tables)?;
        if plan.replaces && !plan.request.replace {
            return Err(tables_stand_there(&plan.request.tables));
        }
    }
    Ok(plan)
}

/// A prepared transaction outlives its session, and keeps its database from being renamed.
pub(super) fn require_no_prepared(server: &TargetServer, control: &mut Session) -> Result<()> {
    let sql = "SELECT count(*) FROM pg_prepared_xacts WHERE database = $1";
    let row = control.client().query_one(sql, &[&server.database()]);
    match row.map_err(|e| explain(e, "look for prepared transactions"))?.get::<_, i64>(0) {
        0 => Ok(()),
        count => Err(Error::new(
            ErrorKind::Busy,
            format!("database \"{}\" has {count} prepared transactions", server.database()),
        )
        .with_hint(
            "End them (COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts), or name another --to.",
        )),
    }
}

fn tables_stand_there(names: &[String]) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a table already that is called {}", names.join(" or "))).with_hint(
        "Say --replace to put the backup's in its place (the present one is kept in a schema beside), or restore into another database with --to.",
    )
}

/// Whether something stands in the target's place, and what becomes of it.
fn decide(
    server: &TargetServer,
    present: Option<UserObjects>,
    manifest: &Manifest,
    plan: &mut RestorePlan,
) -> Result<()> {
    let name = server.database();
    let is_partial = !plan.request.tables.is_empty();
    let occupied = present.filter(|objects| *objects != UserObjects::default());
    plan.replaces = occupied.is_some();
    if let (Some(objects), true) = (&occupied, plan.request.into_empty) {
        plan.skipped = Some(format!("database \"{name}\" has {objects} already"));
        return Ok(());
    }
    if is_partial {
        plan.steps = table_steps(plan, name);
        return Ok(());
    }
    let is_data = is_data_only(manifest, &plan.request);
    match &occupied {
        None if is_data => return Err(no_definitions(name)),
        Some(objects) if !plan.request.replace && !is_data => return Err(occupied_by(objects, name)),
        _ => {}
    }
    plan.steps = steps(manifest, name, present.is_some(), is_data);
    Ok(())
}

/// Whether only rows are restored, into definitions that are there.
pub(super) fn is_data_only(manifest: &Manifest, request: &RestoreRequest) -> bool {
    manifest.content == Content::Data || request.part == RestorePart::Data
}

fn occupied_by(objects: &UserObjects, name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("database \"{name}\" has {objects} already")).with_hint(
        "Say --replace to put the backup in its place (the old database is kept beside), or name another --to.",
    )
}

fn no_definitions(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there are no tables in \"{name}\" to restore rows into"))
        .with_hint("Restore everything, or the definitions first (--schema-only).")
}

fn steps(manifest: &Manifest, name: &str, exists: bool, is_data: bool) -> Vec<String> {
    let what = if is_data { "the definitions of the present database and the rows of" } else { "" };
    let mut steps = vec![
        format!("decode \"{}\" and compare it with its manifest", manifest.id),
        format!("load {what} \"{}\" into the new database \"{name}__{RESTORING}_<instant>\"", manifest.id)
            .replace("  ", " "),
        format!(
            "compare the rows of {} tables, and all indexes and constraints, with the backup",
            manifest.tables.len()
        ),
    ];
    if exists {
        steps.push(format!(
            "give it the owner, settings and privileges of \"{name}\", and end the sessions there"
        ));
        steps.push(format!("keep the present database as \"{name}__{BEFORE}_<instant>\""));
    }
    steps.push(format!("rename the restored database to \"{name}\""));
    steps
}

fn table_steps(plan: &RestorePlan, name: &str) -> Vec<String> {
    let tables = plan.request.tables.join(", ");
    let mut steps = vec![
        format!(
            "load {tables}, and what belongs to them, into the new database \"{name}__{RESTORING}_<instant>\""
        ),
        "compare their rows with the backup".to_owned(),
    ];
    if plan.replaces {
        steps.push(format!(
            "in one transaction in \"{name}\": move what has their names to the schema \"{BEFORE}_<instant>\", create them anew"
        ));
    } else {
        steps.push(format!("rename the restored database to \"{name}\""));
    }
    steps
}

/// What this engine cannot do, whatever the server.
fn require_known(manifest: &Manifest, request: &RestoreRequest) -> Result<()> {
    let refuse = |what: String, hint: &str| Err(Error::new(ErrorKind::Unsupported, what).with_hint(hint));
    let id = &manifest.id;
    match manifest.content {
        Content::Full | Content::Schema | Content::Data => {}
        other => {
            return refuse(
                format!("{other} backups are not pg_dump's"),
                "Name a full, schema or data backup.",
            );
        }
    }
    let is_text = manifest.content.is_rolling() || format_in(manifest)? == DumpFormat::Plain;
    if is_text && !request.tables.is_empty() {
        return refuse(
            format!("\"{id}\" is SQL text, from which no single tables can be restored"),
            "Restore it whole into another database (--to), and copy the tables from there.",
        );
    }
    match (manifest.content, request.part) {
        (Content::Schema, RestorePart::Data) => {
            refuse(format!("\"{id}\" has no rows"), "Name a full backup.")
        }
        (Content::Data, RestorePart::Schema) => {
            refuse(format!("\"{id}\" has no definitions"), "Name a full backup.")
        }
        (Content::Full, RestorePart::Schema | RestorePart::Data) if is_text => refuse(
            format!("\"{id}\" is SQL text, which is restored whole"),
            "Restore it into another database (--to), or take a backup in the custom format.",
        ),
        (_, RestorePart::Schema | RestorePart::Data) if !request.tables.is_empty() => refuse(
            "single tables are restored with definitions and rows".to_owned(),
            "Leave out --schema-only and --data-only.",
        ),
        _ => Ok(()),
    }
}

/// Where the restore goes: as asked for, else where the backup came from.
fn target(source: &Conninfo, manifest: &Manifest, request: &RestoreRequest) -> Result<Conninfo> {
    let conninfo = match &request.target {
        Some(Target::Postgres(text)) => Conninfo::parse(text)?,
        Some(other) => {
            return Err(Error::invalid(format!("a PostgreSQL backup cannot be restored to \"{other}\""))
                .with_hint("Name a database: --to postgres://user@host/database."));
        }
        None => origin(source, manifest)?,
    };
    let name = conninfo.resolve(&Environment::of_process())?.database;
    if TEMPLATES.contains(&name.as_str()) {
        return Err(Error::invalid(format!("\"{name}\" is a template of its server"))
            .with_hint("Name another database."));
    }
    Ok(conninfo)
}

/// The source as it is known now, filled up by what was known when the backup was taken.
fn origin(source: &Conninfo, manifest: &Manifest) -> Result<Conninfo> {
    let mut conninfo = source.clone();
    let then = manifest.facts.get("connection").and_then(Value::as_str).map(Conninfo::parse).transpose()?;
    let is_placed = ["host", "hostaddr", "service"].iter().any(|keyword| source.get(keyword).is_some());
    if let (Some(then), false) = (&then, is_placed) {
        for keyword in ["host", "hostaddr", "port", "user"] {
            if let (Some(value), None) = (then.get(keyword), source.get(keyword)) {
                conninfo = conninfo.with(keyword, value);
            }
        }
    }
    Ok(match manifest.source.database.as_str() {
        "" => conninfo,
        database => conninfo.with_database(database),
    })
}

/// A connection string with everything in it, the password too.
pub(super) fn in_full(conninfo: &Conninfo) -> String {
    let public = conninfo.for_child();
    match conninfo.password() {
        Some(password) => {
            let password = password.reveal().replace('\\', "\\\\").replace('\'', "\\'");
            format!("{public} password='{password}'")
        }
        None => public,
    }
}

/// The server takes writes, and we may create databases and rename the present one.
fn require_usable(server: &TargetServer, control: &mut Session) -> Result<()> {
    let denied = |what: String, hint: &str| Err(Error::new(ErrorKind::Denied, what).with_hint(hint));
    if control.is_in_recovery() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is a standby, which takes no writes", control.host()),
        )
        .with_hint("Name the primary server."));
    }
    let sql = "SELECT rolname::text, rolcreatedb OR rolsuper, coalesce((SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = $1), true)
               FROM pg_roles WHERE rolname = current_user";
    let row = control.client().query_one(sql, &[&server.database()]);
    let row = row.map_err(|e| explain(e, "look at the role's rights"))?;
    let (role, creates, owns): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    if !creates {
        return denied(
            format!("the role \"{role}\" may not create databases on {}", control.host()),
            "Connect as a superuser, or let one run ALTER ROLE … CREATEDB: a restore loads into a new database.",
        );
    }
    if !owns {
        return denied(
            format!("the role \"{role}\" does not own the database \"{}\"", server.database()),
            "Connect as its owner or a superuser, or name another database with --to.",
        );
    }
    Ok(())
}

/// The client programs read the dump; a server older than the dump's may not understand it.
fn require_tools(manifest: &Manifest, server: &TargetServer, cx: &Context) -> Result<()> {
    let dumped_by = manifest.tools.get("pg_dump").and_then(|version| major_in(version));
    Tools::at_least(dumped_by.unwrap_or(0), &format!("\"{}\"", manifest.id))?;
    let dumped_from = manifest.source.server_version.as_deref().and_then(major_in);
    match dumped_from {
        Some(major) if major > server.major() => cx.warn(format!(
            "the backup is of PostgreSQL {major} and the server is {}: it may not load",
            server.major()
        )),
        _ => {}
    }
    Ok(())
}

fn stated_names(manifest: &Manifest, key: &str) -> BTreeSet<String> {
    let items = manifest.facts.get(key).and_then(Value::as_array).into_iter().flatten();
    let name = |item: &Value| item.get("name").unwrap_or(item).as_str().map(str::to_owned);
    items.filter_map(name).collect()
}

fn require_extensions(manifest: &Manifest, control: &mut Session) -> Result<()> {
    if manifest.is_partial() {
        return Ok(());
    }
    let wanted = stated_names(manifest, "extensions");
    let missing = missing(
        control,
        wanted,
        "SELECT name::text FROM pg_available_extensions",
        "the server's extensions",
    )?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join("\", \"");
    Err(Error::new(ErrorKind::Unsupported, format!("{} lacks the extensions \"{names}\"", control.host()))
        .with_hint("Install their packages on the server's host (CREATE EXTENSION is done by the restore), or name another server."))
}

/// Owners and grantees must be there before what belongs to them.
pub(super) fn require_roles(
    manifest: &Manifest,
    wanted: BTreeSet<String>,
    control: &mut Session,
) -> Result<()> {
    let missing = missing(control, wanted, "SELECT rolname::text FROM pg_roles", "the server's roles")?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join("\", \"");
    let companion = manifest.companions.iter().find(|name| name.contains("globals.sql"));
    let create = companion.map_or_else(
        || "Create them (CREATE ROLE)".to_owned(),
        |name| format!("Create them (they are in \"{name}\", beside the backup)"),
    );
    Err(Error::new(ErrorKind::NotFound, format!("{} lacks the roles \"{names}\"", control.host()))
        .with_hint(format!("{create}, or restore with --no-owner --no-privileges.")))
}

fn missing(control: &mut Session, wanted: BTreeSet<String>, sql: &str, what: &str) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows = control.client().query(sql, &[]).map_err(|e| explain(e, &format!("list {what}")))?;
    let there: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(wanted.difference(&there).cloned().collect())
}
