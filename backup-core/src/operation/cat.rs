//! Gives out what a backup holds: the decoded payload, or one table of it.

use std::io::Write;

use crate::{
    artifact::Artifact,
    context::Context,
    engine::{BackupEngine, ExtractFormat},
    error::{Error, Result},
    pipeline::decode_into,
    scratch::Scratch,
    store::Store,
    verify::Subject,
};

/// Writes the decoded payload.
///
/// # Errors
/// `Corrupt` when the bytes were not those of the manifest; they have been written by then, as far as they decode.
pub fn cat(artifact: &dyn Artifact, out: &mut dyn Write, cx: &Context) -> Result<()> {
    let findings = decode_into(artifact, cx, &mut |block| {
        out.write_all(block).map_err(|e| Error::from_io("could not write the payload", e))
    })?;
    match findings.first() {
        None => Ok(()),
        Some(finding) => Err(Error::corrupt(format!("\"{}\" is damaged: {finding}", artifact.manifest().id))
            .with_hint("What was written is not to be trusted.")),
    }
}

/// Writes an artifact as SQL text that the database's own shell reads; a working copy lies on `store`'s disk.
pub fn write_sql(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    out: &mut dyn Write,
    store: &dyn Store,
    cx: &Context,
) -> Result<()> {
    with_subject(artifact, engine, store, cx, |subject| engine.write_sql(subject, out, cx))
}

/// Writes one table as text; the working copy it takes lies on `store`'s disk. Returns the rows written.
pub fn extract(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    table: &str,
    format: ExtractFormat,
    out: &mut dyn Write,
    store: &dyn Store,
    cx: &Context,
) -> Result<u64> {
    with_subject(artifact, engine, store, cx, |subject| engine.extract(subject, table, format, out, cx))
}

fn with_subject<T>(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    store: &dyn Store,
    cx: &Context,
    work: impl FnOnce(&Subject<'_>) -> Result<T>,
) -> Result<T> {
    if !engine.capabilities().checks_copy {
        return work(&Subject::streamed(artifact));
    }
    let scratch = Scratch::for_store(store, artifact.manifest().payload.plain_bytes, cx)?;
    work(&Subject::new(artifact, &scratch))
}
