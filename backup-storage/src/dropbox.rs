//! A folder that a sync client (Dropbox, and others like it) keeps on several machines.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use backup_core::{
    Error, Result,
    id::{Key, SourceName},
    store::{Capabilities, Lease, Listing, Nearness, ObjectReader, ObjectWriter, PutMode, Store},
    verify::Finding,
};

use crate::local::{Habits, LocalStore, holds_objects};

/// Dropbox carries no file whose name begins with `.~` (Dropbox Help, "files not syncing": temporary files; the
/// Maestral client's documentation, "Sync issues", lists the same rule).
const HABITS: Habits = Habits {
    called: "Dropbox folder",
    unfinished: ".~partial-",
    lock: ".~lock",
    nearness: Nearness::Synced,
    is_synced: true,
    flat: None,
};

/// A folder that a sync client keeps on several machines; a mirror rather than a primary store.
///
/// # Unfinished objects
/// They are written beside their final name under one that the client never carries, synced, then renamed in one step
/// that cannot replace: the client sees whole objects only. There are no links, and no `latest` name.
///
/// # Times
/// The client keeps modification times; an object's time is when it arrived on this machine.
///
/// # Several machines
/// A lease holds on one machine. Two that write at once make conflict copies, which [`Store::conflicts`] finds and
/// which are never listed; so [`Capabilities::create_only`] is not promised.
///
/// # Files that are online only
/// Reading one makes the client fetch it, as for any program; a `verify` of the whole folder fetches all of it.
///
/// What is in the folder is off this machine only once the client has carried it: its own status tells.
#[derive(Clone)]
pub struct DropboxStore {
    folder: LocalStore,
    flat: Option<SourceName>,
}

impl DropboxStore {
    /// The store in this folder, which need not exist yet.
    ///
    /// # Errors
    /// `Invalid` when something other than a folder stands there.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { folder: LocalStore::with_habits(root.into(), HABITS)?, flat: None })
    }

    /// The store that the text behind `dropbox:` names: a path, where `~/` is the home folder, and `?flat=SOURCE`.
    ///
    /// # Errors
    /// `Invalid` for an unknown option or an impossible name; as [`DropboxStore::new`].
    pub fn open(text: &str) -> Result<Self> {
        let (path, options) = text.split_once('?').unwrap_or((text, ""));
        if path.is_empty() {
            return Err(Error::invalid("a Dropbox folder needs a path")
                .with_hint("Name it: dropbox:/home/me/Dropbox/backups."));
        }
        let store = Self::new(expand_home(path)?)?;
        match options.split_once('=') {
            None if options.is_empty() => Ok(store),
            Some(("flat", source)) => store.flat(SourceName::new(source)?),
            _ => Err(Error::invalid(format!(
                "\"{}\" is no option of a Dropbox folder",
                options.escape_debug()
            ))
            .with_hint("There is ?flat=SOURCE, which puts full/, schema/ and data/ right below the folder.")),
        }
    }

    /// With the vault of one source as the folder itself, so that `full/`, `schema/` and `data/` lie right below it;
    /// it can hold no other source then.
    ///
    /// # Errors
    /// As [`DropboxStore::new`].
    pub fn flat(self, source: SourceName) -> Result<Self> {
        let habits = Habits { flat: Some(source.clone()), ..HABITS };
        Ok(Self {
            folder: LocalStore::with_habits(self.folder.root().to_owned(), habits)?,
            flat: Some(source),
        })
    }

    /// A flat folder belongs to one source.
    fn require_own(&self, name: &str) -> Result<()> {
        match &self.flat {
            Some(source) if name.split('/').next() != Some(source.as_str()) => Err(Error::invalid(format!(
                "{self} holds the backups of \"{source}\" only, and \"{name}\" is not one of them"
            ))
            .with_hint("Leave ?flat away, or give each source a folder of its own.")),
            _ => Ok(()),
        }
    }
}

/// Shells expand `~` at the beginning of a word only, and `dropbox:~/…` does not begin with it.
fn expand_home(path: &str) -> Result<PathBuf> {
    let Some(below) = path.strip_prefix("~/") else { return Ok(PathBuf::from(path)) };
    let home = std::env::home_dir().ok_or_else(|| {
        Error::invalid(format!("there is no home folder to find \"{path}\" in"))
            .with_hint("Give the whole path.")
    })?;
    Ok(home.join(below))
}

impl Store for DropboxStore {
    fn capabilities(&self) -> Capabilities {
        self.folder.capabilities()
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.require_own(key.as_str())?;
        self.folder.put(key, mode)
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.require_own(key.as_str())?;
        self.folder.open(key)
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        match &self.flat {
            Some(source) if folder.is_empty() => {
                let is_used = holds_objects(self.folder.root());
                let folders = is_used.then(|| source.to_string()).into_iter().collect();
                Ok(Listing { objects: Vec::new(), folders })
            }
            Some(_) if self.require_own(folder).is_err() => Ok(Listing::default()),
            _ => self.folder.list(folder),
        }
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.require_own(key.as_str())?;
        self.folder.delete(key)
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        self.require_own(folder)?;
        self.folder.lease(folder)
    }

    fn sweep(&self, folder: &str) -> Result<usize> {
        self.require_own(folder)?;
        self.folder.sweep(folder)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.folder.free_space()
    }

    /// None: working copies of databases shall not be carried to other machines.
    fn local_folder(&self) -> Option<&Path> {
        None
    }

    fn conflicts(&self, folder: &str) -> Result<Vec<Finding>> {
        self.folder.conflicts(folder)
    }

    fn only_source(&self) -> Option<&SourceName> {
        self.flat.as_ref()
    }
}

impl fmt::Display for DropboxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)
    }
}

impl fmt::Debug for DropboxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DropboxStore({})", self.folder.root().display())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, io::Write};

    use backup_core::{ErrorKind, store::StoreExt, testing::store_suite};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn keeps_the_contract_of_stores() {
        let folders = tempfile::tempdir().unwrap();
        let number = Cell::new(0);
        store_suite(&|| {
            number.set(number.get() + 1);
            Arc::new(DropboxStore::new(folders.path().join(format!("store-{}", number.get()))).unwrap())
        });
    }

    #[test]
    fn a_sync_client_sees_no_half_object() {
        let folder = tempfile::tempdir().unwrap();
        let store = DropboxStore::new(folder.path()).unwrap();
        let _lease = store.lease("shop").unwrap();
        let mut writer = store.put(&key("shop/full/a.db"), PutMode::Create).unwrap();
        writer.write_all(b"half").unwrap();
        let on_the_way = names(&folder.path().join("shop/full"));
        assert!(on_the_way.iter().all(|name| name.starts_with(".~")), "{on_the_way:?}");
        writer.finish().unwrap();
        assert_eq!(names(&folder.path().join("shop/full")), ["a.db"]);
        assert_eq!(
            names(&folder.path().join("shop")).iter().filter(|name| !name.starts_with(".~")).count(),
            1
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_client_can_open_what_it_carries() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = DropboxStore::new(folder.path()).unwrap();
        store.put_bytes(&key("shop/full/a.db"), b"x", PutMode::Create).unwrap();
        let mode = fs::metadata(folder.path().join("shop/full/a.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_copy_that_just_arrived_is_young_whatever_its_modification_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = DropboxStore::new(folder.path()).unwrap();
        store.put_bytes(&key("shop/full/a.db"), b"x", PutMode::Create).unwrap();
        let file = fs::File::options().write(true).open(folder.path().join("shop/full/a.db")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let listed = store.list("shop/full").unwrap().objects;
        assert!(listed[0].modified > jiff::Timestamp::from_second(1_000_000_000).unwrap(), "{listed:?}");
    }

    #[test]
    fn conflict_copies_are_found_and_never_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = DropboxStore::new(folder.path()).unwrap();
        store.put_bytes(&key("shop/full/a.db"), b"x", PutMode::Create).unwrap();
        let copy = "a (conflicted copy 2026-01-22).db";
        fs::write(folder.path().join("shop/full").join(copy), "y").unwrap();
        fs::create_dir(folder.path().join("Shop (Case Conflict)")).unwrap();
        fs::write(folder.path().join("Shop (Case Conflict)/b.db"), "y").unwrap();
        let found: Vec<String> =
            store.conflicts("").unwrap().into_iter().map(|finding| finding.object).collect();
        assert_eq!(found, ["Shop (Case Conflict)".to_owned(), format!("shop/full/{copy}")]);
        assert_eq!(store.list("shop/full").unwrap().objects.len(), 1);
        assert_eq!(store.list("").unwrap().folders, ["shop"]);
    }

    #[test]
    fn a_flat_folder_is_one_source_s() {
        let folder = tempfile::tempdir().unwrap();
        let store = DropboxStore::open(&format!("{}?flat=shop", folder.path().display())).unwrap();
        assert_eq!(store.list("").unwrap().folders, Vec::<String>::new());
        assert_eq!(store.only_source().map(SourceName::as_str), Some("shop"));
        store.put_bytes(&key("shop/full/a.db"), b"x", PutMode::Create).unwrap();
        assert!(folder.path().join("full/a.db").is_file());
        assert_eq!(store.list("").unwrap().folders, ["shop"]);
        assert_eq!(store.list("shop").unwrap().folders, ["full"]);
        assert_eq!(store.list("shop/full").unwrap().objects[0].key, key("shop/full/a.db"));
        let refused = store.put_bytes(&key("blog/full/a.db"), b"x", PutMode::Create).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(store.list("blog/full").unwrap().objects.is_empty());
    }

    #[test]
    fn options_that_do_not_exist_are_refused() {
        for text in ["", "?flat=x", "/tmp/x?layout=a", "/tmp/x?flat=../y"] {
            assert_eq!(DropboxStore::open(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }
}
