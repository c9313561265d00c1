//! Whether every page of a database belongs to exactly one b-tree, overflow chain or free list.
//!
//! SQLite tells this only with `quick_check` of the whole file, which looks at every row once more. Walking the pages
//! alone takes a fraction of that. The answer here is only "plainly so" or "ask SQLite": a page that nothing owns, one
//! that two things own and a shape this walk does not know all lead to SQLite's own check, which then has the word.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, sections 1.2 to 1.6.

use std::io::{self, Read, Seek};

use crate::{
    cell::{Cell, Chain},
    doubt::{Doubt, OrDoubt, Plainly, is_plain},
    page::{PageHeader, PageKind, be32},
    page_file::PageFile,
};

/// Where the header tells the first page of the free list.
const FIRST_FREE_TRUNK: usize = 32;

/// The page around this byte is never used.
const LOCK_BYTE: u64 = 1 << 30;

/// Whether every page has exactly one owner, as far as this walk understands the file; `roots` are the first pages of
/// all tables and indexes, the schema's own excepted.
///
/// # Errors
/// The file could not be read.
pub fn is_plainly_complete(file: impl Read + Seek, roots: &[u32]) -> io::Result<bool> {
    Ok(is_plain(owners(file, roots))?.is_some_and(|unclaimed| unclaimed == 0))
}

/// Gives every page to its owner; how many are left over.
fn owners(file: impl Read + Seek, roots: &[u32]) -> Plainly<u64> {
    let mut walk = Walk::new(file)?;
    walk.free_list()?;
    walk.tree(1)?;
    for root in roots {
        walk.tree(*root)?;
    }
    Ok(walk.unclaimed)
}

struct Walk<F> {
    pages: PageFile<F>,
    claimed: Vec<u64>,
    unclaimed: u64,
}

impl<F: Read + Seek> Walk<F> {
    fn new(file: F) -> Plainly<Self> {
        let pages = PageFile::new(file)?;
        if pages.header.has_pointer_maps {
            return Err(Doubt::NotPlain);
        }
        let page_count = pages.page_count;
        let lock_page = u32::try_from(LOCK_BYTE / pages.page_size as u64 + 1).unwrap_or(u32::MAX);
        let claimed = vec![0; page_count as usize / 64 + 1];
        let mut walk = Self { pages, claimed, unclaimed: u64::from(page_count) };
        if lock_page <= page_count {
            walk.claim(lock_page)?;
        }
        Ok(walk)
    }

    /// Takes a page for one owner; it must not lie outside nor have an owner already.
    fn claim(&mut self, number: u32) -> Plainly<()> {
        if number == 0 || number > self.pages.page_count {
            return Err(Doubt::NotPlain);
        }
        let (word, bit) = (number as usize / 64, 1u64 << (number % 64));
        if self.claimed[word] & bit != 0 {
            return Err(Doubt::NotPlain);
        }
        self.claimed[word] |= bit;
        self.unclaimed -= 1;
        Ok(())
    }

    /// The free list: trunk pages that name the next trunk and their leaves (section 1.5).
    fn free_list(&mut self) -> Plainly<()> {
        let mut page = vec![0u8; self.pages.page_size];
        self.pages.read(1, &mut page)?;
        let mut trunk = be32(&page, FIRST_FREE_TRUNK);
        while trunk != 0 {
            self.claim(trunk)?;
            self.pages.read(trunk, &mut page)?;
            trunk = be32(&page, 0);
            let leaves = be32(&page, 4) as usize;
            if leaves > self.pages.usable / 4 - 2 {
                return Err(Doubt::NotPlain);
            }
            for leaf in 0..leaves {
                self.claim(be32(&page, 8 + leaf * 4))?;
            }
        }
        Ok(())
    }

    /// One b-tree with the overflow chains of its cells.
    fn tree(&mut self, root: u32) -> Plainly<()> {
        let mut page = vec![0u8; self.pages.page_size];
        let mut ahead = vec![root];
        let mut chains = Vec::new();
        while let Some(number) = ahead.pop() {
            self.claim(number)?;
            self.pages.read(number, &mut page)?;
            let header = PageHeader::parse(&page, number).or_doubt()?;
            let before = ahead.len();
            for child in header.children(&page) {
                ahead.push(child.or_doubt()?);
            }
            if ahead.len() > self.pages.page_count as usize {
                return Err(Doubt::NotPlain);
            }
            // Left to right, which mostly is the order of the file.
            ahead[before..].reverse();
            if header.kind != PageKind::TableInterior {
                for cell in header.cells(&page) {
                    let cell = Cell::parse(cell.or_doubt()?, header.kind, self.pages.usable).or_doubt()?;
                    chains.extend(cell.rest);
                }
            }
            for chain in chains.drain(..) {
                self.chain(chain)?;
            }
        }
        Ok(())
    }

    /// An overflow chain: each page names the next, the last names none.
    fn chain(&mut self, chain: Chain) -> Plainly<()> {
        let mut next = chain.first;
        for _ in 0..chain.pages {
            self.claim(next)?;
            let mut link = [0u8; 4];
            self.pages.read(next, &mut link)?;
            next = be32(&link, 0);
        }
        if next == 0 { Ok(()) } else { Err(Doubt::NotPlain) }
    }
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
