//! The key of one encrypted file. Whoever writes a file knows it, and can read back what was just written without
//! any identity; it is kept in memory for the length of a run and nowhere else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use age::{DecryptError, EncryptError, secrecy::ExposeSecret};
use age_core::format::{FILE_KEY_BYTES, Stanza};
use zeroize::Zeroizing;

use super::{Identity, Recipient};

/// The key that one file's contents are encrypted with.
#[derive(Clone)]
pub(crate) struct FileKey(Zeroizing<[u8; FILE_KEY_BYTES]>);

impl FileKey {
    fn of(key: &age_core::format::FileKey) -> Self {
        Self(Zeroizing::new(*key.expose_secret()))
    }

    fn to_age(&self) -> age_core::format::FileKey {
        age_core::format::FileKey::init_with_mut(|key| key.copy_from_slice(&*self.0))
    }
}

/// It opens the one file that it is the key of; another file's header does not authenticate under it.
impl age::Identity for FileKey {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        Some(Ok(self.to_age()))
    }
}

/// File keys by the names of their objects; clones share them.
#[derive(Clone, Default)]
pub(crate) struct FileKeys(Arc<Mutex<BTreeMap<String, FileKey>>>);

impl FileKeys {
    pub(crate) fn insert(&self, name: &str, key: FileKey) {
        self.lock().insert(name.to_owned(), key);
    }

    pub(crate) fn get(&self, name: &str) -> Option<FileKey> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FileKey>> {
        // A map of keys is whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wraps a file's key for its recipients, or unwraps it with an identity, and remembers it.
pub(crate) struct Wrapping<'a, T> {
    with: &'a T,
    key: RefCell<Option<FileKey>>,
}

impl<'a, T> Wrapping<'a, T> {
    pub(crate) fn new(with: &'a T) -> Self {
        Self { with, key: RefCell::new(None) }
    }

    /// The key, once it was wrapped or unwrapped.
    pub(crate) fn key(&self) -> Option<FileKey> {
        self.key.borrow().clone()
    }
}

impl age::Recipient for Wrapping<'_, Vec<Recipient>> {
    fn wrap_file_key(
        &self,
        key: &age_core::format::FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        *self.key.borrow_mut() = Some(FileKey::of(key));
        let mut stanzas = Vec::new();
        for recipient in self.with {
            stanzas.extend(recipient.0.wrap_file_key(key)?.0);
        }
        Ok((stanzas, HashSet::new()))
    }
}

impl age::Identity for Wrapping<'_, Identity> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        let unwrapped = self.with.0.unwrap_stanza(stanza);
        if let Some(Ok(key)) = &unwrapped {
            *self.key.borrow_mut() = Some(FileKey::of(key));
        }
        unwrapped
    }
}
