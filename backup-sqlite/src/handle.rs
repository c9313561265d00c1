//! Reading a database file through SQLite's own handle, and asking the write-ahead log where it stands.
//!
//! The only unsafe code of the crate.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_void},
    path::Path,
    ptr,
};

use backup_core::{Error, Result};
use rusqlite::{Connection, ffi};

use crate::connection::explain;

/// SQLite reads at most 128 KiB − 1 in one call (`seekAndRead` in `os_unix.c`); a power of two below that.
const READ_BYTES: usize = 64 << 10;

/// The size of the database file behind a connection.
pub(crate) fn file_size(connection: &Connection, path: &Path) -> Result<u64> {
    let file = file_of(connection, path)?;
    let mut size: ffi::sqlite3_int64 = 0;
    // SAFETY: `file` is the open file of a live connection, whose methods SQLite filled in.
    let code = unsafe {
        let methods = &*(*file).pMethods;
        methods.xFileSize.map_or(ffi::SQLITE_ERROR, |call| call(file, &mut size))
    };
    check(code, "measure", path)?;
    u64::try_from(size).map_err(|_| Error::failed(format!("\"{}\" has no size", path.display())))
}

/// Fills `buffer` from the database file behind a connection; what lies behind its end reads as zeros.
pub(crate) fn read_file(connection: &Connection, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let file = file_of(connection, path)?;
    let mut offset = i64::try_from(offset).map_err(|_| Error::invalid("an offset beyond every file"))?;
    for part in buffer.chunks_mut(READ_BYTES) {
        // SAFETY: as above; `part` is writable for the length that is passed, which fits a C int.
        let code = unsafe {
            let methods = &*(*file).pMethods;
            let count = part.len() as c_int;
            methods.xRead.map_or(ffi::SQLITE_ERROR, |call| {
                call(file, part.as_mut_ptr().cast::<c_void>(), count, offset)
            })
        };
        if code != ffi::SQLITE_IOERR_SHORT_READ {
            check(code, "read", path)?;
        }
        offset += part.len() as i64;
    }
    Ok(())
}

/// Where a write-ahead log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// Frames of committed transactions in the log.
    pub(crate) frames: u32,
    /// Frames already copied into the database file.
    pub(crate) backfilled: u32,
}

/// Asks where the log stands, without moving anything: a checkpoint in mode NOOP (SQLite 3.51).
pub(crate) fn log_position(connection: &Connection, path: &Path) -> Result<LogPosition> {
    let (mut frames, mut backfilled): (c_int, c_int) = (0, 0);
    // SAFETY: the handle is live for the call; both outputs are writable; a null name means all databases.
    let code = unsafe {
        let database = connection.handle();
        ffi::sqlite3_wal_checkpoint_v2(
            database,
            c"main".as_ptr(),
            ffi::SQLITE_CHECKPOINT_NOOP,
            &mut frames,
            &mut backfilled,
        )
    };
    check(code, "ask for the log position of", path)?;
    // −1 is SQLite's answer for a connection that has not opened a log.
    match (u32::try_from(frames), u32::try_from(backfilled)) {
        (Ok(frames), Ok(backfilled)) => Ok(LogPosition { frames, backfilled }),
        _ => {
            Err(Error::failed(format!("SQLite does not say where the log of \"{}\" stands", path.display())))
        }
    }
}

/// The part of a database file that a connection has mapped into memory (`PRAGMA mmap_size`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    address: usize,
    bytes: usize,
}

/// Where a connection has its file mapped; `None` where it has not.
pub(crate) fn mapping(connection: &Connection, path: &Path) -> Result<Option<Mapping>> {
    /// SQLite maps no more than this of a file (`SQLITE_MAX_MMAP_SIZE`).
    const MOST: u64 = 0x7fff_0000;
    let file = file_of(connection, path)?;
    /// Nor does it hand out the last bytes, in case a cell there claims more than there is (`unixFetch`).
    const MARGIN: u64 = 512;
    let bytes = file_size(connection, path)?.min(MOST).saturating_sub(MARGIN) as usize;
    let mut base: *mut c_void = ptr::null_mut();
    // SAFETY: as above; `xFetch` (version 3) writes a pointer into the mapping, or null, and `xUnfetch` gives it back.
    let code = unsafe {
        let methods = &*(*file).pMethods;
        match (methods.iVersion >= 3, methods.xFetch, methods.xUnfetch) {
            (true, Some(fetch), Some(unfetch)) if bytes > 0 => {
                let code = fetch(file, 0, bytes as c_int, &mut base);
                if code == ffi::SQLITE_OK && !base.is_null() { unfetch(file, 0, base) } else { code }
            }
            _ => ffi::SQLITE_OK,
        }
    };
    check(code, "map", path)?;
    // A pointer for the whole length means that the whole length is mapped.
    Ok((!base.is_null()).then_some(Mapping { address: base as usize, bytes }))
}

/// Gives the memory of a mapping back; what is looked at again comes back from the file.
///
/// Only to be called while the connection lives that has the mapping and nobody resizes its file; reading it meanwhile,
/// on any thread, is sound.
#[cfg(target_os = "linux")]
pub(crate) fn release(mapping: Mapping) {
    // SAFETY: the range is a shared mapping of a file (see above), whose pages the kernel can drop and read again.
    let _ = unsafe {
        rustix::mm::madvise(
            ptr::with_exposed_provenance_mut(mapping.address),
            mapping.bytes,
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
}

/// Elsewhere nothing is mapped.
#[cfg(not(target_os = "linux"))]
pub(crate) fn release(_mapping: Mapping) {}

fn file_of(connection: &Connection, path: &Path) -> Result<*mut ffi::sqlite3_file> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: FILE_POINTER writes one pointer to where its argument points.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            ptr::from_mut(&mut file).cast::<c_void>(),
        )
    };
    check(code, "reach", path)?;
    // SAFETY: a file without methods is not open; the pointer is null or valid while the connection lives.
    let is_open = !file.is_null() && unsafe { !(*file).pMethods.is_null() };
    if is_open { Ok(file) } else { Err(Error::failed(format!("\"{}\" is not open", path.display()))) }
}

fn check(code: c_int, action: &str, path: &Path) -> Result<()> {
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(explain(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), action, path))
}
