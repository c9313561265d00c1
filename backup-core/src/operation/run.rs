//! Takes a backup: capture, store, re-read, judge, commit.

mod options;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::options::RunOptions;
use super::{
    mirror::Copied,
    prove::{Proven, make_proof, prove},
    queue::lease_within,
};
use crate::{
    artifact::{Artifact, StoredArtifact},
    content::Content,
    context::Context,
    crash,
    engine::{BackupEngine, CaptureRequest, Captured, SourceReport},
    error::{Error, ErrorKind, Result},
    event::{Event, Step},
    id::{BackupId, Key},
    manifest::{Manifest, Payload, Suspicion},
    pipeline::{Coding, Encoder, RECIPIENTS, encode_bytes},
    scratch::Scratch,
    store::{Lease, Store},
    vault::Vault,
    verify::{Finding, Level, Origin},
};

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
    /// What became of its copies, filled by whoever knows of mirrors.
    pub copies: Vec<Copied>,
    /// The older backups that retention removed afterwards, filled by whoever knows the policy.
    pub pruned: Vec<BackupId>,
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
/// `Busy` when another run holds the vault, for longer than [`RunOptions::wait`]; `NoSpace` before anything is read; `Corrupt` when the stored bytes do not
/// read back as written; else what the engine or the store reports.
pub fn run(vault: &Vault, engine: &dyn BackupEngine, options: &RunOptions, cx: &Context) -> Result<Taken> {
    run_under(|| lease_within(vault, options.wait, cx).map(Some), vault, engine, options, cx)
}

/// [`run`] under a lease that is taken once the source answered; none where the caller holds it already.
pub(super) fn run_under(
    lease: impl FnOnce() -> Result<Option<Box<dyn Lease>>>,
    vault: &Vault,
    engine: &dyn BackupEngine,
    options: &RunOptions,
    cx: &Context,
) -> Result<Taken> {
    require_content(engine, options.content)?;
    let request = request(engine, options)?;
    let coding = Coding::new(options.compression(), &options.recipients)?;
    let source = engine.inspect(cx)?;
    let _lease = lease()?;
    crash::point("run.leased");
    vault.sweep(cx)?;
    super::guard::tell_interrupted(vault, cx)?;
    let history = vault.catalogue(Some(options.content))?;
    history.damaged.iter().for_each(|damaged| cx.emit(Event::Found(damaged.clone())));
    let mut history = history.manifests();
    let superseded = superseded(vault, &history);
    require_same_source(vault, &source, &history, options, cx)?;
    // A backup of some tables says nothing of a backup of all, nor of other ones.
    let selection = options.capture.selection();
    history.retain(|before| selection.is_of(before));
    require_room(&**vault.store(), engine, &source, &history, options)?;

    let draft = capture(vault, engine, source, request, options, &coding, cx)?;
    crash::point("payload.finished");
    // What was just written is read back with its own keys: this host needs no identity, and keeps none.
    let reading = cx.clone().with_file_keys(coding.keys().clone());
    let (manifest, proven) = match judge(vault, engine, draft.clone(), &history, options, &reading) {
        Ok(judged) => judged,
        Err(error) => {
            vault.discard(&draft.manifest.id, &object_names(&draft.manifest));
            return Err(error);
        }
    };
    crash::point("run.proven");
    vault.commit(&manifest).map_err(|error| unsure(error, &manifest))?;
    crash::point("run.committed");

    let artifact = vault.draft(manifest.clone());
    follow_up(vault, &artifact, &proven, &superseded, options, cx);
    cx.emit(Event::Taken { id: manifest.id.clone(), good: manifest.is_good() });
    let location = artifact.location();
    Ok(Taken { manifest, findings: proven.findings, location, copies: Vec::new(), pruned: Vec::new() })
}

/// A store that fell silent may have got the manifest all the same. So its payload stays.
fn unsure(error: Error, manifest: &Manifest) -> Error {
    if error.kind() != ErrorKind::Unavailable {
        return error;
    }
    error.with_hint(format!(
        "When the store answers again, `backup list` tells whether it has \"{}\"; if so, that backup is whole.",
        manifest.id
    ))
}

/// What is left to do once the backup exists; what fails now is told and changes nothing about that.
fn follow_up(
    vault: &Vault,
    artifact: &StoredArtifact,
    proven: &Proven,
    superseded: &[Key],
    options: &RunOptions,
    cx: &Context,
) {
    let manifest = artifact.manifest();
    if options.verify > Level::None {
        let proof = make_proof(manifest, options.verify, proven);
        tell_failure(vault.record(&proof), "its proof could not be stored", cx);
        crash::point("run.proof-stored");
    }
    if manifest.is_good() && !manifest.content.is_rolling() && vault.is_complete(manifest) {
        tell_failure(vault.point_latest(manifest), "the latest link could not be moved", cx);
        crash::point("run.latest-pointed");
    }
    for key in superseded.iter().filter(|key| !artifact.payload_key().is_ok_and(|own| own == **key)) {
        tell_failure(vault.store().delete(key), "what it replaces could not be removed", cx);
    }
}

/// The payloads that a rolling backup takes the place of. With other layers than before it has another name, and what
/// stood there would stay, perhaps unencrypted.
fn superseded(vault: &Vault, history: &[Manifest]) -> Vec<Key> {
    let rolling = history.iter().filter(|before| before.content.is_rolling());
    rolling.filter_map(|before| vault.draft(before.clone()).payload_key().ok()).collect()
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
    coding: &Coding,
    cx: &Context,
) -> Result<Draft> {
    let started_at = cx.now();
    let id = vault.next_id(options.content, started_at)?;
    let stem = crate::manifest::object_stem(&id);
    let name = format!("{stem}{}{}", engine.extension(&request), coding.layers().extensions());

    let scratch = Scratch::for_store(&**vault.store(), 0, cx)?;
    request.scratch = Some(scratch.path().to_owned());

    let mut companions: Vec<(String, Payload)> = Vec::new();
    let open = Box::new(|| vault.begin_object(&id, &name));
    let companion = Box::new(|suffix: &str, bytes: &[u8]| {
        let name = format!("{stem}.{suffix}{}", coding.layers().extensions());
        let (stored, payload) = encode_bytes(bytes, coding, &name)?;
        let mut writer = vault.begin_object(&id, &name)?;
        std::io::Write::write_all(&mut writer, &stored)
            .map_err(|e| Error::from_io(format!("could not store \"{name}\""), e))?;
        writer.finish()?;
        companions.push((name, payload));
        Ok(())
    });
    let (encoded, captured) = {
        let mut encoder = Encoder::new(open, companion, coding.clone(), cx)?;
        let captured =
            cx.step(Step::Capture, source.plain_bytes, || engine.capture(&request, &mut encoder, cx))?;
        (encoder.finish(&name)?, captured)
    };
    let payload = encoded.publish()?;
    let mut manifest = describe(id, source, started_at, payload, &captured, options);
    if !coding.recipients().is_empty() {
        let names = coding.recipients().iter().map(|recipient| Value::String(recipient.to_string()));
        manifest.options.insert(RECIPIENTS.to_owned(), names.collect());
    }
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
    let mut proven = prove(&artifact, engine, options.verify, &options.drill, &**vault.store(), cx)?;
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
    if let Some(inside) = request.options.inside.filter(|_| options.is_text()) {
        let message = format!("SQL text cannot be compressed with pg:{inside}");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("Use zstd, gzip or none; pg:gzip:N and pg:zstd:N mean the same there."));
    }
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
