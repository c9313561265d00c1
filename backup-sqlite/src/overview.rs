//! What a database consists of, at a glance.

use std::path::Path;

use backup_core::Result;

use crate::{
    connection,
    schema::{self, identifier, quoted},
    source,
};

/// The tables of a database, the one with the highest row number first, quoted where SQL needs it. Nothing but the
/// last row of each is read; tables without row numbers come last.
///
/// # Errors
/// What opening the database reports.
pub fn tables_by_size(path: &Path) -> Result<Vec<String>> {
    let path = source::resolve(path)?;
    let (connection, _file) = source::open(&path)?;
    let definitions =
        schema::read(&connection).map_err(|e| connection::explain(e, "read the definitions of", &path))?;
    let rows = |name: &str| {
        let sql = format!("SELECT max(rowid) FROM {}", quoted(name));
        connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0)).ok().flatten().unwrap_or(0)
    };
    let tables = definitions.iter().filter(|definition| definition.is_user_table());
    let mut sized: Vec<(i64, &str)> = tables.map(|table| (rows(&table.name), table.name.as_str())).collect();
    sized.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
    Ok(sized.into_iter().map(|(_, name)| identifier(name)).collect())
}
