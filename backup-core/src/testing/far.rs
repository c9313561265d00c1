//! A store that is far away.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    error::Result,
    id::Key,
    store::{Capabilities, Lease, Listing, ObjectMeta, ObjectReader, ObjectWriter, PutMode, Store},
};

/// A store whose every call is late, and counted; it has no local folder.
#[derive(Debug)]
pub struct FarStore {
    inner: Arc<dyn Store>,
    late: Duration,
    opened: AtomicU64,
    listed: AtomicU64,
}

impl FarStore {
    /// A store as far away as this.
    pub fn new(inner: Arc<dyn Store>, late: Duration) -> Self {
        Self { inner, late, opened: AtomicU64::new(0), listed: AtomicU64::new(0) }
    }

    /// Objects opened since the last time this was asked.
    pub fn take_opened(&self) -> u64 {
        self.opened.swap(0, Ordering::Relaxed)
    }

    /// Listings made since the last time this was asked.
    pub fn take_listed(&self) -> u64 {
        self.listed.swap(0, Ordering::Relaxed)
    }

    fn arrive(&self) -> &dyn Store {
        thread::sleep(self.late);
        &*self.inner
    }
}

impl Store for FarStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.arrive().put(key, mode)
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.arrive().open(key)
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.arrive().list(folder)
    }

    fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.arrive().list_below(folder)
    }

    fn identity(&self) -> String {
        format!("far {}", self.inner.identity())
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.arrive().delete(key)
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        self.arrive().lease(folder)
    }

    fn sweep(&self, folder: &str) -> Result<usize> {
        self.arrive().sweep(folder)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Display for FarStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (far away)", self.inner)
    }
}
