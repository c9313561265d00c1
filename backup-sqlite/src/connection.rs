//! Opening databases, and saying what went wrong in the user's words.

use std::{path::Path, time::Duration};

use backup_core::{Error, ErrorKind, Result, context::CancelToken};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

/// How long a lock of the application's is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The first version without the WAL-reset bug, by which two checkpointing processes could corrupt a database.
const FIRST_SAFE_VERSION: i32 = 3_051_003;

/// Page cache of one checking connection, in KiB, for what lies beyond the two gigabytes that it maps.
const CHECK_CACHE_KIB: u32 = 8 << 10;

/// How often a long query looks whether somebody cancelled, in virtual machine instructions.
const CANCEL_INTERVAL: i32 = 20_000;

/// Opens a live database as a good neighbour: it is not created, not converted, and left as it was found.
pub(crate) fn open_live(path: &Path) -> Result<Connection> {
    require_safe_library()?;
    let log = log_bytes(path);
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|e| explain(e, "open", path))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|e| explain(e, "open", path))?;
    if log > 0 {
        // The last one to close would write the log back and delete it: that is the application's to do.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(|e| explain(e, "open", path))?;
    }
    Ok(connection)
}

/// Opens a file nobody else knows of, or that nobody can write: no locks are taken and no file is made beside it.
pub(crate) fn open_immutable(path: &Path, cancel: &CancelToken) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(uri(path, "immutable=1"), flags).map_err(|e| explain(e, "open", path))?;
    stop_on_cancel(&mut connection, cancel)?;
    Ok(connection)
}

/// Opens a private copy for checking: writable, because a read-only connection forgets the CHECK constraints
/// (`sqlite3AddCheckConstraint`), without locks, and with a promise to change nothing.
pub(crate) fn open_for_check(path: &Path, cancel: &CancelToken) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(uri(path, "mode=rw&nolock=1"), flags)
        .map_err(|e| explain(e, "open", path))?;
    connection
        .execute_batch(&format!("PRAGMA query_only=ON; PRAGMA cache_size=-{CHECK_CACHE_KIB}"))
        .map_err(|e| explain(e, "open", path))?;
    stop_on_cancel(&mut connection, cancel)?;
    Ok(connection)
}

/// Opens a private database for writing, making it if it is missing.
pub(crate) fn open_private(path: &Path, cancel: &CancelToken) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|e| explain(e, "open", path))?;
    stop_on_cancel(&mut connection, cancel)?;
    Ok(connection)
}

/// Lets a cancellation end this connection's queries.
pub(crate) fn stop_on_cancel(connection: &mut Connection, cancel: &CancelToken) -> Result<()> {
    let cancel = cancel.clone();
    connection
        .progress_handler(CANCEL_INTERVAL, Some(move || cancel.is_cancelled()))
        .map_err(|e| Error::failed("could not watch for cancellation").with_source(e))
}

/// The size of the write-ahead log beside a database, 0 without one.
pub(crate) fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |meta| meta.len())
}

/// The path of a file that belongs to a database: `-wal`, `-shm`, `-journal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A `file:` URI of a path, every byte that is not plainly harmless percent-encoded.
pub(crate) fn uri(path: &Path, query: &str) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push('?');
    uri.push_str(query);
    uri
}

fn require_safe_library() -> Result<()> {
    if rusqlite::version_number() >= FIRST_SAFE_VERSION {
        return Ok(());
    }
    let message = format!("SQLite {} in this program can corrupt live databases", rusqlite::version());
    Err(Error::new(ErrorKind::Unsupported, message)
        .with_hint("Link SQLite 3.51.3 or later (feature \"bundled\")."))
}

/// An SQLite error in the user's words.
pub(crate) fn explain(error: rusqlite::Error, action: &str, path: &Path) -> Error {
    let subject = format!("could not {action} \"{}\"", path.display());
    let code = error.sqlite_error_code();
    let (kind, hint) = match code {
        Some(ErrorCode::OperationInterrupted) => return Error::cancelled(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Busy,
            Some("Another process holds a lock on it; try again when its transaction has ended."),
        ),
        Some(ErrorCode::NotADatabase) => (ErrorKind::Failed, None),
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Corrupt, None),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => (
            ErrorKind::Denied,
            Some("Reading a live database needs the right to read it and to enter its folder."),
        ),
        Some(ErrorCode::DiskFull) => (ErrorKind::NoSpace, None),
        _ => (ErrorKind::Failed, None),
    };
    let explained = Error::new(kind, subject).with_source(error);
    match hint {
        Some(hint) => explained.with_hint(hint),
        None => explained,
    }
}
