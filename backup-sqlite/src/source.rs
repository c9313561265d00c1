//! What kind of file a source is, before anything is read from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backup_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

use crate::{
    connection::{beside, log_bytes, open_live},
    handle,
    page::{DatabaseHeader, HEADER_BYTES},
};

/// What a source file turned out to be.
#[derive(Debug)]
pub(crate) enum SourceFile {
    /// An SQLite database.
    Database(DatabaseHeader),
    /// Bytes without structure to us, in whole pages: most likely an encrypted database.
    Opaque,
}

/// The file behind a path, symbolic links followed, so that its `-wal` is found where SQLite puts it.
///
/// # Errors
/// `NotFound`, or `Invalid` for a folder or device.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    let resolved = fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no database \"{}\"", path.display()))
                .with_hint("Check the path; a relative one starts in the folder you are in.")
        }
        _ => Error::io("reach", path, error),
    })?;
    let meta = fs::metadata(&resolved).map_err(|e| Error::io("examine", &resolved, e))?;
    if meta.is_dir() {
        return Err(Error::invalid(format!("\"{}\" is a folder, not a database", path.display()))
            .with_hint("Name the database file inside it."));
    }
    if !meta.is_file() {
        return Err(Error::invalid(format!("\"{}\" is not a regular file", path.display())));
    }
    Ok(resolved)
}

/// Opens a resolved source and looks at its first bytes, through SQLite's own handle.
///
/// # Errors
/// `Failed` when it is empty or no database at all.
pub(crate) fn open(path: &Path) -> Result<(Connection, SourceFile)> {
    let connection = open_live(path)?;
    let size = handle::file_size(&connection, path)?;
    if size == 0 && log_bytes(path) == 0 {
        return Err(Error::failed(format!(
            "\"{}\" is empty (0 bytes): nothing was ever written to it",
            path.display()
        ))
        .with_hint("If it held data before, restore it; if it is new, back it up after its first table."));
    }
    let mut head = vec![0u8; 4096.min(usize::try_from(size).unwrap_or(4096))];
    handle::read_file(&connection, path, 0, &mut head)?;
    if let Some(header) = DatabaseHeader::parse(&head) {
        return Ok((connection, SourceFile::Database(header)));
    }
    if looks_encrypted(&head, size) {
        require_closed_log(path)?;
        return Ok((connection, SourceFile::Opaque));
    }
    Err(Error::failed(format!("\"{}\" is not an SQLite database", path.display())).with_hint(
        "Its first bytes are not those of a database. Check the path; if it once was one, it is damaged.",
    ))
}

/// Whole pages of what looks like noise: an encryption extension leaves that, a text file or image does not.
fn looks_encrypted(head: &[u8], size: u64) -> bool {
    let whole_pages = size >= HEADER_BYTES as u64 && size.is_multiple_of(1024);
    let mut counts = [0u32; 256];
    head.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = head.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total);
    let bits: f64 = shares.map(|share| -share * share.log2()).sum();
    whole_pages && bits > 7.3
}

/// Without its key, commits that are only in the log cannot be told from those that are not.
fn require_closed_log(path: &Path) -> Result<()> {
    let open_parts: Vec<_> = ["-wal", "-journal"]
        .iter()
        .map(|suffix| beside(path, suffix))
        .filter(|part| fs::metadata(part).is_ok_and(|meta| meta.len() > 0))
        .collect();
    let Some(part) = open_parts.first() else { return Ok(()) };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("\"{}\" looks encrypted and has changes in \"{}\"", path.display(), part.display()),
    )
    .with_hint("Close the application, or let it run PRAGMA wal_checkpoint(TRUNCATE), then back up again."))
}
