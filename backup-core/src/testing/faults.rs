//! Stores with a fault, named after it.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::Result,
    id::Key,
    store::{Capabilities, Lease, Listing, ObjectReader, ObjectWriter, PutMode, Store},
};

/// A store whose disk is full after so many bytes, although it claims to have room.
#[derive(Debug)]
pub struct FullStore {
    inner: Arc<dyn Store>,
    room: Arc<AtomicU64>,
}

impl FullStore {
    /// Lets `room` bytes through, all objects together.
    pub fn new(inner: Arc<dyn Store>, room: u64) -> Self {
        Self { inner, room: Arc::new(AtomicU64::new(room)) }
    }
}

/// A store that hands back one flipped bit, at this offset of every object whose name ends so.
#[derive(Debug)]
pub struct FlippingStore {
    inner: Arc<dyn Store>,
    suffix: String,
    offset: u64,
}

impl FlippingStore {
    /// Flips the lowest bit of the byte at `offset` in objects whose names end with `suffix`.
    pub fn new(inner: Arc<dyn Store>, suffix: &str, offset: u64) -> Self {
        Self { inner, suffix: suffix.to_owned(), offset }
    }
}

/// Everything a fault does not touch goes to the store below.
macro_rules! pass_through {
    () => {
        fn capabilities(&self) -> Capabilities {
            self.inner.capabilities()
        }
        fn list(&self, folder: &str) -> Result<Listing> {
            self.inner.list(folder)
        }
        fn delete(&self, key: &Key) -> Result<()> {
            self.inner.delete(key)
        }
        fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
            self.inner.lease(folder)
        }
        fn sweep(&self, folder: &str) -> Result<usize> {
            self.inner.sweep(folder)
        }
        fn free_space(&self) -> Result<Option<u64>> {
            self.inner.free_space()
        }
        fn local_folder(&self) -> Option<&Path> {
            self.inner.local_folder()
        }
    };
}

impl Store for FullStore {
    pass_through!();

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.inner.open(key)
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(FullWriter { inner: self.inner.put(key, mode)?, room: Arc::clone(&self.room) }))
    }
}

impl Store for FlippingStore {
    pass_through!();

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.inner.put(key, mode)
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        let object = self.inner.open(key)?;
        if key.as_str().ends_with(&self.suffix) {
            Ok(Arc::new(Flipping { object, offset: self.offset }))
        } else {
            Ok(object)
        }
    }
}

impl fmt::Display for FullStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (full)", self.inner)
    }
}

impl fmt::Display for FlippingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (flipping)", self.inner)
    }
}

struct FullWriter {
    inner: Box<dyn ObjectWriter>,
    room: Arc<AtomicU64>,
}

impl Write for FullWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = |room: u64| room.checked_sub(bytes.len() as u64);
        match self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => self.inner.write(bytes),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ObjectWriter for FullWriter {
    fn finish(self: Box<Self>) -> Result<()> {
        self.inner.finish()
    }
}

#[derive(Debug)]
struct Flipping {
    object: Arc<dyn ObjectReader>,
    offset: u64,
}

impl ObjectReader for Flipping {
    fn size(&self) -> u64 {
        self.object.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let count = self.object.read_at(offset, buffer)?;
        if (offset..offset + count as u64).contains(&self.offset) {
            buffer[(self.offset - offset) as usize] ^= 1;
        }
        Ok(count)
    }
}
