//! Counts each table's rows from the pages that pass by: facts about what is in the backup, at no query's cost.
//!
//! Two bytes per page are kept while they stream; afterwards each table's b-tree is walked through its interior pages,
//! of which there are a few hundredths of a percent.

use backup_core::{Result, verify::Finding};

use crate::page::{PageHeader, PageKind};

/// What was seen of one page: its kind in the upper two bits, its cells in the rest (at most 10921, section 1.6).
type Sighting = u16;

const CELLS_MASK: u16 = 0x3fff;
const TABLE_LEAF: u16 = 1 << 14;
const INDEX_LEAF: u16 = 2 << 14;
const INTERIOR: u16 = 3 << 14;

/// Reads one page of the state being counted.
pub(crate) type ReadPage<'a> = dyn FnMut(u32, &mut [u8]) -> Result<()> + 'a;

/// What the pages of a database were seen to hold.
#[derive(Debug, Default)]
pub(crate) struct Census {
    page_size: usize,
    sightings: Vec<Sighting>,
}

impl Census {
    /// A census of a database of this shape.
    pub(crate) fn new(page_size: u32, page_count: u32) -> Self {
        Self { page_size: page_size as usize, sightings: Vec::with_capacity(page_count as usize) }
    }

    /// Looks at the next pages in order.
    pub(crate) fn observe(&mut self, pages: &[u8]) {
        for page in pages.chunks_exact(self.page_size) {
            let number = self.sightings.len() as u32 + 1;
            let sighting = PageHeader::parse(page, number).map_or(0, |header| match header.kind {
                PageKind::TableLeaf => TABLE_LEAF | (header.cells & CELLS_MASK),
                PageKind::IndexLeaf => INDEX_LEAF | (header.cells & CELLS_MASK),
                PageKind::TableInterior | PageKind::IndexInterior => INTERIOR,
            });
            self.sightings.push(sighting);
        }
    }

    /// The rows of the table whose b-tree begins at page `root`.
    ///
    /// A tree that leaves the database, meets itself or mixes kinds is a finding about `table`.
    pub(crate) fn rows(
        &self,
        table: &str,
        root: u32,
        read: &mut ReadPage<'_>,
    ) -> Result<Result<u64, Finding>> {
        let (mut rows, mut visited) = (0u64, 0usize);
        let mut ahead = vec![root];
        let mut page = vec![0u8; self.page_size];
        let mut leaf_kind = None;
        while let Some(number) = ahead.pop() {
            visited += 1;
            let damaged =
                |what: &str| Ok(Err(Finding::content("b-tree", table, format!("page {number} {what}"))));
            if visited > self.sightings.len() {
                return damaged("is reached again and again");
            }
            let Some(sighting) = number.checked_sub(1).and_then(|at| self.sightings.get(at as usize)) else {
                return damaged("lies outside the database");
            };
            match sighting & !CELLS_MASK {
                INTERIOR => {
                    read(number, &mut page)?;
                    let Some(header) = PageHeader::parse(&page, number) else {
                        return damaged("changed while it was read");
                    };
                    if header.kind == PageKind::IndexInterior {
                        rows += u64::from(header.cells);
                    }
                    for child in header.children(&page) {
                        match child {
                            Some(child) => ahead.push(child),
                            None => return damaged("points outside itself"),
                        }
                    }
                }
                kind if kind != 0 && *leaf_kind.get_or_insert(kind) == kind => {
                    rows += u64::from(sighting & CELLS_MASK);
                }
                _ => return damaged("is not a page of this tree"),
            }
        }
        Ok(Ok(rows))
    }
}
