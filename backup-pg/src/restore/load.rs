//! Filling a new database from a dump.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use backup_core::{
    Error, Result,
    context::Context,
    engine::{RestorePart, RestoreRequest},
    event::{Event, Step},
    manifest::Manifest,
};
use memchr::memmem;

use super::{
    messages,
    temporary::{Place, TemporaryDatabase},
    unpacked::{Unpacked, major_in},
};
use crate::{
    archive::Archive,
    child::Running,
    session::{Session, explain},
    tools::Tools,
};

/// Sessions that load at once, unless asked for more: beyond them a server's disk is the limit.
const MAX_DEFAULT_JOBS: usize = 4;

/// What stands over every object in pg_dump's text; verbose dumps number them.
const OBJECT_COMMENTS: [&[u8]; 3] = [b"\n--\n-- Name: ", b"\n--\n-- Data for Name: ", b"\n--\n-- TOC entry "];

/// The most that is looked through for the end of what `--clean` puts first.
const MAX_DROPS_BYTES: u64 = 64 << 20;

/// How often the growing database is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// How the programs' sessions are called.
const SESSION_NAME: &str = "backup restore";

/// How many sessions a restore uses.
pub(super) fn jobs(request: &RestoreRequest, cx: &Context) -> usize {
    request.jobs.map_or_else(|| cx.jobs().min(MAX_DEFAULT_JOBS), std::num::NonZeroUsize::get)
}

/// What is told to pg_restore besides where.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) arguments: Vec<String>,
}

impl Selection {
    /// What was asked for.
    pub(super) fn of(request: &RestoreRequest, manifest: &Manifest) -> Self {
        let was_dropped = manifest.options.get("no_owner").and_then(serde_json::Value::as_bool) == Some(true);
        let asked = [
            (request.no_owner || was_dropped, "--no-owner"),
            (request.no_privileges || was_dropped, "--no-privileges"),
            (request.part == RestorePart::Schema, "--schema-only"),
        ];
        let arguments = asked.iter().filter(|(asked, _)| *asked).map(|(_, flag)| (*flag).to_owned());
        Self { arguments: arguments.collect() }
    }

    /// With another argument.
    pub(super) fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// The programs that read a dump.
pub(super) fn tools_for(archive: Option<&Archive>, manifest: &Manifest) -> Result<Tools> {
    let stated = manifest.tools.get("pg_dump").and_then(|version| major_in(version));
    let dumped_by = archive.and_then(|archive| major_in(&archive.header.dump_version));
    let major = dumped_by.or(stated).unwrap_or(0);
    Tools::at_least(major, &format!("\"{}\"", manifest.id))
}

/// Loads a dump into the database.
pub(super) fn fill(
    database: &mut TemporaryDatabase,
    dump: &Unpacked,
    manifest: &Manifest,
    selection: &Selection,
    jobs: usize,
    cx: &Context,
) -> Result<()> {
    let tools = tools_for(dump.archive(), manifest)?;
    if dump.is_plain {
        return run_psql(database, dump, &tools, cx);
    }
    run_pg_restore(database, &dump.path, &tools, selection, jobs, cx)
}

/// Loads what an archive holds, or the chosen part of it.
pub(super) fn run_pg_restore(
    database: &mut TemporaryDatabase,
    archive: &Path,
    tools: &Tools,
    selection: &Selection,
    jobs: usize,
    cx: &Context,
) -> Result<()> {
    let mut command = tools.command("pg_restore");
    lead(&mut command, database)?;
    command.arg("--exit-on-error").args(&selection.arguments);
    if jobs > 1 {
        command.arg(format!("--jobs={jobs}"));
    }
    command.arg(archive).stdout(Stdio::null());
    let ended = watched(command, &database.place, cx)?;
    messages::require_loaded("pg_restore", &ended, cx)
}

fn run_psql(database: &mut TemporaryDatabase, dump: &Unpacked, tools: &Tools, cx: &Context) -> Result<()> {
    let text = File::options().read(true).write(true).open(&dump.path);
    let mut text = text.map_err(|e| Error::io("open", &dump.path, e))?;
    blank_drops(&mut text).map_err(|e| Error::io("prepare", &dump.path, e))?;
    let mut command = tools.command("psql");
    lead(&mut command, database)?;
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"]);
    command.stdin(text).stdout(Stdio::null());
    let ended = watched(command, &database.place, cx)?;
    messages::require_loaded("psql", &ended, cx)
}

/// Takes out what `pg_dump --clean` puts before the first object: in a new database there is nothing to drop, and some
/// of it (a view without its tables, put in the place of one that others need) even fails there.
fn blank_drops(text: &mut File) -> io::Result<()> {
    let mut head = Vec::new();
    Read::by_ref(text).take(MAX_DROPS_BYTES).read_to_end(&mut head)?;
    if let Some(drops) = drops_in(&head) {
        text.seek(SeekFrom::Start(drops.start as u64))?;
        // Line numbers in messages stay as they are in the dump, or nearly so.
        text.write_all(&vec![b'\n'; drops.len()])?;
    }
    text.rewind()
}

/// From the first statement that is no setting up to the comment over the first object.
fn drops_in(head: &[u8]) -> Option<Range<usize>> {
    let first_object = OBJECT_COMMENTS.iter().filter_map(|comment| memmem::find(head, comment)).min()? + 1;
    let mut start = 0;
    for line in head.get(..first_object)?.split_inclusive(|byte| *byte == b'\n') {
        if ["DROP ", "ALTER ", "CREATE "].iter().any(|verb| line.starts_with(verb.as_bytes())) {
            return Some(start..first_object);
        }
        start += line.len();
    }
    None
}

/// Leads a program into the database. Nothing loaded is of worth before the swap, whose own commit makes all of it
/// durable, so no commit before that need wait for the disk.
///
/// A lock that an automatic vacuum of the rows just loaded holds is given up when somebody has waited for it that long.
fn lead(command: &mut Command, database: &mut TemporaryDatabase) -> Result<()> {
    let mut settings = vec![
        ("synchronous_commit", "off"),
        ("client_min_messages", "warning"),
        // Each check of a foreign key is one query, too short to be worth compiling.
        ("jit", "off"),
    ];
    if is_superuser(database.control())? {
        settings.push(("deadlock_timeout", "50ms"));
    }
    database.place.server.lead(command, &database.place.name, SESSION_NAME, &settings);
    Ok(())
}

/// Whether the session's role has no limits.
pub(super) fn is_superuser(control: &mut Session) -> Result<bool> {
    let sql = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    let row = control.client().query_opt(sql, &[]).map_err(|e| explain(e, "look at the role's rights"))?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Writes which entries pg_restore takes, in their order; the argument that names the file.
pub(super) fn write_list(
    folder: &Path,
    name: &str,
    archive: &Archive,
    entries: &HashSet<i32>,
) -> Result<String> {
    let listed = archive.entries.iter().filter(|entry| entries.contains(&entry.dump_id));
    let lines: String = listed.map(|entry| format!("{};\n", entry.dump_id)).collect();
    let path = folder.join(format!("{name}.list"));
    fs::write(&path, lines).map_err(|e| Error::io("write", &path, e))?;
    Ok(format!("--use-list={}", path.display()))
}

/// Runs a program to its end, telling how the database grows.
fn watched(command: Command, place: &Place, cx: &Context) -> Result<crate::child::Ended> {
    let program = Running::start(command, None, cx)?;
    measured(place, cx, || program.finish())
}

/// Works on a database, telling how it grows.
pub(super) fn measured<T>(place: &Place, cx: &Context, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| measure(place, &is_over, cx));
        let outcome = work();
        is_over.store(true, Ordering::Relaxed);
        outcome
    })
}

/// A database that cannot be measured is loaded all the same.
fn measure(place: &Place, is_over: &AtomicBool, cx: &Context) {
    let Ok(mut session) = place.server.session(&place.server.maintenance, "backup progress", &[]) else {
        return;
    };
    let mut size = || -> Option<i64> {
        let row = session.client().query_one("SELECT pg_database_size($1::name)", &[&place.name]);
        row.ok().map(|row| row.get(0))
    };
    let Some(empty) = size() else { return };
    let mut measured = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        if measured.elapsed() < MEASURE_INTERVAL {
            continue;
        }
        measured = Instant::now();
        let Some(now) = size() else { return };
        cx.emit(Event::Progress { step: Step::Load, done: u64::try_from(now - empty).unwrap_or_default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_before_the_first_object_are_found() {
        let settings = "--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\n";
        let drops = "DROP TABLE IF EXISTS a;\nCREATE OR REPLACE VIEW v AS\nSELECT\n    NULL::int;\n\n";
        let objects = "--\n-- Name: a; Type: TABLE\n--\n\nCREATE TABLE a ();\nDROP TABLE b;\n";
        let found = |text: &str| drops_in(text.as_bytes());
        assert_eq!(
            found(&format!("{settings}{drops}{objects}")),
            Some(settings.len()..settings.len() + drops.len())
        );
        assert_eq!(found(&format!("{settings}{objects}")), None);
        assert_eq!(found("CREATE TABLE a ();\n"), None);
        let rows = "--\n-- Data for Name: a; Type: TABLE DATA\n--\n\nALTER TABLE a DISABLE TRIGGER ALL;\n";
        assert_eq!(found(&format!("{settings}{rows}{objects}")), None);
    }
}
