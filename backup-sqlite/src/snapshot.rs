//! One consistent state of a live database, page by page.
//!
//! **WAL mode.** A read transaction is held. While it is, the log cannot restart and nothing beyond our mark is
//! copied into the database file, so two cases remain. If everything in the log is already in the file, the file is
//! the snapshot and stays so. If not, the file plus the newest committed frame of each page up to one commit is; pages
//! of the file that may change under us are exactly those that have such a frame. Nothing is checkpointed for it, no
//! writer waits, nothing is staged. (`walTryBeginRead`, `walCheckpoint`, `walRestartLog` in SQLite's `wal.c`.)
//!
//! **Rollback mode.** A reader's lock would make writers wait for as long as compressing takes. So the file is first
//! read without a lock and accepted if nothing was written meanwhile; where writers leave no such pause, it is copied
//! to the scratch folder under a short lock and read from there.
//!
//! **Files nobody can write, or nobody can read** (read-only media, encrypted databases): read, and accepted if
//! nothing changed meanwhile.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use backup_core::{Error, ErrorKind, Result, context::Context, engine::PayloadSink, file};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    connection::{beside, explain, log_bytes, open_immutable, open_live},
    handle,
    pages::{Base, Pages, Shape},
    platform,
    schema::{self, Definition},
    source::{self, SourceFile},
    stamp::Stamp,
    wal::Overlay,
};

/// Unlocked readings of a database in rollback mode before it is copied under a lock.
const UNLOCKED_TRIES: usize = 2;

/// Readings under a lock before a log that keeps being restarted is called a fault.
const LOCKED_TRIES: usize = 3;

/// Bytes of one read into the copy made under a lock.
const COPY_BYTES: usize = 1 << 20;

/// What was captured.
pub(crate) struct Snapshot {
    /// When its state was current.
    pub(crate) taken_at: Timestamp,
    /// Its shape; `None` for an opaque file.
    pub(crate) shape: Option<Shape>,
    /// How it was read, for the manifest.
    pub(crate) method: &'static str,
}

/// Writes one consistent state of the database at `path` into the sink.
pub(crate) fn capture(
    path: &Path,
    scratch: Option<&Path>,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    let (connection, file) = source::open(path)?;
    match file {
        SourceFile::Opaque => capture_opaque(path, connection, sink, cx),
        SourceFile::Database(header) if header.is_wal => match capture_wal(path, &connection, sink, cx) {
            Err(error) if error.kind() == ErrorKind::Denied => {
                drop(connection);
                capture_unwritable(path, scratch, sink, cx)
            }
            other => other,
        },
        SourceFile::Database(_) => capture_rollback(path, connection, scratch, sink, cx),
    }
}

fn capture_wal(
    path: &Path,
    reader: &Connection,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    for attempt in 0..LOCKED_TRIES {
        if attempt > 0 {
            sink.restart()?;
        }
        if let Some(snapshot) = read_locked(path, reader, sink, cx)? {
            return Ok(snapshot);
        }
    }
    Err(Error::failed(format!("the log of \"{}\" was restarted under a read lock", path.display()))
        .with_hint("Something removes SQLite's locks on this file; see docs/sqlite.md on locks."))
}

/// Reads under a read transaction; `None` when the log was restarted meanwhile, which one reading in a row can meet
/// where the log's position may not be asked for.
fn read_locked(
    path: &Path,
    reader: &Connection,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Option<Snapshot>> {
    let probe = open_live(path)?;
    // A connection opens the log with its first transaction.
    begin(&probe, path)?;
    end(&probe, path)?;
    let (definitions, overlay) = loop {
        begin(reader, path)?;
        let definitions = read_definitions(reader);
        let overlay = log_overlay(&probe, path)?;
        if schema_is_current(reader, path, overlay.as_ref())? {
            break (definitions, overlay);
        }
        // A definition changed between the two looks: begin anew.
        end(reader, path)?;
        cx.cancel().check()?;
    };
    let taken_at = cx.now();
    let page_size = pragma(reader, "page_size", path)?;
    let page_count = match &overlay {
        Some(overlay) => overlay.page_count(),
        None => pragma(reader, "page_count", path)?,
    };
    let mut pages = Pages {
        base: Base::Handle(reader),
        path,
        page_size: page_size as usize,
        page_count,
        overlay: overlay.as_ref(),
    };
    let census = pages.stream(sink, cx)?;
    let shape = pages.shape(&census, definitions);
    let unchanged = overlay.as_ref().map(Overlay::is_unchanged).transpose()?;
    end(reader, path)?;
    if unchanged == Some(false) {
        return Ok(None);
    }
    Ok(Some(Snapshot { taken_at, shape: Some(shape?), method: "wal-read-lock" }))
}

/// What must be laid over the database file; `None` when the file alone is the snapshot.
fn log_overlay(probe: &Connection, path: &Path) -> Result<Option<Overlay>> {
    let log = beside(path, "-wal");
    for _ in 0..100 {
        let position = match handle::log_position(probe, path) {
            // A user who may only read may not ask. The log up to its last commit will do, unless everything in it is
            // in the file already: then a writer may restart it once, and the next reading finds it restarted.
            Err(error) if error.kind() == ErrorKind::Denied => return Overlay::open(&log, None),
            position => position?,
        };
        if position.frames == position.backfilled {
            return Ok(None);
        }
        // No commit at that frame: the log was restarted between the two looks, which can happen once.
        if let Some(overlay) = Overlay::open(&log, Some(position.frames))? {
            return Ok(Some(overlay));
        }
    }
    Err(Error::corrupt(format!(
        "the log beside \"{}\" does not hold what SQLite says it holds",
        path.display()
    )))
}

/// Whether the definitions the reader sees are those of the state that will be captured.
fn schema_is_current(reader: &Connection, path: &Path, overlay: Option<&Overlay>) -> Result<bool> {
    let Some(overlay) = overlay else { return Ok(true) };
    let seen = pragma(reader, "schema_version", path)?;
    let page_size = pragma(reader, "page_size", path)? as usize;
    let mut pages =
        Pages { base: Base::Handle(reader), path, page_size, page_count: 1, overlay: Some(overlay) };
    Ok(pages.header()?.schema_cookie == seen)
}

fn capture_rollback(
    path: &Path,
    reader: Connection,
    scratch: Option<&Path>,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    for attempt in 0..UNLOCKED_TRIES {
        if attempt > 0 {
            sink.restart()?;
        }
        if let Some(snapshot) = read_unlocked(path, &reader, sink, cx)? {
            return Ok(snapshot);
        }
    }
    sink.restart()?;
    copy_under_lock(path, &reader, scratch, sink, cx)
}

/// Reads without a lock; `None` when something was written meanwhile.
fn read_unlocked(
    path: &Path,
    reader: &Connection,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Option<Snapshot>> {
    begin(reader, path)?;
    let definitions = read_definitions(reader);
    let page_size = pragma(reader, "page_size", path)? as usize;
    let page_count = pragma(reader, "page_count", path)?;
    let Some(before) = Stamp::of(path)?.settled(path)? else {
        end(reader, path)?;
        return Ok(None);
    };
    let taken_at = cx.now();
    end(reader, path)?;

    let mut pages = Pages { base: Base::Handle(reader), path, page_size, page_count, overlay: None };
    let census = pages.stream(sink, cx)?;
    let shape = pages.shape(&census, definitions);
    // Under a lock again, no transaction is half way: an unchanged stamp means none was since.
    begin(reader, path)?;
    let unchanged = Stamp::of(path)? == before;
    end(reader, path)?;
    if !unchanged {
        return Ok(None);
    }
    Ok(Some(Snapshot { taken_at, shape: Some(shape?), method: "unlocked-read" }))
}

fn copy_under_lock(
    path: &Path,
    reader: &Connection,
    scratch: Option<&Path>,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    let scratch =
        scratch.ok_or_else(|| Error::failed("a busy database in rollback mode needs a scratch folder"))?;
    let copy_path = scratch.join("source");
    let mut copy = file::create_private(&copy_path)?;
    let clock = Instant::now();
    begin(reader, path)?;
    let taken_at = cx.now();
    let definitions = read_definitions(reader);
    let page_size = pragma(reader, "page_size", path)? as usize;
    let page_count = pragma(reader, "page_count", path)?;
    copy_file(reader, path, page_size as u64 * u64::from(page_count), &mut copy, &copy_path, cx)?;
    end(reader, path)?;
    cx.warn(format!(
        "\"{}\" is in rollback mode and busy: writers had to wait up to {} ms (WAL mode would spare them that)",
        path.display(),
        clock.elapsed().as_millis()
    ));
    let mut pages = Pages { base: Base::Copy(&mut copy), path, page_size, page_count, overlay: None };
    let census = pages.stream(sink, cx)?;
    let shape = pages.shape(&census, definitions)?;
    file::remove(&copy_path)?;
    Ok(Snapshot { taken_at, shape: Some(shape), method: "copy-under-lock" })
}

fn copy_file(
    reader: &Connection,
    path: &Path,
    bytes: u64,
    copy: &mut File,
    copy_path: &Path,
    cx: &Context,
) -> Result<()> {
    let mut buffer = vec![0u8; COPY_BYTES];
    let mut done = 0;
    while done < bytes {
        cx.cancel().check()?;
        let count = usize::try_from(bytes - done).map_or(COPY_BYTES, |rest| rest.min(COPY_BYTES));
        handle::read_file(reader, path, done, &mut buffer[..count])?;
        copy.write_all(&buffer[..count]).map_err(|e| Error::io("write", copy_path, e))?;
        done += count as u64;
    }
    Ok(())
}

/// A WAL-mode database on a read-only mount: no lock file can be made, and if no writer shows up, none is needed.
fn capture_unwritable(
    path: &Path,
    scratch: Option<&Path>,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    if !platform::is_read_only_mount(path) {
        return Err(Error::new(ErrorKind::Denied, format!("could not lock \"{}\"", path.display())).with_hint(
            "A database in WAL mode needs the right to write its folder, or its -shm file, even for reading.",
        ));
    }
    let reader = open_immutable(path, cx.cancel())?;
    let before = Stamp::of(path)?;
    let mut snapshot = match log_bytes(path) {
        0 => capture_frozen(path, &reader, sink, cx)?,
        // SQLite would not read the log without a lock file beside it, so both go where one can be made.
        _ => capture_wal_elsewhere(path, &reader, scratch, sink, cx)?,
    };
    if Stamp::of(path)? != before {
        return Err(changed_meanwhile(path));
    }
    snapshot.method = "read-only-media";
    Ok(snapshot)
}

fn capture_frozen(
    path: &Path,
    reader: &Connection,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    let taken_at = cx.now();
    let definitions = read_definitions(reader);
    let page_size = pragma(reader, "page_size", path)? as usize;
    let page_count = pragma(reader, "page_count", path)?;
    let mut pages = Pages { base: Base::Handle(reader), path, page_size, page_count, overlay: None };
    let census = pages.stream(sink, cx)?;
    let shape = pages.shape(&census, definitions)?;
    Ok(Snapshot { taken_at, shape: Some(shape), method: "frozen" })
}

fn capture_wal_elsewhere(
    path: &Path,
    reader: &Connection,
    scratch: Option<&Path>,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    let scratch =
        scratch.ok_or_else(|| Error::failed("a log on a read-only mount needs a scratch folder"))?;
    let copy_path = scratch.join("source");
    let mut copy = file::create_private(&copy_path)?;
    copy_file(reader, path, handle::file_size(reader, path)?, &mut copy, &copy_path, cx)?;
    drop(copy);
    fs::copy(beside(path, "-wal"), beside(&copy_path, "-wal"))
        .map_err(|e| Error::io("copy the log of", path, e))?;
    capture_wal(&copy_path, &open_live(&copy_path)?, sink, cx)
}

fn capture_opaque(
    path: &Path,
    connection: Connection,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Snapshot> {
    cx.warn(format!(
        "\"{}\" cannot be read as SQLite and looks encrypted: its bytes are kept as they are, unchecked",
        path.display()
    ));
    let taken_at = cx.now();
    let before = Stamp::of(path)?;
    let bytes = handle::file_size(&connection, path)?;
    let mut done = 0;
    while done < bytes {
        cx.cancel().check()?;
        let space = sink.space()?;
        let count = usize::try_from(bytes - done).map_or(space.len(), |rest| rest.min(space.len()));
        handle::read_file(&connection, path, done, &mut space[..count])?;
        sink.advance(count)?;
        done += count as u64;
    }
    if Stamp::of(path)? != before {
        return Err(changed_meanwhile(path));
    }
    Ok(Snapshot { taken_at, shape: None, method: "opaque" })
}

fn changed_meanwhile(path: &Path) -> Error {
    Error::new(ErrorKind::Busy, format!("\"{}\" was written to while it was read", path.display()))
        .with_hint("Back it up while the application is at rest.")
}

/// Begins a read transaction and takes its lock.
fn begin(connection: &Connection, path: &Path) -> Result<()> {
    connection
        .execute_batch("BEGIN")
        .and_then(|()| connection.query_row("SELECT rootpage FROM sqlite_schema LIMIT 1", [], |_| Ok(())))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            // The lock is held all the same, and what can be read of a damaged database is worth keeping.
            error if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => Ok(()),
            error => Err(error),
        })
        .map_err(|e| explain(e, "begin reading", path))
}

fn end(connection: &Connection, path: &Path) -> Result<()> {
    connection.execute_batch("COMMIT").map_err(|e| explain(e, "end reading", path))
}

fn read_definitions(connection: &Connection) -> Result<Vec<Definition>, String> {
    schema::read(connection).map_err(|e| e.to_string())
}

fn pragma(connection: &Connection, name: &str, path: &Path) -> Result<u32> {
    connection
        .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        .map_err(|e| explain(e, "read", path))
}
