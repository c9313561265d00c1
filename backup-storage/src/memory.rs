//! A store in memory, for tests and examples.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backup_core::{
    Error, ErrorKind, Result,
    id::Key,
    store::{Capabilities, Lease, Listing, Nearness, ObjectMeta, ObjectReader, ObjectWriter, PutMode, Store},
};
use jiff::Timestamp;

/// A store in memory; clones share its objects.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, (Arc<[u8]>, Timestamp)>,
    leased: Vec<String>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::full();
        capabilities.durable = false;
        capabilities.nearness = Nearness::Local;
        capabilities
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(MemoryWriter { store: self.clone(), key: key.clone(), mode, bytes: Vec::new() }))
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        match self.state().objects.get(key) {
            Some((bytes, _)) => Ok(Arc::new(MemoryObject(Arc::clone(bytes)))),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no object \"{key}\" in {self}"))),
        }
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        let mut listing = Listing::default();
        for (key, (bytes, modified)) in &self.state().objects {
            let below = match folder {
                "" => Some(key.as_str()),
                _ => key.as_str().strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
            };
            match below.map(|below| below.split_once('/')) {
                Some(Some((name, _))) if listing.folders.last().map(String::as_str) != Some(name) => {
                    listing.folders.push(name.to_owned());
                }
                Some(None) => {
                    let meta =
                        ObjectMeta { key: key.clone(), bytes: bytes.len() as u64, modified: *modified };
                    listing.objects.push(meta);
                }
                _ => {}
            }
        }
        Ok(listing)
    }

    fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let is_below = |key: &Key| {
            folder.is_empty() || key.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        let state = self.state();
        let below = state.objects.iter().filter(|(key, _)| is_below(key));
        let meta = |(key, (bytes, modified)): (&Key, &(Arc<[u8]>, Timestamp))| ObjectMeta {
            key: key.clone(),
            bytes: bytes.len() as u64,
            modified: *modified,
        };
        Ok(below.map(meta).collect())
    }

    fn parallel_reads(&self) -> usize {
        1
    }

    fn identity(&self) -> String {
        format!("memory:{:p}", Arc::as_ptr(&self.0))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        match self.state().objects.remove(key) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no object \"{key}\" in {self}"))),
        }
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        let mut state = self.state();
        if state.leased.iter().any(|leased| leased == folder) {
            return Err(Error::new(ErrorKind::Busy, format!("another run holds \"{folder}\" in {self}")));
        }
        state.leased.push(folder.to_owned());
        Ok(Box::new(MemoryLease { store: self.clone(), folder: folder.to_owned() }))
    }

    fn sweep(&self, _folder: &str) -> Result<usize> {
        Ok(0)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory store")
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} objects)", self.state().objects.len())
    }
}

struct MemoryWriter {
    store: MemoryStore,
    key: Key,
    mode: PutMode,
    bytes: Vec<u8>,
}

impl Write for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for MemoryWriter {
    fn finish(self: Box<Self>) -> Result<()> {
        let mut state = self.store.state();
        if self.mode == PutMode::Create && state.objects.contains_key(&self.key) {
            let message = format!("\"{}\" exists already in the memory store", self.key);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        state.objects.insert(self.key, (self.bytes.into(), Timestamp::now()));
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryObject(Arc<[u8]>);

impl ObjectReader for MemoryObject {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[derive(Debug)]
struct MemoryLease {
    store: MemoryStore,
    folder: String,
}

impl Lease for MemoryLease {}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.store.state().leased.retain(|leased| *leased != self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract_of_stores() {
        backup_core::testing::store_suite(&|| Arc::new(MemoryStore::new()));
    }
}
