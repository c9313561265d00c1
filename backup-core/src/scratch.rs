//! Working copies: a folder that goes away, with its owner or after it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    artifact::Artifact,
    context::Context,
    error::{Error, ErrorKind, Result},
    file,
    store::Store,
};

const PREFIX: &str = "work-";
const LOCK: &str = "lock";

/// The folder of scratch folders inside a local store.
pub const SCRATCH_FOLDER: &str = ".scratch";

/// A private folder for one operation's working copies, removed on drop.
///
/// A killed owner leaves it behind; the next scratch made beside it removes it, as nobody holds its lock.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A scratch folder for working on artifacts of `store`: where the context says, else on the store's own disk,
    /// else in this user's cache folder.
    ///
    /// # Errors
    /// `NoSpace` when `needed` bytes are not free there.
    pub fn for_store(store: &dyn Store, needed: u64, cx: &Context) -> Result<Self> {
        Self::beside(store.local_folder(), needed, cx)
    }

    /// A scratch folder for working on one artifact: where the context says, else on the artifact's own disk, else in
    /// this user's cache folder.
    ///
    /// # Errors
    /// `NoSpace` when `needed` bytes are not free there.
    pub fn for_artifact(artifact: &dyn Artifact, needed: u64, cx: &Context) -> Result<Self> {
        Self::beside(artifact.working_folder().as_deref(), needed, cx)
    }

    /// A scratch folder for what is not as large as a working copy, and nobody else's business: where the context says,
    /// else in this user's cache folder.
    ///
    /// # Errors
    /// What making a folder there reports.
    pub fn private(cx: &Context) -> Result<Self> {
        Self::beside(None, 0, cx)
    }

    fn beside(folder: Option<&Path>, needed: u64, cx: &Context) -> Result<Self> {
        let scratch = match (cx.scratch(), folder) {
            (Some(chosen), _) => Self::create_in(chosen)?,
            (None, Some(local)) => match Self::create_in_store(&local.join(SCRATCH_FOLDER)) {
                Err(error) if error.kind() == ErrorKind::Denied => Self::create_in(&cache_folder()?)?,
                other => other?,
            },
            (None, None) => Self::create_in(&cache_folder()?)?,
        };
        scratch.require(needed)?;
        Ok(scratch)
    }

    /// In a store that others can write to, a link would lead what is decoded, and what is swept, somewhere else.
    fn create_in_store(root: &Path) -> Result<Self> {
        if fs::symlink_metadata(root).is_ok_and(|meta| meta.is_symlink()) {
            return Err(Error::corrupt(format!("the folder \"{}\" is a symbolic link", root.display()))
                .with_hint("Name the folder for working copies with --scratch or BACKUP_SCRATCH instead."));
        }
        Self::create_in(root)
    }

    /// A scratch folder below `root`, which is made if it is missing; first clears what killed owners left there.
    ///
    /// # Errors
    /// What making a folder there reports.
    pub fn create_in(root: &Path) -> Result<Self> {
        let folder = match make_folder(root) {
            // The last scratch beside this one was dropped in between, and took the root with it.
            Err(error) if error.is_not_found() => make_folder(root)?,
            other => other?,
        };
        let lock_path = folder.join(LOCK);
        let lock = file::create_private(&lock_path)?;
        lock.lock().map_err(|e| Error::io("lock", &lock_path, e))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Refuses when fewer than `needed` bytes are free.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn require(&self, needed: u64) -> Result<()> {
        let free = file::free_space(&self.folder)?;
        if free >= needed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "a working copy in \"{}\" needs {needed} bytes and {free} are free",
                self.folder.display()
            ),
        )
        .with_hint("Free some room there, or name a roomier folder with --scratch or BACKUP_SCRATCH."))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next scratch in this place tries again.
        let _ = fs::remove_dir_all(&self.folder);
        // The folder of scratch folders goes with its last one.
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

fn make_folder(root: &Path) -> Result<PathBuf> {
    file::create_private_folder(root)?;
    sweep(root)?;
    let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root);
    Ok(made.map_err(|e| Error::io("create a working folder in", root, e))?.keep())
}

/// Removes the scratch folders whose owners died.
///
/// # Errors
/// What listing or removing there reports.
pub fn sweep(root: &Path) -> Result<usize> {
    let mut removed = 0;
    let entries = fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    for entry in entries.flatten() {
        let is_scratch = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_scratch && is_abandoned(&entry.path()) && fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// A folder whose lock nobody holds; one without a lock file is being made or being removed, and is left for a minute.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => fs::metadata(folder)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok())
            .is_some_and(|age| age.as_secs() > 60),
    }
}

fn cache_folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no folder for working copies")
                .with_hint("Name one with --scratch or BACKUP_SCRATCH.")
        })?;
    Ok(base.join("backup"))
}
