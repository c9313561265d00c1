//! The contract of a database engine: how bytes get out of a source and back in.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    artifact::Artifact,
    capture::{CaptureOptions, DumpFormat},
    census::Census,
    content::Content,
    context::Context,
    error::{Error, ErrorKind, Result},
    manifest::{Manifest, SourceFacts, TableFacts, WalRange},
    scratch::Scratch,
    verify::{Finding, Level, Subject, Verifier},
};

pub use crate::{
    plain_file::{load_file, plan_file},
    target::{Target, is_connection_string},
};

/// Knows how to get bytes out of one source and back in. One value stands for one source.
///
/// Nothing an engine does is visible in the vault: it writes into a sink, and the operation decides what becomes of
/// that. It never changes its source, and a call that fails or is cancelled leaves no session, file or lock behind.
///
/// Four methods are required. What the others do by default stands at each: together they are an engine whose payload
/// is one plain file.
pub trait BackupEngine: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What this engine can do.
    fn capabilities(&self) -> EngineCapabilities;

    /// What the name of such a payload ends with before its layers, e.g. `.db`.
    fn extension(&self, request: &CaptureRequest) -> &'static str;

    /// Looks at the source: is it reachable, what is it, how large. Cheap, and the first thing a run does.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Busy`, `Corrupt`, `Unavailable`: the source cannot be backed up as it stands.
    fn inspect(&self, cx: &Context) -> Result<SourceReport>;

    /// Writes one consistent state of the source into the sink and says what it is.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Unavailable`, `Cancelled`, and what the sink reports; nothing of the capture is kept then.
    fn capture(&self, request: &CaptureRequest, sink: &mut dyn PayloadSink, cx: &Context)
    -> Result<Captured>;

    /// The checks of an artifact's content that belong to a level beyond `checksum`; by default none, and a payload
    /// that decodes to the manifest's bytes is sound.
    fn verifiers(&self, _manifest: &Manifest, _level: Level) -> Vec<Box<dyn Verifier>> {
        Vec::new()
    }

    /// Says what a restore would do, without doing any of it; by default as [`plan_file`] does for one plain file.
    ///
    /// # Errors
    /// `AlreadyExists` when the target holds data and `replace` was not given; `Busy` when somebody uses it;
    /// `Unsupported` when the request asks for what this engine cannot do.
    fn plan_restore(
        &self,
        manifest: &Manifest,
        request: &RestoreRequest,
        _cx: &Context,
    ) -> Result<RestorePlan> {
        plan_file(manifest, request)
    }

    /// Loads an artifact beside its target, which is not touched; by default as [`load_file`] does for one plain file.
    ///
    /// # Errors
    /// `Corrupt` when the payload is damaged; what the target's disk or server reports. Nothing stays beside it then.
    fn load(&self, artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
        load_file(artifact, plan, cx)
    }

    /// A target for a drill: inside a scratch folder (by default a file there), or a new database on the server of
    /// `on`, else of the source.
    ///
    /// # Errors
    /// `Invalid` when `on` is nothing that it can drill on.
    fn scratch_target(&self, scratch: &Scratch, on: Option<&Target>) -> Result<Target> {
        match on {
            Some(server) => {
                Err(Error::invalid(format!("a drill of {self} needs no server such as \"{server}\"")))
            }
            None => Ok(Target::Path(scratch.path().join("drill"))),
        }
    }

    /// Writes one table of an artifact as reviewable text, and returns its rows.
    ///
    /// # Errors
    /// `NotFound` when the artifact has no such table, naming those it has; `Unsupported` where it has none at all.
    fn extract(
        &self,
        subject: &Subject<'_>,
        _table: &str,
        _format: ExtractFormat,
        _out: &mut dyn Write,
        _cx: &Context,
    ) -> Result<u64> {
        let id = &subject.artifact().manifest().id;
        Err(Error::new(ErrorKind::Unsupported, format!("\"{id}\" has no tables to extract")))
    }

    /// Writes an artifact as SQL text that the database's own shell reads.
    ///
    /// # Errors
    /// `Unsupported` where its form has no such text.
    fn write_sql(&self, subject: &Subject<'_>, _out: &mut dyn Write, _cx: &Context) -> Result<()> {
        let id = &subject.artifact().manifest().id;
        Err(Error::new(ErrorKind::Unsupported, format!("\"{id}\" cannot be written as SQL text"))
            .with_hint("`backup cat` without --format gives its bytes as they are."))
    }

    /// Counts the rows of every table of the live source, and hashes its definitions, in one snapshot.
    ///
    /// Takes as long as the database needs to count its rows; waits for no lock for more than a minute.
    ///
    /// # Errors
    /// `Unsupported` where rows cannot be counted; `Busy` when somebody keeps a table locked.
    fn census(&self, _cx: &Context) -> Result<Census> {
        Err(Error::new(ErrorKind::Unsupported, format!("{self} cannot be counted")))
    }

    /// Says what an artifact that somebody else made holds: everything a capture would have said of it.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged or cut short; `Unsupported` when it is nothing this engine makes.
    fn describe(&self, _subject: &Subject<'_>, _cx: &Context) -> Result<Captured> {
        Err(Error::new(ErrorKind::Unsupported, format!("nothing can be adopted for {self}")))
    }
}

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineCapabilities {
    /// The contents it can capture.
    pub contents: &'static [Content],
    /// Single tables can be restored.
    pub selective_restore: bool,
    /// Restores can stop at an instant between two backups.
    pub point_in_time: bool,
    /// Single tables can be captured.
    pub selective_capture: bool,
    /// The forms it can dump in; empty where there is only one.
    pub formats: &'static [DumpFormat],
    /// A capture can be counted by its source too.
    pub cross_check: bool,
    /// The check of an artifact's structure works on a decoded copy, which takes as much room as the source.
    pub checks_copy: bool,
}

impl EngineCapabilities {
    /// The capabilities of an engine that captures these contents and restores them whole.
    pub fn new(contents: &'static [Content]) -> Self {
        Self {
            contents,
            selective_restore: false,
            point_in_time: false,
            selective_capture: false,
            formats: &[],
            cross_check: false,
            checks_copy: false,
        }
    }

    /// With single tables and several forms to capture in.
    #[must_use]
    pub fn with_dumps(mut self, formats: &'static [DumpFormat]) -> Self {
        self.selective_capture = true;
        self.cross_check = true;
        self.formats = formats;
        self
    }

    /// With a structure check that works on a decoded copy.
    #[must_use]
    pub fn with_checks_of_a_copy(mut self) -> Self {
        self.checks_copy = true;
        self
    }

    /// With single tables restorable.
    #[must_use]
    pub fn with_selective_restore(mut self) -> Self {
        self.selective_restore = true;
        self
    }
}

/// What a source looks like before anything is read from it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceReport {
    /// What goes into the manifest.
    pub facts: SourceFacts,
    /// The size of a full capture in bytes, before compression, as far as it can be told.
    pub plain_bytes: Option<u64>,
}

impl SourceReport {
    /// A report.
    pub fn new(facts: SourceFacts, plain_bytes: Option<u64>) -> Self {
        Self { facts, plain_bytes }
    }
}

/// What to capture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureRequest {
    /// What the artifact shall hold.
    pub content: Content,
    /// The artifact it builds on, for incremental contents.
    pub parent: Option<Manifest>,
    /// A folder for working copies, for engines and sources that need one; a run gives one when asked.
    pub scratch: Option<PathBuf>,
    /// What of the source, in which form.
    pub options: CaptureOptions,
}

impl CaptureRequest {
    /// A request for one content.
    pub fn new(content: Content) -> Self {
        Self { content, parent: None, scratch: None, options: CaptureOptions::default() }
    }
}

/// Takes the bytes of a payload: fill [`PayloadSink::space`], then [`PayloadSink::advance`].
///
/// So an engine reads straight into the frame that will be compressed, without a copy between. A full frame waits
/// until a worker is free, which is how a slow store slows the reading down.
pub trait PayloadSink {
    /// Room for the next bytes; never empty.
    ///
    /// # Errors
    /// What compressing or storing the bytes before reported; the capture has to end with it.
    fn space(&mut self) -> Result<&mut [u8]>;

    /// Takes the first `count` bytes of `space` as written.
    ///
    /// # Errors
    /// As [`PayloadSink::space`].
    fn advance(&mut self, count: usize) -> Result<()>;

    /// Throws away everything written so far, for captures that find out late that they must begin again.
    ///
    /// # Errors
    /// What giving up the bytes so far reports.
    fn restart(&mut self) -> Result<()>;

    /// Stores a small object beside the payload, e.g. the roles of a cluster as `globals.sql`.
    ///
    /// # Errors
    /// What storing it reports; the capture has to end with it.
    fn companion(&mut self, suffix: &str, bytes: &[u8]) -> Result<()>;
}

/// A sink as [`Write`].
pub struct SinkWriter<'a>(pub &'a mut dyn PayloadSink);

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let space = self.0.space()?;
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        self.0.advance(count)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an engine knows of the bytes it captured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Captured {
    /// The instant whose state was captured.
    pub snapshot_at: Timestamp,
    /// What each table holds, read from the captured bytes.
    pub tables: Vec<TableFacts>,
    /// Whether the engine could count rows at all (an opaque payload has no tables to count).
    pub counted: bool,
    /// A hash of all definitions.
    pub schema_fingerprint: Option<String>,
    /// What else is worth knowing.
    pub facts: BTreeMap<String, Value>,
    /// What the payload can be seen to lack, e.g. `rows`: such an artifact alone does not bring its source back. An
    /// adopted one is partial then; what a run leaves out, its options say.
    pub left_out: Vec<String>,
    /// Faults of the source seen on the way.
    pub findings: Vec<Finding>,
    /// The artifact this one cannot do without.
    pub requires: Option<crate::id::BackupId>,
    /// The WAL it needs.
    pub wal: Option<WalRange>,
    /// Versions of the programs used.
    pub tools: BTreeMap<String, String>,
}

impl Captured {
    /// A capture about which nothing else is known.
    pub fn at(snapshot_at: Timestamp) -> Self {
        Self {
            snapshot_at,
            tables: Vec::new(),
            counted: false,
            schema_fingerprint: None,
            facts: BTreeMap::new(),
            left_out: Vec::new(),
            findings: Vec::new(),
            requires: None,
            wal: None,
            tools: BTreeMap::new(),
        }
    }
}

/// What to restore, onto what.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreRequest {
    /// Onto what; `None` is where the backup came from.
    pub target: Option<Target>,
    /// Only these tables; empty is everything.
    pub tables: Vec<String>,
    /// Until when, within what the artifact and the log after it allow.
    pub until: Option<RecoveryTarget>,
    /// Whether what stands there may be replaced (it is kept beside).
    pub replace: bool,
    /// Definitions, rows, or both.
    pub part: RestorePart,
    /// Do nothing where the target holds anything already, instead of refusing.
    pub into_empty: bool,
    /// Sessions that load at once; `None` is the engine's own choice.
    pub jobs: Option<NonZeroUsize>,
    /// Everything belongs to the restoring user afterwards.
    pub no_owner: bool,
    /// Nobody is granted anything.
    pub no_privileges: bool,
}

/// What of an artifact is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestorePart {
    /// Definitions and rows.
    #[default]
    All,
    /// Definitions only.
    Schema,
    /// Rows only, into the same definitions.
    Data,
}

/// Where in time a restore stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryTarget {
    /// The last commit before this instant.
    Instant(Timestamp),
    /// A log position in the engine's own notation.
    Position(String),
    /// A named restore point.
    RestorePoint(String),
    /// As soon as the backup is consistent.
    Immediate,
}

/// What a restore would do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestorePlan {
    /// Onto what.
    pub target: Target,
    /// What was asked for.
    pub request: RestoreRequest,
    /// Whether something stands there and will be kept beside.
    pub replaces: bool,
    /// Why nothing will be done, where nothing will.
    pub skipped: Option<String>,
    /// Bytes that will be written.
    pub writes: u64,
    /// What will happen, one line per step, for people.
    pub steps: Vec<String>,
}

impl RestorePlan {
    /// A plan that writes `writes` bytes onto `target`.
    pub fn new(target: Target, writes: u64) -> Self {
        Self {
            target,
            request: RestoreRequest::default(),
            replaces: false,
            skipped: None,
            writes,
            steps: Vec::new(),
        }
    }
}

/// A database loaded beside its target, not yet in its place. Dropping it throws it away.
pub trait Staged: fmt::Debug {
    /// Compares it with the manifest and checks its integrity; nothing found means it may take its place.
    ///
    /// # Errors
    /// Only when it could not be looked at.
    fn prove(&mut self, cx: &Context) -> Result<Vec<Finding>>;

    /// Runs a query in it and returns the first row, columns joined by `|`; `None` is no row.
    ///
    /// # Errors
    /// What the database says of the query; by default `Unsupported`.
    fn query(&mut self, _sql: &str) -> Result<Option<String>> {
        Err(Error::new(ErrorKind::Unsupported, "what was restored answers no queries"))
    }

    /// Puts it in the target's place and keeps what stood there. Until this returns, the target is the old database
    /// whole; afterwards it is the new one whole; a crash leaves one of the two.
    ///
    /// # Errors
    /// `Busy` when somebody began to use the target since it was planned; the target is the old database then.
    fn swap(self: Box<Self>, cx: &Context) -> Result<Swapped>;
}

/// What a swap left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swapped {
    /// Where the restored database is now.
    pub target: String,
    /// What stood there before, kept here.
    pub kept: Vec<String>,
    /// A line that undoes the swap.
    pub undo: Option<String>,
}

/// How a table is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtractFormat {
    /// `INSERT` statements in a transaction.
    Sql,
    /// RFC 4180 with a header line.
    Csv,
}
