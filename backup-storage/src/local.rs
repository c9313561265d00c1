//! A folder on a local disk.

mod lease;
mod writer;

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, DirEntry},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread,
};

use self::{lease::LocalLease, writer::LocalWriter};
use crate::{conflict, platform};
use backup_core::{
    Error, ErrorKind, Result,
    file::{self, FileObject},
    id::{Key, SourceName},
    parallel,
    store::{
        Capabilities, LatestLink, Lease, Listing, Names, Nearness, ObjectMeta, ObjectReader, ObjectWriter,
        PutMode, Store,
    },
    verify::Finding,
};
use jiff::Timestamp;

/// What tells one kind of folder from another.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// What the store is called in messages.
    pub(crate) called: &'static str,
    /// What the names of unfinished objects begin with; a leading dot hides them from `list`.
    pub(crate) unfinished: &'static str,
    /// The name of the file that holders of a lease lock; it begins with a dot, too.
    pub(crate) lock: &'static str,
    /// How far its bytes have to travel.
    pub(crate) nearness: Nearness,
    /// Whether a program that is none of ours moves the files to other machines.
    pub(crate) is_synced: bool,
    /// The one source whose vault is the folder itself; `None` where each source has a folder in it.
    pub(crate) flat: Option<SourceName>,
}

const ON_DISK: Habits = Habits {
    called: "store",
    unfinished: ".partial-",
    lock: ".lock",
    nearness: Nearness::Local,
    is_synced: false,
    flat: None,
};

const LATEST: &str = "latest.";

/// Folders that keep all threads busy.
const MANY_FOLDERS: usize = 64;

/// A folder on a local disk. Nothing is made before the first object is.
///
/// Files are 0600, finished objects 0400, folders 0700. An object is written under a hidden name in its own folder,
/// synced, then given its name by a link that cannot replace (or a rename that can), and the folder is synced.
#[derive(Clone)]
pub struct LocalStore {
    root: PathBuf,
    latest_link: bool,
    habits: Habits,
}

impl LocalStore {
    /// The store in this folder, which need not exist yet.
    ///
    /// # Errors
    /// `Invalid` when something other than a folder stands there.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        Self::with_habits(root.into(), ON_DISK)
    }

    pub(crate) fn with_habits(root: PathBuf, habits: Habits) -> Result<Self> {
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
            _ => Ok(Self { root, latest_link: !habits.is_synced, habits }),
        }
    }

    /// With or without `latest.<ext>` beside the objects; by default with.
    #[must_use]
    pub fn with_latest_link(mut self, latest_link: bool) -> Self {
        self.latest_link = latest_link;
        self
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a folder of the store, none of whose folders is a link that leads out of it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let name = match &self.habits.flat {
            Some(source) => name.strip_prefix(source.as_str()).unwrap_or(name),
            None => name,
        };
        let mut path = self.root.clone();
        for segment in name.split('/').filter(|segment| !segment.is_empty()) {
            path.push(segment);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
                return Err(Error::corrupt(format!("\"{}\" in {self} is a symbolic link", path.display()))
                    .with_hint("A store may be a link or a mount, the folders in it may only be mounts."));
            }
        }
        Ok(path)
    }

    /// The path of an object, as [`LocalStore::folder`] of its folder.
    fn object(&self, key: &Key) -> Result<PathBuf> {
        Ok(self.folder(key.folder())?.join(key.name()))
    }

    fn error(&self, action: &str, key: &Key, cause: io::Error) -> Error {
        Error::from_io(format!("could not {action} \"{key}\" in {self}"), cause)
    }

    /// Names that begin with a dot are working files, `latest.*` is a second name, links and devices are foreign, and
    /// what a sync client put beside a file is told by `conflicts`.
    fn add_entry(&self, listing: &mut Listing, folder: &str, entry: &DirEntry) -> io::Result<()> {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let is_second = kind.is_file() && name.starts_with(LATEST);
        if name.starts_with('.') || is_second || conflict::is_conflict(&name) {
            return Ok(());
        }
        if kind.is_dir() && holds_objects(&entry.path()) {
            listing.folders.push(name);
        } else if kind.is_file() {
            listing.objects.extend(self.object_meta(folder, &name, entry)?);
        }
        Ok(())
    }

    /// What a listing says of a file; `None` when its name is foreign or it has gone.
    fn object_meta(&self, folder: &str, name: &str, entry: &DirEntry) -> io::Result<Option<ObjectMeta>> {
        let Some(key) = key_in(folder, name) else { return Ok(None) };
        let meta = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let modified = if self.habits.is_synced { platform::arrived(&meta)? } else { meta.modified()? };
        let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Some(ObjectMeta { key, bytes: meta.len(), modified }))
    }

    /// What `tell` says of the objects of a folder and of those in it, and the conflicts among them. Every step makes the
    /// key longer, so it ends.
    fn objects_below<T: Send>(
        &self,
        folder: &str,
        path: &Path,
        threads: usize,
        tell: &(impl Fn(&str, &str, &DirEntry) -> io::Result<Option<T>> + Sync),
    ) -> Result<(Vec<T>, Vec<Finding>)> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            other => other.map_err(|e| Error::io("list", path, e))?,
        };
        let (mut objects, mut conflicts, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", path, e))?;
            let kind = entry.file_type().map_err(|e| Error::io("examine", &entry.path(), e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if conflict::is_conflict(&name) {
                conflicts.push(conflict::finding(folder, &name));
            } else if kind.is_dir() {
                folders.extend(key_in(folder, &name).map(|inner| (inner, entry.path())));
            } else if kind.is_file() && !name.starts_with(LATEST) {
                let found = tell(folder, &name, &entry);
                objects.extend(found.map_err(|e| Error::io("examine", &entry.path(), e))?);
            }
        }
        // Threads of its own only where there are many: the first folder to branch out has the most below it.
        let inner_threads = if folders.len() > MANY_FOLDERS { 1 } else { threads };
        let inner =
            |(folder, path): &(Key, PathBuf)| self.objects_below(folder.as_str(), path, inner_threads, tell);
        for found in parallel::map(threads, &folders, inner) {
            let (mut inner_objects, mut inner_conflicts) = found?;
            objects.append(&mut inner_objects);
            conflicts.append(&mut inner_conflicts);
        }
        Ok((objects, conflicts))
    }
}

/// `None` when the name is foreign.
fn key_in(folder: &str, name: &str) -> Option<Key> {
    let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    Key::new(key).ok()
}

impl Store for LocalStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::full();
        // Two hosts see each other's files only after they were synchronized.
        capabilities.create_only = !self.habits.is_synced;
        capabilities.nearness = self.habits.nearness;
        capabilities
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        let folder = self.folder(key.folder())?;
        let path = folder.join(key.name());
        if mode == PutMode::Create && fs::symlink_metadata(&path).is_ok() {
            return Err(taken(key, self));
        }
        create_durable_folder(&folder)?;
        let partial = tempfile::Builder::new()
            .prefix(self.habits.unfinished)
            .tempfile_in(&folder)
            .map_err(|e| self.error("create", key, e))?;
        // Tells `sweep` that its writer lives; a lock that cannot be had is none that anybody could have.
        let _ = partial.as_file().try_lock();
        let (key, store) = (key.clone(), self.clone());
        Ok(Box::new(LocalWriter { partial, key, path, folder, mode, store, written: 0, syncing: None }))
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        match FileObject::open_object(&self.object(key)?) {
            Ok(object) => Ok(Arc::new(object)),
            Err(error) => Err(error.context(format!("could not open \"{key}\" in {self}"))),
        }
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        let path = self.folder(folder)?;
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            Err(error) => return Err(Error::io("list", &path, error)),
        };
        let mut listing = Listing::default();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", &path, e))?;
            self.add_entry(&mut listing, folder, &entry)
                .map_err(|e| Error::io("examine", &entry.path(), e))?;
        }
        listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
        listing.folders.sort();
        Ok(listing)
    }

    fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let tell = |folder: &str, name: &str, entry: &DirEntry| self.object_meta(folder, name, entry);
        let (mut objects, _) =
            self.objects_below(folder, &self.folder(folder)?, self.parallel_reads(), &tell)?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn names_below(&self, folder: &str) -> Result<Names> {
        let tell = |folder: &str, name: &str, _: &DirEntry| Ok(key_in(folder, name));
        let (mut keys, mut conflicts) =
            self.objects_below(folder, &self.folder(folder)?, self.parallel_reads(), &tell)?;
        keys.sort_unstable();
        conflicts.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(Names { keys, conflicts })
    }

    fn parallel_reads(&self) -> usize {
        // Beyond one per core they only wait for each other, as nothing else is waited for; a few for a spinning disk.
        thread::available_parallelism().map_or(2, NonZeroUsize::get).min(8)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let path = self.object(key)?;
        fs::remove_file(&path).map_err(|e| self.error("delete", key, e))?;
        file::sync_folder(file::folder_of(&path))
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        let folder = self.folder(folder)?;
        create_durable_folder(&folder)?;
        LocalLease::take(&folder.join(self.habits.lock)).map(|lease| Box::new(lease) as Box<dyn Lease>)
    }

    fn sweep(&self, folder: &str) -> Result<usize> {
        let path = self.folder(folder)?;
        if path.is_dir() { sweep_unfinished(&path, self.habits.unfinished) } else { Ok(0) }
    }

    fn free_space(&self) -> Result<Option<u64>> {
        let existing = self.root.ancestors().find(|path| path.is_dir());
        existing.map(file::free_space).transpose()
    }

    fn local_folder(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn conflicts(&self, folder: &str) -> Result<Vec<Finding>> {
        Ok(self.names_below(folder)?.conflicts)
    }

    fn latest_link(&self) -> Option<&dyn LatestLink> {
        self.latest_link.then_some(self)
    }
}

impl LatestLink for LocalStore {
    fn point_latest(&self, key: &Key, extensions: &str) -> Result<()> {
        let folder = self.folder(key.folder())?;
        let name = format!("latest{extensions}");
        let fresh = folder.join(format!("{}{name}-{}", self.habits.unfinished, process::id()));
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
        write!(f, "{} \"{}\"", self.habits.called, self.root.display())
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

pub(crate) fn holds_objects(folder: &Path) -> bool {
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

fn sweep_unfinished(folder: &Path, unfinished: &str) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            removed += sweep_unfinished(&entry.path(), unfinished)?;
        } else if entry.file_name().to_string_lossy().starts_with(unfinished) && is_abandoned(&entry.path()) {
            file::remove_if_present(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Nobody writes it any more: its writer's lock is gone. Proofs are written without the vault's lease.
fn is_abandoned(partial: &Path) -> bool {
    match FileObject::open_object(partial) {
        Ok(file) => file.is_unlocked(),
        // A link that was being made when its maker died.
        Err(_) => true,
    }
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
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(LocalStore::new(file.path()).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(LocalStore::new(file.path().join("below")).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
