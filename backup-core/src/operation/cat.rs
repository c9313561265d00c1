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
    let scratch = Scratch::for_store(store, artifact.manifest().payload.plain_bytes, cx)?;
    engine.extract(&Subject::new(artifact, &scratch), table, format, out, cx)
}
