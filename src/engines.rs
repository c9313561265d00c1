//! The engine an artifact was made by.

use std::{path::PathBuf, sync::Arc};

use backup_core::{Error, ErrorKind, Result, engine::BackupEngine, manifest::Manifest};

use crate::source::Source;

/// The engine that made an artifact, set to the source it was made from.
///
/// Manifests hold no password. Where `known` is the same database, its connection is used; else what the manifest
/// tells of it, with the password from where `psql` would take it.
///
/// # Errors
/// `Unsupported` when this build does not have it.
pub fn engine_for(manifest: &Manifest, known: Option<&Source>) -> Result<Arc<dyn BackupEngine>> {
    if let Some(known) = known.filter(|known| known.is_source_of(manifest)) {
        return known.engine();
    }
    match manifest.source.engine.as_str() {
        "sqlite" => Source::Sqlite(PathBuf::from(&manifest.source.database)).engine(),
        "postgres" => Source::Postgres(postgres_source(manifest)).engine(),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "\"{}\" was made by the engine \"{}\", which this build has not",
                manifest.id,
                other.escape_debug()
            ),
        )),
    }
}

/// The connection a manifest tells of; where it tells of none, the environment's.
fn postgres_source(manifest: &Manifest) -> String {
    let connection = manifest.facts.get("connection").and_then(|value| value.as_str());
    connection.unwrap_or("postgres:").to_owned()
}
