//! Brings a dump that another program made into a vault: recognised, verified, copied, and given a manifest.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    drill::DrillOptions,
    prove::{make_proof, prove},
    run::Taken,
};
use crate::{
    artifact::{Artifact, FileArtifact},
    capture::LEFT_OUT,
    context::Context,
    engine::{BackupEngine, Captured},
    error::{Error, ErrorKind, Result},
    event::{Event, Step},
    id::SourceName,
    manifest::{Manifest, Payload, object_stem},
    pipeline::{Decoder, Layers},
    scratch::Scratch,
    store::{SequentialReader, Store},
    vault::Vault,
    verify::{Level, Origin, Subject},
};

/// Under this key of a manifest's `options` stands where an adopted artifact came from.
pub(crate) const ADOPTED_FROM: &str = "adopted_from";

/// Bytes of one read while copying.
const COPY_BYTES: usize = 1 << 20;

/// How a dump is adopted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AdoptOptions {
    /// Why it was taken.
    pub tags: Vec<String>,
    /// Whether the file, or folder, is removed once its copy is in the vault; whoever was given its path does that.
    pub remove: bool,
    /// When its state was current; `None` is what the dump itself, its name or its file says.
    pub taken_at: Option<Timestamp>,
}

/// Adopts one file into the vault of `source`; without one, into that of the database it says it is of, else of what
/// its name begins with. The file itself stays where it is.
///
/// # Errors
/// `Corrupt` when it is cut short or damaged; `AlreadyExists` when the vault holds the same bytes already. Nothing is
/// left in the vault then.
pub fn adopt(
    store: &Arc<dyn Store>,
    source: Option<&SourceName>,
    file: &FileArtifact,
    engine: &dyn BackupEngine,
    options: &AdoptOptions,
    cx: &Context,
) -> Result<Taken> {
    let captured =
        cx.step(Step::Check, Some(file.manifest().payload.bytes), || describe(file, engine, cx))?;
    let named = database_of(&captured).map(|name| SourceName::from_text(&name));
    let source = source.cloned().or(named).unwrap_or_else(|| file.manifest().id.source().clone());
    let vault = &Vault::new(Arc::clone(store), source);
    let _lease = vault.lease()?;
    vault.sweep(cx)?;
    let taken_at = options.taken_at.unwrap_or(captured.snapshot_at);
    let id = vault.next_id(file.manifest().content, taken_at)?;
    let payload = sum(file, &format!("{}{}", object_stem(&id), extensions(file)?), cx)?;
    refuse_known(vault, &payload)?;

    let mut manifest = Manifest::new(id, file.manifest().source.clone(), taken_at, payload);
    manifest.source.name = vault.source().to_string();
    manifest.tags.clone_from(&options.tags);
    fill(&mut manifest, captured, &file.location());
    if let Some(limits) = manifest.limited_to() {
        cx.warn(format!(
            "\"{}\" is no whole dump ({limits}): it is kept as a partial backup, which is never the latest",
            file.location()
        ));
    }
    copy(vault, file, &manifest, cx)?;
    let artifact = vault.draft(manifest.clone());
    let proven = prove(&artifact, engine, Level::Structure, &DrillOptions::default(), &**vault.store(), cx)?;
    if let Some(finding) = proven.findings.iter().find(|finding| finding.origin == Origin::Stored) {
        vault.discard(&manifest.id, std::slice::from_ref(&manifest.payload.name));
        return Err(Error::corrupt(format!("the copy does not read back as it was written: {finding}")));
    }
    manifest.finished_at = cx.now();
    vault.commit(&manifest)?;
    let _ = vault.record(&make_proof(&manifest, Level::Structure, &proven));
    cx.emit(Event::Taken { id: manifest.id.clone(), good: manifest.is_good() });
    let location = artifact.location();
    Ok(Taken { manifest, findings: proven.findings, location, copies: Vec::new(), pruned: Vec::new() })
}

fn describe(file: &FileArtifact, engine: &dyn BackupEngine, cx: &Context) -> Result<Captured> {
    let outcome = if engine.capabilities().checks_copy {
        let scratch = Scratch::for_artifact(file, file.manifest().payload.plain_bytes, cx)?;
        engine.describe(&Subject::new(file, &scratch), cx)
    } else {
        engine.describe(&Subject::streamed(file), cx)
    };
    outcome.map_err(|error| error.context(format!("\"{}\" cannot be adopted", file.location())))
}

/// The ordinary extensions of the kind that was recognised, with those of its layers.
fn extensions(file: &FileArtifact) -> Result<String> {
    let layers = Layers::from_names(&file.manifest().payload.encoding)?;
    Ok(format!("{}{}", file.extension(), layers.extensions()))
}

/// Reads the file once to its end for its hashes.
fn sum(file: &FileArtifact, name: &str, cx: &Context) -> Result<Payload> {
    let mut decoder = Decoder::open(file.open_payload()?, &file.manifest().payload, cx)?;
    while decoder.next_block()?.is_some() {
        cx.cancel().check()?;
    }
    let decoded = decoder.finish()?;
    Ok(Payload {
        name: name.to_owned(),
        bytes: decoded.bytes,
        blake3: decoded.blake3,
        encoding: file.manifest().payload.encoding.clone(),
        plain_bytes: decoded.plain_bytes,
        plain_blake3: decoded.plain_blake3,
    })
}

fn refuse_known(vault: &Vault, payload: &Payload) -> Result<()> {
    let known =
        vault.catalogue(None)?.manifests().into_iter().find(|known| known.payload.blake3 == payload.blake3);
    match known {
        Some(known) => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("the vault \"{}\" holds these bytes already, as \"{}\"", vault.source(), known.id),
        )),
        None => Ok(()),
    }
}

/// The database that a dump says it is of.
fn database_of(captured: &Captured) -> Option<String> {
    let name = captured.facts.get("database")?.get("name")?.as_str()?;
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

fn fill(manifest: &mut Manifest, captured: Captured, from: &str) {
    if let Some(name) = database_of(&captured) {
        manifest.source.database = name;
    }
    manifest.rows = captured.counted.then(|| captured.tables.iter().map(|table| table.rows).sum());
    manifest.tables = captured.tables;
    manifest.schema_fingerprint = captured.schema_fingerprint;
    manifest.facts = captured.facts;
    manifest.tools = captured.tools;
    manifest.options = BTreeMap::from([(ADOPTED_FROM.to_owned(), Value::String(from.to_owned()))]);
    if !captured.left_out.is_empty() {
        manifest.options.insert(LEFT_OUT.to_owned(), captured.left_out.into());
    }
}

fn copy(vault: &Vault, file: &FileArtifact, manifest: &Manifest, cx: &Context) -> Result<()> {
    let name = &manifest.payload.name;
    let mut reader = SequentialReader::new(Arc::clone(&file.open_payload()?));
    let mut writer = vault.begin_object(&manifest.id, name)?;
    let mut buffer = vec![0u8; COPY_BYTES];
    loop {
        cx.cancel().check()?;
        let failed = |e| Error::from_io(format!("could not copy \"{}\"", file.location()), e);
        match std::io::Read::read(&mut reader, &mut buffer).map_err(failed)? {
            0 => break,
            count => writer.write_all(&buffer[..count]).map_err(failed)?,
        }
    }
    writer.finish()
}
