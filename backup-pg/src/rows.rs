//! Rows of COPY text: how many there are, and a digest of what they say.
//!
//! A table's digest is the sum modulo 2^128 of XXH3-128 (seed 0) over each row's COPY text without its line feed. A sum
//! does not care in which order rows come, so parallel reads and both sides of a restore agree; unlike exclusive-or,
//! equal rows do not cancel. In COPY text a line feed inside a value is written `\n`, so every line feed ends a row
//! (PostgreSQL manual, COPY, "Text Format").

use std::{
    fmt,
    ops::{Add, AddAssign},
};

use backup_core::{Error, Result};
use memchr::{memchr, memchr_iter};
use twox_hash::XxHash3_128;

/// The line after the last row, where there is one.
const END_MARKER: &[u8] = br"\.";

/// A row that comes in pieces is put together up to this many bytes; a longer one is hashed as it passes.
const JOINED_BYTES: usize = 16 << 10;

/// How many rows a table has and what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowFacts {
    /// Rows.
    pub rows: u64,
    /// The sum modulo 2^128 of the rows' XXH3-128; 0 without rows.
    pub digest: u128,
}

impl RowFacts {
    /// The digest as manifests write it: 32 hexadecimal digits, the highest first.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.digest)
    }

    #[inline]
    fn count(&mut self, hash: u128) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(hash);
    }
}

/// Joins the facts of disjoint parts of a table.
impl Add for RowFacts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rows: self.rows.wrapping_add(other.rows), digest: self.digest.wrapping_add(other.digest) }
    }
}

impl AddAssign for RowFacts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Splits COPY text into rows, counting and folding; bytes may come in any pieces.
///
/// Memory is bounded: a row may have a gigabyte, and is never held.
#[derive(Default)]
pub struct RowFold {
    facts: RowFacts,
    /// The beginning of a row whose line feed has not come, while it is short.
    joined: Vec<u8>,
    /// The hash of such a row once it is long.
    long: Option<Box<XxHash3_128>>,
    wants_marker: bool,
    end: End,
}

/// What is known of the end of the rows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// Rows may follow.
    #[default]
    Open,
    /// The end marker has come; only blank lines may follow.
    Marked,
    /// Something followed the end marker.
    Passed,
}

impl RowFold {
    /// Rows as a server's COPY sends them: without an end marker, each ended by its line feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows as pg_dump stores them: followed by the line `\.` and blank lines, which are no rows.
    pub fn with_end_marker() -> Self {
        Self { wants_marker: true, ..Self::default() }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut whole = bytes;
        if !self.joined.is_empty() || self.long.is_some() {
            let Some(end) = memchr(b'\n', bytes) else { return self.join(bytes) };
            self.join(&bytes[..end]);
            self.end_joined();
            whole = &bytes[end + 1..];
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', whole) {
            self.row(&whole[start..end]);
            start = end + 1;
        }
        if start < whole.len() {
            self.join(&whole[start..]);
        }
    }

    /// Takes the next bytes when they are exactly one row, which is the cheapest way; false when they are not.
    #[inline]
    pub(crate) fn feed_row(&mut self, bytes: &[u8]) -> bool {
        let is_row = memchr(b'\n', bytes).is_some_and(|end| end + 1 == bytes.len());
        if !is_row || !self.joined.is_empty() || self.long.is_some() {
            return false;
        }
        self.row(&bytes[..bytes.len() - 1]);
        true
    }

    /// The facts of all rows.
    ///
    /// # Errors
    /// `Corrupt` when the last row has no line feed, when the end marker is missing where one belongs or stands where
    /// none does, and when more than blank lines follow it.
    pub fn finish(self) -> Result<RowFacts> {
        let rows = self.facts.rows;
        if !self.joined.is_empty() || self.long.is_some() {
            return Err(Error::corrupt(format!("the row after {rows} others has no end")));
        }
        match (self.end, self.wants_marker) {
            (End::Open, false) | (End::Marked, true) => Ok(self.facts),
            (End::Open, true) => Err(Error::corrupt(format!("the end marker is missing after {rows} rows"))),
            (End::Marked, false) => Err(Error::corrupt(format!("an end marker stands after {rows} rows"))),
            (End::Passed, _) => {
                Err(Error::corrupt(format!("more than blank lines follow the end marker after {rows} rows")))
            }
        }
    }

    #[inline]
    fn row(&mut self, row: &[u8]) {
        if self.end == End::Open && row != END_MARKER {
            self.facts.count(XxHash3_128::oneshot(row));
        } else {
            self.end_line(row);
        }
    }

    #[cold]
    fn end_line(&mut self, line: &[u8]) {
        self.end = match self.end {
            End::Open => End::Marked,
            End::Marked if line.is_empty() => End::Marked,
            End::Marked | End::Passed => End::Passed,
        };
    }

    /// Takes a piece of a row that ends elsewhere.
    fn join(&mut self, piece: &[u8]) {
        if self.long.is_none() && self.joined.len() + piece.len() <= JOINED_BYTES {
            return self.joined.extend_from_slice(piece);
        }
        let hash = self.long.get_or_insert_with(|| {
            let mut hash = Box::new(XxHash3_128::new());
            hash.write(&self.joined);
            hash
        });
        self.joined.clear();
        hash.write(piece);
    }

    fn end_joined(&mut self) {
        if let Some(hash) = self.long.take() {
            match self.end {
                End::Open => self.facts.count(hash.finish_128()),
                End::Marked | End::Passed => self.end = End::Passed,
            }
        } else {
            let mut row = std::mem::take(&mut self.joined);
            self.row(&row);
            row.clear();
            self.joined = row;
        }
    }
}

impl fmt::Debug for RowFold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFold").field("facts", &self.facts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fold(mut fold: RowFold, pieces: &[&[u8]]) -> Result<RowFacts> {
        pieces.iter().for_each(|piece| fold.feed(piece));
        fold.finish()
    }

    fn sum(rows: &[&[u8]]) -> RowFacts {
        let mut facts = RowFacts::default();
        rows.iter().for_each(|row| facts.count(XxHash3_128::oneshot(row)));
        facts
    }

    #[test]
    fn the_digest_is_the_sum_of_the_rows_hashes() {
        let facts = fold(RowFold::new(), &[b"1\ta\n2\tb\n\n"]).unwrap();
        assert_eq!(facts, sum(&[b"1\ta", b"2\tb", b""]));
        // XXH3-128 of no bytes, as its specification has it.
        let empty_row = fold(RowFold::new(), &[b"\n"]).unwrap();
        assert_eq!(empty_row.hex(), "99aa06d3014798d86001c324468d497f");
    }

    #[test]
    fn order_does_not_matter_and_equal_rows_count_twice() {
        let once = fold(RowFold::new(), &[b"a\nb\n"]).unwrap();
        assert_eq!(fold(RowFold::new(), &[b"b\na\n"]).unwrap(), once);
        let twice = fold(RowFold::new(), &[b"a\nb\na\nb\n"]).unwrap();
        assert_eq!(twice, once + once);
        assert_ne!(twice.digest, 0);
    }

    #[test]
    fn the_end_marker_and_blank_lines_are_no_rows() {
        let stored = fold(RowFold::with_end_marker(), &[b"\n\n\\.\n\n\n"]).unwrap();
        assert_eq!(stored.rows, 2);
        assert_eq!(stored, fold(RowFold::new(), &[b"\n\n"]).unwrap());
        assert_eq!(fold(RowFold::with_end_marker(), &[b"\\.\n"]).unwrap(), RowFacts::default());
    }

    #[test]
    fn rows_without_their_end_are_refused() {
        for (text, why) in [
            (&b"1\n2"[..], "no end"),
            (b"1\n", "the end marker is missing after 1 rows"),
            (b"1\n\\.", "no end"),
            (b"1\n\\.\n2\n", "more than blank lines"),
        ] {
            let error = fold(RowFold::with_end_marker(), &[text]).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains(why), "{error}");
        }
        assert!(fold(RowFold::new(), &[b"1\n\\.\n"]).unwrap_err().to_string().contains("end marker stands"));
        let long = vec![b'x'; JOINED_BYTES + 1];
        assert!(fold(RowFold::with_end_marker(), &[b"\\.\n", &long, b"\n"]).is_err());
        assert!(fold(RowFold::new(), &[&long]).is_err());
    }

    #[test]
    fn a_row_longer_than_what_is_held_is_hashed_as_it_passes() {
        let row: Vec<u8> = (0..5 * JOINED_BYTES).map(|at| (at % 251) as u8 | 0x20).collect();
        let mut fold = RowFold::new();
        for piece in row.chunks(1000) {
            fold.feed(piece);
            assert!(fold.joined.capacity() <= 2 * JOINED_BYTES);
        }
        fold.feed(b"\nshort\n");
        assert_eq!(fold.finish().unwrap(), sum(&[&row, b"short"]));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            rows in prop::collection::vec(prop_oneof!["[a-z\\\\\\.]{0,3}", "[a-z\t]{0,400}", (17_000usize..20_000).prop_map(|length| "x".repeat(length))], 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            marked: bool,
        ) {
            let rows: Vec<_> = rows.iter().filter(|row| row.as_str() != "\\.").collect();
            let mut text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            if marked {
                text.push_str("\\.\n\n\n");
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let facts = fold(if marked { RowFold::with_end_marker() } else { RowFold::new() }, &pieces).unwrap();
            let expected: Vec<_> = rows.iter().map(|row| row.as_bytes()).collect();
            prop_assert_eq!(facts, sum(&expected));
        }
    }
}
