//! The engine: what the core asks of SQLite.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    path::{Path, PathBuf},
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    census::Census,
    content::Content,
    context::Context,
    engine::{
        BackupEngine, CaptureRequest, Captured, EngineCapabilities, ExtractFormat, PayloadSink, RestorePlan,
        RestoreRequest, SourceReport, Staged, Target,
    },
    manifest::{Manifest, SourceFacts, TableFacts},
    pipeline::FRAME_BYTES,
    scratch::Scratch,
    verify::{Finding, Level, Subject, Verifier},
};
use serde_json::{Value, json};

use crate::{
    ENGINE,
    check::SoundCopy,
    connection::log_bytes,
    count,
    dump::{self, WholeText},
    extract,
    pages::Shape,
    restore,
    schema::{fingerprint, identifier},
    snapshot::{self, Snapshot},
    source,
};

/// Backs up and brings back one SQLite database file.
#[derive(Clone, Debug)]
pub struct SqliteEngine {
    path: PathBuf,
}

impl SqliteEngine {
    /// The engine for the database at `path`; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLite database \"{}\"", self.path.display())
    }
}

impl BackupEngine for SqliteEngine {
    fn capabilities(&self) -> EngineCapabilities {
        EngineCapabilities::new(&[Content::Full, Content::Schema, Content::Data])
            .with_selective_restore()
            .with_checks_of_a_copy()
    }

    fn extension(&self, request: &CaptureRequest) -> &'static str {
        if request.content.is_rolling() { ".sql" } else { ".db" }
    }

    fn inspect(&self, _cx: &Context) -> Result<SourceReport> {
        let path = source::resolve(&self.path)?;
        let (connection, _file) = source::open(&path)?;
        let bytes = crate::handle::file_size(&connection, &path)?;
        let mut facts = SourceFacts::new("", ENGINE, path.display().to_string());
        facts.server_version = Some(rusqlite::version().to_owned());
        Ok(SourceReport::new(facts, Some(bytes.max(log_bytes(&path)))))
    }

    fn capture(
        &self,
        request: &CaptureRequest,
        sink: &mut dyn PayloadSink,
        cx: &Context,
    ) -> Result<Captured> {
        let path = source::resolve(&self.path)?;
        match request.content {
            Content::Schema | Content::Data => dump::capture(&path, request.content, sink, cx),
            _ => Ok(describe(snapshot::capture(&path, request.scratch.as_deref(), sink, cx)?)),
        }
    }

    fn verifiers(&self, manifest: &Manifest, level: Level) -> Vec<Box<dyn Verifier>> {
        match manifest.content {
            _ if level < Level::Structure || is_opaque(manifest) => Vec::new(),
            Content::Schema | Content::Data => vec![Box::new(WholeText)],
            _ => vec![Box::new(SoundCopy)],
        }
    }

    fn plan_restore(
        &self,
        manifest: &Manifest,
        request: &RestoreRequest,
        cx: &Context,
    ) -> Result<RestorePlan> {
        restore::plan(manifest, request, cx)
    }

    fn load(&self, artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
        restore::load(artifact, plan, cx)
    }

    fn scratch_target(&self, scratch: &Scratch, on: Option<&Target>) -> Result<Target> {
        if let Some(server) = on {
            return Err(Error::invalid(format!(
                "a drill of an SQLite backup needs no server such as \"{server}\""
            )));
        }
        Ok(Target::SqliteFile(scratch.path().join("drill.db")))
    }

    fn extract(
        &self,
        subject: &Subject<'_>,
        table: &str,
        format: ExtractFormat,
        out: &mut dyn Write,
        cx: &Context,
    ) -> Result<u64> {
        let manifest = subject.artifact().manifest();
        if manifest.content != Content::Full || is_opaque(manifest) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("\"{}\" is no database to extract from", manifest.id),
            ));
        }
        let copy = subject.copy(cx)?;
        if let Some(finding) = copy.findings.first() {
            return Err(Error::corrupt(format!("\"{}\" is damaged: {finding}", manifest.id)));
        }
        extract::extract(&copy.path, table, format, out, cx)
    }

    fn census(&self, cx: &Context) -> Result<Census> {
        count::census(&source::resolve(&self.path)?, cx)
    }

    fn describe(&self, subject: &Subject<'_>, cx: &Context) -> Result<Captured> {
        let copy = subject.copy(cx)?;
        if let Some(finding) = copy.findings.first() {
            return Err(Error::corrupt(format!("it is damaged: {finding}")));
        }
        let mut captured = describe(snapshot::capture(&copy.path, None, &mut Nowhere::default(), cx)?);
        // The file tells no time; its name or its own date is the best there is.
        captured.snapshot_at = subject.artifact().manifest().snapshot_at;
        Ok(captured)
    }
}

/// Whether an artifact's bytes are not to be understood, only kept.
pub(crate) fn is_opaque(manifest: &Manifest) -> bool {
    manifest.facts.get("method").and_then(Value::as_str) == Some("opaque")
}

/// Takes bytes that are only looked at.
#[derive(Default)]
struct Nowhere(Vec<u8>);

impl PayloadSink for Nowhere {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.0.resize(FRAME_BYTES, 0);
        Ok(&mut self.0)
    }

    fn advance(&mut self, _count: usize) -> Result<()> {
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        Ok(())
    }

    fn companion(&mut self, _suffix: &str, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

fn describe(snapshot: Snapshot) -> Captured {
    let mut captured = Captured::at(snapshot.taken_at);
    captured.tools.insert("sqlite".to_owned(), rusqlite::version().to_owned());
    captured.facts.insert("method".to_owned(), json!(snapshot.method));
    if let Some(shape) = snapshot.shape {
        captured.facts.extend(page_facts(&shape));
        describe_tables(shape, &mut captured);
    }
    captured
}

fn describe_tables(shape: Shape, captured: &mut Captured) {
    match shape.definitions {
        Ok(definitions) => captured.schema_fingerprint = Some(fingerprint(&definitions)),
        Err(why) => captured.findings.push(Finding::content("schema", "sqlite_schema", why)),
    }
    for (table, rows) in shape.rows {
        match rows {
            Ok(rows) => {
                captured.tables.push(TableFacts { name: identifier(&table.name), rows, digest: None })
            }
            Err(finding) => captured.findings.push(finding),
        }
    }
    captured.counted = captured.schema_fingerprint.is_some();
}

/// What the header of the captured database says.
fn page_facts(shape: &Shape) -> BTreeMap<String, Value> {
    let header = &shape.header;
    let encoding = match header.encoding {
        2 => "UTF-16le",
        3 => "UTF-16be",
        _ => "UTF-8",
    };
    [
        ("page_size", json!(header.page_size)),
        ("page_count", json!(shape.page_count)),
        ("free_pages", json!(header.free_pages)),
        ("reserved_bytes", json!(header.reserved)),
        ("journal_mode", json!(if header.is_wal { "wal" } else { "rollback" })),
        ("text_encoding", json!(encoding)),
        ("user_version", json!(header.user_version)),
        ("application_id", json!(header.application_id)),
        ("change_counter", json!(header.change_counter)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
