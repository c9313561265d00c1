//! Whether a table's indexes hold exactly the entries that its rows call for, in order.
//!
//! `PRAGMA integrity_check` looks each row up in each index, which is nine tenths of its time. Here the rows are read
//! once in their order, the entries of each index once in theirs, and what the rows call for is compared with what is
//! there by an order-free digest: the number of entries and the sum modulo 2^128 of the XXH3-128 of each entry's record.
//! Entries must ascend strictly, and differ in their key where the index is unique. That is a plain yes; anything else is
//! SQLite's to judge.

use std::{
    cmp::Ordering,
    io::{self, Read, Seek},
};

use backup_core::context::CancelToken;
use twox_hash::XxHash3_128;

use crate::{
    cell::Cell,
    doubt::{Doubt, OrDoubt, Plainly, is_plain},
    indexed_table::{Index, IndexedTable, Source},
    page_file::PageFile,
    record::{Collation, Field, KeyOrder, Layout, RecordWriter, compare, integer},
    tree::{Tree, TreeKind, payload},
};

/// How often a walk looks whether somebody cancelled, in rows or entries.
const CANCEL_INTERVAL: u64 = 10_000;

/// How many entries, and what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    entries: u64,
    digest: u128,
}

impl Tally {
    #[inline]
    fn add(&mut self, record: &[u8]) {
        self.entries += 1;
        self.digest = self.digest.wrapping_add(XxHash3_128::oneshot(record));
    }
}

impl IndexedTable {
    /// What the rows call for, index by index.
    pub(crate) fn called_for<F: Read + Seek>(&self, file: F, cancel: &CancelToken) -> Plainly<Vec<Tally>> {
        let mut pages = PageFile::new(file)?;
        let schema_format = pages.header.schema_format;
        let mut tallies = vec![Tally::default(); self.indexes.len()];
        let last = self.indexes.iter().flat_map(|index| &index.columns).filter_map(|source| match source {
            Source::RowId => None,
            Source::Column(column) => Some(*column),
        });
        // The key is compared as well.
        let last =
            last.chain(self.key.iter().map(|key| key.orders.len().saturating_sub(1))).max().unwrap_or(0);
        let (mut row, mut joined) = (Layout::default(), Vec::new());
        let (mut key, mut entry) = (self.key.as_ref().map(Ascent::new), RecordWriter::default());
        let kind = if self.key.is_some() { TreeKind::Entries } else { TreeKind::Rows };
        let mut watch = Watch::new(cancel);
        Tree::new(&mut pages, kind).walk(self.root, &mut |cell, pages| {
            watch.look()?;
            let record = beginning(&cell, &mut row, |row| row.end_of(last), pages, &mut joined)?;
            if let Some(key) = &mut key {
                key.next(record, &row)?;
            }
            let (serial, number, length) = integer(cell.rowid, schema_format);
            let number = Field { serial, bytes: &number[8 - length..] };
            for (index, tally) in self.indexes.iter().zip(&mut tallies) {
                entry.clear();
                for source in &index.columns {
                    entry.push(match *source {
                        Source::RowId => number,
                        Source::Column(column) if column < row.len() => {
                            row.field(column, record).or_doubt()?
                        }
                        Source::Column(column) => {
                            self.absent_is_null.get(column).filter(|is_null| **is_null).or_doubt()?;
                            Field::NULL
                        }
                    });
                }
                tally.add(entry.record());
            }
            Ok(())
        })?;
        Ok(tallies)
    }
}

impl Index {
    /// The entries that are there, which must be in order.
    pub(crate) fn present<F: Read + Seek>(&self, file: F, cancel: &CancelToken) -> Plainly<Tally> {
        let mut pages = PageFile::new(file)?;
        let mut tally = Tally::default();
        let (mut layout, mut joined) = (Layout::default(), Vec::new());
        let mut ascent = Ascent::new(self);
        let mut watch = Watch::new(cancel);
        Tree::new(&mut pages, TreeKind::Entries).walk(self.root, &mut |cell, pages| {
            watch.look()?;
            let entry = beginning(&cell, &mut layout, Layout::end, pages, &mut joined)?;
            let has_its_columns = layout.len() == self.columns.len() && layout.end() == cell.payload;
            if !has_its_columns || entry.len() as u64 != cell.payload {
                return Err(Doubt::NotPlain);
            }
            ascent.next(entry, &layout)?;
            tally.add(entry);
            Ok(())
        })?;
        Ok(tally)
    }
}

/// Reads arbitrary bytes as a table of one column and an index on it, whose trees begin at these pages; whether they
/// agree.
#[doc(hidden)]
pub fn agree(file: impl Read + Seek + Clone, roots: [u32; 2]) -> io::Result<bool> {
    let order = KeyOrder { collation: Collation::NoCase, descending: false };
    let index = Index {
        root: roots[1],
        columns: vec![Source::Column(0), Source::RowId],
        orders: vec![order; 2],
        unique: None,
    };
    let table = IndexedTable { root: roots[0], key: None, absent_is_null: vec![true], indexes: vec![index] };
    let cancel = CancelToken::default();
    let called_for = is_plain(table.called_for(file.clone(), &cancel))?;
    let present = table.indexes.iter().map(|index| is_plain(index.present(file.clone(), &cancel)));
    let present = present.collect::<io::Result<Option<Vec<Tally>>>>()?;
    Ok(called_for.is_some() && called_for == present)
}

/// A record's bytes up to where its layout says they are wanted.
fn beginning<'c, F: Read + Seek>(
    cell: &Cell<'c>,
    layout: &mut Layout,
    wanted: impl Fn(&Layout) -> u64,
    pages: &mut PageFile<F>,
    joined: &'c mut Vec<u8>,
) -> Plainly<&'c [u8]> {
    if layout.read(cell.local).is_none() {
        // A header that goes on on other pages: SQLite's to read.
        return Err(Doubt::NotPlain);
    }
    payload(cell, wanted(layout), pages, joined)
}

/// Entries that must ascend.
struct Ascent<'i> {
    orders: &'i [KeyOrder],
    unique: Option<usize>,
    last: Vec<u8>,
    last_layout: Layout,
    has_last: bool,
}

impl<'i> Ascent<'i> {
    fn new(index: &'i Index) -> Self {
        let (orders, unique) = (index.orders.as_slice(), index.unique);
        Self { orders, unique, last: Vec::new(), last_layout: Layout::default(), has_last: false }
    }

    /// Takes the next entry, which must be greater than the one before, and differ in its key if keys are unique.
    fn next(&mut self, entry: &[u8], layout: &Layout) -> Plainly<()> {
        if self.has_last {
            self.require_greater(entry, layout)?;
        }
        self.last.clear();
        self.last.extend_from_slice(entry);
        self.last_layout.copy_from(layout);
        self.has_last = true;
        Ok(())
    }

    fn require_greater(&self, entry: &[u8], layout: &Layout) -> Plainly<()> {
        let mut has_null = false;
        for (column, order) in self.orders.iter().enumerate() {
            let before = self.last_layout.field(column, &self.last).or_doubt()?;
            let after = layout.field(column, entry).or_doubt()?;
            has_null |= before.serial == 0;
            match compare(before, after, *order).or_doubt()? {
                Ordering::Less => return Ok(()),
                Ordering::Greater => return Err(Doubt::NotPlain),
                Ordering::Equal if self.unique == Some(column + 1) && !has_null => {
                    return Err(Doubt::NotPlain);
                }
                Ordering::Equal => {}
            }
        }
        Err(Doubt::NotPlain)
    }
}

/// Looks from time to time whether somebody cancelled.
struct Watch<'c> {
    cancel: &'c CancelToken,
    seen: u64,
}

impl<'c> Watch<'c> {
    fn new(cancel: &'c CancelToken) -> Self {
        Self { cancel, seen: 0 }
    }

    fn look(&mut self) -> Plainly<()> {
        self.seen += 1;
        if self.seen.is_multiple_of(CANCEL_INTERVAL) && self.cancel.is_cancelled() {
            return Err(Doubt::NotPlain);
        }
        Ok(())
    }
}
