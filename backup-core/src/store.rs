//! Where objects live.

use std::{
    fmt,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    error::{Error, ErrorKind, Result},
    id::{Key, SourceName},
    verify::Finding,
};

/// A place that keeps named, immutable objects: a local folder, a synced folder, a bucket.
///
/// # Contract
/// - **Create never replaces.** Of two writers that create one key, exactly one `finish` succeeds; the other gets
///   `AlreadyExists`. (A store that cannot promise this says so in its [`Capabilities`].)
/// - **Nothing is half visible.** An object appears in `open` and `list` with all its bytes, once its writer's
///   `finish` returned `Ok`, and survives a power cut from then on. A dropped or killed writer leaves nothing visible.
/// - **Replace is atomic**: a reader sees the old bytes or the new ones.
/// - `delete` of a missing object is `NotFound`.
///
/// A new store is done when the conformance suite (`backup_core::testing::store_suite`) passes on it.
pub trait Store: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What this store can promise.
    fn capabilities(&self) -> Capabilities;

    /// Starts an object of unknown size.
    ///
    /// # Errors
    /// `Denied`, `NoSpace`, `Unavailable`; `AlreadyExists` may come now or at `finish`.
    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>>;

    /// Opens an object for reading by range.
    ///
    /// # Errors
    /// `NotFound`; `Denied`, `Unavailable`; `Corrupt` where something else stands under that name.
    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>>;

    /// The objects and folders directly below `folder` (empty: the root), by name; an absent folder is empty.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`.
    fn list(&self, folder: &str) -> Result<Listing>;

    /// Every object below `folder` (empty: the root), however deep, by key; an absent folder is empty.
    ///
    /// By default asked folder by folder; a store that can list deeply at once should.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let (mut objects, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
        while let Some(folder) = waiting.pop() {
            let listing = self.list(&folder)?;
            objects.extend(listing.objects);
            let inside = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
            waiting.extend(listing.folders.into_iter().map(inside));
        }
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// The keys of what [`Store::list_below`] lists, and what [`Store::conflicts`] tells, at once: a store that looks up
    /// sizes and times one by one need not.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn names_below(&self, folder: &str) -> Result<Names> {
        let keys = self.list_below(folder)?.into_iter().map(|object| object.key).collect();
        Ok(Names { keys, conflicts: self.conflicts(folder)? })
    }

    /// A whole small object; a store to which each request is a journey takes one for it.
    ///
    /// # Errors
    /// `Corrupt` when it is larger than `limit` bytes.
    fn get(&self, key: &Key, limit: u64) -> Result<Vec<u8>> {
        read_whole(&*self.open(key)?, limit, || format!("object \"{key}\" in {self}"))
    }

    /// How many small objects are best read at once: 16 where each answer is waited for (the default), about one per
    /// core where nothing is.
    fn parallel_reads(&self) -> usize {
        16
    }

    /// What tells this store from every other in which an object of the same name may be another one: scheme,
    /// endpoint, bucket and folder, never a credential. By default what it displays as.
    fn identity(&self) -> String {
        self.to_string()
    }

    /// Removes an object.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Locked` where the store keeps it until a date.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Takes the exclusive right to write below `folder`, until the lease is dropped or its process dies.
    ///
    /// # Errors
    /// `Busy`, naming the holder, when somebody else has it.
    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>>;

    /// Removes what killed writers left invisible below `folder`; only called by the holder of its lease.
    /// Returns how many there were.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`; what was removed until then is gone.
    fn sweep(&self, folder: &str) -> Result<usize>;

    /// Free bytes, where the store has an end.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be asked.
    fn free_space(&self) -> Result<Option<u64>>;

    /// A local folder on the store's own disk where working copies may lie, if there is one.
    fn local_folder(&self) -> Option<&Path> {
        None
    }

    /// Files below `folder` that a sync client made of two versions of an object, or left beside it under another
    /// name. They are never listed as objects; a store that nobody synchronizes has none.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn conflicts(&self, _folder: &str) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// The only source whose objects it takes, where there is one; by default it takes any.
    fn only_source(&self) -> Option<&SourceName> {
        None
    }

    /// The power to keep a `latest` name beside the objects, where the store has it.
    fn latest_link(&self) -> Option<&dyn LatestLink> {
        None
    }
}

/// A store that can give an object a second, moving name for people (never read by us).
pub trait LatestLink {
    /// Points `folder/latest.<extensions>` at the object; older `latest.*` names go.
    ///
    /// # Errors
    /// What making a name there reports; the older name may be gone then.
    fn point_latest(&self, key: &Key, extensions: &str) -> Result<()>;
}

/// What a store can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// `PutMode::Create` cannot overwrite, even when two hosts race.
    pub create_only: bool,
    /// A finished object survives a power cut of this machine.
    pub durable: bool,
    /// How far its bytes have to travel.
    pub nearness: Nearness,
}

/// How far a store's bytes have to travel: of several copies the nearest is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// On a disk of this machine.
    Local,
    /// In a folder that a sync client keeps; bytes may have to be fetched first.
    Synced,
    /// Behind a network.
    Network,
}

impl Capabilities {
    /// The capabilities of a store that keeps the whole contract, behind a network.
    pub fn full() -> Self {
        Self { create_only: true, durable: true, nearness: Nearness::Network }
    }
}

/// Whether an object may take another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Never replaces; the object is immutable afterwards.
    Create,
    /// Takes the place of an object of this name, at once and whole.
    Replace,
}

/// An object being written. Dropped unfinished, it never existed.
pub trait ObjectWriter: Write + Send {
    /// Makes the object durable and visible.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody else created it meanwhile; `NoSpace`, `Unavailable`. The object is not visible
    /// then; after `Unavailable` it may be.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An object open for reading; threads share it.
pub trait ObjectReader: fmt::Debug + Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Reads at `offset`, at least one byte unless at the end.
    ///
    /// # Errors
    /// `Corrupt` when the store gives other bytes than it said; `NotFound` when it is gone; `Unavailable`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Tells that these bytes will not be wanted again soon: memory that keeps them may be given back.
    ///
    /// It changes nothing that is read. By default it does nothing.
    fn forget(&self, _offset: u64, _length: u64) {}
}

/// All bytes of a small object; `name` says in errors which.
pub(crate) fn read_whole(
    object: &dyn ObjectReader,
    limit: u64,
    name: impl Fn() -> String,
) -> Result<Vec<u8>> {
    let size = object.size();
    if size > limit {
        let what = format!("{} has {size} bytes where at most {limit} make sense", name());
        return Err(Error::corrupt(what));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match object.read_at(done as u64, rest) {
            Ok(0) => return Err(Error::corrupt(format!("{} ended while being read", name()))),
            Ok(count) => done += count,
            Err(error) => return Err(error.context(format!("could not read {}", name()))),
        }
    }
    Ok(bytes)
}

/// An exclusive right, given back on drop.
pub trait Lease: fmt::Debug + Send {}

/// What lies below a folder, by name alone.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The objects, in order.
    pub keys: Vec<Key>,
    /// What is none of them ([`Store::conflicts`]).
    pub conflicts: Vec<Finding>,
}

/// One stored object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: Timestamp,
}

/// What lies directly below a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, by key.
    pub objects: Vec<ObjectMeta>,
    /// Names of folders that hold at least one object or folder.
    pub folders: Vec<String>,
}

/// Conveniences over any [`Store`].
pub trait StoreExt: Store {
    /// Writes a whole small object.
    ///
    /// # Errors
    /// As [`Store::put`] and [`ObjectWriter::finish`].
    fn put_bytes(&self, key: &Key, bytes: &[u8], mode: PutMode) -> Result<()> {
        let mut writer = self.put(key, mode)?;
        writer
            .write_all(bytes)
            .map_err(|e| Error::from_io(format!("could not write object \"{key}\" to {self}"), e))?;
        writer.finish()
    }

    /// Whether an object stands under this key.
    ///
    /// # Errors
    /// As [`Store::open`], `NotFound` excepted.
    fn exists(&self, key: &Key) -> Result<bool> {
        match self.open(key) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// An [`ObjectReader`] from its start to its end, as [`Read`].
#[derive(Debug)]
pub struct SequentialReader {
    object: Arc<dyn ObjectReader>,
    offset: u64,
}

impl SequentialReader {
    /// Starts at the first byte.
    pub fn new(object: Arc<dyn ObjectReader>) -> Self {
        Self { object, offset: 0 }
    }
}

impl Read for SequentialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.object.read_at(self.offset, buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}
