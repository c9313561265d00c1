//! Mapping a file that is being checked, without holding more of it in memory than a backup may take.
//!
//! A mapped file spares SQLite a copy per page it looks at. Its pages are the page cache's and can be taken away at any
//! time, but they count as memory of the process. So a watcher gives them back when the process grows beyond a bound.

use std::{
    marker::PhantomData,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use backup_core::{Error, Result};
use rusqlite::Connection;

use crate::{
    connection::explain,
    handle::{self, Mapping},
    platform::Resident,
};

/// The process's memory beyond which mapped pages are given back.
const MOST_RESIDENT: u64 = 96 << 20;

/// How often the watcher looks; along a chain of overflow pages some ten megabytes pass by in this time.
const INTERVAL: Duration = Duration::from_micros(200);

/// A connection's mapping and its watcher, which is gone before the connection, and with it the mapping, can be.
#[derive(Debug)]
pub(crate) struct BoundMapping<'c> {
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
    _connection: PhantomData<&'c Connection>,
}

impl<'c> BoundMapping<'c> {
    /// Lets a connection map its file, where the system can say how large the process is.
    pub(crate) fn of(connection: &'c Connection, path: &Path) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut bound = Self { stop: Arc::clone(&stop), watcher: None, _connection: PhantomData };
        let Some(resident) = Resident::new() else { return Ok(bound) };
        connection
            .execute_batch("PRAGMA mmap_size=0x7fff0000; SELECT 1 FROM sqlite_schema LIMIT 1;")
            .map_err(|e| explain(e, "map", path))?;
        if let Some(mapping) = handle::mapping(connection, path)? {
            let watch = move || watch(mapping, &resident, &stop);
            let watcher = thread::Builder::new().name("backup-memory".to_owned()).spawn(watch);
            bound.watcher = Some(watcher.map_err(|e| Error::from_io("could not start a thread", e))?);
        }
        Ok(bound)
    }
}

impl Drop for BoundMapping<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

fn watch(mapping: Mapping, resident: &Resident, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if resident.bytes() > MOST_RESIDENT {
            handle::release(mapping);
        }
        thread::sleep(INTERVAL);
    }
}
