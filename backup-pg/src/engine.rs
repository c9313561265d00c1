//! The engine: what the core asks of PostgreSQL.

use std::{
    fmt,
    io::{self, Write},
    process::Stdio,
    thread,
    time::Duration,
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    capture::DumpFormat,
    census::Census,
    content::Content,
    context::Context,
    engine::{
        BackupEngine, CaptureRequest, Captured, EngineCapabilities, ExtractFormat, PayloadSink, RestorePlan,
        RestoreRequest, SourceReport, Staged, Target,
    },
    manifest::Manifest,
    scratch::Scratch,
    verify::{Level, Subject, Verifier},
};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::{
    census,
    check::{self, WholeDump},
    child::Running,
    conninfo::{Conninfo, Environment},
    contents::format_in,
    dump, extract, messages, restore,
    source::Source,
    tools::Tools,
};

/// Backs up and brings back one PostgreSQL database, by pg_dump and pg_restore.
#[derive(Clone)]
pub struct PgEngine {
    conninfo: Conninfo,
}

/// The name of the database that a connection string leads to, the environment considered.
///
/// # Errors
/// `Invalid` when it is none, or names a service that does not exist.
pub fn database_name(text: &str) -> Result<String> {
    Ok(Conninfo::parse(text)?.resolve(&Environment::of_process())?.database)
}

/// The client programs that a run against a server of this version uses, and the folder they lie in.
///
/// # Errors
/// `Unsupported`, naming what was found and how to install what is missing.
pub fn client_programs(server_version: &str) -> Result<String> {
    let digits = server_version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let major = digits.parse().map_err(|_| Error::failed("the server named no version"))?;
    Ok(Tools::for_server(major)?.to_string())
}

impl PgEngine {
    /// The engine for the database that a connection string names: a URI, `key=value` pairs, or `postgres:` for what
    /// the environment says. Nothing is connected yet.
    ///
    /// # Errors
    /// `Invalid` when it is no connection string.
    pub fn new(text: &str) -> Result<Self> {
        Ok(Self { conninfo: Conninfo::parse(text)? })
    }

    fn source(&self, cx: &Context) -> Result<Source> {
        Source::resolve(&self.conninfo, cx)
    }
}

impl fmt::Debug for PgEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgEngine({self})")
    }
}

impl fmt::Display for PgEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL database \"{}\"", self.conninfo)
    }
}

impl BackupEngine for PgEngine {
    fn capabilities(&self) -> EngineCapabilities {
        EngineCapabilities::new(&[Content::Full, Content::Schema, Content::Data])
            .with_selective_restore()
            .with_dumps(&[DumpFormat::Custom, DumpFormat::Plain, DumpFormat::Directory])
    }

    fn extension(&self, request: &CaptureRequest) -> &'static str {
        match dump::format_of(request) {
            DumpFormat::Plain => ".sql",
            DumpFormat::Directory => ".tar",
            _ => ".dump",
        }
    }

    fn inspect(&self, cx: &Context) -> Result<SourceReport> {
        self.source(cx)?.inspect()
    }

    fn capture(
        &self,
        request: &CaptureRequest,
        sink: &mut dyn PayloadSink,
        cx: &Context,
    ) -> Result<Captured> {
        // What a killed restore left takes room on the server; not being able to clear it stops no backup.
        if let Err(error) = restore::sweep(&self.conninfo, cx) {
            cx.warn(format!("what earlier restores left could not be cleared: {error:?}"));
        }
        dump::capture(&self.source(cx)?, request, sink, cx)
    }

    fn verifiers(&self, _manifest: &Manifest, level: Level) -> Vec<Box<dyn Verifier>> {
        if level < Level::Structure { Vec::new() } else { vec![Box::new(WholeDump)] }
    }

    fn plan_restore(
        &self,
        manifest: &Manifest,
        request: &RestoreRequest,
        cx: &Context,
    ) -> Result<RestorePlan> {
        restore::plan(&self.conninfo, manifest, request, cx)
    }

    fn load(&self, artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
        restore::load(artifact, plan, cx)
    }

    fn scratch_target(&self, _scratch: &Scratch, on: Option<&Target>) -> Result<Target> {
        restore::drill_target(&self.conninfo, on)
    }

    fn extract(
        &self,
        subject: &Subject<'_>,
        table: &str,
        format: ExtractFormat,
        out: &mut dyn Write,
        cx: &Context,
    ) -> Result<u64> {
        extract::extract(subject, table, format, out, cx)
    }

    fn write_sql(&self, subject: &Subject<'_>, out: &mut dyn Write, cx: &Context) -> Result<()> {
        let manifest = subject.artifact().manifest();
        match format_in(manifest)? {
            DumpFormat::Plain => copy_text(subject, out, cx),
            DumpFormat::Custom => write_sql(subject, out, cx),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("a {other} dump cannot be written as one text"),
            )
            .with_hint("Restore it into a database of its own, or take a backup in the custom format.")),
        }
    }

    fn census(&self, cx: &Context) -> Result<Census> {
        census::take(&self.source(cx)?, cx)
    }

    fn describe(&self, subject: &Subject<'_>, cx: &Context) -> Result<Captured> {
        let manifest = subject.artifact().manifest();
        let Some(contents) = check::read(subject, cx)? else {
            return Err(Error::corrupt(format!("\"{}\" is damaged", subject.artifact().location())));
        };
        let mut captured = Captured::at(manifest.snapshot_at);
        if let Some(archive) = &contents.archive {
            // The archive tells the dumping host's local time and not its zone: ours is the best guess.
            if let Ok(zoned) = archive.header.created_at.to_zoned(TimeZone::system()) {
                captured.snapshot_at = zoned.timestamp();
            }
            captured.facts.insert("database".to_owned(), json!({ "name": archive.header.database }));
            captured.tools.insert("pg_dump".to_owned(), archive.header.dump_version.clone());
        }
        contents.describe(&mut captured);
        captured.facts.insert("format".to_owned(), json!(format_in(manifest)?.name()));
        Ok(captured)
    }
}

fn copy_text(subject: &Subject<'_>, out: &mut dyn Write, cx: &Context) -> Result<()> {
    let is_whole = subject.read(cx, &mut |bytes| out.write_all(bytes).map_err(unwritten))?;
    require_whole(is_whole, subject)
}

/// pg_restore makes the text of an archive that it is fed.
fn write_sql(subject: &Subject<'_>, out: &mut dyn Write, cx: &Context) -> Result<()> {
    let manifest = subject.artifact().manifest();
    let major = manifest.tools.get("pg_dump").and_then(|version| version.split('.').next()?.parse().ok());
    let tools = Tools::at_least(major.unwrap_or(0), "this archive")?;
    let mut command = tools.command("pg_restore");
    command.arg("--file=-").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Running::start(command, None::<Duration>, cx)?;
    let (Some(mut input), Some(mut output)) = (program.stdin(), program.stdout()) else {
        return Err(Error::failed("pg_restore has no pipes"));
    };
    let is_whole = thread::scope(|scope| {
        let (pieces, waiting) = crossbeam_channel::bounded::<Vec<u8>>(2);
        let feeder = scope.spawn(move || waiting.iter().try_for_each(|piece| input.write_all(&piece)));
        let (text, texts) = crossbeam_channel::bounded::<io::Result<Vec<u8>>>(4);
        scope.spawn(move || read_pieces(&mut output, &text));
        let mut put =
            |text: io::Result<Vec<u8>>| text.and_then(|text| out.write_all(&text)).map_err(unwritten);
        let outcome = subject.read(cx, &mut |bytes| {
            let mut piece = bytes.to_vec();
            loop {
                crossbeam_channel::select! {
                    send(pieces, std::mem::take(&mut piece)) -> sent => {
                        // A program that reads no more says why on its way out.
                        return sent.map_err(|_| Error::failed("pg_restore stopped reading"));
                    }
                    recv(texts) -> text => match text {
                        Ok(text) => put(text)?,
                        Err(_) => return Err(Error::failed("pg_restore stopped writing")),
                    },
                }
            }
        });
        drop(pieces);
        let rest = if outcome.is_ok() { texts.iter().try_for_each(&mut put) } else { Ok(()) };
        if outcome.is_err() || rest.is_err() {
            // It would go on waiting for somebody to take its text.
            program.stop();
            drop(texts);
        }
        let _ = feeder.join();
        outcome.and_then(|is_whole| rest.map(|()| is_whole))
    });
    let ended = program.finish()?;
    let is_whole = is_whole?;
    messages::require_written(&ended)?;
    require_whole(is_whole, subject)
}

fn read_pieces(output: &mut impl io::Read, text: &crossbeam_channel::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0u8; 256 << 10];
        match output.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                if text.send(Ok(piece)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = text.send(Err(error));
                return;
            }
        }
    }
}

fn require_whole(is_whole: bool, subject: &Subject<'_>) -> Result<()> {
    if is_whole {
        return Ok(());
    }
    let damage = subject.decoded().unwrap_or_default();
    let first = damage.first().map(ToString::to_string).unwrap_or_default();
    Err(Error::corrupt(format!("\"{}\" is damaged: {first}", subject.artifact().manifest().id))
        .with_hint("What was written is not to be trusted."))
}

fn unwritten(error: io::Error) -> Error {
    Error::from_io("could not write the text", error)
}
