//! What was read before from a store that is far away, so that looking again is quick.
//!
//! # What it may be trusted for
//! Lists and overviews only. What a store *holds* is always asked of the store: an object that its listing no longer
//! shows, or shows with another size or time, is not answered from here. What decides or acts (restoring, verifying,
//! pruning, the guardrails of a run) reads manifests from the store itself.
//!
//! So a stale or forged cache can at most make `list` and `status` print of a listed backup what its manifest or proof
//! said when it was first read: damage that a store did to a manifest afterwards, size and time unchanged, is found by
//! `verify`, not by `list`. Only objects that are never replaced are remembered. Whoever can write to this user's
//! cache folder can do all that this user can; the files are 0600 in a 0700 folder because manifests name tables and
//! hosts, and hold no more than the manifests do.
//!
//! The folder can be removed at any time. A damaged file is an empty one, and nothing that fails here fails a command.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    file,
    id::{Key, SourceName},
    listed::Listed,
    store::{ObjectMeta, Store},
};

/// What a file begins with.
const MAGIC: &[u8; 16] = b"backup cache  1\n";

/// The hash behind it, of everything that follows.
const HASH_BYTES: usize = 32;

/// Objects larger than this are fetched each time.
const MAX_OBJECT_BYTES: u64 = 1 << 20;

/// One vault takes no more than this, on disk and in memory.
const MAX_VAULT_BYTES: usize = 96 << 20;

/// Files that nobody wrote for so long go.
const MAX_AGE: Duration = Duration::from_secs(90 * 86_400);

const EXTENSION: &str = "objects";

/// A folder that remembers small immutable objects of stores.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in a folder, which is made when there is something to remember.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// This user's: `$XDG_CACHE_HOME/backup/catalogue`, or below `~/.cache`; `None` where there is neither.
    pub fn of_user() -> Option<Self> {
        let chosen = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = chosen.or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
        Some(Self::new(base.join("backup/catalogue")))
    }

    /// What is remembered of one vault.
    pub(crate) fn open(&self, store: &dyn Store, source: &SourceName) -> Remembered {
        let name = blake3::hash(format!("{}\n{source}", store.identity()).as_bytes()).to_hex();
        let path = self.folder.join(format!("{}.{EXTENSION}", name.get(..32).unwrap_or_default()));
        let limit = (MAGIC.len() + HASH_BYTES + 2 * MAX_VAULT_BYTES) as u64;
        let bytes = file::FileObject::open_object(&path).and_then(|_| file::read(&path, limit));
        let entries = bytes.ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Remembered { path, state: Mutex::new(State { entries, changed: false }) }
    }
}

type Entries = BTreeMap<Key, Entry>;

#[derive(Clone, Debug)]
struct Entry {
    /// Nanoseconds since 1970 by the store's clock.
    modified: i128,
    bytes: Arc<[u8]>,
}

/// What is remembered of one vault, and learnt on the way.
#[derive(Debug)]
pub(crate) struct Remembered {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: Entries,
    changed: bool,
}

impl Remembered {
    /// The object's bytes, if the listing shows it as it was when they were read.
    pub(crate) fn get(&self, listed: &ObjectMeta) -> Option<Arc<[u8]>> {
        let state = self.state();
        let entry = state.entries.get(&listed.key)?;
        let is_same =
            entry.bytes.len() as u64 == listed.bytes && entry.modified == listed.modified.as_nanosecond();
        is_same.then(|| Arc::clone(&entry.bytes))
    }

    /// Remembers what was read of a listed object, unless it is large or something else than was listed.
    pub(crate) fn put(&self, listed: &ObjectMeta, bytes: &[u8]) {
        if bytes.len() as u64 != listed.bytes || listed.bytes > MAX_OBJECT_BYTES {
            return;
        }
        let entry = Entry { modified: listed.modified.as_nanosecond(), bytes: bytes.into() };
        let mut state = self.state();
        state.entries.insert(listed.key.clone(), entry);
        state.changed = true;
    }

    /// Forgets what lies below `folder` and is no longer listed there.
    pub(crate) fn keep_only(&self, folder: &str, listed: &[Listed]) {
        let listed: BTreeSet<&Key> = listed.iter().map(Listed::key).collect();
        let is_inside =
            |key: &Key| key.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let mut state = self.state();
        let before = state.entries.len();
        state.entries.retain(|key, _| !is_inside(key) || listed.contains(key));
        state.changed |= state.entries.len() != before;
    }

    /// Writes what was learnt to disk. What cannot be written is learnt again next time.
    pub(crate) fn save(&self) {
        let mut state = self.state();
        if state.changed {
            state.changed = false;
            let _ = self.write(&state.entries);
        }
    }

    fn write(&self, entries: &Entries) -> crate::error::Result<()> {
        let folder = file::folder_of(&self.path);
        file::create_private_folder(folder)?;
        remove_old(folder);
        let body = format(entries);
        // Its file is made 0600.
        let mut draft = tempfile::Builder::new()
            .prefix(".draft-")
            .tempfile_in(folder)
            .map_err(|e| crate::Error::io("create a file in", folder, e))?;
        for part in [&MAGIC[..], blake3::hash(&body).as_bytes(), &body] {
            draft.write_all(part).map_err(|e| crate::Error::io("write", &self.path, e))?;
        }
        draft.persist(&self.path).map(drop).map_err(|e| crate::Error::io("name", &self.path, e.error))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the map half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries one behind the other: lengths of key and object, time, key, object.
fn format(entries: &Entries) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, entry) in entries {
        let room = MAX_VAULT_BYTES.saturating_sub(body.len());
        if entry.bytes.len() + key.as_str().len() + 24 > room {
            break;
        }
        body.extend_from_slice(&(key.as_str().len() as u32).to_le_bytes());
        body.extend_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
        body.extend_from_slice(&entry.modified.to_le_bytes());
        body.extend_from_slice(key.as_str().as_bytes());
        body.extend_from_slice(&entry.bytes);
    }
    body
}

fn parse(bytes: &[u8]) -> Option<Entries> {
    let (hash, mut rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<HASH_BYTES>()?;
    if blake3::hash(rest) != *hash {
        return None;
    }
    let mut entries = Entries::new();
    while !rest.is_empty() {
        let key_bytes = u32::from_le_bytes(*take(&mut rest)?);
        let object_bytes = u32::from_le_bytes(*take(&mut rest)?);
        let modified = i128::from_le_bytes(*take(&mut rest)?);
        let (key, behind) = rest.split_at_checked(usize::try_from(key_bytes).ok()?)?;
        let (object, behind) = behind.split_at_checked(usize::try_from(object_bytes).ok()?)?;
        rest = behind;
        let key = Key::new(std::str::from_utf8(key).ok()?).ok()?;
        entries.insert(key, Entry { modified, bytes: object.into() });
    }
    Some(entries)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(head)
}

/// Removes the files of stores that nobody looks at any more, and drafts of writers that died.
fn remove_old(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = path.extension() == Some(OsStr::new(EXTENSION))
            || entry.file_name().to_string_lossy().starts_with(".draft-");
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if is_ours && age.is_some_and(|age| age > MAX_AGE) {
            let _ = file::remove_if_present(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn meta(name: &str, bytes: &[u8], second: i64) -> ObjectMeta {
        let modified = Timestamp::from_second(second).unwrap();
        ObjectMeta { key: Key::new(name).unwrap(), bytes: bytes.len() as u64, modified }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(objects in prop::collection::btree_map(
            "[a-z]{1,9}/[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..50), 0..20,
        )) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.objects");
            let fresh = || Remembered { path: path.clone(), state: Mutex::new(State { entries: Entries::new(), changed: false }) };
            let written = fresh();
            for (name, bytes) in &objects {
                written.put(&meta(name, bytes, 7), bytes);
            }
            written.save();
            let entries = if objects.is_empty() { Entries::new() } else { parse(&fs::read(&path).unwrap()).unwrap() };
            prop_assert_eq!(entries.len(), objects.len());
            let read = Remembered { path: path.clone(), state: Mutex::new(State { entries, changed: false }) };
            for (name, bytes) in &objects {
                prop_assert_eq!(&*read.get(&meta(name, bytes, 7)).unwrap(), &bytes[..]);
                prop_assert!(read.get(&meta(name, bytes, 8)).is_none());
                prop_assert!(read.get(&meta(name, &[&bytes[..], &[0]].concat(), 7)).is_none());
            }
        }

        #[test]
        fn a_damaged_file_is_an_empty_one(position in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
            let entries = Entries::from([(
                Key::new("a/b").unwrap(),
                Entry { modified: 5, bytes: b"hello"[..].into() },
            )]);
            let body = format(&entries);
            let mut file = [&MAGIC[..], blake3::hash(&body).as_bytes(), &body].concat();
            prop_assert_eq!(parse(&file).unwrap().len(), 1);
            let position = position.index(file.len());
            if cut { file.truncate(position) } else { file[position] ^= 1 << bit }
            prop_assert!(parse(&file).is_none());
        }
    }

    #[test]
    fn what_is_no_longer_listed_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/a.objects");
        let cache = Remembered { path, state: Mutex::new(State { entries: Entries::new(), changed: false }) };
        let objects =
            ["shop/full/1.json", "shop/full/2.json", "shop/proofs/1/1.json"].map(|name| meta(name, b"x", 1));
        objects.iter().for_each(|object| cache.put(object, b"x"));
        cache.keep_only("shop/full", &[Listed::Seen(objects[1].clone())]);
        assert!(cache.get(&objects[0]).is_none());
        assert!(cache.get(&objects[1]).is_some() && cache.get(&objects[2]).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn its_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/a.objects");
        let cache = Remembered {
            path: path.clone(),
            state: Mutex::new(State { entries: Entries::new(), changed: false }),
        };
        cache.put(&meta("a/b", b"x", 1), b"x");
        cache.save();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
