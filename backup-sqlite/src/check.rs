//! Whether a copy of a database is sound and is what its manifest says: SQLite's own checks, in parallel.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
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
    findings::{MAX_FINDINGS, damage_or_error, integrity},
    indexed_table::indexed_table,
    memory::BoundMapping,
    ownership,
    references::{has_references, references},
    schema::{self, Definition},
    table_check::{Part, TableCheck},
};

/// Threads that check; each has a page cache of its own.
const MAX_THREADS: usize = 3;

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
    /// A part of one table's check.
    Table(Arc<TableCheck>, Part),
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
    let connection = match open_for_check(path, cx.cancel()) {
        Ok(connection) => connection,
        // Opening reads the definitions.
        Err(error) if error.is_corruption() => {
            return Ok(vec![Finding::content("schema", SCHEMA_TABLE, error.to_string())]);
        }
        Err(error) => return Err(error),
    };
    let definitions = match schema::read(&connection) {
        Ok(definitions) => definitions,
        Err(error) => return damage_or_error(error, "schema", SCHEMA_TABLE, path),
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
    let mut parts: Vec<(u64, Task)> = Vec::new();
    for table in definitions.iter().filter(|d| d.kind == "table") {
        let expected = rows.get(schema::identifier(&table.name).as_str()).copied();
        // Where SQLite cannot say what its indexes are, it has the word about them.
        let indexed = indexed_table(connection, definitions, table).unwrap_or_default();
        let check = Arc::new(TableCheck::new(&table.name, expected, indexed));
        let indexes = definitions.iter().filter(|d| d.kind == "index" && d.table == table.name).count();
        for part in check.parts() {
            let cost = expected.unwrap_or(0).saturating_mul(part.cost(indexes));
            parts.push((cost, Task::Table(Arc::clone(&check), part)));
        }
        if has_references(connection, &table.name) {
            parts.push((expected.unwrap_or(0), Task::References(table.name.clone())));
        }
    }
    parts.sort_by_key(|(cost, _)| Reverse(*cost));
    let schema = Arc::new(TableCheck::new(SCHEMA_TABLE, None, None));
    let roots = definitions.iter().map(|d| d.root).filter(|root| *root > 0).collect();
    let mut work: Vec<Task> = parts.into_iter().map(|(_, task)| task).collect();
    work.push(Task::Pages { roots });
    work.push(Task::Table(schema, Part::Whole));
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
        let findings = run_task(&connection, task, path, cx)?;
        let mut all = found.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(findings.into_iter().map(|finding| (number, finding)));
        cx.emit(Event::Progress { step: Step::Check, done: number as u64 + 1 });
    }
}

fn run_task(connection: &Connection, task: &Task, path: &Path, cx: &Context) -> Result<Vec<Finding>> {
    match task {
        Task::Pages { roots } => pages(connection, roots, path),
        Task::Table(table, part) => table.run(*part, connection, path, cx.cancel()),
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
