//! What SQLite says of a private copy, as findings.

use std::path::Path;

use backup_core::{Result, verify::Finding};
use rusqlite::Connection;

use crate::connection::explain;

/// Findings kept per table and check: the first ones tell, a million would not tell more.
pub(crate) const MAX_FINDINGS: usize = 20;

/// Asks one of SQLite's own checks about an object.
pub(crate) fn integrity(
    connection: &Connection,
    sql: &str,
    object: &str,
    path: &Path,
) -> Result<Vec<Finding>> {
    let answers = connection.prepare(sql).and_then(|mut query| {
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        rows.take(MAX_FINDINGS).collect::<rusqlite::Result<Vec<_>>>()
    });
    match answers {
        Ok(answers) => {
            let problems = answers.into_iter().filter(|answer| answer != "ok");
            Ok(problems.map(|problem| Finding::content("integrity_check", object, problem)).collect())
        }
        Err(error) => damage_or_error(error, "integrity_check", object, path),
    }
}

/// An SQLite error while looking at a private copy is damage, unless it is about the machine.
pub(crate) fn damage_or_error(
    error: rusqlite::Error,
    check: &str,
    object: &str,
    path: &Path,
) -> Result<Vec<Finding>> {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase | Unknown) | None => {
            Ok(vec![Finding::content(check, object, error.to_string())])
        }
        _ => Err(explain(error, "check", path)),
    }
}
