//! A store, as people name it.

use std::sync::Arc;

use backup_core::{Error, ErrorKind, Result, store::Store};
use backup_storage::{DropboxStore, LocalStore};

/// How a store is used, where its kind leaves a choice; kinds that do not, refuse it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The storage class of new objects, in the vendor's words (S3: `STANDARD_IA`, Google: `NEARLINE`).
    pub storage_class: Option<String>,
    /// Encryption at rest by S3: `AES256`, `aws:kms` or `aws:kms:KEY`.
    pub server_side_encryption: Option<String>,
    /// How many parts an upload may have; stores that allow only 1,000 need it said.
    pub max_parts: Option<u32>,
}

impl StoreOptions {
    /// With this storage class.
    #[must_use]
    pub fn with_storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }

    /// With this encryption at rest.
    #[must_use]
    pub fn with_server_side_encryption(mut self, encryption: impl Into<String>) -> Self {
        self.server_side_encryption = Some(encryption.into());
        self
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Opens the store that `text` names: a path, `file:PATH`, `dropbox:PATH`, `s3://bucket/folder`,
/// `gs://bucket/folder` or `az://container/folder`. See `docs/stores.md` for where keys are read, and for the parameters of a URL.
///
/// Nothing is made and nothing is sent.
///
/// # Errors
/// `Unsupported` for kinds that this version does not know, or was built without; `Invalid` when the path is not a
/// folder or the URL cannot be right.
pub fn open_store(text: &str) -> Result<Arc<dyn Store>> {
    open_store_with(text, &StoreOptions::default())
}

/// The same with options; those in a URL win.
///
/// # Errors
/// Also `Unsupported` for options that this kind of store does not have.
pub fn open_store_with(text: &str, options: &StoreOptions) -> Result<Arc<dyn Store>> {
    if text.is_empty() {
        return Err(
            Error::invalid("a store needs a name").with_hint("Name a folder or a URL: --store STORE.")
        );
    }
    match kind_of(text) {
        Kind::Synced(folder) if options.is_default() => Ok(Arc::new(DropboxStore::open(folder)?)),
        Kind::Folder(path) if options.is_default() => Ok(Arc::new(LocalStore::new(path)?)),
        Kind::Folder(path) | Kind::Synced(path) => {
            let message =
                format!("the store \"{path}\" is a folder, which has no storage class or encryption");
            Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("Leave these options to object stores."))
        }
        Kind::Bucket => open_bucket(text, options),
        Kind::Unknown(scheme) => {
            Err(Error::new(ErrorKind::Unsupported, format!("this version has no \"{scheme}\" stores"))
                .with_hint("Give a folder, dropbox:PATH, or a URL that begins with s3://, gs:// or az://."))
        }
    }
}

enum Kind<'a> {
    Folder(&'a str),
    /// A folder that a sync client carries away.
    Synced(&'a str),
    Bucket,
    Unknown(&'a str),
}

fn kind_of(text: &str) -> Kind<'_> {
    let scheme = text.split(':').next().unwrap_or_default();
    match scheme {
        "dropbox" if text.contains(':') => Kind::Synced(text.trim_start_matches("dropbox:")),
        _ if text.starts_with("file:") => Kind::Folder(text.trim_start_matches("file:")),
        "s3" | "gs" | "az" if text.contains("://") => Kind::Bucket,
        "s3" | "gs" | "az" if text.contains(':') => Kind::Unknown(scheme),
        _ if text.contains("://") => Kind::Unknown(scheme),
        _ => Kind::Folder(text),
    }
}

#[cfg(feature = "object-store")]
fn open_bucket(text: &str, options: &StoreOptions) -> Result<Arc<dyn Store>> {
    let mut chosen = backup_storage::ObjectOptions::default();
    chosen.storage_class.clone_from(&options.storage_class);
    chosen.server_side_encryption = options.server_side_encryption.as_deref().map(str::parse).transpose()?;
    chosen.max_parts = options.max_parts.unwrap_or(chosen.max_parts);
    Ok(Arc::new(backup_storage::ObjectStore::open(text, &chosen)?))
}

#[cfg(not(feature = "object-store"))]
fn open_bucket(text: &str, _options: &StoreOptions) -> Result<Arc<dyn Store>> {
    let scheme = text.split(':').next().unwrap_or_default();
    Err(Error::new(ErrorKind::Unsupported, format!("this build has no \"{scheme}\" stores"))
        .with_hint("Build it with the feature \"object-store\", or give a local folder."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_folder_or_a_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        for text in [path.clone(), format!("file:{path}"), format!("{path}/a:b")] {
            assert!(open_store(&text).unwrap().local_folder().is_some(), "{text}");
        }
        #[cfg(feature = "object-store")]
        for text in ["s3://bucket", "s3://bucket/a/b?region=eu-central-1", "az://container/a?account=acme"] {
            let store = open_store(text).unwrap();
            assert!(store.local_folder().is_none());
            let shown = text.split('?').next().unwrap();
            assert_eq!(store.to_string(), format!("store \"{shown}\""));
        }
    }

    #[test]
    fn kinds_that_are_not_known_are_named() {
        for (text, scheme) in [("ftp://host/x", "ftp"), ("s3:bucket", "s3")] {
            let error = open_store(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("\"{scheme}\"")), "{error:?}");
        }
        assert_eq!(open_store("").unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_folder_has_no_storage_class() {
        let options = StoreOptions::default().with_storage_class("STANDARD_IA");
        assert_eq!(open_store_with("/nowhere", &options).unwrap_err().kind(), ErrorKind::Unsupported);
        #[cfg(feature = "object-store")]
        assert!(open_store_with("s3://bucket/a", &options).is_ok());
    }
}
