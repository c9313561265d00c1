//! One table as text a person can review: `INSERT` statements, or CSV.

use std::{io::Write, path::Path};

use backup_core::{Error, ErrorKind, Result, context::Context, engine::ExtractFormat};
use rusqlite::{Connection, types::ValueRef};

use crate::{
    connection::{explain, open_immutable},
    schema::{self, Definition, identifier, quoted},
};

/// Writes one table of a private copy and returns its rows.
pub(crate) fn extract(
    copy: &Path,
    table: &str,
    format: ExtractFormat,
    out: &mut dyn Write,
    cx: &Context,
) -> Result<u64> {
    let connection = open_immutable(copy, cx.cancel())?;
    let definitions = schema::read(&connection).map_err(|e| explain(e, "read the schema of", copy))?;
    let definition = find_table(&definitions, table)?;
    let written = match format {
        ExtractFormat::Csv => write_csv(&connection, definition, out),
        _ => write_reviewable(&connection, definition, out),
    };
    written.map_err(|e| e.into_error("write table", &definition.name, copy))
}

/// The table a user means: its exact name, as SQL writes it, or without regard to case.
pub(crate) fn find_table<'d>(definitions: &'d [Definition], wanted: &str) -> Result<&'d Definition> {
    let bare = wanted.strip_prefix("main.").unwrap_or(wanted);
    let tables = || definitions.iter().filter(|d| d.kind == "table" && !d.is_internal());
    let exact = tables().find(|d| d.name == bare || identifier(&d.name) == bare || quoted(&d.name) == bare);
    exact.or_else(|| tables().find(|d| d.name.eq_ignore_ascii_case(bare))).ok_or_else(|| {
        let names: Vec<String> = tables().map(|d| identifier(&d.name)).collect();
        Error::new(ErrorKind::NotFound, format!("the backup has no table \"{}\"", wanted.escape_debug()))
            .with_hint(format!("Its tables are {}.", names.join(", ")))
    })
}

/// Writing text out of a database fails on either side.
#[derive(Debug)]
pub(crate) enum TextError {
    Sql(rusqlite::Error),
    Io(std::io::Error),
}

impl TextError {
    pub(crate) fn into_error(self, action: &str, table: &str, path: &Path) -> Error {
        match self {
            Self::Sql(error) => explain(error, &format!("{action} {} of", identifier(table)), path),
            Self::Io(error) => Error::from_io(format!("could not {action} {}", identifier(table)), error),
        }
    }
}

impl From<rusqlite::Error> for TextError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for TextError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

type TextResult<T> = std::result::Result<T, TextError>;

fn write_reviewable(connection: &Connection, table: &Definition, out: &mut dyn Write) -> TextResult<u64> {
    writeln!(
        out,
        "-- Table {} as backed up. Review, then run it against a database that has the table:",
        identifier(&table.name)
    )?;
    writeln!(out, "-- sqlite3 DATABASE < THIS_FILE")?;
    if let Some(sql) = &table.sql {
        sql.lines().try_for_each(|line| writeln!(out, "-- {line}"))?;
    }
    writeln!(out, "BEGIN;")?;
    let rows = write_inserts(connection, &table.name, out)?;
    writeln!(out, "COMMIT;")?;
    writeln!(out, "-- {rows} rows")?;
    Ok(rows)
}

/// One `INSERT` per row; generated columns are left to the database.
pub(crate) fn write_inserts(connection: &Connection, table: &str, out: &mut dyn Write) -> TextResult<u64> {
    let columns = stored_columns(connection, table)?;
    let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let head = format!("INSERT INTO {}({}) VALUES(", quoted(table), names.join(","));
    let mut query = connection.prepare(&format!("SELECT {} FROM {}", names.join(","), quoted(table)))?;
    let mut rows = query.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        out.write_all(head.as_bytes())?;
        for at in 0..columns.len() {
            if at > 0 {
                out.write_all(b",")?;
            }
            write_literal(row.get_ref(at)?, out)?;
        }
        out.write_all(b");\n")?;
        count += 1;
    }
    Ok(count)
}

/// The columns a row is made of, in order; not the generated ones.
pub(crate) fn stored_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut query =
        connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")?;
    let names = query.query_map([table], |row| row.get(0))?;
    names.collect()
}

fn write_literal(value: ValueRef<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    match value {
        ValueRef::Null => out.write_all(b"NULL"),
        ValueRef::Integer(n) => write!(out, "{n}"),
        ValueRef::Real(n) if n.is_infinite() => out.write_all(if n > 0.0 { b"9e999" } else { b"-9e999" }),
        // The shortest text that reads back as the same number; SQLite keeps a number with a point or exponent real.
        ValueRef::Real(n) => write!(out, "{n:?}"),
        ValueRef::Text(text) => write_text(text, out),
        ValueRef::Blob(blob) => write_hex(blob, out),
    }
}

/// Text that SQL literals cannot carry, a NUL inside or bytes that are no UTF-8, goes as a cast blob.
fn write_text(text: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains('\0') => write!(out, "'{}'", text.replace('\'', "''")),
        _ => {
            out.write_all(b"CAST(")?;
            write_hex(text, out)?;
            out.write_all(b" AS TEXT)")
        }
    }
}

fn write_hex(bytes: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(b"X'")?;
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?;
    out.write_all(b"'")
}

/// RFC 4180: a header line, fields quoted where needed; NULL is an empty field, a blob its hexadecimal digits.
fn write_csv(connection: &Connection, table: &Definition, out: &mut dyn Write) -> TextResult<u64> {
    let mut query = connection.prepare(&format!("SELECT * FROM {}", quoted(&table.name)))?;
    let columns = query.column_count();
    let names: Vec<String> = query.column_names().map(str::to_owned).collect();
    write_record(out, names.iter().map(|name| csv_text(name)))?;
    let mut rows = query.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let fields: rusqlite::Result<Vec<String>> =
            (0..columns).map(|at| row.get_ref(at).map(csv_field)).collect();
        write_record(out, fields?.into_iter())?;
        count += 1;
    }
    Ok(count)
}

fn write_record(out: &mut dyn Write, fields: impl Iterator<Item = String>) -> std::io::Result<()> {
    let fields: Vec<String> = fields.collect();
    write!(out, "{}\r\n", fields.join(","))
}

fn csv_field(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => format!("{n:?}"),
        ValueRef::Text(text) => csv_text(&String::from_utf8_lossy(text)),
        ValueRef::Blob(blob) => blob.iter().map(|byte| format!("{byte:02X}")).collect(),
    }
}

/// An empty text is quoted, so that it differs from NULL.
fn csv_text(text: &str) -> String {
    let needs_quotes = text.is_empty() || text.contains([',', '"', '\n', '\r']);
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_as_inserts_reads_back_equal(
            texts in prop::collection::vec(".{0,20}", 1..6),
            blob in prop::collection::vec(any::<u8>(), 0..20),
            real in any::<f64>().prop_filter("NaN is NULL to SQLite", |n| !n.is_nan()),
            int in any::<i64>(),
        ) {
            let source = Connection::open_in_memory().unwrap();
            source.execute_batch("CREATE TABLE \"odd \"\"name\"(t, b, r, i, g AS (i))").unwrap();
            for text in &texts {
                source.execute("INSERT INTO \"odd \"\"name\" VALUES(?1, ?2, ?3, ?4)", (text, &blob, real, int)).unwrap();
            }
            let mut sql = Vec::new();
            write_inserts(&source, "odd \"name", &mut sql).unwrap();
            let target = Connection::open_in_memory().unwrap();
            target.execute_batch("CREATE TABLE \"odd \"\"name\"(t, b, r, i, g AS (i))").unwrap();
            target.execute_batch(std::str::from_utf8(&sql).unwrap()).unwrap();
            let all = |connection: &Connection| {
                let mut query = connection
                    .prepare("SELECT t, typeof(t), b, typeof(b), r, typeof(r), i FROM \"odd \"\"name\"").unwrap();
                let rows = query.query_map([], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?,
                        row.get::<_, String>(3)?, row.get::<_, f64>(4)?, row.get::<_, String>(5)?, row.get::<_, i64>(6)?))
                }).unwrap();
                rows.collect::<rusqlite::Result<Vec<_>>>().unwrap()
            };
            prop_assert_eq!(all(&source), all(&target));
        }
    }

    #[test]
    fn csv_tells_null_from_empty_and_quotes_what_needs_it() {
        let source = Connection::open_in_memory().unwrap();
        source
            .execute_batch("CREATE TABLE t(a, \"b,c\"); INSERT INTO t VALUES(NULL, ''), ('x\"y', x'00ff'), (1.5, 'a\nb')")
            .unwrap();
        let definitions = schema::read(&source).unwrap();
        let mut csv = Vec::new();
        write_csv(&source, find_table(&definitions, "T").unwrap(), &mut csv).unwrap();
        assert_eq!(
            String::from_utf8(csv).unwrap(),
            "a,\"b,c\"\r\n,\"\"\r\n\"x\"\"y\",00FF\r\n1.5,\"a\nb\"\r\n"
        );
    }
}
