//! Whether a copy of a database is sound and is what its manifest says: SQLite's own checks, in parallel.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use backup_core::{
    Error, Result,
    context::Context,
    event::{Event, Step},
    file,
    manifest::Manifest,
    verify::{Finding, Subject, Verifier},
};
use rusqlite::{Connection, types::ValueRef};

use crate::{
    connection::{explain, open_for_check},
    memory::BoundMapping,
    ownership,
    schema::{self, Definition},
};

/// Threads that check; each has a page cache of its own.
const MAX_THREADS: usize = 3;

/// Findings kept per table and check: the first ones tell, a million would not tell more.
const MAX_FINDINGS: usize = 20;

/// The table of all definitions; its check covers the free list too.
const SCHEMA_TABLE: &str = "sqlite_schema";

/// `integrity_check`, `foreign_key_check`, definitions and row counts, on the decoded copy.
#[derive(Debug)]
pub(crate) struct SoundCopy;

impl Verifier for SoundCopy {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn verify(&self, subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>> {
        match subject.whole_copy(cx)? {
            Some(copy) => check_copy(copy, subject.artifact().manifest(), cx),
            None => Ok(Vec::new()),
        }
    }
}

/// A copy whose header says rollback mode while it is checked, so that it opens without locks, shared memory or a log
/// beside it.
struct DetachedFromLog {
    path: PathBuf,
    versions: [u8; 2],
}

/// Where the header names the journal mode: 1 rollback, 2 WAL (file format, section 1.3.3).
const VERSIONS_OFFSET: u64 = 18;

impl DetachedFromLog {
    fn new(path: &Path) -> Result<Self> {
        let mut detached = Self { path: path.to_owned(), versions: [0; 2] };
        let mut file =
            File::options().read(true).write(true).open(path).map_err(|e| Error::io("open", path, e))?;
        file.seek(SeekFrom::Start(VERSIONS_OFFSET))
            .and_then(|_| file.read_exact(&mut detached.versions))
            .map_err(|e| Error::io("read", path, e))?;
        if detached.versions == [2, 2] {
            detached.write([1, 1])?;
        }
        Ok(detached)
    }

    /// Makes the header what it was.
    fn attach(self) -> Result<()> {
        if self.versions == [2, 2] { self.write(self.versions) } else { Ok(()) }
    }

    fn write(&self, versions: [u8; 2]) -> Result<()> {
        let open = File::options().write(true).open(&self.path);
        open.and_then(|mut file| {
            file.seek(SeekFrom::Start(VERSIONS_OFFSET))?;
            file.write_all(&versions)
        })
        .map_err(|e| Error::io("write", &self.path, e))
    }
}

/// One piece of work for a checking thread.
enum Task {
    /// The free list, and that each page belongs to one tree, chain or list; the trees begin at these pages.
    Pages { roots: Vec<u32> },
    /// One table's tree and rows, its indexes against them, and its rows against the manifest.
    Table { name: String, expected: Option<u64> },
    /// One table's references.
    References(String),
}

/// Checks a private copy that nobody else has open; it is left byte for byte as it was.
///
/// `PRAGMA integrity_check` runs on one core. Its parts do not depend on each other: `integrity_check(TABLE)` covers
/// every table, the schema's own and the free list with it included, and a walk of ours over the pages covers what
/// lies between them (docs/design.md, "The full check in parts").
pub(crate) fn check_copy(path: &Path, manifest: &Manifest, cx: &Context) -> Result<Vec<Finding>> {
    let detached = DetachedFromLog::new(path)?;
    let findings = look(path, manifest, cx);
    detached.attach()?;
    findings
}

fn look(path: &Path, manifest: &Manifest, cx: &Context) -> Result<Vec<Finding>> {
    let connection = open_for_check(path, cx.cancel())?;
    let definitions = match schema::read(&connection) {
        Ok(definitions) => definitions,
        Err(error) => return damage_or_error(error, "schema", "sqlite_schema", path),
    };
    let mut findings = compare_schema(&definitions, manifest);
    let tasks = tasks(&definitions, manifest, &connection);
    drop(connection);
    findings.extend(run_tasks(path, &tasks, cx)?);
    Ok(findings)
}

fn compare_schema(definitions: &[Definition], manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = schema::fingerprint(definitions);
    if manifest.schema_fingerprint.as_ref().is_some_and(|expected| *expected != found) {
        findings.push(Finding::content(
            "schema",
            "sqlite_schema",
            "the definitions are not those of the manifest",
        ));
    }
    let present: HashSet<String> =
        definitions.iter().filter(|d| d.is_user_table()).map(|d| schema::identifier(&d.name)).collect();
    for table in &manifest.tables {
        if !present.contains(&table.name) {
            findings.push(Finding::content("schema", &table.name, "the table is missing"));
        }
    }
    findings
}

/// The work, largest first, so that the last to end is a small one.
fn tasks(definitions: &[Definition], manifest: &Manifest, connection: &Connection) -> Vec<Task> {
    let rows: HashMap<&str, u64> =
        manifest.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    let expected = |name: &str| rows.get(schema::identifier(name).as_str()).copied();
    let mut indexes: HashMap<&str, u64> = HashMap::new();
    for index in definitions.iter().filter(|d| d.kind == "index") {
        *indexes.entry(&index.table).or_default() += 1;
    }
    let mut tables: Vec<(&str, Option<u64>, u64)> = definitions
        .iter()
        .filter(|d| d.kind == "table")
        .map(|d| (d.name.as_str(), expected(&d.name), indexes.get(d.name.as_str()).copied().unwrap_or(0)))
        .collect();
    tables.sort_by_key(|(_, rows, indexes)| std::cmp::Reverse(rows.unwrap_or(0).saturating_mul(1 + indexes)));
    let has_references = |name: &str| {
        let sql = "SELECT count(*) FROM pragma_foreign_key_list(?1)";
        connection.query_row(sql, [name], |row| row.get::<_, i64>(0)).is_ok_and(|count| count > 0)
    };
    let references: Vec<Task> = tables
        .iter()
        .filter(|(table, ..)| has_references(table))
        .map(|(table, ..)| Task::References((*table).to_owned()))
        .collect();
    let schema = Task::Table { name: SCHEMA_TABLE.to_owned(), expected: None };
    let table =
        |(name, expected, _): (&str, Option<u64>, u64)| Task::Table { name: name.to_owned(), expected };
    let roots = definitions.iter().map(|d| d.root).filter(|root| *root > 0).collect();
    let mut work: Vec<Task> = tables.into_iter().map(table).collect();
    work.push(Task::Pages { roots });
    work.push(schema);
    work.extend(references);
    work
}

fn run_tasks(path: &Path, tasks: &[Task], cx: &Context) -> Result<Vec<Finding>> {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Finding)>> = Mutex::new(Vec::new());
    let threads = cx.jobs().clamp(1, MAX_THREADS).min(tasks.len());
    let outcomes: Vec<Result<()>> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work_through(path, tasks, &next, &found, cx))).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|outcome| outcome.unwrap_or_else(|_| Err(Error::failed("a checking thread panicked"))))
            .collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(task, _)| *task);
    let mut findings: Vec<Finding> = found.into_iter().map(|(_, finding)| finding).collect();
    findings.dedup();
    Ok(findings)
}

fn work_through(
    path: &Path,
    tasks: &[Task],
    next: &AtomicUsize,
    found: &Mutex<Vec<(usize, Finding)>>,
    cx: &Context,
) -> Result<()> {
    let connection = open_for_check(path, cx.cancel())?;
    let _mapping = BoundMapping::of(&connection, path)?;
    // After the watcher has begun, which must not have to wait for a core.
    file::yield_to_others();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(task) = tasks.get(number) else { return Ok(()) };
        let findings = run_task(&connection, task, path)?;
        let mut all = found.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(findings.into_iter().map(|finding| (number, finding)));
        cx.emit(Event::Progress { step: Step::Check, done: number as u64 + 1 });
    }
}

fn run_task(connection: &Connection, task: &Task, path: &Path) -> Result<Vec<Finding>> {
    match task {
        Task::Pages { roots } => pages(connection, roots, path),
        Task::Table { name, expected } => {
            let sql = format!("PRAGMA integrity_check({})", schema::quoted(name));
            let mut findings = integrity(connection, &sql, name, path)?;
            if let (Some(expected), true) = (expected, findings.is_empty()) {
                findings.extend(count(connection, name, *expected, path)?);
            }
            Ok(findings)
        }
        Task::References(table) => references(connection, table, path),
    }
}

/// SQLite's own word is asked for only where ours is not a plain yes.
fn pages(connection: &Connection, roots: &[u32], path: &Path) -> Result<Vec<Finding>> {
    let complete = File::open(path).and_then(|file| ownership::is_plainly_complete(file, roots));
    if complete.map_err(|e| Error::io("read", path, e))? {
        return Ok(Vec::new());
    }
    integrity(connection, &format!("PRAGMA quick_check({MAX_FINDINGS})"), "the file", path)
}

fn integrity(connection: &Connection, sql: &str, object: &str, path: &Path) -> Result<Vec<Finding>> {
    let answers = connection.prepare(sql).and_then(|mut query| {
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        rows.take(MAX_FINDINGS).collect::<rusqlite::Result<Vec<_>>>()
    });
    match answers {
        Ok(answers) => {
            let problems = answers.into_iter().filter(|answer| answer != "ok");
            Ok(problems.map(|problem| Finding::content("integrity_check", object, problem)).collect())
        }
        Err(error) => damage_or_error(error, "integrity_check", object, path),
    }
}

fn count(connection: &Connection, table: &str, expected: u64, path: &Path) -> Result<Vec<Finding>> {
    let sql = format!("SELECT count(*) FROM {}", schema::quoted(table));
    match connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
        Ok(rows) if u64::try_from(rows) == Ok(expected) => Ok(Vec::new()),
        Ok(rows) => {
            let what = format!("has {rows} rows, the manifest says {expected}");
            Ok(vec![Finding::content("rows", schema::identifier(table), what)])
        }
        Err(error) => damage_or_error(error, "rows", table, path),
    }
}

/// Rows that refer to nothing: a copy has them only if the source had them, so they are told and condemn nothing.
fn references(connection: &Connection, table: &str, path: &Path) -> Result<Vec<Finding>> {
    if all_references_resolve(connection, table).unwrap_or(false) {
        return Ok(Vec::new());
    }
    let sql = "SELECT \"parent\", count(*) FROM pragma_foreign_key_check(?1) GROUP BY 1";
    let answers = connection.prepare(sql).and_then(|mut query| {
        let rows = query.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    let note = |what: String| Finding::data("foreign_key_check", schema::identifier(table), what);
    match answers {
        Ok(answers) => Ok(answers
            .into_iter()
            .map(|(parent, rows)| {
                note(format!("{rows} rows refer to no row of {}", schema::identifier(&parent)))
            })
            .collect()),
        // "foreign key mismatch": the reference itself is defined wrongly, in the source as in the copy.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => {
            Ok(vec![note(error.to_string())])
        }
        Err(error) => damage_or_error(error, "foreign_key_check", table, path),
    }
}

/// The same question asked of distinct values, which an index gives in order: an order of magnitude faster than row by
/// row. A "no", or a key it does not understand, sends the caller to SQLite's own check.
fn all_references_resolve(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT \"table\", \"from\", \"to\", (SELECT count(*) FROM pragma_foreign_key_list(?1) AS o WHERE o.id = k.id)
               FROM pragma_foreign_key_list(?1) AS k";
    let mut query = connection.prepare(sql)?;
    let keys = query.query_map([table], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<String>>(2)?,
            row.get::<_, i64>(3)?,
        ))
    })?;
    for key in keys {
        let (parent, from, to, columns) = key?;
        let to = match to {
            Some(to) => to,
            None => connection.query_row(
                "SELECT name FROM pragma_table_info(?1) WHERE pk = 1",
                [&parent],
                |row| row.get(0),
            )?,
        };
        let sql = format!(
            "SELECT NOT EXISTS (SELECT 1 FROM (SELECT DISTINCT {from} AS v FROM {table}) AS c
             WHERE v IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE p.{to} = c.v))",
            from = schema::quoted(&from),
            table = schema::quoted(table),
            parent = schema::quoted(&parent),
            to = schema::quoted(&to),
        );
        let resolves = columns == 1
            && is_indexed(connection, table, &from)?
            && connection.query_row(&sql, [], |row| row.get(0))?;
        if !resolves {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a whole index begins with the column, so that its distinct values come in order.
fn is_indexed(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i
               WHERE l.partial = 0 AND i.seqno = 0 AND i.name = ?2";
    connection.query_row(sql, [table, column], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

/// An SQLite error while looking at a private copy is damage, unless it is about the machine.
fn damage_or_error(error: rusqlite::Error, check: &str, object: &str, path: &Path) -> Result<Vec<Finding>> {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase | Unknown) | None => {
            Ok(vec![Finding::content(check, object, error.to_string())])
        }
        _ => Err(explain(error, "check", path)),
    }
}

/// The first row of a query, columns joined by `|`.
pub(crate) fn first_row(connection: &Connection, sql: &str, path: &Path) -> Result<Option<String>> {
    let mut query = connection.prepare(sql).map_err(|e| explain(e, "query", path))?;
    let columns = query.column_count();
    let mut rows = query.query([]).map_err(|e| explain(e, "query", path))?;
    let Some(row) = rows.next().map_err(|e| explain(e, "query", path))? else { return Ok(None) };
    let texts: rusqlite::Result<Vec<String>> = (0..columns).map(|at| row.get_ref(at).map(text_of)).collect();
    texts.map(|texts| Some(texts.join("|"))).map_err(|e| explain(e, "query", path))
}

fn text_of(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(blob) => format!("{} bytes", blob.len()),
    }
}
