//! Positions for an archive that was written to a pipe.
//!
//! `pg_restore --jobs` goes straight to each table's data when the table of contents says where it is. pg_dump fills
//! that in at the end, when it writes to a file; into a pipe it cannot, and every job would read all data before its
//! own. Now that the archive lies in a file, it can be filled in.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use backup_core::{Error, Result};

use super::{
    Archive,
    toc::{Entry, Offset},
};

const POSITION_NOT_SET: u8 = 1;
const POSITION_SET: u8 = 2;

/// Writes into the archive in `file` where the data of each entry begins; what is filled in already stays, and so do
/// entries without data, which say so themselves.
///
/// `archive` must have been read from the same bytes, to their end; the file must be open for reading and writing, and
/// its position moves. Not atomic, and not synced; it can be done again.
///
/// # Errors
/// `Invalid` when the file is another one than was read or only its table of contents was, `Denied` or `Failed` when it
/// cannot be read or written.
pub fn fill_offsets(file: &File, archive: &Archive) -> Result<()> {
    let width = usize::from(archive.header.offset_size);
    for entry in &archive.entries {
        let Some(at) = entry.offset_at else { continue };
        let Some(field) = field(entry, width)? else { continue };
        patch(file, at, &field).map_err(|cause| {
            Error::from_io(format!("could not fill in where the data of {} is", entry.label()), cause)
        })?;
    }
    Ok(())
}

/// The field to be written; `None` when it need not be.
fn field(entry: &Entry, width: usize) -> Result<Option<Vec<u8>>> {
    if entry.offset != Offset::NotSet {
        return Ok(None);
    }
    let Some(position) = entry.data_at else {
        return Err(Error::invalid(format!("the data of {} was not read", entry.label())));
    };
    let bytes = position.to_le_bytes();
    let (low, high) = bytes.split_at(width.min(bytes.len()));
    if high.iter().any(|byte| *byte != 0) {
        let message = format!("the data of {} is too far away for {width} bytes", entry.label());
        return Err(Error::invalid(message));
    }
    Ok(Some([&[POSITION_SET], low].concat()))
}

/// Writes `field` over one at `at` that is not set, and over nothing else.
fn patch(mut file: &File, at: u64, field: &[u8]) -> io::Result<()> {
    let mut found = vec![0; field.len()];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut found)?;
    if found == field {
        return Ok(());
    }
    if found.first() != Some(&POSITION_NOT_SET) {
        return Err(Error::invalid("the file is not the archive that was read").into());
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(field)
}
