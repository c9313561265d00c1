//! A folder on a local disk.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, DirEntry, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread::{self, JoinHandle},
};

use backup_core::{
    Error, ErrorKind, Result,
    file::{self, FileObject},
    id::Key,
    store::{
        Capabilities, LatestLink, Lease, Listing, ObjectMeta, ObjectReader, ObjectWriter, PutMode, Store,
    },
};
use jiff::Timestamp;
use tempfile::NamedTempFile;

use crate::platform;

/// What the names of unfinished objects begin with; a leading dot hides them from `list`.
const UNFINISHED: &str = ".partial-";
const LOCK: &str = ".lock";

/// Bytes after which a growing object is synced behind its writer.
const SYNC_BYTES: u64 = 32 << 20;

const LATEST: &str = "latest.";

/// A folder on a local disk. Nothing is made before the first object is.
///
/// Files are 0600, finished objects 0400, folders 0700. An object is written under a hidden name in its own folder,
/// synced, then given its name by a link that cannot replace (or a rename that can), and the folder is synced.
#[derive(Clone)]
pub struct LocalStore {
    root: PathBuf,
    latest_link: bool,
}

impl LocalStore {
    /// The store in this folder, which need not exist yet.
    ///
    /// # Errors
    /// `Invalid` when something other than a folder stands there.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = std::path::absolute(&root).map_err(|e| Error::io("resolve", &root, e))?;
        match fs::metadata(&root) {
            Ok(meta) if !meta.is_dir() => {
                Err(Error::invalid(format!("the store \"{}\" is not a folder", root.display()))
                    .with_hint("Give a folder for --store; it is made if it is missing."))
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Err(Error::invalid(format!("the store \"{}\" lies below a file", root.display()))
                    .with_source(error))
            }
            _ => Ok(Self { root, latest_link: true }),
        }
    }

    /// With or without `latest.<ext>` beside the objects; by default with.
    #[must_use]
    pub fn with_latest_link(mut self, latest_link: bool) -> Self {
        self.latest_link = latest_link;
        self
    }

    fn path_of(&self, name: &str) -> PathBuf {
        name.split('/').filter(|segment| !segment.is_empty()).fold(self.root.clone(), |path, s| path.join(s))
    }

    fn error(&self, action: &str, key: &Key, cause: io::Error) -> Error {
        Error::from_io(format!("could not {action} \"{key}\" in {self}"), cause)
    }
}

impl Store for LocalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::full()
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        let path = self.path_of(key.as_str());
        if mode == PutMode::Create && fs::symlink_metadata(&path).is_ok() {
            return Err(taken(key, self));
        }
        let folder = self.path_of(key.folder());
        create_durable_folder(&folder)?;
        let partial = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&folder)
            .map_err(|e| self.error("create", key, e))?;
        // Tells `sweep` that its writer lives; a lock that cannot be had is none that anybody could have.
        let _ = partial.as_file().try_lock();
        let (key, store) = (key.clone(), self.clone());
        Ok(Box::new(LocalWriter { partial, key, path, folder, mode, store, written: 0, syncing: None }))
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        match FileObject::open(&self.path_of(key.as_str())) {
            Ok(object) => Ok(Arc::new(object)),
            Err(error) => Err(error.context(format!("could not open \"{key}\" in {self}"))),
        }
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        let path = self.path_of(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            Err(error) => return Err(Error::io("list", &path, error)),
        };
        let mut listing = Listing::default();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", &path, e))?;
            add_entry(&mut listing, folder, &entry).map_err(|e| Error::io("examine", &entry.path(), e))?;
        }
        listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
        listing.folders.sort();
        Ok(listing)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let path = self.path_of(key.as_str());
        fs::remove_file(&path).map_err(|e| self.error("delete", key, e))?;
        file::sync_folder(&self.path_of(key.folder()))
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        let folder = self.path_of(folder);
        create_durable_folder(&folder)?;
        LocalLease::take(&folder.join(LOCK)).map(|lease| Box::new(lease) as Box<dyn Lease>)
    }

    fn sweep(&self, folder: &str) -> Result<usize> {
        let path = self.path_of(folder);
        if path.is_dir() { sweep_unfinished(&path) } else { Ok(0) }
    }

    fn free_space(&self) -> Result<Option<u64>> {
        let existing = self.root.ancestors().find(|path| path.is_dir());
        existing.map(file::free_space).transpose()
    }

    fn local_folder(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn latest_link(&self) -> Option<&dyn LatestLink> {
        self.latest_link.then_some(self)
    }
}

impl LatestLink for LocalStore {
    fn point_latest(&self, key: &Key, extensions: &str) -> Result<()> {
        let folder = self.path_of(key.folder());
        let name = format!("latest{extensions}");
        let fresh = folder.join(format!("{UNFINISHED}{name}-{}", process::id()));
        file::remove_if_present(&fresh)?;
        platform::link_name(key.name(), &fresh).map_err(|e| Error::io("create the link", &fresh, e))?;
        file::rename(&fresh, &folder.join(&name))?;
        for entry in fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?.flatten() {
            let other = entry.file_name();
            if other.to_string_lossy().starts_with(LATEST) && other != OsStr::new(&name) {
                file::remove_if_present(&entry.path())?;
            }
        }
        file::sync_folder(&folder)
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store \"{}\"", self.root.display())
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.root.display())
    }
}

fn taken(key: &Key, store: &LocalStore) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("\"{key}\" exists already in {store}"))
}

/// Names that begin with a dot are working files, `latest.*` is a second name, and links and devices are foreign.
fn add_entry(listing: &mut Listing, folder: &str, entry: &DirEntry) -> io::Result<()> {
    let name = entry.file_name().to_string_lossy().into_owned();
    let kind = entry.file_type()?;
    if name.starts_with('.') || (kind.is_file() && name.starts_with(LATEST)) {
        return Ok(());
    }
    if kind.is_dir() && holds_objects(&entry.path()) {
        listing.folders.push(name);
    } else if kind.is_file() {
        let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let meta = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let modified = Timestamp::try_from(meta.modified()?).unwrap_or(Timestamp::UNIX_EPOCH);
        listing.objects.extend(Key::new(key).ok().map(|key| ObjectMeta { key, bytes: meta.len(), modified }));
    }
    Ok(())
}

fn holds_objects(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        !hidden && (!is_folder || holds_objects(&entry.path()))
    })
}

/// Makes a folder and those above it, each private and each durable in the one above.
fn create_durable_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    file::create_private_folder(folder)?;
    for made in missing {
        file::sync_folder(file::folder_of(made))?;
    }
    Ok(())
}

fn sweep_unfinished(folder: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            removed += sweep_unfinished(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && is_abandoned(&entry.path()) {
            file::remove_if_present(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Nobody writes it any more: its writer's lock is gone. Proofs are written without the vault's lease.
fn is_abandoned(partial: &Path) -> bool {
    match File::open(partial) {
        Ok(file) => file.try_lock().is_ok(),
        // A link that was being made when its maker died.
        Err(_) => true,
    }
}

/// An object under its hidden name; dropping it removes the file.
struct LocalWriter {
    partial: NamedTempFile,
    key: Key,
    path: PathBuf,
    folder: PathBuf,
    mode: PutMode,
    store: LocalStore,
    written: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
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
        if mode == PutMode::Create {
            platform::make_read_only(partial.as_file()).map_err(|e| store.error("protect", &key, e))?;
        }
        let named = match mode {
            PutMode::Create => partial.persist_noclobber(&path),
            PutMode::Replace => partial.persist(&path),
        };
        match named {
            Ok(_) => file::sync_folder(&folder),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Err(taken(&key, &store)),
            Err(failed) => Err(store.error("name", &key, failed.error)),
        }
    }
}

/// A locked file; the system unlocks it when its holder dies, however it dies.
#[derive(Debug)]
struct LocalLease {
    _file: File,
}

impl Lease for LocalLease {}

impl LocalLease {
    fn take(path: &Path) -> Result<Self> {
        let file = match file::create_private(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
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

#[cfg(test)]
mod tests {
    use backup_core::testing::store_suite;

    use super::*;

    #[test]
    fn keeps_the_contract_of_stores() {
        let folders = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        store_suite(&|| {
            number.set(number.get() + 1);
            Arc::new(LocalStore::new(folders.path().join(format!("store-{}", number.get()))).unwrap())
        });
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_finished_objects_read_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path().join("deep/store")).unwrap();
        let key = Key::new("shop/full/a.db").unwrap();
        let mut writer = store.put(&key, PutMode::Create).unwrap();
        writer.write_all(b"x").unwrap();
        writer.finish().unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("deep/store/shop/full/a.db"), 0o400);
        assert_eq!(mode("deep/store/shop/full"), 0o700);
        assert_eq!(mode("deep"), 0o700);
    }

    #[test]
    fn latest_is_one_name_that_moves() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path()).unwrap();
        for (name, extensions) in [("a.db.zst", ".db.zst"), ("b.db", ".db"), ("c.db", ".db")] {
            let key = Key::new(format!("shop/full/{name}")).unwrap();
            let mut writer = store.put(&key, PutMode::Create).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
            writer.finish().unwrap();
            store.point_latest(&key, extensions).unwrap();
        }
        assert_eq!(fs::read(folder.path().join("shop/full/latest.db")).unwrap(), b"c.db");
        assert!(!folder.path().join("shop/full/latest.db.zst").exists());
        assert_eq!(store.list("shop/full").unwrap().objects.len(), 3);
    }

    #[test]
    fn a_store_cannot_be_a_file() {
        let file = NamedTempFile::new().unwrap();
        assert_eq!(LocalStore::new(file.path()).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(LocalStore::new(file.path().join("below")).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
