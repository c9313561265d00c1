//! The stores of a configuration, each opened when it is first needed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use backup_core::{Error, Result, retention::Keep, store::Store};

use crate::{
    config::StoreConfig,
    place::{StoreOptions, open_store_with},
};

/// Stores by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stores(BTreeMap<String, Arc<Place>>);

#[derive(Debug)]
struct Place {
    url: String,
    options: StoreOptions,
    retention: Option<Keep>,
    opened: OnceLock<Arc<dyn Store>>,
}

impl Stores {
    /// The stores of a configuration whose relative paths start from `folder`.
    pub(crate) fn of(stores: &BTreeMap<String, StoreConfig>, folder: &Path) -> Self {
        let mut all = Self::default();
        stores.iter().for_each(|(name, store)| all.add(name, store, folder));
        all
    }

    /// One store that is open already.
    pub(crate) fn opened(name: &str, store: Arc<dyn Store>) -> Self {
        let mut all = Self::default();
        all.add_opened(name, store);
        all
    }

    pub(crate) fn add(&mut self, name: &str, store: &StoreConfig, folder: &Path) {
        let place = Place {
            url: with_parameters(beside(folder, &store.url), store),
            options: options_of(store),
            retention: store.retention.clone(),
            opened: OnceLock::new(),
        };
        self.0.insert(name.to_owned(), Arc::new(place));
    }

    pub(crate) fn add_opened(&mut self, name: &str, store: Arc<dyn Store>) {
        let place = Place {
            url: store.to_string(),
            options: StoreOptions::default(),
            retention: None,
            opened: OnceLock::from(store),
        };
        self.0.insert(name.to_owned(), Arc::new(place));
    }

    /// How long backups stay in a store, where it says so itself.
    pub(crate) fn retention(&self, name: &str) -> Option<&Keep> {
        self.0.get(name)?.retention.as_ref()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The store of this name, opened now if it was not yet.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<dyn Store>> {
        let place = self.0.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::invalid(format!("there is no store \"{}\"", name.escape_debug()))
                .with_hint(format!("Stores are {}.", names.join(", ")))
        })?;
        if let Some(opened) = place.opened.get() {
            return Ok(Arc::clone(opened));
        }
        let opened = open_store_with(&place.url, &place.options)?;
        Ok(Arc::clone(place.opened.get_or_init(|| opened)))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn options_of(store: &StoreConfig) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.storage_class.clone_from(&store.storage_class);
    options.server_side_encryption.clone_from(&store.sse);
    options
}

/// The address with what the configuration says in keys of their own.
fn with_parameters(url: String, store: &StoreConfig) -> String {
    let stated = [("endpoint", &store.endpoint), ("region", &store.region), ("flat", &store.layout)];
    let stated = stated.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    stated.fold(url, |url, (name, value)| {
        let joint = if url.contains('?') { '&' } else { '?' };
        format!("{url}{joint}{name}={value}")
    })
}

/// A store's text whose relative path starts from `folder`; addresses stay as they are.
fn beside(folder: &Path, text: &str) -> String {
    let (scheme, path) = match ["dropbox:", "file:"].iter().find(|scheme| text.starts_with(**scheme)) {
        Some(scheme) => text.split_at(scheme.len()),
        None if is_address(text) => return text.to_owned(),
        None => ("", text),
    };
    let joined: PathBuf = folder.join(path);
    format!("{scheme}{}", joined.display())
}

/// `s3://…` and its like; one letter before the colon is a Windows drive.
fn is_address(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_start_from_the_configurations_folder() {
        for (text, place) in [
            ("backups", "/etc/backup/backups"),
            ("/var/backups", "/var/backups"),
            ("dropbox:stock", "dropbox:/etc/backup/stock"),
            ("dropbox:/home/me/Dropbox", "dropbox:/home/me/Dropbox"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ] {
            assert_eq!(beside(Path::new("/etc/backup"), text), place);
        }
    }
}
