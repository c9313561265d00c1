//! Reading an artifact's stored bytes again: are they those that its manifest tells of, and what do they decode to?

use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
    thread,
};

use crossbeam_channel::bounded;
use serde_json::Value;

use super::{
    FRAME_BYTES, Layers,
    decode::{Decoded, Decoder},
    ordered::SumInProgress,
    prepared_file::PreparedFile,
    sealed::Sealed,
};
use crate::{
    artifact::Artifact,
    context::Context,
    encryption::Recipient,
    error::{Error, Result},
    event::{Event, Step},
    file,
    manifest::{Manifest, Payload},
    store::ObjectReader,
    verify::Finding,
};

/// Blocks that are read before they are asked for.
const BLOCKS_AHEAD: usize = 2;

/// Under this key of a manifest's `options` stand the recipients of an encrypted artifact.
pub(crate) const RECIPIENTS: &str = "recipients";

/// Reads the stored bytes of an artifact again and compares length and hash with its manifest.
pub fn checksum(artifact: &dyn Artifact, cx: &Context) -> Result<Vec<Finding>> {
    let object = match open_expected(artifact)? {
        Ok(object) => object,
        Err(finding) => return Ok(vec![finding]),
    };
    let mut sum = SumInProgress::default();
    read_ahead(&*object, &mut |block| {
        cx.cancel().check()?;
        sum.add(block);
        cx.emit(Event::Progress { step: Step::Checksum, done: sum.bytes });
        Ok(())
    })?;
    let sum = sum.done();
    let finding = compare_stored(artifact, sum.bytes, &sum.hash.to_hex());
    Ok(finding.filter(|_| artifact.has_facts()).into_iter().collect())
}

/// Gives out an object's bytes in order, while another thread reads the next ones.
fn read_ahead(object: &dyn ObjectReader, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (filled, blocks) = bounded(BLOCKS_AHEAD);
    let (used, empty) = bounded(BLOCKS_AHEAD);
    let fill = move |mut block: Vec<u8>, offset: u64| -> Result<Option<u64>> {
        block.resize(FRAME_BYTES / 4, 0);
        let count = object.read_at(offset, &mut block)?;
        block.truncate(count);
        let is_wanted = count > 0 && filled.send(block).is_ok();
        Ok(is_wanted.then_some(offset + count as u64))
    };
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut offset = 0;
            for block in empty {
                match fill(block, offset)? {
                    Some(end) => offset = end,
                    None => break,
                }
            }
            Ok(())
        });
        // It ends when nobody gives it room any more.
        let mut give = move || {
            (0..BLOCKS_AHEAD).for_each(|_| _ = used.send(Vec::new()));
            blocks.iter().try_for_each(|block: Vec<u8>| {
                take(&block)?;
                let _ = used.send(block);
                Ok(())
            })
        };
        give()?;
        reader.join().unwrap_or_else(|_| Err(Error::failed("a thread that read ahead stopped")))
    })
}

/// Makes sure that an artifact's payload can be decrypted, if it is encrypted. Reads its two ends, writes nothing.
///
/// # Errors
/// `Denied`, naming its recipients, when no identity of the context opens it; `Corrupt` when its ends are damaged.
pub fn require_key(artifact: &dyn Artifact, cx: &Context) -> Result<()> {
    let manifest = artifact.manifest();
    let payload = &manifest.payload;
    if !Layers::from_names(&payload.encoding)?.is_encrypted {
        return Ok(());
    }
    Sealed::open(artifact.open_payload()?, &payload.name, &recipients_of(manifest), cx).map(drop).map_err(
        |error| match error.is_corruption() {
            true => Error::corrupt(format!("\"{}\" is damaged: {error}", artifact.location())),
            false => error,
        },
    )
}

/// For whom a manifest says that its payload is encrypted; what is no recipient is passed over.
fn recipients_of(manifest: &Manifest) -> Vec<String> {
    let named = manifest.options.get(RECIPIENTS).and_then(Value::as_array);
    let texts = named.into_iter().flatten().filter_map(Value::as_str);
    texts.filter(|text| text.parse::<Recipient>().is_ok()).map(str::to_owned).collect()
}

/// Decodes an artifact's payload into a new private file, comparing everything with the manifest on the way.
///
/// Damage is returned as findings and leaves an incomplete file; `Err` means the bytes could not be looked at or the
/// file could not be written. The file is not synced.
pub fn decode_to_file(artifact: &dyn Artifact, path: &Path, cx: &Context) -> Result<Vec<Finding>> {
    let object = match open_expected(artifact)? {
        // The memory that keeps what was read serves for what is written.
        Ok(object) => Arc::new(ReadOnce(object)),
        Err(finding) => return Ok(vec![finding]),
    };
    let mut out = PreparedFile::new(file::create_private(path)?, artifact.manifest().payload.plain_bytes);
    let findings = decode_from(object, artifact, cx, &mut |block| {
        out.write_all(block).map_err(|e| Error::io("write", path, e))
    })?;
    out.finish().map_err(|e| Error::io("write", path, e))?;
    Ok(findings)
}

/// Decodes an artifact's payload block by block, comparing everything with the manifest on the way.
pub(crate) fn decode_into(
    artifact: &dyn Artifact,
    cx: &Context,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Vec<Finding>> {
    let object = match open_expected(artifact)? {
        Ok(object) => object,
        Err(finding) => return Ok(vec![finding]),
    };
    decode_from(object, artifact, cx, take)
}

fn decode_from(
    object: Arc<dyn ObjectReader>,
    artifact: &dyn Artifact,
    cx: &Context,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Vec<Finding>> {
    let decoded = match give_all(object, artifact, cx, take) {
        Ok(decoded) => decoded,
        Err(error) if error.is_corruption() => return Ok(vec![damage(artifact, &error)]),
        Err(error) => return Err(error),
    };
    if !artifact.has_facts() {
        return Ok(Vec::new());
    }
    let payload = &artifact.manifest().payload;
    let mut findings: Vec<Finding> =
        compare_stored(artifact, decoded.bytes, &decoded.blake3).into_iter().collect();
    if findings.is_empty()
        && (decoded.plain_bytes, &decoded.plain_blake3) != (payload.plain_bytes, &payload.plain_blake3)
    {
        let what = format!(
            "decodes to {} bytes with hash {}, expected {} with {}",
            decoded.plain_bytes, decoded.plain_blake3, payload.plain_bytes, payload.plain_blake3
        );
        findings.push(Finding::stored("decode", artifact.location(), what));
    }
    Ok(findings)
}

/// An object whose bytes are read in order, once.
#[derive(Debug)]
struct ReadOnce(Arc<dyn ObjectReader>);

impl ObjectReader for ReadOnce {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let count = self.0.read_at(offset, buffer)?;
        self.0.forget(offset, count as u64);
        Ok(count)
    }
}

/// The first decoded bytes of an object, fewer where it has fewer.
pub(crate) fn first_bytes(
    object: Arc<dyn ObjectReader>,
    payload: &Payload,
    count: usize,
    cx: &Context,
) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let decoder = Decoder::open(object, payload, cx)?;
    decoder
        .take(count as u64)
        .read_to_end(&mut head)
        .map_err(|e| Error::from_io(format!("could not read \"{}\"", payload.name), e))?;
    Ok(head)
}

fn give_all(
    object: Arc<dyn ObjectReader>,
    artifact: &dyn Artifact,
    cx: &Context,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Decoded> {
    let manifest = artifact.manifest();
    let mut decoder = Decoder::open_for(object, &manifest.payload, &recipients_of(manifest), cx)?;
    let mut done = 0;
    while let Some(block) = decoder.next_block()? {
        cx.cancel().check()?;
        done += block.len() as u64;
        take(block)?;
        cx.emit(Event::Progress { step: Step::Decode, done });
    }
    decoder.finish()
}

/// Opens the payload if it is there and as long as it must be.
fn open_expected(artifact: &dyn Artifact) -> Result<Result<Arc<dyn ObjectReader>, Finding>> {
    let object = match artifact.open_payload() {
        Ok(object) => object,
        Err(error) if error.is_not_found() => {
            return Ok(Err(Finding::stored("checksum", artifact.location(), "the payload is missing")));
        }
        Err(error) => return Err(error),
    };
    let expected = artifact.manifest().payload.bytes;
    if object.size() == expected {
        return Ok(Ok(object));
    }
    let what = format!("has {} bytes, expected {expected}", object.size());
    Ok(Err(Finding::stored("checksum", artifact.location(), what)))
}

fn compare_stored(artifact: &dyn Artifact, bytes: u64, hash: &str) -> Option<Finding> {
    let payload = &artifact.manifest().payload;
    if bytes == payload.bytes && hash == payload.blake3 {
        return None;
    }
    let what =
        format!("has {bytes} bytes with hash {hash}, expected {} with {}", payload.bytes, payload.blake3);
    Some(Finding::stored("checksum", artifact.location(), what))
}

fn damage(artifact: &dyn Artifact, error: &Error) -> Finding {
    Finding::stored("decode", artifact.location(), error.to_string())
}
