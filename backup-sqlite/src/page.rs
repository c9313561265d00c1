//! The parts of SQLite's file format that counting needs: the database header and b-tree page headers.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, sections 1.3 and 1.6.

/// The first bytes of every database.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of the database header.
pub const HEADER_BYTES: usize = 100;

/// What the header of a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseHeader {
    /// Bytes per page, 512 to 65536.
    pub page_size: u32,
    /// Whether the database is in WAL mode.
    pub is_wal: bool,
    /// Counts changes; in rollback mode every commit raises it.
    pub change_counter: u32,
    /// Pages on the free list.
    pub free_pages: u32,
    /// Changes with every change of the schema.
    pub schema_cookie: u32,
    /// 1 to 4; from 4 on the numbers 0 and 1 take no bytes of their own.
    pub schema_format: u32,
    /// Whether the file keeps pointer maps (auto-vacuum).
    pub has_pointer_maps: bool,
    /// 1 UTF-8, 2 UTF-16le, 3 UTF-16be, 0 not decided yet.
    pub encoding: u32,
    /// The application's version number.
    pub user_version: u32,
    /// The application's identification.
    pub application_id: u32,
    /// Bytes at the end of each page that an extension keeps for itself.
    pub reserved: u8,
}

impl DatabaseHeader {
    /// Reads a header; `None` when these are not the first bytes of a database.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => u32::from(size),
        };
        let is_header = header.starts_with(MAGIC) && page_size >= 512 && page_size.is_power_of_two();
        is_header.then(|| Self {
            page_size,
            is_wal: header[18] == 2 || header[19] == 2,
            change_counter: be32(header, 24),
            free_pages: be32(header, 36),
            schema_cookie: be32(header, 40),
            schema_format: be32(header, 44),
            has_pointer_maps: be32(header, 52) != 0,
            encoding: be32(header, 56),
            user_version: be32(header, 60),
            application_id: be32(header, 68),
            reserved: header[20],
        })
    }
}

/// What kind of b-tree page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Rows of a table.
    TableLeaf,
    /// Children of a table's page.
    TableInterior,
    /// Entries of an index, or rows of a table WITHOUT ROWID.
    IndexLeaf,
    /// Children of an index's page, and entries between them.
    IndexInterior,
}

/// The header of a b-tree page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// The kind.
    pub kind: PageKind,
    /// Its cells.
    pub cells: u16,
    /// Where the header begins: 100 on page 1, else 0.
    offset: usize,
}

impl PageHeader {
    /// Reads the header of page `number`; `None` when it cannot be a b-tree page.
    pub fn parse(page: &[u8], number: u32) -> Option<Self> {
        let offset = if number == 1 { HEADER_BYTES } else { 0 };
        let kind = match page.get(offset)? {
            0x02 => PageKind::IndexInterior,
            0x05 => PageKind::TableInterior,
            0x0a => PageKind::IndexLeaf,
            0x0d => PageKind::TableLeaf,
            _ => return None,
        };
        let cells = u16::from_be_bytes([*page.get(offset + 3)?, *page.get(offset + 4)?]);
        let header = Self { kind, cells, offset };
        let pointers_end = offset + header.size() + usize::from(cells) * 2;
        (pointers_end <= page.len()).then_some(header)
    }

    fn size(&self) -> usize {
        if self.is_interior() { 12 } else { 8 }
    }

    /// Whether it has children.
    pub fn is_interior(&self) -> bool {
        matches!(self.kind, PageKind::TableInterior | PageKind::IndexInterior)
    }

    /// The children of an interior page; `None` where a pointer leaves the page.
    pub fn children<'p>(&self, page: &'p [u8]) -> impl Iterator<Item = Option<u32>> + use<'p> {
        let (pointers, offset) = (self.offset + self.size(), self.offset);
        let cells = if self.is_interior() { usize::from(self.cells) } else { 0 };
        let right_most =
            self.is_interior().then(|| page.get(offset + 8..offset + 12).map(|_| be32(page, offset + 8)));
        let left = (0..cells).map(move |cell| {
            let at = pointers + cell * 2;
            let cell_at = usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?]));
            page.get(cell_at..cell_at + 4).map(|_| be32(page, cell_at))
        });
        left.chain(right_most)
    }

    /// The cells, each from its first byte to the end of the page; `None` where a pointer leaves the page.
    pub fn cells<'p>(&self, page: &'p [u8]) -> impl Iterator<Item = Option<&'p [u8]>> + use<'p> {
        let pointers = self.offset + self.size();
        (0..usize::from(self.cells)).map(move |cell| {
            let at = pointers + cell * 2;
            page.get(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?]))..)
        })
    }
}

/// The big-endian number at `at`, which must lie in `bytes`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_pages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), number in 1u32..3) {
            let _ = DatabaseHeader::parse(&bytes);
            if let Some(header) = PageHeader::parse(&bytes, number) {
                prop_assert!(header.children(&bytes).count() <= usize::from(header.cells) + 1);
            }
        }
    }
}
