//! Counts the rows of a live database, table by table, in one read transaction.

use std::{collections::BTreeMap, path::Path};

use backup_core::{Error, ErrorKind, Result, census::Census, context::Context};
use rusqlite::{Connection, Result as SqlResult};

use crate::{
    connection::{explain, stop_on_cancel},
    schema::{self, Definition, fingerprint, identifier, quoted},
    source::{self, SourceFile},
};

/// What the database at `path` holds now. It is opened as a reader, and nothing is left behind.
///
/// # Errors
/// `Unsupported` for files whose bytes mean nothing to us; `Busy` when a writer keeps it locked.
pub(crate) fn census(path: &Path, cx: &Context) -> Result<Census> {
    let (mut connection, file) = source::open(path)?;
    if matches!(file, SourceFile::Opaque) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("\"{}\" looks encrypted: its rows cannot be counted", path.display()),
        ));
    }
    stop_on_cancel(&mut connection, cx.cancel())?;
    let counted = count_all(&connection).map_err(|e| explain(e, "count the rows of", path));
    cx.cancel().check()?;
    let (definitions, tables) = counted?;
    Ok(Census::new(cx.now(), tables, fingerprint(&definitions)))
}

/// The transaction ends with the connection; its first query takes the lock that the others read under.
fn count_all(connection: &Connection) -> SqlResult<(Vec<Definition>, BTreeMap<String, u64>)> {
    connection.execute_batch("BEGIN")?;
    let definitions = schema::read(connection)?;
    let mut tables = BTreeMap::new();
    for table in definitions.iter().filter(|definition| definition.is_user_table()) {
        let sql = format!("SELECT count(*) FROM main.{}", quoted(&table.name));
        let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        tables.insert(identifier(&table.name), u64::try_from(rows).unwrap_or_default());
    }
    connection.execute_batch("COMMIT")?;
    Ok((definitions, tables))
}
