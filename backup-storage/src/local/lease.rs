//! A lease on a folder of a local disk.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::Path,
    process,
};

use backup_core::{Error, ErrorKind, Result, file, store::Lease};
use jiff::Timestamp;

/// A locked file; the system unlocks it when its holder dies, however it dies.
#[derive(Debug)]
pub(super) struct LocalLease {
    _file: File,
}

impl Lease for LocalLease {}

impl LocalLease {
    /// Takes it, or says who has it.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let file = match file::create_private(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                require_regular(path)?;
                let opened = File::options().read(true).write(true).open(path);
                opened.map_err(|e| Error::io("open", path, e))?
            }
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(path)),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
        }
        let holder = format!(
            "process {} on {} since {}\n",
            process::id(),
            file::host_name().unwrap_or_default(),
            Timestamp::now()
        );
        file.set_len(0)
            .and_then(|()| (&file).write_all(holder.as_bytes()))
            .map_err(|e| Error::io("write", path, e))?;
        Ok(Self { _file: file })
    }
}

fn busy(path: &Path) -> Error {
    let holder = file::read(path, 1 << 10).unwrap_or_default();
    let holder = String::from_utf8_lossy(&holder).trim().to_owned();
    let who = if holder.is_empty() { "another process".to_owned() } else { holder };
    Error::new(ErrorKind::Busy, format!("another run holds \"{}\": {who}", file::folder_of(path).display()))
        .with_hint("Wait for it to end, or stop it; the lock goes with the process.")
}

/// What stands at the lock's name is emptied and written to: never what a link points at, or a pipe.
fn require_regular(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => {
            Err(Error::corrupt(format!("the lock \"{}\" is no regular file", path.display()))
                .with_hint("Somebody else put it there: remove it, then run again."))
        }
        _ => Ok(()),
    }
}
