//! What a database consists of, at a glance.

use backup_core::{Result, context::Context};

use crate::{conninfo::Conninfo, session::explain, source::Source};

/// The tables of a database with their schemas, largest first as the last VACUUM or ANALYZE saw them, quoted where SQL
/// needs it. No table is read.
///
/// # Errors
/// What connecting reports.
pub fn tables_by_size(text: &str, cx: &Context) -> Result<Vec<String>> {
    let mut session = Source::resolve(&Conninfo::parse(text)?, cx)?.connect("backup init")?;
    let sql = "SELECT format('%I.%I', nspname, relname) FROM pg_class AS c
               JOIN pg_namespace AS n ON n.oid = relnamespace
               WHERE relkind = 'r' AND relpersistence <> 't' AND c.oid >= 16384
               AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'
               ORDER BY relpages DESC, reltuples DESC, 1";
    let rows = session.client().query(sql, &[]).map_err(|e| explain(e, "ask for the tables"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
