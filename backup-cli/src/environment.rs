//! What the command takes from its surroundings where nothing was typed.

use std::env;

use backup::{Error, Result};

use crate::args::Global;

/// Where backups live when nobody says so.
const DEFAULT_STORE: &str = "backups";

/// The store: typed, `BACKUP_STORE`, `BACKUP_DIR`, these from `.env`, else `./backups`.
pub(crate) fn store(global: &Global) -> String {
    global
        .store
        .clone()
        .or_else(|| variable("BACKUP_STORE"))
        .or_else(|| variable("BACKUP_DIR"))
        .unwrap_or_else(|| DEFAULT_STORE.to_owned())
}

/// The source: typed, or `DATABASE_URL`, also from `.env`.
pub(crate) fn source(typed: Option<&str>) -> Result<String> {
    typed.map(str::to_owned).or_else(|| variable("DATABASE_URL")).ok_or_else(|| {
        Error::invalid("no database was named")
            .with_hint("Name one: `backup run app.db`, or set DATABASE_URL.")
    })
}

fn variable(name: &str) -> Option<String> {
    let set = env::var(name).ok().or_else(|| {
        let mut lines = dotenvy::from_path_iter(".env").ok()?.filter_map(Result::ok);
        lines.find(|(key, _)| key == name).map(|(_, value)| value)
    });
    set.filter(|value| !value.is_empty())
}
