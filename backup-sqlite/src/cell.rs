//! One cell of a b-tree page: a row, an index entry, and where what does not fit its page goes on.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, section 1.6.

use crate::page::{PageKind, be32};

/// A cell that carries a payload; those of a table's interior pages carry none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'p> {
    /// The row's number; 0 in an index.
    pub(crate) rowid: i64,
    /// Bytes of the whole payload.
    pub(crate) payload: u64,
    /// The part of it on the page.
    pub(crate) local: &'p [u8],
    /// The rest.
    pub(crate) rest: Option<Chain>,
}

/// Overflow pages, each of which names the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) first: u32,
    pub(crate) pages: u64,
}

impl<'p> Cell<'p> {
    /// Reads a cell from its first byte; `None` when it leaves its page or has no payload by its page's kind.
    pub(crate) fn parse(bytes: &'p [u8], kind: PageKind, usable: usize) -> Option<Self> {
        let bytes = match kind {
            PageKind::IndexInterior => bytes.get(4..)?,
            PageKind::TableInterior => return None,
            PageKind::TableLeaf | PageKind::IndexLeaf => bytes,
        };
        let (payload, mut at) = varint(bytes)?;
        let mut rowid = 0;
        if kind == PageKind::TableLeaf {
            let (value, length) = varint(bytes.get(at..)?)?;
            (rowid, at) = (value.cast_signed(), at + length);
        }
        let here = local_bytes(payload, kind, usable as u64);
        let end = at + here as usize;
        let local = bytes.get(at..end)?;
        let rest = match payload - here {
            0 => None,
            rest => {
                bytes.get(end..end + 4)?;
                Some(Chain { first: be32(bytes, end), pages: rest.div_ceil(usable as u64 - 4) })
            }
        };
        Some(Self { rowid, payload, local, rest })
    }
}

/// How much of a payload stays on its page (section 1.6, "the amount of payload that spills").
fn local_bytes(payload: u64, kind: PageKind, usable: u64) -> u64 {
    let most = if kind == PageKind::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if payload <= most {
        return payload;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (payload - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}

/// A variable-length integer and the bytes it takes.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    bytes.get(8).map(|byte| (value << 8 | u64::from(*byte), 9))
}
