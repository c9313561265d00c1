//! Single tables: loaded and proven in a new database, then created in the target in one transaction, with what had
//! their names kept in a schema of its own.

use std::{
    collections::HashSet,
    io::{self, Write},
    process::Stdio,
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    context::Context,
    crash,
    engine::{RestorePlan, Staged, Swapped},
    id::compact_instant,
    manifest::{Manifest, TableFacts},
    verify::Finding,
};

use super::{
    closure::{Closure, closure},
    existing::{self, Existing},
    load::{self, Selection},
    messages,
    names::{literal, shell_word},
    plan,
    present::{UserObjects, present_objects},
    server::TargetServer,
    staged::StagedDatabase,
    statistics,
    temporary::TemporaryDatabase,
    unpacked::{Unpacked, expected_tables},
};
use crate::{
    archive::{Archive, Entry, identifier, qualified},
    child::Running,
    session::Session,
    tools::Tools,
};

/// How long the present tables' locks are waited for; whoever else wants them waits as long.
const LOCK_WAIT: &str = "30s";

/// Loads the plan's tables into a new database.
pub(super) fn load(
    artifact: &dyn Artifact,
    plan: &RestorePlan,
    server: &TargetServer,
    mut control: Session,
    cx: &Context,
) -> Result<Box<dyn Staged>> {
    let (manifest, request) = (artifact.manifest(), &plan.request);
    let mut dump = Unpacked::decode(artifact, cx)?;
    let chosen = closure(dump.archive().ok_or_else(|| without_contents(manifest))?, &request.tables)?;
    require_owners(&dump, &chosen, plan, manifest, &mut control)?;
    let present = present_objects(server, &mut control)?;
    let is_in_place = present.is_some_and(|objects| objects != UserObjects::default());
    if let (Some(archive), true) = (dump.archive(), is_in_place) {
        let mut session = server.session(server.database(), "backup control", &[])?;
        Exchange::prepare(&mut session, archive, &chosen, request.replace, cx)?;
    }
    let mut database = TemporaryDatabase::create(server, control, manifest, dump.archive(), cx)?;
    let selection = Selection::of(request, manifest).with(list(&dump, "load", &chosen.entries)?);
    let jobs = load::jobs(request, cx);
    load::fill(&mut database, &dump, manifest, &selection, jobs, cx)?;
    let tools = load::tools_for(dump.archive(), manifest)?;
    let expected = expected_tables(artifact, &dump.contents);
    let archive = dump.contents.archive.take();
    let whole = staged(database, plan, manifest, (archive, expected), tools, &chosen);
    if is_in_place {
        return Ok(Box::new(StagedTables { whole, dump, chosen }));
    }
    warn_of_references(&whole, &chosen, cx);
    statistics::gather(&whole.database.place, &HashSet::new(), jobs, cx)?;
    Ok(Box::new(whole))
}

fn without_contents(manifest: &Manifest) -> Error {
    let what = format!("\"{}\" is SQL text, from which no single tables can be restored", manifest.id);
    Error::new(ErrorKind::Unsupported, what)
        .with_hint("Restore it whole into another database (--to), and copy the tables from there.")
}

fn require_owners(
    dump: &Unpacked,
    chosen: &Closure,
    plan: &RestorePlan,
    manifest: &Manifest,
    control: &mut Session,
) -> Result<()> {
    if plan.request.no_owner {
        return Ok(());
    }
    let entries = dump.contents.archive.iter().flat_map(|archive| &archive.entries);
    let owned = entries.filter(|entry| chosen.entries.contains(&entry.dump_id) && !entry.owner.is_empty());
    plan::require_roles(manifest, owned.map(|entry| entry.owner.clone()).collect(), control)
}

/// The new database, which holds the chosen tables and nothing else.
fn staged(
    database: TemporaryDatabase,
    plan: &RestorePlan,
    manifest: &Manifest,
    (archive, expected): (Option<Archive>, Vec<TableFacts>),
    tools: Tools,
    chosen: &Closure,
) -> StagedDatabase {
    let names: HashSet<String> = chosen_tables(archive.as_ref(), chosen).map(Entry::name).collect();
    let entries = archive.iter().flat_map(|archive| &archive.entries).map(|entry| entry.dump_id);
    StagedDatabase {
        left_out: entries.filter(|id| !chosen.entries.contains(id)).collect(),
        expected: expected.into_iter().filter(|table| names.contains(&table.name)).collect(),
        database,
        manifest: manifest.clone(),
        archive,
        definitions: None,
        plan: plan.clone(),
        tools,
        is_dressed: false,
    }
}

fn chosen_tables<'a>(archive: Option<&'a Archive>, chosen: &Closure) -> impl Iterator<Item = &'a Entry> {
    let tables = chosen.tables.clone();
    archive
        .into_iter()
        .flat_map(|archive| &archive.entries)
        .filter(move |entry| tables.contains(&entry.dump_id))
}

fn warn_of_references(whole: &StagedDatabase, chosen: &Closure, cx: &Context) {
    let entries = whole.archive.iter().flat_map(|archive| &archive.entries);
    for key in entries.filter(|entry| chosen.references.iter().any(|(id, _)| *id == entry.dump_id)) {
        cx.warn(format!("the foreign key {} was left out: the table it refers to is not restored", key.tag));
    }
}

/// Which entries pg_restore takes, as its argument.
fn list(dump: &Unpacked, name: &str, entries: &HashSet<i32>) -> Result<String> {
    let nothing = Archive::default();
    load::write_list(dump.scratch.path(), name, dump.archive().unwrap_or(&nothing), entries)
}

/// Tables in a database of their own, to be created in the target. Dropped, that database goes away.
#[derive(Debug)]
struct StagedTables {
    whole: StagedDatabase,
    dump: Unpacked,
    chosen: Closure,
}

impl Staged for StagedTables {
    fn prove(&mut self, cx: &Context) -> Result<Vec<Finding>> {
        self.whole.prove(cx)
    }

    fn query(&mut self, sql: &str) -> Result<Option<String>> {
        self.whole.query(sql)
    }

    fn swap(mut self: Box<Self>, cx: &Context) -> Result<Swapped> {
        let server = self.whole.database.place.server.clone();
        let Some(archive) = self.whole.archive.take() else {
            return Err(Error::failed("the archive has no table of contents"));
        };
        let mut session = server.session(server.database(), "backup control", &[])?;
        let exchange =
            Exchange::prepare(&mut session, &archive, &self.chosen, self.whole.plan.request.replace, cx)?;
        drop(session);
        self.dump.contents.archive = Some(archive);
        let list = list(&self.dump, "apply", &exchange.entries)?;
        self.apply(&server, &exchange, &list, cx)?;
        let mut swapped = Swapped::default();
        swapped.target = server.display(server.database());
        swapped.kept = exchange
            .moved
            .iter()
            .map(|table| format!("table {}", qualified(&exchange.kept_in(&table.schema), &table.name)))
            .collect();
        swapped.undo = Some(exchange.undo_line(&server));
        Ok(swapped)
    }
}

impl StagedTables {
    /// One transaction, in which psql first moves the present tables and then does what pg_restore writes.
    fn apply(&self, server: &TargetServer, exchange: &Exchange, list: &str, cx: &Context) -> Result<()> {
        let mut psql = self.whole.tools.command("psql");
        server.lead(&mut psql, server.database(), "backup restore", &[("client_min_messages", "warning")]);
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut psql = Running::start(psql, None, cx)?;
        let Some(mut input) = psql.stdin() else { return Err(Error::failed("psql has no input")) };
        let written = self.write_script(&mut input, exchange, list, cx);
        let is_complete = matches!(&written, Ok(true));
        if is_complete {
            crash::point("swap.renamed");
            // Without this line the transaction ends with its session, and nothing has happened.
            let _ = input.write_all(b"\nCOMMIT;\n");
        }
        drop(input);
        let ended = psql.finish()?;
        // What psql says explains why it stopped reading.
        messages::require_loaded("psql", &ended, cx)?;
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::failed("psql stopped reading")),
            Err(error) => Err(error),
        }
    }

    /// Everything but the commit; whether psql took it all.
    fn write_script(
        &self,
        input: &mut impl Write,
        exchange: &Exchange,
        list: &str,
        cx: &Context,
    ) -> Result<bool> {
        if input.write_all(exchange.preparation().as_bytes()).is_err() {
            return Ok(false);
        }
        let mut command = self.whole.tools.command("pg_restore");
        command.args(&Selection::of(&self.whole.plan.request, &self.whole.manifest).arguments);
        command.arg(list).arg("--file=-").arg(&self.dump.path).stdout(Stdio::piped());
        let mut restore = Running::start(command, None, cx)?;
        let Some(mut text) = restore.stdout() else { return Err(Error::failed("pg_restore has no output")) };
        let copied = io::copy(&mut text, input);
        drop(text);
        let ended = restore.finish()?;
        if copied.is_err() {
            return Ok(false);
        }
        messages::require_loaded("pg_restore", &ended, cx)?;
        Ok(input.write_all(self.counts().as_bytes()).is_ok())
    }

    /// A rule or trigger of the target may have had its own way with the rows.
    fn counts(&self) -> String {
        let tables = self.whole.expected.iter().filter(|table| !table.name.contains('\u{fffd}'));
        let checks = tables.map(|table| {
            let message = literal(&format!("{} came out with other rows", table.name).replace('%', "%%"));
            format!(
                "IF (SELECT count(*) FROM ONLY {}) <> {} THEN RAISE EXCEPTION {message}; END IF;",
                table.name, table.rows
            )
        });
        let checks: String = checks.collect();
        if checks.is_empty() {
            String::new()
        } else {
            format!("\nDO $backup_counts$ BEGIN {checks} END $backup_counts$;\n")
        }
    }
}

/// A table of the target that gives up its place.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) is_statistics: bool,
}

/// What is moved, and what is created.
struct Exchange {
    moved: Vec<Moved>,
    /// The new tables, by schema and name.
    created: Vec<(String, String)>,
    /// Entries to be created in the target.
    entries: HashSet<i32>,
    instant: String,
}

impl Exchange {
    /// Looks at the target: what stands in the way, what hangs on that, and what need not be created.
    ///
    /// # Errors
    /// `AlreadyExists` without leave to replace, and when something else depends on a table that would move.
    fn prepare(
        session: &mut Session,
        archive: &Archive,
        chosen: &Closure,
        replace: bool,
        cx: &Context,
    ) -> Result<Self> {
        let tables: Vec<&Entry> =
            archive.entries.iter().filter(|entry| chosen.tables.contains(&entry.dump_id)).collect();
        let created: Vec<(String, String)> =
            tables.iter().map(|entry| (entry.namespace.clone(), entry.tag.clone())).collect();
        let moved = existing::in_the_way(session, &created)?;
        if let (Some(first), false) = (moved.first(), replace) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a table {} already", qualified(&first.schema, &first.name)))
                .with_hint("Say --replace to put the backup's in its place (the present one is kept in a schema beside), or restore into another database with --to."));
        }
        existing::require_free(session, &moved)?;
        let there = Existing::of(session)?;
        let mut entries = there.without(archive, chosen)?;
        for (key, others) in &chosen.references {
            let others = archive.entries.iter().filter(|entry| others.contains(&entry.dump_id));
            if others.into_iter().all(|table| there.has_relation(table)) {
                entries.insert(*key);
            } else {
                cx.warn("a foreign key was left out: the table it refers to is not in the database");
            }
        }
        Ok(Self { moved, created, entries, instant: compact_instant(cx.now()).to_lowercase() })
    }

    /// The schema that keeps what was moved out of another.
    fn kept_in(&self, schema: &str) -> String {
        let mut schemas: Vec<&str> = self.moved.iter().map(|table| table.schema.as_str()).collect();
        schemas.sort_unstable();
        schemas.dedup();
        let place = schemas.iter().position(|name| *name == schema).unwrap_or_default();
        match place {
            0 => format!("before_{}", self.instant),
            place => format!("before_{}_{}", self.instant, place + 1),
        }
    }

    fn kept_schemas(&self) -> Vec<String> {
        let mut schemas: Vec<String> =
            self.moved.iter().map(|table| identifier(&self.kept_in(&table.schema))).collect();
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }

    fn preparation(&self) -> String {
        let mut script = format!("SET lock_timeout = '{LOCK_WAIT}';\nBEGIN;\n");
        self.kept_schemas().iter().for_each(|schema| script.push_str(&format!("CREATE SCHEMA {schema};\n")));
        for table in &self.moved {
            script.push_str(&table.set_schema(&table.schema, &self.kept_in(&table.schema)));
        }
        script
    }

    /// A line for a shell that puts back what was moved.
    fn undo_line(&self, server: &TargetServer) -> String {
        let created: Vec<String> =
            self.created.iter().map(|(schema, name)| qualified(schema, name)).collect();
        let mut script = format!("BEGIN; DROP TABLE {}; ", created.join(", "));
        for table in &self.moved {
            script
                .push_str(&table.set_schema(&self.kept_in(&table.schema), &table.schema).replace('\n', " "));
        }
        self.kept_schemas().iter().for_each(|schema| script.push_str(&format!("DROP SCHEMA {schema}; ")));
        script.push_str("COMMIT");
        let conninfo = server.conninfo_of(server.database());
        format!("psql -X -q -v ON_ERROR_STOP=1 -d {} -c {}", shell_word(&conninfo), shell_word(&script))
    }
}

impl Moved {
    fn set_schema(&self, from: &str, to: &str) -> String {
        let kind = if self.is_statistics { "STATISTICS" } else { "TABLE" };
        format!("ALTER {kind} {} SET SCHEMA {};\n", qualified(from, &self.name), identifier(to))
    }
}
