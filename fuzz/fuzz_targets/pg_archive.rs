//! An archive of pg_dump in pieces of any size: what is accepted is accepted whole, and only whole.
//!
//! The first byte is the size of the pieces; the rest is the archive.
#![no_main]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use backup_core::Result;
use backup_pg::archive::{Archive, ArchiveReader, Entry, Offset, RowSink, list, read_toc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    if let Ok(toc) = read_toc(bytes) {
        assert!(toc.entries.iter().all(|entry| entry.dump_id > 0));
    }
    let whole = read(bytes, bytes.len());
    let in_pieces = read(bytes, size.into());
    assert_eq!(whole.is_ok(), in_pieces.is_ok());
    let (Ok((archive, rows)), Ok(again)) = (whole, in_pieces) else { return };
    assert_eq!((&archive, rows), (&again.0, again.1));
    check(&archive, rows);
    if let Some((_, cut)) = bytes.split_last() {
        assert!(read(cut, cut.len()).is_err(), "an archive without its last byte");
    }
});

/// The archive and how many rows its sink was given.
fn read(bytes: &[u8], size: usize) -> Result<(Archive, u64)> {
    let rows = Arc::new(AtomicU64::new(0));
    let mut reader = ArchiveReader::with_rows(Box::new(Rows(Arc::clone(&rows))));
    bytes.chunks(size.max(1)).try_for_each(|piece| reader.feed(piece))?;
    Ok((reader.finish()?, rows.load(Ordering::Relaxed)))
}

fn check(archive: &Archive, rows: u64) {
    assert!(list(archive).len() <= archive.entries.len());
    let counted: u64 = archive.tables.iter().filter_map(|table| table.facts).map(|facts| facts.rows).sum();
    assert_eq!(rows, counted);
    for entry in &archive.entries {
        assert_eq!(entry.has_data, entry.data_at.is_some());
        assert!(!matches!(entry.offset, Offset::Set(at) if entry.data_at != Some(at)));
    }
}

struct Rows(Arc<AtomicU64>);

impl RowSink for Rows {
    fn wants(&mut self, _entry: &Entry) -> bool {
        true
    }

    fn row(&mut self, _entry: &Entry, row: &[u8]) -> Result<()> {
        assert!(!row.contains(&b'\n'));
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
