//! Whether every page of a database belongs to exactly one b-tree, overflow chain or free list.
//!
//! SQLite tells this only with `quick_check` of the whole file, which looks at every row once more. Walking the pages
//! alone takes a fraction of that. The answer here is only "plainly so" or "ask SQLite": a page that nothing owns, one
//! that two things own and a shape this walk does not know all lead to SQLite's own check, which then has the word.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, sections 1.2 to 1.6.

use std::io::{self, Read, Seek, SeekFrom};

use crate::page::{DatabaseHeader, HEADER_BYTES, PageHeader, PageKind, be32};

/// Where the header tells the first page of the free list.
const FIRST_FREE_TRUNK: usize = 32;

/// Where the header tells that the database keeps pointer maps (auto-vacuum).
const LARGEST_ROOT: usize = 52;

/// The page around this byte is never used.
const LOCK_BYTE: u64 = 1 << 30;

/// Whether every page has exactly one owner, as far as this walk understands the file; `roots` are the first pages of
/// all tables and indexes, the schema's own excepted.
///
/// # Errors
/// The file could not be read.
pub fn is_plainly_complete(file: impl Read + Seek, roots: &[u32]) -> io::Result<bool> {
    let Some(mut walk) = Walk::new(file)? else { return Ok(false) };
    let owned = walk.free_list()?.is_some()
        && walk.tree(1)?.is_some()
        && roots
            .iter()
            .try_fold(true, |so_far, root| Ok::<_, io::Error>(so_far && walk.tree(*root)?.is_some()))?;
    Ok(owned && walk.unclaimed == 0)
}

struct Walk<F> {
    file: F,
    position: u64,
    page_size: usize,
    usable: usize,
    page_count: u32,
    claimed: Vec<u64>,
    unclaimed: u64,
}

/// `None` stops the walk: something is not plainly right.
type Plainly<T> = io::Result<Option<T>>;

impl<F: Read + Seek> Walk<F> {
    fn new(mut file: F) -> Plainly<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut first = [0u8; HEADER_BYTES];
        if bytes < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.rewind()?;
        file.read_exact(&mut first)?;
        let Some(header) = DatabaseHeader::parse(&first) else { return Ok(None) };
        let page_size = u64::from(header.page_size);
        let Ok(page_count) = u32::try_from(bytes / page_size) else { return Ok(None) };
        let usable = header.page_size as usize - usize::from(header.reserved);
        if bytes % page_size != 0 || usable < 480 || be32(&first, LARGEST_ROOT) != 0 {
            return Ok(None);
        }
        let mut walk = Self {
            file,
            position: HEADER_BYTES as u64,
            page_size: page_size as usize,
            usable,
            page_count,
            claimed: vec![0; page_count as usize / 64 + 1],
            unclaimed: u64::from(page_count),
        };
        let lock_page = u32::try_from(LOCK_BYTE / page_size + 1).unwrap_or(u32::MAX);
        if lock_page <= page_count {
            walk.claim(lock_page);
        }
        Ok(Some(walk))
    }

    /// Takes a page for one owner; `None` when it lies outside or has an owner already.
    fn claim(&mut self, number: u32) -> Option<()> {
        if number == 0 || number > self.page_count {
            return None;
        }
        let (word, bit) = (number as usize / 64, 1u64 << (number % 64));
        if self.claimed[word] & bit != 0 {
            return None;
        }
        self.claimed[word] |= bit;
        self.unclaimed -= 1;
        Some(())
    }

    fn read(&mut self, number: u32, into: &mut [u8]) -> io::Result<()> {
        let at = u64::from(number - 1) * self.page_size as u64;
        if self.position != at {
            self.file.seek(SeekFrom::Start(at))?;
        }
        self.file.read_exact(into)?;
        self.position = at + into.len() as u64;
        Ok(())
    }

    /// The free list: trunk pages that name the next trunk and their leaves (section 1.5).
    fn free_list(&mut self) -> Plainly<()> {
        let mut page = vec![0u8; self.page_size];
        self.read(1, &mut page)?;
        let mut trunk = be32(&page, FIRST_FREE_TRUNK);
        while trunk != 0 {
            if self.claim(trunk).is_none() {
                return Ok(None);
            }
            self.read(trunk, &mut page)?;
            trunk = be32(&page, 0);
            let leaves = be32(&page, 4) as usize;
            if leaves > self.usable / 4 - 2 {
                return Ok(None);
            }
            for leaf in 0..leaves {
                if self.claim(be32(&page, 8 + leaf * 4)).is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// One b-tree with the overflow chains of its cells.
    fn tree(&mut self, root: u32) -> Plainly<()> {
        let mut page = vec![0u8; self.page_size];
        let mut ahead = vec![root];
        let mut chains = Vec::new();
        while let Some(number) = ahead.pop() {
            if self.claim(number).is_none() {
                return Ok(None);
            }
            self.read(number, &mut page)?;
            let Some(header) = PageHeader::parse(&page, number) else { return Ok(None) };
            let before = ahead.len();
            for child in header.children(&page) {
                match child {
                    Some(child) => ahead.push(child),
                    None => return Ok(None),
                }
            }
            if ahead.len() > self.page_count as usize {
                return Ok(None);
            }
            // Left to right, which mostly is the order of the file.
            ahead[before..].reverse();
            if header.kind != PageKind::TableInterior {
                for cell in header.cells(&page) {
                    match cell.and_then(|cell| self.chain_of(cell, header.kind)) {
                        Some(Some(chain)) => chains.push(chain),
                        Some(None) => {}
                        None => return Ok(None),
                    }
                }
            }
            for chain in chains.drain(..) {
                if self.chain(chain)?.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    /// Where a cell goes on, if it does not fit its page (section 1.6, "the amount of payload that spills").
    fn chain_of(&self, cell: &[u8], kind: PageKind) -> Option<Option<Chain>> {
        let cell = if kind == PageKind::IndexInterior { cell.get(4..)? } else { cell };
        let (payload, mut local_at) = varint(cell)?;
        let usable = self.usable as u64;
        let most_local = if kind == PageKind::TableLeaf {
            local_at += varint(cell.get(local_at..)?)?.1;
            usable - 35
        } else {
            (usable - 12) * 64 / 255 - 23
        };
        if payload <= most_local {
            return Some(None);
        }
        let least_local = (usable - 12) * 32 / 255 - 23;
        let fitting = least_local + (payload - least_local) % (usable - 4);
        let local = if fitting <= most_local { fitting } else { least_local };
        let first_at = local_at + local as usize;
        cell.get(first_at..first_at + 4)?;
        let pages = (payload - local).div_ceil(usable - 4);
        Some(Some(Chain { first: be32(cell, first_at), pages }))
    }

    /// An overflow chain: each page names the next, the last names none.
    fn chain(&mut self, chain: Chain) -> Plainly<()> {
        let mut next = chain.first;
        for _ in 0..chain.pages {
            if self.claim(next).is_none() {
                return Ok(None);
            }
            let mut link = [0u8; 4];
            self.read(next, &mut link)?;
            next = be32(&link, 0);
        }
        Ok((next == 0).then_some(()))
    }
}

/// The rest of a cell, on pages of its own.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    pages: u64,
}

/// A variable-length integer and the bytes it takes (section 1.6, "varint").
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    bytes.get(8).map(|byte| (value << 8 | u64::from(*byte), 9))
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, sync::OnceLock};

    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    /// A small database with everything the walk follows: inner pages, overflow chains of rows and index entries, a
    /// table WITHOUT ROWID and a free list.
    fn database() -> (Vec<u8>, Vec<u32>) {
        static MADE: OnceLock<(Vec<u8>, Vec<u32>)> = OnceLock::new();
        MADE.get_or_init(make_database).clone()
    }

    fn make_database() -> (Vec<u8>, Vec<u32>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 512;
                 CREATE TABLE plain (id INTEGER PRIMARY KEY, body TEXT);
                 CREATE INDEX plain_body ON plain (body);
                 CREATE TABLE keyed (key TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
                 CREATE TABLE gone (body BLOB);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
                 INSERT INTO plain SELECT i, printf('%.*c', i * 7, 'x') FROM n;
                 INSERT INTO keyed SELECT body, zeroblob(id * 11) FROM plain;
                 INSERT INTO gone SELECT zeroblob(5000) FROM plain;
                 DROP TABLE gone;",
            )
            .unwrap();
        let roots = connection
            .prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        (std::fs::read(path).unwrap(), roots)
    }

    fn is_complete(bytes: &[u8], roots: &[u32]) -> bool {
        is_plainly_complete(Cursor::new(bytes), roots).unwrap()
    }

    #[test]
    fn a_sound_database_is_plainly_complete() {
        let (bytes, roots) = database();
        assert!(is_complete(&bytes, &roots));
    }

    #[test]
    fn a_page_that_nothing_owns_is_seen() {
        let (mut bytes, roots) = database();
        assert!(!is_complete(&bytes, &roots[1..]), "a forgotten tree");
        bytes.extend([0u8; 512]);
        assert!(!is_complete(&bytes, &roots), "a page behind the end");
    }

    #[test]
    fn a_page_that_two_own_is_seen() {
        let (bytes, mut roots) = database();
        roots.push(roots[0]);
        assert!(!is_complete(&bytes, &roots));
    }

    #[test]
    fn a_free_list_that_is_cut_short_is_seen() {
        let (mut bytes, roots) = database();
        let trunk = be32(&bytes, FIRST_FREE_TRUNK) as usize;
        assert_ne!(trunk, 0, "the database has free pages");
        let count_at = (trunk - 1) * 512 + 4;
        let count = be32(&bytes, count_at);
        bytes[count_at..count_at + 4].copy_from_slice(&(count - 1).to_be_bytes());
        assert!(!is_complete(&bytes, &roots));
    }

    proptest! {
        #[test]
        fn damaged_bytes_neither_panic_nor_go_in_circles(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
        ) {
            let (mut bytes, roots) = database();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = is_complete(&bytes, &roots);
        }
    }
}
