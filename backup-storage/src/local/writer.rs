//! An object that is being written into a folder.

use std::{
    io::{self, Write},
    path::PathBuf,
    thread::{self, JoinHandle},
};

use backup_core::{
    Result, file,
    id::Key,
    store::{ObjectWriter, PutMode},
};
use tempfile::NamedTempFile;

use super::{LocalStore, taken};
use crate::platform;

/// Bytes after which a growing object is synced behind its writer.
const SYNC_BYTES: u64 = 32 << 20;

/// An object under its hidden name; dropping it removes the file.
pub(super) struct LocalWriter {
    pub(super) partial: NamedTempFile,
    pub(super) key: Key,
    pub(super) path: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) mode: PutMode,
    pub(super) store: LocalStore,
    pub(super) written: u64,
    pub(super) syncing: Option<JoinHandle<io::Result<()>>>,
}

impl LocalWriter {
    /// Lets the disk work while the next bytes are compressed, so that the last sync has little left to do.
    fn sync_behind(&mut self, count: usize) -> io::Result<()> {
        let before = self.written / SYNC_BYTES;
        self.written += count as u64;
        if self.written / SYNC_BYTES == before
            || self.syncing.as_ref().is_some_and(|thread| !thread.is_finished())
        {
            return Ok(());
        }
        end_sync(self.syncing.take())?;
        let file = self.partial.as_file().try_clone()?;
        self.syncing = Some(thread::spawn(move || file.sync_data()));
        Ok(())
    }
}

/// A write that the disk lost is reported to one sync only, so the outcome of each counts.
fn end_sync(syncing: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let joined = syncing.map(JoinHandle::join);
    joined.map_or(Ok(()), |outcome| {
        outcome.unwrap_or_else(|_| Err(io::Error::other("the syncing thread panicked")))
    })
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.partial.as_file_mut().write(bytes);
        let synced = written.and_then(|count| self.sync_behind(count).map(|()| count));
        synced.map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => self.store.error("write", &self.key, e).into(),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for LocalWriter {
    fn finish(self: Box<Self>) -> Result<()> {
        let Self { partial, key, path, folder, mode, store, syncing, .. } = *self;
        end_sync(syncing).map_err(|e| store.error("make durable", &key, e))?;
        partial.as_file().sync_all().map_err(|e| store.error("make durable", &key, e))?;
        // A sync client must be able to open what it carries for writing; elsewhere what was protected stays so.
        let is_protected = mode == PutMode::Create || platform::is_read_only(&path);
        if is_protected && !store.habits.is_synced {
            platform::make_read_only(partial.as_file()).map_err(|e| store.error("protect", &key, e))?;
        }
        let named = match mode {
            PutMode::Create if store.habits.is_synced => platform::name_new(partial.into_temp_path(), &path),
            PutMode::Create => partial.persist_noclobber(&path).map(drop).map_err(|e| e.error),
            PutMode::Replace => platform::allow_replacing(&path)
                .and_then(|()| partial.persist(&path).map(drop).map_err(|e| e.error)),
        };
        match named {
            Ok(()) => file::sync_folder(&folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken(&key, &store)),
            Err(error) => Err(store.error("name", &key, error)),
        }
    }
}
