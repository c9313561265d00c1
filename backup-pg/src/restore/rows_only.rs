//! Rows without their definitions: loaded between the definitions that the target has, in a new database that then
//! takes the target's place.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    path::Path,
    process::Stdio,
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    context::Context,
    engine::{RestorePlan, Staged},
};

use super::{
    load::{self, Selection},
    messages,
    server::TargetServer,
    staged::StagedDatabase,
    statistics,
    temporary::TemporaryDatabase,
    unpacked::{Unpacked, expected_tables, major_in},
};
use crate::{
    archive::{Archive, Entry, read_toc},
    child::Running,
    session::{Session, explain},
    tools::Tools,
};

/// Entries in which two databases with equal tables may differ.
const NOT_COMPARED: [&str; 17] = [
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "DATABASE",
    "DATABASE PROPERTIES",
    "ACL",
    "DEFAULT ACL",
    "COMMENT",
    "SECURITY LABEL",
    "SEQUENCE SET",
    "TABLE DATA",
    "BLOB",
    "BLOBS",
    "BLOB METADATA",
    "LARGE OBJECT",
    "PUBLICATION",
    "PUBLICATION TABLE",
];

/// Loads the rows of an artifact.
pub(super) fn load(
    artifact: &dyn Artifact,
    plan: &RestorePlan,
    server: &TargetServer,
    control: Session,
    cx: &Context,
) -> Result<Box<dyn Staged>> {
    let (manifest, request) = (artifact.manifest(), &plan.request);
    let dump = Unpacked::decode(artifact, cx)?;
    let reads_dump = major_in(load::tools_for(dump.archive(), manifest)?.version()).unwrap_or(0);
    let tools = Tools::at_least(server.major().max(reads_dump), "restoring rows")?;
    let path = dump.scratch.path().join("definitions");
    let definitions = dump_definitions(server, &tools, &path, cx)?;
    if let Some(archive) = dump.archive() {
        require_equal(archive, &definitions)?;
    }
    let expected = expected_tables(artifact, &dump.contents);
    if !request.replace {
        let names: Vec<&str> = expected.iter().map(|table| table.name.as_str()).collect();
        require_empty(server, &definitions, &names)?;
    }
    let mut database =
        TemporaryDatabase::create(server, control, manifest, dump.archive().or(Some(&definitions)), cx)?;
    let jobs = load::jobs(request, cx);
    let plain = Selection::default();
    load::run_pg_restore(&mut database, &path, &tools, &plain.clone().with("--section=pre-data"), jobs, cx)?;
    load::fill(&mut database, &dump, manifest, &plain.clone().with("--data-only"), jobs, cx)?;
    load::run_pg_restore(&mut database, &path, &tools, &plain.with("--section=post-data"), jobs, cx)?;
    statistics::gather(&database.place, &HashSet::new(), jobs, cx)?;
    Ok(Box::new(StagedDatabase {
        database,
        manifest: manifest.clone(),
        expected,
        archive: dump.contents.archive,
        definitions: Some(definitions),
        plan: plan.clone(),
        tools,
        left_out: HashSet::new(),
        is_dressed: true,
    }))
}

/// The target's definitions, as an archive in a file.
fn dump_definitions(server: &TargetServer, tools: &Tools, path: &Path, cx: &Context) -> Result<Archive> {
    let mut command = tools.command("pg_dump");
    server.lead(&mut command, server.database(), "backup restore", &[]);
    command
        .args(["--format=custom", "--schema-only", "--compress=0"])
        .arg(format!("--file={}", path.display()));
    command.stdout(Stdio::null());
    let ended = Running::start(command, None, cx)?.finish()?;
    if !ended.status.success() {
        return Err(messages::explain(
            "pg_dump",
            &ended.stderr,
            "the target's definitions could not be read",
        ));
    }
    read_toc(File::open(path).map_err(|e| Error::io("open", path, e))?)
}

/// Rows fit only into the definitions that they were dumped from.
fn require_equal(backup: &Archive, target: &Archive) -> Result<()> {
    let (wanted, found) = (definitions(backup), definitions(target));
    let differs = wanted.iter().find_map(|(key, definition)| match found.get(key) {
        None => Some((key, "is not in the target")),
        Some(other) if other != definition => Some((key, "is defined differently in the target")),
        Some(_) => None,
    });
    let extra =
        || found.keys().find(|key| !wanted.contains_key(*key)).map(|key| (key, "is not in the backup"));
    let Some(((desc, schema, tag), why)) = differs.or_else(extra) else { return Ok(()) };
    let name = crate::archive::qualified(schema, tag);
    Err(Error::failed(format!("the {} {name} {why}", desc.to_lowercase())).with_hint(
        "Nothing was changed. Restore definitions and rows together into another database (--to), or bring the target's definitions to those of the backup.",
    ))
}

fn definitions(archive: &Archive) -> BTreeMap<(&str, &str, &str), &str> {
    let is_compared = |entry: &&Entry| {
        let desc = entry.desc.as_str();
        !NOT_COMPARED.contains(&desc) && !desc.ends_with(" DATA") && !entry.has_data
    };
    let compared = archive.entries.iter().filter(is_compared);
    compared
        .map(|entry| {
            ((entry.desc.as_str(), entry.namespace.as_str(), entry.tag.as_str()), entry.definition.trim())
        })
        .collect()
}

/// # Errors
/// `AlreadyExists` when a table that rows are restored to has some.
fn require_empty(server: &TargetServer, definitions: &Archive, expected: &[&str]) -> Result<()> {
    let mut session = server.session(server.database(), "backup control", &[("row_security", "off")])?;
    let tables = definitions.entries.iter().filter(|entry| entry.desc == "TABLE").map(Entry::name);
    for name in tables.filter(|name| expected.contains(&name.as_str())) {
        let row = session.client().query_one(&format!("SELECT EXISTS (SELECT FROM ONLY {name})"), &[]);
        if row.map_err(|e| explain(e, &format!("look into the table {name}")))?.get(0) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("the table {name} has rows already")).with_hint(
                "Say --replace to restore all rows into a copy of the definitions that takes the database's place (the present one is kept beside).",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &str, &str)]) -> Archive {
        let entry = |(desc, tag, definition): &(&str, &str, &str)| {
            let mut entry = Entry::default();
            (entry.desc, entry.tag, entry.definition) =
                ((*desc).to_owned(), (*tag).to_owned(), (*definition).to_owned());
            entry.namespace = "s".to_owned();
            entry
        };
        Archive { entries: entries.iter().map(entry).collect(), ..Archive::default() }
    }

    #[test]
    fn the_first_difference_is_named() {
        let backup = archive(&[
            ("TABLE", "t", "CREATE TABLE s.t (a int);\n"),
            ("INDEX", "i", "x"),
            ("ACL", "TABLE t", "GRANT"),
        ]);
        for (target, told) in [
            (vec![("TABLE", "t", "CREATE TABLE s.t (a int);\n"), ("INDEX", "i", "x")], None),
            (
                vec![("TABLE", "t", "CREATE TABLE s.t (a text);\n"), ("INDEX", "i", "x")],
                Some("the table s.t is defined differently"),
            ),
            (vec![("TABLE", "t", "CREATE TABLE s.t (a int);\n")], Some("the index s.i is not in the target")),
            (
                vec![("TABLE", "t", "CREATE TABLE s.t (a int);\n"), ("INDEX", "i", "x"), ("VIEW", "v", "y")],
                Some("the view s.v is not in the backup"),
            ),
        ] {
            let outcome = require_equal(&backup, &archive(&target));
            assert_eq!(outcome.is_ok(), told.is_none());
            assert!(told.is_none_or(|told| outcome.unwrap_err().to_string().contains(told)));
        }
    }
}
