//! A store, as people name it.

use std::sync::Arc;

use backup_core::{Error, ErrorKind, Result, store::Store};
use backup_storage::LocalStore;

/// Opens the store that `text` names: a path, or `file:PATH`.
///
/// # Errors
/// `Unsupported` for kinds this version does not know; `Invalid` when the path is not a folder.
pub fn open_store(text: &str) -> Result<Arc<dyn Store>> {
    if text.is_empty() {
        return Err(Error::invalid("a store needs a name").with_hint("Name a folder: --store PATH."));
    }
    let path = text.strip_prefix("file:").unwrap_or(text);
    let is_remote = ["s3:", "gs:", "az:", "dropbox:"].iter().any(|scheme| text.starts_with(scheme))
        || text.contains("://");
    if is_remote {
        let scheme = text.split(':').next().unwrap_or_default();
        return Err(Error::new(ErrorKind::Unsupported, format!("this version has no \"{scheme}\" stores"))
            .with_hint("Give a local folder for --store."));
    }
    Ok(Arc::new(LocalStore::new(path)?))
}
