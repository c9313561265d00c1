//! What the backing-up role may not read.

use backup_core::{Result, context::Context};

use crate::{conninfo::Conninfo, session::explain, source::Source};

/// Tables and sequences that a dump would read and the role may not, quoted where SQL needs it; at most `most`.
///
/// A dump needs SELECT on each and USAGE on its schema (PostgreSQL manual, `pg_dump`, Notes); the rows that row
/// security hides from a role are another matter, of which `pg_dump` itself complains.
///
/// # Errors
/// What connecting reports.
pub fn unreadable_tables(text: &str, most: usize, cx: &Context) -> Result<Vec<String>> {
    let mut session = Source::resolve(&Conninfo::parse(text)?, cx)?.connect("backup check")?;
    let sql = "SELECT format('%I.%I', nspname, relname) FROM pg_class AS c
               JOIN pg_namespace AS n ON n.oid = relnamespace
               WHERE relkind IN ('r', 'p', 'm', 'S') AND relpersistence <> 't' AND c.oid >= 16384
               AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'
               AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE relkind
                   WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)
               ORDER BY 1 LIMIT $1";
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let rows =
        session.client().query(sql, &[&limit]).map_err(|e| explain(e, "ask which tables can be read"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
