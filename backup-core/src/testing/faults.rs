//! Stores with a fault, named after it.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    error::{Error, ErrorKind, Result},
    id::Key,
    store::{Capabilities, Lease, Listing, Names, ObjectMeta, ObjectReader, ObjectWriter, PutMode, Store},
    verify::Finding,
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

/// A store that can go away, like a server or a disk that is pulled, and come back; while it is there it counts the
/// bytes that are written and read.
#[derive(Debug)]
pub struct AwayStore {
    inner: Arc<dyn Store>,
    is_away: AtomicBool,
    written: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl AwayStore {
    /// A store that is there.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, is_away: AtomicBool::new(false), written: Arc::default(), read: Arc::default() }
    }

    /// Lets it answer nothing any more, or again.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Bytes of objects that were written since it was last asked.
    pub fn take_written(&self) -> u64 {
        self.written.swap(0, Ordering::Relaxed)
    }

    /// Bytes of objects that were read since it was last asked.
    pub fn take_read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }

    fn there(&self) -> Result<&dyn Store> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{self} does not answer")));
        }
        Ok(&*self.inner)
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
        fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
            self.inner.list_below(folder)
        }
        fn names_below(&self, folder: &str) -> Result<Names> {
            self.inner.names_below(folder)
        }
        fn parallel_reads(&self) -> usize {
            self.inner.parallel_reads()
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
        fn conflicts(&self, folder: &str) -> Result<Vec<Finding>> {
            self.inner.conflicts(folder)
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

impl Store for AwayStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(CountedWriter {
            inner: self.there()?.put(key, mode)?,
            written: Arc::clone(&self.written),
        }))
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        Ok(Arc::new(CountedReader { inner: self.there()?.open(key)?, read: Arc::clone(&self.read) }))
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        self.there()?.list(folder)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.there()?.delete(key)
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        self.there()?.lease(folder)
    }

    fn sweep(&self, folder: &str) -> Result<usize> {
        self.there()?.sweep(folder)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.there()?.free_space()
    }
}

impl fmt::Display for AwayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "far {}", self.inner)
    }
}

struct CountedWriter {
    inner: Box<dyn ObjectWriter>,
    written: Arc<AtomicU64>,
}

impl Write for CountedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ObjectWriter for CountedWriter {
    fn finish(self: Box<Self>) -> Result<()> {
        self.inner.finish()
    }
}

#[derive(Debug)]
struct CountedReader {
    inner: Arc<dyn ObjectReader>,
    read: Arc<AtomicU64>,
}

impl ObjectReader for CountedReader {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let count = self.inner.read_at(offset, buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
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
