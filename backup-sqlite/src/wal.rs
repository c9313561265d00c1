//! The write-ahead log as a file: which of its frames hold the newest committed version of which page.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, section 4.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use backup_core::{Error, Result, file::FileObject, store::ObjectReader};

const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC_LITTLE_ENDIAN: u32 = 0x377f_0682;
const MAGIC_BIG_ENDIAN: u32 = 0x377f_0683;

/// Where in a log the newest committed version of each page lies, up to one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogIndex {
    /// Offsets of page contents, by page number.
    pub pages: BTreeMap<u32, u64>,
    /// The database's size in pages at that commit.
    pub page_count: u32,
    /// Frames up to and including that commit.
    pub frames: u32,
    /// What tells this filling of the log from the next one.
    pub salts: [u32; 2],
    /// Bytes per page.
    pub page_size: u32,
}

/// Reads a log up to its last commit, or to frame `until` if given, which must then be a commit.
///
/// Frames count only while their salts are the header's and the running checksum holds; what lies behind the first
/// that does not is left over from an earlier filling. `None` when there is no commit, or none at `until`.
pub fn index(mut log: impl Read, until: Option<u32>) -> io::Result<Option<LogIndex>> {
    let mut header = [0u8; LOG_HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let Some((mut sum, mut index)) = parse_header(&header) else { return Ok(None) };
    let mut frame = vec![0u8; FRAME_HEADER_BYTES + index.page_size as usize];
    let mut uncommitted: Vec<(u32, u64)> = Vec::new();
    let (mut number, mut offset) = (0u32, LOG_HEADER_BYTES as u64);
    while until.is_none_or(|until| number < until) && fill(&mut log, &mut frame)? {
        let salts_agree = [be32(&frame, 8), be32(&frame, 12)] == index.salts;
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER_BYTES..]);
        let (page, commit_size) = (be32(&frame, 0), be32(&frame, 4));
        if !salts_agree || [be32(&frame, 16), be32(&frame, 20)] != sum.value || page == 0 {
            break;
        }
        number += 1;
        uncommitted.push((page, offset + FRAME_HEADER_BYTES as u64));
        offset += frame.len() as u64;
        if commit_size > 0 {
            index.pages.extend(uncommitted.drain(..));
            index.page_count = commit_size;
            index.frames = number;
        }
    }
    index.pages.retain(|page, _| *page <= index.page_count);
    let reached = match until {
        Some(until) => index.frames == until && until > 0,
        None => index.frames > 0,
    };
    Ok(reached.then_some(index))
}

fn parse_header(header: &[u8; LOG_HEADER_BYTES]) -> Option<(Checksum, LogIndex)> {
    let big_endian = match be32(header, 0) {
        MAGIC_LITTLE_ENDIAN => false,
        MAGIC_BIG_ENDIAN => true,
        _ => return None,
    };
    let page_size = be32(header, 8);
    let mut sum = Checksum { value: [0, 0], big_endian };
    sum.add(&header[..24]);
    let is_header = (512..=65_536).contains(&page_size)
        && page_size.is_power_of_two()
        && sum.value == [be32(header, 24), be32(header, 28)];
    let index = LogIndex { salts: [be32(header, 16), be32(header, 20)], page_size, ..LogIndex::default() };
    is_header.then_some((sum, index))
}

/// The running checksum of section 4.2; its input's length is a multiple of 8.
struct Checksum {
    value: [u32; 2],
    big_endian: bool,
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let [mut a, mut b] = self.value;
        let read: fn([u8; 4]) -> u32 = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(read([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(b);
            b = b.wrapping_add(read([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(a);
        }
        self.value = [a, b];
    }
}

/// Fills a buffer; false at the end of the file, whether or not a part was there.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Committed pages of a log, to be laid over the database file.
///
/// No lock lives on the log file itself, so it may be opened and closed freely.
#[derive(Debug)]
pub(crate) struct Overlay {
    path: PathBuf,
    log: FileObject,
    index: LogIndex,
}

impl Overlay {
    /// The log up to its last commit, or to frame `until`; `None` when there is none, or that frame is no commit.
    pub(crate) fn open(path: &Path, until: Option<u32>) -> Result<Option<Self>> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let index =
            index(BufReader::with_capacity(1 << 20, file), until).map_err(|e| Error::io("read", path, e))?;
        let Some(index) = index else { return Ok(None) };
        Ok(Some(Self { path: path.to_owned(), log: FileObject::open(path)?, index }))
    }

    /// The database's size in pages.
    pub(crate) fn page_count(&self) -> u32 {
        self.index.page_count
    }

    /// Replaces those pages in `buffer`, whose first is `first`, that the log has.
    pub(crate) fn lay_over(&self, first: u32, page_size: usize, buffer: &mut [u8]) -> Result<()> {
        let last = first + (buffer.len() / page_size) as u32;
        for (page, offset) in self.index.pages.range(first..last) {
            let at = (page - first) as usize * page_size;
            self.read(*offset, &mut buffer[at..at + page_size])?;
        }
        Ok(())
    }

    /// Whether the log still is the one that was indexed.
    pub(crate) fn is_unchanged(&self) -> Result<bool> {
        let mut header = [0u8; LOG_HEADER_BYTES];
        self.read(0, &mut header)?;
        Ok([be32(&header, 16), be32(&header, 20)] == self.index.salts)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.log.read_at(offset + done as u64, &mut buffer[done..])? {
                0 => {
                    return Err(Error::corrupt(format!(
                        "\"{}\" was cut short while it was read",
                        self.path.display()
                    )));
                }
                more => done += more,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log made by SQLite itself: two commits, the second rewriting pages of the first.
    fn real_log() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(a);
                 INSERT INTO t SELECT hex(randomblob(100)) FROM (VALUES(1),(2),(3),(4),(5),(6),(7),(8));
                 UPDATE t SET a = a || 'x' WHERE rowid = 3;",
            )
            .unwrap();
        std::fs::read(folder.path().join("x.db-wal")).unwrap()
    }

    #[test]
    fn a_log_of_sqlite_is_read_to_its_last_commit() {
        let log = real_log();
        let index = index(log.as_slice(), None).unwrap().unwrap();
        assert_eq!(index.frames as usize, (log.len() - 32) / 536);
        assert!(index.page_count >= 4, "{index:?}");
        assert_eq!(super::index(log.as_slice(), Some(index.frames)).unwrap(), Some(index.clone()));
        assert_eq!(super::index(log.as_slice(), Some(index.frames + 1)).unwrap(), None);
    }

    #[test]
    fn a_torn_last_transaction_does_not_count() {
        let log = real_log();
        let whole = index(log.as_slice(), None).unwrap().unwrap();
        for cut in [1, 100, 536] {
            let torn = index(&log[..log.len() - cut], None).unwrap().unwrap();
            assert!(torn.frames < whole.frames);
        }
    }

    proptest! {
        #[test]
        fn a_flipped_byte_ends_the_log_before_it(position in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut log = real_log();
            let whole = index(log.as_slice(), None).unwrap().unwrap();
            let position = position.index(log.len());
            log[position] ^= 1 << bit;
            if let Some(found) = index(log.as_slice(), None).unwrap() {
                prop_assert!(u64::from(found.frames) * 536 + 32 <= position as u64 || found == whole);
                prop_assert!(found.frames < whole.frames);
            }
        }

        #[test]
        fn arbitrary_logs_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = index(bytes.as_slice(), None);
        }
    }
}
