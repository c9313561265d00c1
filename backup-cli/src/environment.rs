//! What the command takes from its surroundings where nothing was typed.

use std::{env, path::PathBuf};

use backup::{ConfigFile, Error, Result};

use crate::args::Global;

/// Where backups live when nobody says so.
const DEFAULT_STORE: &str = "backups";

/// The configuration: typed, `BACKUP_CONFIG` (also from `.env`), else the first that lies at one of its usual places.
pub(crate) fn config(global: &Global) -> Result<Option<ConfigFile>> {
    config_named(global.config.clone())
}

pub(crate) fn config_named(typed: Option<PathBuf>) -> Result<Option<ConfigFile>> {
    let named = typed.or_else(|| variable("BACKUP_CONFIG").map(PathBuf::from));
    named.or_else(ConfigFile::find).map(|path| ConfigFile::read(&path)).transpose()
}

/// The store: typed, `BACKUP_STORE`, `BACKUP_DIR`, these from `.env`, else `./backups`.
pub(crate) fn store(global: &Global) -> String {
    stated_store(global).unwrap_or_else(|| DEFAULT_STORE.to_owned())
}

/// The same, where somebody says so.
pub(crate) fn stated_store(global: &Global) -> Option<String> {
    global.store.clone().or_else(|| variable("BACKUP_STORE")).or_else(|| variable("BACKUP_DIR"))
}

/// The mirrors: typed, or `BACKUP_MIRRORS`, also from `.env`, separated by commas.
pub(crate) fn mirrors(global: &Global) -> Vec<String> {
    if !global.mirror.is_empty() {
        return global.mirror.clone();
    }
    let named = variable("BACKUP_MIRRORS").unwrap_or_default();
    named.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The source: typed, or `DATABASE_URL`, also from `.env`.
pub(crate) fn source(typed: Option<&str>) -> Result<String> {
    typed.map(str::to_owned).or_else(|| variable("DATABASE_URL")).ok_or_else(|| {
        Error::invalid("no database was named")
            .with_hint("Name one: `backup run app.db`, set DATABASE_URL, or write a configuration: `backup init app.db`.")
    })
}

/// A variable that is set and not empty, also in `.env`.
pub(crate) fn variable(name: &str) -> Option<String> {
    let set = env::var(name).ok().or_else(|| {
        let mut lines = dotenvy::from_path_iter(".env").ok()?.filter_map(Result::ok);
        lines.find(|(key, _)| key == name).map(|(_, value)| value)
    });
    set.filter(|value| !value.is_empty())
}
