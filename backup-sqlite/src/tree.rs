//! The cells of a b-tree in the order of their keys, read without SQLite.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, section 1.6.

use std::io::{Read, Seek};

use crate::{
    cell::Cell,
    doubt::{Doubt, OrDoubt, Plainly},
    page::{PageHeader, PageKind, be32},
    page_file::PageFile,
};

/// Levels of a tree that is not going in circles (`BTCURSOR_MAX_DEPTH`).
const MAX_DEPTH: usize = 20;

/// The largest part of a payload that is put together; beyond it SQLite looks, which need not.
const MAX_JOINED: u64 = 16 << 20;

/// Whether a tree holds rows under their numbers, or entries that are ordered by what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeKind {
    /// A table.
    Rows,
    /// An index, or a table WITHOUT ROWID.
    Entries,
}

/// A walk over one tree.
pub(crate) struct Tree<'f, F> {
    pages: &'f mut PageFile<F>,
    kind: TreeKind,
    /// A buffer per level, so that none is made per page.
    levels: Vec<Vec<u8>>,
    /// Pages that may still be visited: a sound tree has no more than its file.
    left: u32,
}

impl<'f, F: Read + Seek> Tree<'f, F> {
    /// A tree of a kind in a file.
    pub(crate) fn new(pages: &'f mut PageFile<F>, kind: TreeKind) -> Self {
        let left = pages.page_count;
        Self { pages, kind, levels: Vec::new(), left }
    }

    /// Shows every row or entry, in order; `visit` may read more of its payload.
    pub(crate) fn walk<V>(&mut self, root: u32, visit: &mut V) -> Plainly<()>
    where
        V: FnMut(Cell<'_>, &mut PageFile<F>) -> Plainly<()>,
    {
        self.descend(root, 0, visit)
    }

    fn descend<V>(&mut self, number: u32, depth: usize, visit: &mut V) -> Plainly<()>
    where
        V: FnMut(Cell<'_>, &mut PageFile<F>) -> Plainly<()>,
    {
        self.left = self.left.checked_sub(1).or_doubt()?;
        if depth == self.levels.len() {
            if depth == MAX_DEPTH {
                return Err(Doubt::NotPlain);
            }
            self.levels.push(vec![0; self.pages.page_size]);
        }
        let mut page = std::mem::take(&mut self.levels[depth]);
        self.pages.read(number, &mut page)?;
        let header = PageHeader::parse(&page, number).or_doubt()?;
        match (header.kind, self.kind) {
            (PageKind::TableLeaf, TreeKind::Rows) | (PageKind::IndexLeaf, TreeKind::Entries) => {
                for cell in header.cells(&page) {
                    let cell = Cell::parse(cell.or_doubt()?, header.kind, self.pages.usable).or_doubt()?;
                    visit(cell, self.pages)?;
                }
            }
            (PageKind::TableInterior, TreeKind::Rows) => {
                for child in header.children(&page) {
                    self.descend(child.or_doubt()?, depth + 1, visit)?;
                }
            }
            (PageKind::IndexInterior, TreeKind::Entries) => {
                let mut cells = header.cells(&page);
                for child in header.children(&page) {
                    self.descend(child.or_doubt()?, depth + 1, visit)?;
                    if let Some(cell) = cells.next() {
                        let cell =
                            Cell::parse(cell.or_doubt()?, header.kind, self.pages.usable).or_doubt()?;
                        visit(cell, self.pages)?;
                    }
                }
            }
            _ => return Err(Doubt::NotPlain),
        }
        self.levels[depth] = page;
        Ok(())
    }
}

/// At least the first `wanted` bytes of a payload, as far as it has them; put together in `joined` where they lie on
/// several pages.
pub(crate) fn payload<'c, F: Read + Seek>(
    cell: &Cell<'c>,
    wanted: u64,
    pages: &mut PageFile<F>,
    joined: &'c mut Vec<u8>,
) -> Plainly<&'c [u8]> {
    let wanted = wanted.min(cell.payload);
    let Some(chain) = cell.rest else { return Ok(cell.local) };
    if wanted <= cell.local.len() as u64 {
        return Ok(cell.local);
    }
    if wanted > MAX_JOINED {
        return Err(Doubt::NotPlain);
    }
    joined.clear();
    joined.extend_from_slice(cell.local);
    let (mut next, room) = (chain.first, pages.usable);
    let mut page = vec![0; room];
    while (joined.len() as u64) < wanted {
        pages.read(next, &mut page)?;
        next = be32(&page, 0);
        let rest = cell.payload - joined.len() as u64;
        joined.extend_from_slice(&page[4..room.min(4 + usize::try_from(rest).unwrap_or(usize::MAX - 4))]);
    }
    Ok(joined)
}
