//! Dumps by pg_dump, in a snapshot that we hold, counted as they pass by.

use std::{
    io::Read,
    process::{ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use backup_core::{
    Error, Result,
    capture::{CaptureOptions, DumpFormat},
    content::Content,
    context::Context,
    engine::{CaptureRequest, Captured, PayloadSink},
    pipeline::InsideCompression,
    verify::Finding,
};
use serde_json::json;

use crate::{
    archive::spliced,
    child::Running,
    contents::{Contents, ContentsReader},
    directory,
    locks::{HeldTables, Release},
    messages, platform, roles,
    session::explain,
    snapshot::HeldSnapshot,
    source::{CANONICAL, Source, describe_database, major_of},
    tap::Tap,
    tools::Tools,
};

/// How long pg_dump waits for the lock of a table that a migration holds.
const LOCK_WAIT: Duration = Duration::from_secs(300);

/// How long pg_dump may give no byte: reading the catalogue of many tables and waiting for locks take minutes.
const STALL: Duration = Duration::from_secs(1800);

/// The room in the pipe from pg_dump.
const PIPE_BYTES: usize = 1 << 20;

/// A pause in which it fills by a part, whatever pg_dump's speed.
const PIPE_FILLS: Duration = Duration::from_millis(1);

/// Dumps that are begun again because somebody may have emptied a table while they began.
const MAX_TRIES: u32 = 3;

/// The form a content is dumped in.
pub(crate) fn format_of(request: &CaptureRequest) -> DumpFormat {
    if request.content.is_rolling() {
        return DumpFormat::Plain;
    }
    request.options.format.unwrap_or(DumpFormat::Custom)
}

/// Dumps the source into the sink.
pub(crate) fn capture(
    source: &Source,
    request: &CaptureRequest,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Captured> {
    let tools = Tools::for_server(major_of(&source.connect("backup control")?)?)?;
    for attempt in 1.. {
        let dump = Dump { source, request, tools: &tools, name: session_name(cx) };
        let outcome = dump.take(sink, cx);
        if outcome.is_err() {
            end_sessions(source, &dump.name);
        }
        match outcome? {
            Outcome::Whole(captured) => return Ok(*captured),
            Outcome::Undercut if attempt >= MAX_TRIES => break,
            Outcome::Undercut => {
                cx.warn("somebody waited to rewrite a table while the dump began; beginning again");
                sink.restart()?;
            }
        }
    }
    Err(Error::new(
        backup_core::ErrorKind::Busy,
        format!("somebody waited to empty or rewrite a table at the beginning of each of {MAX_TRIES} dumps"),
    )
    .with_hint(
        "Run it when nothing truncates or rewrites tables, or leave those out with --exclude-table-data.",
    ))
}

enum Outcome {
    Whole(Box<Captured>),
    Undercut,
}

/// What this dump's sessions are called on the server.
fn session_name(cx: &Context) -> String {
    format!("backup dump {}-{}", std::process::id(), cx.now().as_microsecond())
}

/// One try.
struct Dump<'a> {
    source: &'a Source,
    request: &'a CaptureRequest,
    tools: &'a Tools,
    name: String,
}

impl Dump<'_> {
    fn take(&self, sink: &mut dyn PayloadSink, cx: &Context) -> Result<Outcome> {
        let mut tables = self.hold_tables(cx)?;
        let mut snapshot = HeldSnapshot::take(self.source.connect(&format!("{} snapshot", self.name))?)?;
        let tap = if self.can_tap() { Tap::on(snapshot.session(), cx) } else { None };
        let command = self.command(&mut snapshot, tap.as_ref())?;
        let mut begun = || tables.iter_mut().for_each(Release::now);
        let contents = match format_of(self.request) {
            DumpFormat::Directory => {
                directory::dump(command, self.request, sink, self.stall(), &mut begun, cx)?
            }
            _ => self.stream(command, tap, sink, &mut begun, cx)?,
        };
        snapshot.is_alive()?;
        if tables.as_ref().is_some_and(|tables| !tables.were_held()) {
            return Ok(Outcome::Undercut);
        }
        let mut captured = self.describe(contents, &mut snapshot)?;
        if self.request.options.cross_check {
            for (table, what) in snapshot.disagreements(&captured.tables)? {
                captured.findings.push(Finding::content("cross-check", table, what));
            }
        }
        drop(tables);
        let options = &self.request.options;
        if self.request.content == Content::Full && !options.is_partial() && !options.no_roles {
            roles::store(self.source, self.tools, sink, &mut captured, cx)?;
        }
        Ok(Outcome::Whole(Box::new(captured)))
    }

    /// A dump of a selection leaves the other tables alone, and takes its chance with a TRUNCATE in its first moments.
    fn hold_tables(&self, cx: &Context) -> Result<Option<Release>> {
        if self.request.options.is_partial() || self.request.content == Content::Schema {
            return Ok(None);
        }
        let held = HeldTables::take(self.source, &format!("{} tables", self.name), self.lock_wait(), cx)?;
        // TRUNCATE would empty them for the counts of the cross-check too.
        held.until_dumped(self.name.clone(), self.request.options.cross_check).map(Some)
    }

    /// Whether rows can be put into pg_dump's output.
    fn can_tap(&self) -> bool {
        format_of(self.request) == DumpFormat::Custom
            && self.request.options.inside.is_none()
            && self.request.content != Content::Schema
    }

    /// pg_dump's output, with the rows of a tap, into the frame that will be compressed; `begun` at its first byte.
    fn stream(
        &self,
        mut command: Command,
        tap: Option<Tap>,
        sink: &mut dyn PayloadSink,
        begun: &mut dyn FnMut(),
        cx: &Context,
    ) -> Result<Contents> {
        command.stdout(Stdio::piped());
        let mut reader = ContentsReader::new(format_of(self.request), self.request.content);
        let mut dump = Running::start(command, Some(self.stall()), cx)?;
        // Closed before pg_dump is ended, which may wait for it.
        let tap = tap;
        let Some(mut output) = dump.stdout() else { return Err(Error::failed("pg_dump has no output")) };
        let outcome = match &tap {
            Some(tap) => spliced(&mut output, tap, &mut |bytes| {
                begun();
                dump.progressed();
                store(bytes, sink, &mut reader)
            }),
            None => store_all(&mut output, sink, &mut reader, &mut || {
                begun();
                dump.progressed();
            }),
        };
        drop(output);
        let outcome = match outcome {
            // What became of the bytes explains why pg_dump could not go on, which is ended here.
            Err(error) if !error.is_corruption() => return Err(error),
            outcome => outcome,
        };
        let ended = dump.finish()?;
        // Not before pg_dump has taken leave of the server.
        drop(tap);
        messages::require_dumped("pg_dump", &ended, cx)?;
        outcome?;
        reader.finish()
    }

    fn command(&self, snapshot: &mut HeldSnapshot, tap: Option<&Tap>) -> Result<Command> {
        let options = &self.request.options;
        let mut command = self.tools.command("pg_dump");
        if needs_conversion(&snapshot.encoding()?) {
            command.arg("--encoding=UTF8");
        }
        let source = tap.map_or_else(|| self.source.clone(), |tap| self.source.through(tap));
        connect(&mut command, &source, &self.name, &CANONICAL);
        command.arg(format!("--snapshot={}", snapshot.name()));
        command.arg(format!("--lock-wait-timeout={}", self.lock_wait().as_millis()));
        let format = format_of(self.request);
        command.arg(format!("--format={format}")).arg(compression(options.inside));
        match self.request.content {
            Content::Schema => _ = command.arg("--schema-only"),
            // Rows of tables that refer to each other in a circle load in no order without it.
            Content::Data => _ = command.args(["--data-only", "--disable-triggers"]),
            _ if format == DumpFormat::Plain => _ = command.args(["--clean", "--if-exists"]),
            _ => {}
        }
        if options.no_owner {
            command.args(["--no-owner", "--no-privileges"]);
        }
        select(&mut command, options);
        Ok(command)
    }

    fn lock_wait(&self) -> Duration {
        self.request.options.lock_wait.unwrap_or(LOCK_WAIT)
    }

    fn stall(&self) -> Duration {
        self.request.options.stall.unwrap_or(STALL)
    }

    fn describe(&self, contents: Contents, snapshot: &mut HeldSnapshot) -> Result<Captured> {
        let mut captured = Captured::at(snapshot.taken_at());
        contents.describe(&mut captured);
        captured.tools.insert("pg_dump".to_owned(), self.tools.version().to_owned());
        captured.facts.insert(
            "connection".to_owned(),
            json!(self.source.conninfo.with_database(&self.source.resolved.database).display()),
        );
        captured.facts.insert("format".to_owned(), json!(format_of(self.request).name()));
        for (key, value) in describe_database(snapshot.session())? {
            captured.facts.insert(key.to_owned(), value);
        }
        Ok(captured)
    }
}

/// Stores and reads bytes.
fn store(mut bytes: &[u8], sink: &mut dyn PayloadSink, reader: &mut ContentsReader) -> Result<()> {
    while !bytes.is_empty() {
        let space = sink.space()?;
        let count = bytes.len().min(space.len());
        let (now, later) = bytes.split_at(count);
        space[..count].copy_from_slice(now);
        reader.feed(now)?;
        sink.advance(count)?;
        bytes = later;
    }
    Ok(())
}

/// Stores and reads all that a program writes, without another copy of it; `moved` at each piece.
fn store_all(
    output: &mut ChildStdout,
    sink: &mut dyn PayloadSink,
    reader: &mut ContentsReader,
    moved: &mut dyn FnMut(),
) -> Result<()> {
    let is_wide = platform::widen(output, PIPE_BYTES);
    loop {
        let space = sink.space()?;
        let count = match output.read(space) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from_io("could not read from pg_dump", error)),
        };
        moved();
        reader.feed(&space[..count])?;
        sink.advance(count)?;
        if is_wide && count < PIPE_BYTES / 4 {
            // pg_dump writes four kilobytes at a time and would wake us for each of them.
            thread::sleep(PIPE_FILLS);
        }
    }
}

/// Names and rows are dumped in UTF-8, so that the manifest can name them, except where the server cannot convert.
fn needs_conversion(encoding: &str) -> bool {
    !["UTF8", "SQL_ASCII", "MULE_INTERNAL"].contains(&encoding)
}

/// Connects a client program to the source as libpq does it; what is secret goes through its environment.
pub(crate) fn connect(command: &mut Command, source: &Source, name: &str, settings: &[(&str, &str)]) {
    let mut options = source.resolved.options.clone().unwrap_or_default();
    for (setting, value) in settings {
        options.push_str(&format!(" -c {setting}={value}"));
    }
    let conninfo = source.conninfo.clone().with("application_name", name).with("options", options.trim());
    command.arg("--no-password").arg(format!("--dbname={}", conninfo.for_child()));
    if let Some(password) = conninfo.password() {
        command.env("PGPASSWORD", password.reveal());
    }
}

fn compression(inside: Option<InsideCompression>) -> String {
    match inside {
        // Levels without a name are gzip's, in every version.
        None => "--compress=0".to_owned(),
        Some(InsideCompression::Gzip(level)) => format!("--compress={level}"),
        Some(other) => format!("--compress={other}"),
    }
}

fn select(command: &mut Command, options: &CaptureOptions) {
    for (flag, patterns) in [
        ("--table", &options.tables),
        ("--exclude-table", &options.exclude_tables),
        ("--exclude-table-data", &options.exclude_table_data),
        ("--schema", &options.schemas),
    ] {
        patterns.iter().for_each(|pattern| _ = command.arg(format!("{flag}={pattern}")));
    }
}

/// Sees to it that a failed dump left no session on the server; one that waits for a lock does not notice that its
/// client is gone.
fn end_sessions(source: &Source, name: &str) {
    const ENDED: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE application_name LIKE $1 || '%' AND pid <> pg_backend_pid()";
    // What cannot be reached cannot be cleared, and the failure itself is what must be told.
    let Ok(mut session) = source.connect("backup control") else { return };
    for _ in 0..50 {
        let ended = session.client().query_one(ENDED, &[&name]).map_err(|e| explain(e, "end a session"));
        if !ended.is_ok_and(|row| row.get::<_, i64>(0) > 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
