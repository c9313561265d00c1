//! Bringing in what other programs dumped.

use std::{fs, path::Path, sync::Arc};

use backup_core::{
    Error, Result,
    artifact::Artifact,
    context::Context,
    id::SourceName,
    operation::{self, AdoptOptions, Taken},
    scratch::Scratch,
    store::Store,
};

use crate::{backups::Backups, engines::engine_for, files::open_file};

impl Backups {
    /// Brings a dump that another program made into the vault of `source`; without one, into that of the database it
    /// says it is of. A folder is a dump in pg_dump's directory format. The dump stays where it is, unless
    /// `options.remove` is set and its copy is in the vault.
    ///
    /// # Errors
    /// `Unsupported` when nobody knows what it is; `Corrupt` when it is damaged; `AlreadyExists` when it is there.
    pub fn adopt(&self, path: &Path, source: Option<&SourceName>, options: &AdoptOptions) -> Result<Taken> {
        let job = source.and_then(|name| self.definitions().get(name));
        let store = job.map_or_else(|| self.store(), |job| self.store_named(&job.store))?;
        adopt(&store, source, path, options, self.heard())
    }
}

/// See [`Backups::adopt`].
pub(crate) fn adopt(
    store: &Arc<dyn Store>,
    source: Option<&SourceName>,
    path: &Path,
    options: &AdoptOptions,
    cx: &Context,
) -> Result<Taken> {
    let taken = copy(store, source, path, options, cx)?;
    if options.remove {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(|e| Error::io("remove", path, e))?;
    }
    Ok(taken)
}

fn copy(
    store: &Arc<dyn Store>,
    source: Option<&SourceName>,
    path: &Path,
    options: &AdoptOptions,
    cx: &Context,
) -> Result<Taken> {
    if !path.is_dir() {
        let file = open_file(path, cx)?;
        let engine = engine_for(file.manifest(), None)?;
        return operation::adopt(store, source, &file, &*engine, options, cx);
    }
    let scratch = Scratch::for_store(&**store, 0, cx)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let packed = scratch.path().join(format!("{name}.tar"));
    pack(path, &packed)?;
    let file = open_file(&packed, cx)?;
    operation::adopt(store, source, &file, &*engine_for(file.manifest(), None)?, options, cx)
}

#[cfg(feature = "postgres")]
fn pack(folder: &Path, packed: &Path) -> Result<()> {
    let mut out = backup_core::file::create_private(packed)?;
    backup_pg::pack_folder(folder, &mut out)
}

#[cfg(not(feature = "postgres"))]
fn pack(folder: &Path, _packed: &Path) -> Result<()> {
    Err(Error::new(
        backup_core::ErrorKind::Unsupported,
        format!("\"{}\" is a folder, which this build cannot read", folder.display()),
    ))
}
