//! Putting a restored database in the target's place, so that a crash leaves the old one whole or the new one whole.
//!
//! A write-ahead log is replayed onto whatever database stands beside it, so an old log must be gone before the new
//! file gets its name, and what is in it must be in the old file before the log goes. Both need the old database to
//! be closed to everybody else, which an exclusive lock proves.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backup_core::{Error, ErrorKind, Result, crash, engine::Swapped, file, id::compact_instant};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use crate::{
    connection::{beside, explain, log_bytes},
    platform,
};

const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Refuses while a process has the target, or its log, open.
///
/// # Errors
/// `Busy`, naming the processes.
pub(crate) fn require_unused(target: &Path) -> Result<()> {
    let mut users = platform::openers(target);
    users.extend(platform::openers(&beside(target, "-wal")));
    users.sort();
    users.dedup();
    if users.is_empty() { Ok(()) } else { Err(in_use(target, &users.join(", "))) }
}

fn in_use(target: &Path, who: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("\"{}\" is in use by {who}", target.display()))
        .with_hint("Stop the application, restore, start it again; or restore to another file with --to.")
}

/// Gives the restored database a name where nothing of value stands.
pub(crate) fn place(restored: &Path, target: &Path) -> Result<Swapped> {
    // A log, shared memory or journal left there by an earlier database would be replayed onto this one.
    for suffix in ["-wal", "-shm", "-journal"] {
        let part = beside(target, suffix);
        if fs::metadata(&part).is_ok_and(|meta| meta.len() > 0) && suffix != "-shm" {
            file::rename(&part, &beside(&kept_path(target), suffix))?;
        }
        file::remove_if_present(&part)?;
    }
    crash::point("swap.log-removed");
    match fs::metadata(target) {
        // Only an empty file gets here, and it is nothing to keep.
        Ok(_) => file::rename(restored, target)?,
        Err(_) => fs::hard_link(restored, target)
            .or_else(|_| fs::rename(restored, target))
            .map_err(|e| Error::io("name the restored database", target, e))?,
    }
    crash::point("swap.renamed");
    file::sync_folder(file::folder_of(target))?;
    let mut swapped = Swapped::default();
    swapped.target = target.display().to_string();
    swapped.undo = Some(format!("rm -f {} {}", shell_word(target), parts_of(target)));
    Ok(swapped)
}

/// Puts the restored database in the place of the present one, which is kept as `<target>.before-<instant>`.
pub(crate) fn replace(restored: &Path, target: &Path) -> Result<Swapped> {
    require_unused(target)?;
    let old = OldDatabase::lock(target)?;
    crash::point("swap.locked");
    let kept = kept_path(target);
    let mut swapped = Swapped::default();
    swapped.kept.push(kept.display().to_string());
    if let OldDatabase::Damaged = old {
        // Its log cannot be written back, so it is kept beside the old file under its new name.
        for suffix in ["-wal", "-journal"] {
            let part = beside(target, suffix);
            if part.exists() {
                keep(&part, &beside(&kept, suffix))?;
                swapped.kept.push(beside(&kept, suffix).display().to_string());
            }
        }
    }
    keep(target, &kept)?;
    crash::point("swap.old-kept");
    for suffix in ["-wal", "-shm", "-journal"] {
        file::remove_if_present(&beside(target, suffix))?;
    }
    crash::point("swap.log-removed");
    file::rename(restored, target).inspect_err(|_| give_back(&kept, target))?;
    crash::point("swap.renamed");
    file::sync_folder(file::folder_of(target))?;
    drop(old);
    swapped.target = target.display().to_string();
    swapped.undo = Some(undo_line(target, &swapped.kept));
    Ok(swapped)
}

/// A second name for the old file, so that its own name never stands empty.
fn keep(path: &Path, kept: &Path) -> Result<()> {
    match fs::hard_link(path, kept) {
        Ok(()) => Ok(()),
        // File systems without hard links: for one moment the name is empty, and the old file has its new name.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported || error.raw_os_error() == Some(1) => {
            file::rename(path, kept)
        }
        Err(error) => Err(Error::io("keep the old database as", kept, error)),
    }
}

/// Undoes [`keep`] where the swap cannot go on: the old name stands alone again.
fn give_back(kept: &Path, target: &Path) {
    // The caller has an error to tell already; the kept file is the old database in either case.
    let _ = if target.exists() { fs::remove_file(kept) } else { fs::rename(kept, target) };
}

/// The old database, closed to everybody else until this is dropped.
enum OldDatabase {
    /// Locked, and everything in its log is in its file.
    Locked { _connection: Connection },
    /// SQLite cannot read it; nobody has it open.
    Damaged,
}

impl OldDatabase {
    fn lock(target: &Path) -> Result<Self> {
        match Self::try_lock(target) {
            Ok(connection) => Ok(Self::Locked { _connection: connection }),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => {
                    Ok(Self::Damaged)
                }
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    Err(in_use(target, "another connection"))
                }
                _ => Err(explain(error, "lock", target)),
            },
        }
    }

    /// In exclusive locking mode the lock outlives the transaction that took it, and a log needs no shared memory.
    fn try_lock(target: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            target,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(LOCK_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; SELECT count(*) FROM sqlite_schema; COMMIT;",
        )?;
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 || log_bytes(target) > 0 {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                None,
            ));
        }
        Ok(connection)
    }
}

/// `<target>.before-<instant>`, with a number where that is taken.
pub(crate) fn kept_path(target: &Path) -> PathBuf {
    let instant = compact_instant(Timestamp::now());
    let candidates = (1..).map(|number| match number {
        1 => beside(target, &format!(".before-{instant}")),
        _ => beside(target, &format!(".before-{instant}-{number}")),
    });
    candidates
        .into_iter()
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_else(|| beside(target, ".before"))
}

fn undo_line(target: &Path, kept: &[String]) -> String {
    let moves = kept.iter().map(|kept| {
        let suffix = ["-wal", "-journal"].into_iter().find(|suffix| kept.ends_with(suffix)).unwrap_or("");
        format!("mv {} {}", shell_word(Path::new(kept)), shell_word(&beside(target, suffix)))
    });
    let leftovers = format!("rm -f {}", parts_of(target));
    std::iter::once(leftovers).chain(moves).collect::<Vec<_>>().join(" && ")
}

/// What may stand beside a database by the time its restore is undone; SQLite would replay it onto the old one.
fn parts_of(target: &Path) -> String {
    ["-wal", "-shm", "-journal"].map(|suffix| shell_word(&beside(target, suffix))).join(" ")
}

/// A path as one word of a POSIX shell, for a line that people paste.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@%=:".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
