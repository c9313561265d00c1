//! Gives out what a backup holds: the decoded payload, or one table of it.

use std::{
    io::{self, Write},
    sync::Arc,
};

use crate::{
    artifact::Artifact,
    context::Context,
    engine::{BackupEngine, ExtractFormat},
    error::{Error, Result},
    mirror::Copies,
    pipeline::{decode_into, require_key},
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

/// Writes the decoded payload of the nearest copy, and goes on with the next one where a copy is at fault: all copies
/// decode to the same bytes, so the next one is decoded up to where the last one ended, compared by hash with what was
/// written, and only then written from there on.
///
/// # Errors
/// `Corrupt` when no copy is good, or when what was written before the fault showed is not what a good copy has.
pub fn cat_from(copies: &Copies, out: &mut dyn Write, cx: &Context) -> Result<()> {
    let mut given = Given { out, bytes: 0, hash: blake3::Hasher::new(), is_spoiled: false };
    let outcome = copies.attempt(cx, |artifact| cat(artifact, &mut Resumed::after(&mut given), cx));
    match outcome {
        Err(error) if given.is_spoiled => {
            Err(Error::corrupt(format!("a damaged copy of \"{}\" was written out", copies.manifest().id))
                .with_source(error)
                .with_hint(
                    "What was written is not to be trusted; `backup verify` tells which copies are good.",
                ))
        }
        outcome => outcome,
    }
}

/// What was written out so far.
struct Given<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    hash: blake3::Hasher,
    is_spoiled: bool,
}

/// A copy on its way out whose first bytes were written by another one.
struct Resumed<'a, 'b> {
    given: &'a mut Given<'b>,
    expected: blake3::Hash,
    known: u64,
    again: blake3::Hasher,
}

impl<'a, 'b> Resumed<'a, 'b> {
    fn after(given: &'a mut Given<'b>) -> Self {
        let (known, expected) = (given.bytes, given.hash.finalize());
        Self { given, expected, known, again: blake3::Hasher::new() }
    }
}

impl Write for Resumed<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.known > 0 {
            let count = usize::try_from(self.known).unwrap_or(usize::MAX).min(bytes.len());
            self.again.update(bytes.get(..count).unwrap_or_default());
            self.known -= count as u64;
            if self.known == 0 && self.again.finalize() != self.expected {
                self.given.is_spoiled = true;
                return Err(io::Error::other("another copy begins with other bytes than were written"));
            }
            return Ok(count);
        }
        let count = self.given.out.write(bytes)?;
        self.given.hash.update(bytes.get(..count).unwrap_or_default());
        self.given.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.given.out.flush()
    }
}

/// [`extract`] from the nearest copy that is good; another one takes over only while nothing was written.
///
/// # Errors
/// `NotFound` when there is no such table, naming those there are; `Corrupt` when no copy is good; `Failed` when a copy
/// proved damaged after some of it was written.
pub fn extract_from(
    copies: &Copies,
    engine: &dyn BackupEngine,
    table: &str,
    format: ExtractFormat,
    out: &mut dyn Write,
    cx: &Context,
) -> Result<u64> {
    let store = Arc::clone(copies.nearest().vault.store());
    let mut out = Unbroken::new(out);
    copies.attempt(cx, |artifact| extract(artifact, engine, table, format, out.again()?, &*store, cx))
}

/// [`write_sql`] from the nearest copy that is good; another one takes over only while nothing was written.
///
/// # Errors
/// `Unsupported` where the backup's form has no such text; else as [`extract_from`].
pub fn write_sql_from(
    copies: &Copies,
    engine: &dyn BackupEngine,
    out: &mut dyn Write,
    cx: &Context,
) -> Result<()> {
    let store = Arc::clone(copies.nearest().vault.store());
    let mut out = Unbroken::new(out);
    copies.attempt(cx, |artifact| write_sql(artifact, engine, out.again()?, &*store, cx))
}

/// A writer that counts, so that what went out of a damaged copy is never followed by a second beginning.
pub struct Unbroken<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl<'a> Unbroken<'a> {
    /// Nothing was written yet.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, bytes: 0 }
    }

    /// The writer, for one more attempt.
    ///
    /// # Errors
    /// `Failed` when an attempt before has written already.
    pub fn again(&mut self) -> Result<&mut Self> {
        if self.bytes == 0 {
            return Ok(self);
        }
        Err(Error::failed(format!("a damaged copy was found after {} bytes were written", self.bytes))
            .with_hint("What was written is not to be trusted; `backup verify` tells which copies are good."))
    }
}

impl Write for Unbroken<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes an artifact as SQL text that the database's own shell reads; a working copy lies on `store`'s disk.
///
/// # Errors
/// `Unsupported` where its form has no such text; `Corrupt` when it is damaged.
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
///
/// # Errors
/// `NotFound` when there is no such table, naming those there are; `Corrupt` when it is damaged.
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
    require_key(artifact, cx)?;
    if !engine.capabilities().checks_copy {
        return work(&Subject::streamed(artifact));
    }
    let scratch = Scratch::for_store(store, artifact.manifest().payload.plain_bytes, cx)?;
    work(&Subject::new(artifact, &scratch))
}
