//! Takes a backup: capture, store, re-read, judge, commit.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    drill::DrillOptions,
    prove::{Proven, make_proof, prove},
};
use crate::{
    capture::CaptureOptions,
    content::Content,
    context::Context,
    crash,
    engine::{BackupEngine, CaptureRequest, Captured, SourceReport},
    error::{Error, ErrorKind, Result},
    event::{Event, Step},
    guardrail::Guardrails,
    id::BackupId,
    manifest::{Manifest, Payload, Suspicion},
    pipeline::{Compression, DEFAULT_COMPRESSION, Encoder, encode_bytes},
    scratch::Scratch,
    store::Store,
    vault::Vault,
    verify::{Finding, Level, Origin},
};

/// How a backup is taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// What it shall hold.
    pub content: Content,
    /// What of the source, in which form.
    pub capture: CaptureOptions,
    /// Why it is taken.
    pub tags: Vec<String>,
    /// How it is compressed; rolling contents are stored plain unless this is set.
    pub compression: Option<Compression>,
    /// How deep it is verified before it counts.
    pub verify: Level,
    /// The rules it is judged by.
    pub guardrails: Guardrails,
    /// Whether breaches of the rules are accepted this once.
    pub accept: bool,
    /// Whether the vault is known to be this source's although its backups came from another path.
    pub same_source: bool,
}

impl Default for RunOptions {
    /// A full backup, verified to `structure`, judged by the default rules.
    fn default() -> Self {
        Self {
            content: Content::Full,
            capture: CaptureOptions::default(),
            tags: Vec::new(),
            compression: None,
            verify: Level::Structure,
            guardrails: Guardrails::default(),
            accept: false,
            same_source: false,
        }
    }
}

impl RunOptions {
    /// With another content.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// With a choice of what is captured, in which form.
    #[must_use]
    pub fn with_capture(mut self, capture: CaptureOptions) -> Self {
        self.capture = capture;
        self
    }

    /// With one more tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With another compression.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// With another depth of verification.
    #[must_use]
    pub fn with_verify(mut self, level: Level) -> Self {
        self.verify = level;
        self
    }

    /// With other rules.
    #[must_use]
    pub fn with_guardrails(mut self, guardrails: Guardrails) -> Self {
        self.guardrails = guardrails;
        self
    }

    /// With breaches accepted this once.
    #[must_use]
    pub fn with_accept(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// With the assurance that the vault is this source's, wherever it lay before.
    #[must_use]
    pub fn with_same_source(mut self, same_source: bool) -> Self {
        self.same_source = same_source;
        self
    }

    fn compression(&self) -> Compression {
        let default = if self.content.is_rolling() { Compression::None } else { DEFAULT_COMPRESSION };
        self.compression.unwrap_or(default)
    }
}

/// A backup that was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// Its manifest, as committed.
    pub manifest: Manifest,
    /// What its verification found of its content; a suspect backup has some.
    pub findings: Vec<Finding>,
    /// Where its payload lies.
    pub location: String,
}

impl Taken {
    /// Its id.
    pub fn id(&self) -> &BackupId {
        &self.manifest.id
    }

    /// Whether no guardrail and no verifier complains of it.
    pub fn is_good(&self) -> bool {
        self.manifest.is_good()
    }
}

/// Takes one backup into a vault.
///
/// Returns `Ok` for every backup that exists afterwards, suspect ones included ([`Taken::is_good`]). After an `Err`,
/// a cancellation or a kill, there is no new backup, the older ones are as they were, and what was half written is
/// invisible and cleared by the next run. (Rolling contents replace their payload before their manifest: a run that
/// ends between the two leaves them out of step, which verification tells and the next run mends.)
///
/// # Errors
/// `Busy` when another run holds the vault; `NoSpace` before anything is read; `Corrupt` when the stored bytes do not
/// read back as written; else what the engine or the store reports.
pub fn run(vault: &Vault, engine: &dyn BackupEngine, options: &RunOptions, cx: &Context) -> Result<Taken> {
    require_content(engine, options.content)?;
    let request = request(engine, options)?;
    let source = engine.inspect(cx)?;
    let _lease = vault.lease()?;
    crash::point("run.leased");
    vault.sweep(cx)?;
    let history = vault.catalogue(Some(options.content))?;
    history.damaged.iter().for_each(|damaged| cx.emit(Event::Found(damaged.clone())));
    let mut history = history.manifests();
    require_same_source(vault, &source, &history, options, cx)?;
    history.retain(|before| is_comparable(before, options));
    require_room(&**vault.store(), engine, &source, &history, options)?;

    let draft = capture(vault, engine, source, request, options, cx)?;
    crash::point("payload.finished");
    let (manifest, proven) = match judge(vault, engine, draft.clone(), &history, options, cx) {
        Ok(judged) => judged,
        Err(error) => {
            vault.discard(&draft.manifest.id, &object_names(&draft.manifest));
            return Err(error);
        }
    };
    crash::point("run.proven");
    vault.commit(&manifest)?;
    crash::point("run.committed");

    // From here on the backup exists; what fails now is told and changes nothing about that.
    let artifact = vault.draft(manifest.clone());
    if options.verify > Level::None {
        let proof = make_proof(&manifest, options.verify, &proven);
        tell_failure(vault.record(&proof), "its proof could not be stored", cx);
        crash::point("run.proof-stored");
    }
    if manifest.is_good() && !manifest.content.is_rolling() && !manifest.is_partial() {
        tell_failure(vault.point_latest(&manifest), "the latest link could not be moved", cx);
        crash::point("run.latest-pointed");
    }
    let location = crate::artifact::Artifact::location(&artifact);
    Ok(Taken { manifest, findings: proven.findings, location })
}

/// A captured payload, stored and not yet judged.
#[derive(Clone, Debug)]
struct Draft {
    manifest: Manifest,
    findings: Vec<Finding>,
    counted: bool,
}

fn capture(
    vault: &Vault,
    engine: &dyn BackupEngine,
    source: SourceReport,
    mut request: CaptureRequest,
    options: &RunOptions,
    cx: &Context,
) -> Result<Draft> {
    let started_at = cx.now();
    let id = vault.next_id(options.content, started_at)?;
    let compression = options.compression();
    let stem = crate::manifest::object_stem(&id);
    let name = format!("{stem}{}{}", engine.extension(&request), compression.extension());

    let scratch = Scratch::for_store(&**vault.store(), 0, cx)?;
    request.scratch = Some(scratch.path().to_owned());

    let mut companions: Vec<(String, Payload)> = Vec::new();
    let open = Box::new(|| vault.begin_object(&id, &name));
    let companion = Box::new(|suffix: &str, bytes: &[u8]| {
        let name = format!("{stem}.{suffix}{}", compression.extension());
        let (stored, payload) = encode_bytes(bytes, compression, &name)?;
        let mut writer = vault.begin_object(&id, &name)?;
        std::io::Write::write_all(&mut writer, &stored)
            .map_err(|e| Error::from_io(format!("could not store \"{name}\""), e))?;
        writer.finish()?;
        companions.push((name, payload));
        Ok(())
    });
    let (encoded, captured) = {
        let mut encoder = Encoder::new(open, companion, compression, cx)?;
        let captured =
            cx.step(Step::Capture, source.plain_bytes, || engine.capture(&request, &mut encoder, cx))?;
        (encoder.finish(&name)?, captured)
    };
    let payload = encoded.publish()?;
    let mut manifest = describe(id, source, started_at, payload, &captured, options);
    manifest.companions = companions.iter().map(|(name, _)| name.clone()).collect();
    if !companions.is_empty() {
        let facts = companions.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>();
        manifest.facts.insert("companions".to_owned(), serde_json::to_value(facts).unwrap_or(Value::Null));
    }
    Ok(Draft { manifest, findings: captured.findings, counted: captured.counted })
}

/// Everything the manifest says before the backup is judged.
fn describe(
    id: BackupId,
    source: SourceReport,
    started_at: jiff::Timestamp,
    payload: Payload,
    captured: &Captured,
    options: &RunOptions,
) -> Manifest {
    let mut facts = source.facts;
    facts.name = id.source().to_string();
    facts.host = facts.host.or_else(crate::file::host_name);
    let mut manifest = Manifest::new(id, facts, started_at, payload);
    manifest.tags.clone_from(&options.tags);
    manifest.snapshot_at = captured.snapshot_at;
    manifest.tables.clone_from(&captured.tables);
    manifest.rows = captured.counted.then(|| captured.tables.iter().map(|table| table.rows).sum());
    manifest.requires.clone_from(&captured.requires);
    manifest.wal.clone_from(&captured.wal);
    manifest.schema_fingerprint.clone_from(&captured.schema_fingerprint);
    manifest.facts.clone_from(&captured.facts);
    manifest.tools.clone_from(&captured.tools);
    manifest.tools.insert("backup".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    manifest.options = BTreeMap::from([
        ("compression".to_owned(), Value::String(options.compression().to_string())),
        ("verify".to_owned(), Value::String(options.verify.to_string())),
    ]);
    manifest.options.extend(options.capture.describe());
    manifest
}

/// Verifies the stored draft, judges it by the guardrails, and gives the manifest its last entries.
fn judge(
    vault: &Vault,
    engine: &dyn BackupEngine,
    draft: Draft,
    history: &[Manifest],
    options: &RunOptions,
    cx: &Context,
) -> Result<(Manifest, Proven)> {
    let Draft { mut manifest, findings, counted } = draft;
    let artifact = vault.draft(manifest.clone());
    let mut proven =
        prove(&artifact, engine, options.verify, &DrillOptions::default(), &**vault.store(), cx)?;
    proven.findings.extend(findings);
    proven.findings.iter().for_each(|finding| cx.emit(Event::Found(finding.clone())));
    if let Some(finding) = proven.findings.iter().find(|finding| finding.origin == Origin::Stored) {
        return Err(Error::corrupt(format!(
            "the stored payload does not read back as it was written: {finding}"
        ))
        .with_hint("No backup was made. Examine the store's disk and memory, then run again."));
    }
    let damage = proven.findings.iter().filter(|finding| finding.is_damage()).map(|finding| Suspicion {
        rule: finding.check.clone(),
        found: format!("{}: {}", finding.object, finding.what),
        expected: "a source without damage".to_owned(),
    });
    manifest.suspect = damage.collect();
    if counted {
        let judgement = options.guardrails.judge(&manifest, history, options.accept);
        manifest.suspect.extend(judgement.suspect);
        manifest.high_water_rows = judgement.high_water_rows;
        judgement.warnings.into_iter().for_each(|warning| cx.warn(warning));
    }
    manifest.finished_at = cx.now();
    Ok((manifest, proven))
}

/// What the engine is asked for.
fn request(engine: &dyn BackupEngine, options: &RunOptions) -> Result<CaptureRequest> {
    let mut request = CaptureRequest::new(options.content);
    request.options = options.capture.clone();
    request.options.inside = options.compression().inside();
    request.options.require(&engine.capabilities(), engine)?;
    Ok(request)
}

fn require_content(engine: &dyn BackupEngine, content: Content) -> Result<()> {
    let contents = engine.capabilities().contents;
    if contents.contains(&content) {
        return Ok(());
    }
    let names: Vec<&str> = contents.iter().map(|content| content.name()).collect();
    Err(Error::new(ErrorKind::Unsupported, format!("{engine} cannot make {content} backups"))
        .with_hint(format!("It makes {}.", names.join(", "))))
}

/// A backup of some tables says nothing of a backup of all, nor of other ones.
fn is_comparable(before: &Manifest, options: &RunOptions) -> bool {
    let now = options.capture.describe();
    crate::capture::SELECTION_KEYS.iter().all(|key| before.options.get(*key) == now.get(*key))
}

/// Two databases whose names came out the same must not share a vault: each would age the other out.
fn require_same_source(
    vault: &Vault,
    source: &SourceReport,
    history: &[Manifest],
    options: &RunOptions,
    cx: &Context,
) -> Result<()> {
    // What was adopted tells where the dump lay, not where its database does.
    let own = |before: &&Manifest| !before.options.contains_key(super::adopt::ADOPTED_FROM);
    let Some(last) = history.iter().rev().find(own).filter(|_| !options.same_source) else { return Ok(()) };
    let (was, is) = (&last.source, &source.facts);
    if (&was.engine, &was.database) == (&is.engine, &is.database) {
        if was.system_id.is_some() && was.system_id != is.system_id {
            cx.warn(format!(
                "\"{}\" lies in another cluster now than when \"{}\" was taken",
                is.database, last.id
            ));
        }
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "the vault \"{}\" holds backups of \"{}\", not of \"{}\"",
            vault.source(),
            was.database,
            is.database
        ),
    )
    .with_hint(format!(
        "If it is the same database in a new place, say --name {}; if not, give it another name with --name.",
        vault.source()
    )))
}

/// Refuses before anything is read when the store will not have room.
fn require_room(
    store: &dyn Store,
    engine: &dyn BackupEngine,
    source: &SourceReport,
    history: &[Manifest],
    options: &RunOptions,
) -> Result<()> {
    let (Some(plain), Some(free)) = (source.plain_bytes, store.free_space()?) else { return Ok(()) };
    let ratio = match history.iter().rev().find(|m| m.payload.plain_bytes > 0) {
        Some(last) => last.payload.bytes as f64 / last.payload.plain_bytes as f64,
        None => 1.0,
    };
    let checks_copy = options.verify >= Level::Structure && engine.capabilities().checks_copy;
    let copy = if checks_copy { plain as f64 } else { 0.0 };
    let needed = ((plain as f64 * ratio + copy) * options.guardrails.min_free) as u64;
    if free >= needed {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoSpace, format!("{store} has {free} bytes free and this backup wants {needed}"))
        .with_hint(
            "Free some room there or choose another store; --verify checksum does without the working copy that a \
             full check needs.",
        ))
}

fn object_names(manifest: &Manifest) -> Vec<String> {
    std::iter::once(&manifest.payload.name).chain(&manifest.companions).cloned().collect()
}

fn tell_failure(outcome: Result<()>, what: &str, cx: &Context) {
    if let Err(error) = outcome {
        cx.warn(format!("the backup is made, but {what}: {error:?}"));
    }
}
