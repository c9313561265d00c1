//! The seek table of zstd's seekable format: where each frame begins, in a skippable frame at the end.
//!
//! Source: `contrib/seekable_format/zstd_seekable_compression_format.md` of facebook/zstd, version 0.1.0.

use crate::{
    error::{Error, Result},
    pipeline::FRAME_BYTES,
    store::ObjectReader,
};

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const CHECKSUM_FLAG: u8 = 0x80;
const RESERVED_BITS: u8 = 0x7c;
const FOOTER_BYTES: u64 = 9;
const HEADER_BYTES: u64 = 8;

/// A frame of another writer may be larger than ours, up to here; decoding holds a few of them in memory.
const MAX_FRAME_BYTES: u32 = 64 << 20;

/// One frame: its size as stored and decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Stored bytes.
    pub stored: u32,
    /// Decoded bytes.
    pub plain: u32,
    /// The low half of the decoded bytes' XXH64, as the frame itself carries it.
    pub checksum: u32,
}

/// The table as the skippable frame that ends a payload.
pub fn write(entries: &[FrameEntry]) -> Vec<u8> {
    let body = entries.len() * 12 + FOOTER_BYTES as usize;
    let mut table = Vec::with_capacity(body + HEADER_BYTES as usize);
    table.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    table.extend_from_slice(&(body as u32).to_le_bytes());
    for entry in entries {
        for field in [entry.stored, entry.plain, entry.checksum] {
            table.extend_from_slice(&field.to_le_bytes());
        }
    }
    table.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    table.push(CHECKSUM_FLAG);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    table
}

/// The table at the end of an object; `None` when it has none.
///
/// # Errors
/// `Corrupt` when the end says there is a table and the table contradicts the object.
pub fn read(object: &dyn ObjectReader) -> Result<Option<Vec<FrameEntry>>> {
    let size = object.size();
    if size < HEADER_BYTES + FOOTER_BYTES {
        return Ok(None);
    }
    let footer = read_exact(object, size - FOOTER_BYTES, FOOTER_BYTES)?;
    if le32(&footer, 5) != SEEKABLE_MAGIC {
        return Ok(None);
    }
    let (count, descriptor) = (u64::from(le32(&footer, 0)), footer[4]);
    let width = if descriptor & CHECKSUM_FLAG != 0 { 12 } else { 8 };
    let whole = count * width + FOOTER_BYTES + HEADER_BYTES;
    if descriptor & RESERVED_BITS != 0 || whole > size {
        return Err(contradiction());
    }
    let table = read_exact(object, size - whole, whole)?;
    parse(&table, width as usize, size - whole).map(Some)
}

fn parse(table: &[u8], width: usize, frames_end: u64) -> Result<Vec<FrameEntry>> {
    let header_agrees =
        le32(table, 0) == SKIPPABLE_MAGIC && u64::from(le32(table, 4)) == table.len() as u64 - HEADER_BYTES;
    let body = &table[HEADER_BYTES as usize..table.len() - FOOTER_BYTES as usize];
    let entries: Vec<FrameEntry> = body
        .chunks_exact(width)
        .map(|entry| FrameEntry {
            stored: le32(entry, 0),
            plain: le32(entry, 4),
            checksum: if width == 12 { le32(entry, 8) } else { 0 },
        })
        .collect();
    let stored: u64 = entries.iter().map(|entry| u64::from(entry.stored)).sum();
    let sizes_make_sense = entries.iter().all(|entry| {
        entry.plain <= MAX_FRAME_BYTES && entry.stored <= MAX_FRAME_BYTES + (MAX_FRAME_BYTES >> 7) + 1024
    });
    if header_agrees && sizes_make_sense && stored == frames_end { Ok(entries) } else { Err(contradiction()) }
}

fn contradiction() -> Error {
    Error::corrupt("the seek table at its end contradicts its size")
}

fn read_exact(object: &dyn ObjectReader, offset: u64, count: u64) -> Result<Vec<u8>> {
    // `count` is at most the object's own size, which was measured, not claimed.
    let mut bytes = vec![0u8; usize::try_from(count).map_err(|_| contradiction())?];
    let mut done = 0;
    while done < bytes.len() {
        match object.read_at(offset + done as u64, &mut bytes[done..])? {
            0 => return Err(Error::corrupt("it ended while being read")),
            more => done += more,
        }
    }
    Ok(bytes)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const _: () = assert!(FRAME_BYTES <= MAX_FRAME_BYTES as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Bytes(Vec<u8>);

    impl ObjectReader for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
            let rest = &self.0[usize::try_from(offset).unwrap()..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn a_table_reads_back_as_it_was_written(frames in prop::collection::vec((1u32..500, 0u32..9_000_000), 0..40)) {
            let entries: Vec<FrameEntry> =
                frames.iter().map(|&(stored, plain)| FrameEntry { stored, plain, checksum: stored ^ plain }).collect();
            let mut object = vec![7u8; entries.iter().map(|e| e.stored as usize).sum()];
            object.extend(write(&entries));
            prop_assert_eq!(read(&Bytes(object)).unwrap(), Some(entries));
        }

        #[test]
        fn arbitrary_tails_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), seal in any::<bool>()) {
            if seal {
                bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
            }
            if let Ok(Some(entries)) = read(&Bytes(bytes.clone())) {
                prop_assert!(entries.iter().map(|e| u64::from(e.stored)).sum::<u64>() <= bytes.len() as u64);
            }
        }
    }
}
