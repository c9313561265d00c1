//! A database's definitions: reading them, telling whether two are the same, and writing names as SQL.

use rusqlite::{Connection, Result as SqlResult};

/// One row of `sqlite_schema`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Definition {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) root: u32,
    pub(crate) sql: Option<String>,
}

impl Definition {
    /// A table with rows of its own: not a view, not virtual, not one of SQLite's own.
    pub(crate) fn is_user_table(&self) -> bool {
        self.kind == "table" && self.root > 0 && !self.is_internal()
    }

    /// One of SQLite's own (`sqlite_sequence`, `sqlite_stat1`, automatic indexes).
    pub(crate) fn is_internal(&self) -> bool {
        self.name.to_ascii_lowercase().starts_with("sqlite_")
    }

    /// A virtual table: its rows live in other tables, or nowhere.
    pub(crate) fn is_virtual(&self) -> bool {
        self.kind == "table" && self.root == 0
    }
}

/// All definitions, in the order they were made.
pub(crate) fn read(connection: &Connection) -> SqlResult<Vec<Definition>> {
    let mut query =
        connection.prepare("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid")?;
    let rows = query.query_map([], |row| {
        Ok(Definition {
            kind: row.get(0)?,
            name: row.get(1)?,
            table: row.get(2)?,
            root: row.get::<_, Option<i64>>(3)?.and_then(|root| u32::try_from(root).ok()).unwrap_or(0),
            sql: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// A hash of what is defined, whatever the order or the pages; statistics and counters of SQLite's own do not count.
pub(crate) fn fingerprint(definitions: &[Definition]) -> String {
    let mut defined: Vec<_> = definitions
        .iter()
        .filter(|d| d.sql.is_some() && !d.is_internal())
        .map(|d| [&d.kind, &d.name, &d.table, d.sql.as_ref().unwrap_or(&d.name)])
        .collect();
    defined.sort();
    let mut hash = blake3::Hasher::new();
    for text in defined.into_iter().flatten() {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// A name as an SQL identifier, quoted where SQL needs it.
pub(crate) fn identifier(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !is_keyword(name);
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// A name as a quoted SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Words that cannot stand as a bare identifier (<https://www.sqlite.org/lang_keywords.html>).
fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "add",
        "all",
        "alter",
        "and",
        "as",
        "autoincrement",
        "between",
        "case",
        "check",
        "collate",
        "commit",
        "constraint",
        "create",
        "current_date",
        "current_time",
        "current_timestamp",
        "default",
        "deferrable",
        "delete",
        "distinct",
        "drop",
        "else",
        "escape",
        "except",
        "exists",
        "foreign",
        "from",
        "group",
        "having",
        "in",
        "index",
        "insert",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "limit",
        "not",
        "nothing",
        "notnull",
        "null",
        "on",
        "or",
        "order",
        "primary",
        "references",
        "returning",
        "select",
        "set",
        "table",
        "then",
        "to",
        "transaction",
        "union",
        "unique",
        "update",
        "using",
        "values",
        "when",
        "where",
    ];
    KEYWORDS.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        for (name, written) in [
            ("orders", "orders"),
            ("Order", "\"Order\""),
            ("a b", "\"a b\""),
            ("x\"y", "\"x\"\"y\""),
            ("1st", "\"1st\""),
        ] {
            assert_eq!(identifier(name), written);
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(&format!("CREATE TABLE {}(a)", identifier(name))).unwrap();
            assert_eq!(read(&connection).unwrap()[0].name, name);
        }
    }

    #[test]
    fn the_fingerprint_sees_definitions_and_nothing_else() {
        let make = |sql: &str| {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(sql).unwrap();
            fingerprint(&read(&connection).unwrap())
        };
        let plain = make("CREATE TABLE a(x); CREATE TABLE b(y);");
        assert_eq!(plain, make("CREATE TABLE b(y); CREATE TABLE a(x); INSERT INTO a VALUES(1); ANALYZE;"));
        assert_ne!(plain, make("CREATE TABLE a(x); CREATE TABLE b(z);"));
        assert_ne!(plain, make("CREATE TABLE a(x); CREATE TABLE b(y); CREATE INDEX i ON a(x);"));
    }
}
