//! A dump lying somewhere as a plain file: which engine reads it.

use std::{collections::BTreeMap, path::Path};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::{FileArtifact, Recognised},
    context::Context,
};

/// Opens a payload file: out of a vault that was copied by hand, or made by another program.
///
/// # Errors
/// `Unsupported` when no engine knows what it is; `NotFound` when there is none.
pub fn open_file(path: &Path, cx: &Context) -> Result<FileArtifact> {
    FileArtifact::open(path, |head| recognise(path, head), cx)
}

fn recognise(path: &Path, head: &[u8]) -> Result<Recognised> {
    let recognised = sqlite(head).or_else(|| postgres(head));
    recognised.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("\"{}\" is no dump that is known here", path.display())).with_hint(
            "Known are SQLite databases and what pg_dump makes (custom, plain, directory), each also in gzip or zstd.",
        )
    })
}

/// A database, or text or bytes that only look encrypted: SQLite files tell what they are by their first bytes.
fn sqlite(head: &[u8]) -> Option<Recognised> {
    let is_database = head.starts_with(b"SQLite format 3\0");
    is_database.then(|| Recognised { engine: "sqlite", extension: ".db", facts: BTreeMap::new() })
}

#[cfg(feature = "postgres")]
fn postgres(head: &[u8]) -> Option<Recognised> {
    backup_pg::recognise(head)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_head: &[u8]) -> Option<Recognised> {
    None
}
