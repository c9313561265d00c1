//! The engine an artifact was made by.

use std::{path::PathBuf, sync::Arc};

use backup_core::{Error, ErrorKind, Result, engine::BackupEngine, manifest::Manifest};

use crate::source::Source;

/// The engine that made an artifact, set to the source it was made from.
///
/// # Errors
/// `Unsupported` when this build does not have it.
pub fn engine_for(manifest: &Manifest) -> Result<Arc<dyn BackupEngine>> {
    match manifest.source.engine.as_str() {
        "sqlite" => Source::Sqlite(PathBuf::from(&manifest.source.database)).engine(),
        "postgres" => Source::Postgres(manifest.source.database.clone()).engine(),
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
