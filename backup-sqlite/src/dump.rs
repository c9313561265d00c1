//! The rolling contents: definitions, or rows, as SQL text that `sqlite3 DB < FILE` takes.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use backup_core::{
    Error, Result,
    content::Content,
    context::Context,
    engine::{Captured, PayloadSink, SinkWriter},
    manifest::TableFacts,
    verify::{Finding, Subject, Verifier},
};
use rusqlite::Connection;

use crate::{
    connection::{explain, stop_on_cancel},
    extract::{TextError, write_inserts},
    schema::{self, Definition, identifier},
    source::{self, SourceFile},
};

/// The last line of every text, by which a text cut short is known.
const END: &str = "-- end of backup";

/// Writes the definitions or the rows of a live database, as of one read transaction, into the sink.
///
/// In rollback mode writers wait meanwhile; take `full` backups of large busy databases instead.
pub(crate) fn capture(
    path: &Path,
    content: Content,
    sink: &mut dyn PayloadSink,
    cx: &Context,
) -> Result<Captured> {
    let (mut connection, file) = source::open(path)?;
    if matches!(file, SourceFile::Opaque) {
        return Err(Error::failed(format!(
            "\"{}\" cannot be read as SQLite; only full backups of it can be made",
            path.display()
        )));
    }
    stop_on_cancel(&mut connection, cx.cancel())?;
    connection.execute_batch("BEGIN").map_err(|e| explain(e, "begin reading", path))?;
    let definitions = schema::read(&connection).map_err(|e| explain(e, "read the schema of", path))?;
    let mut captured = Captured::at(cx.now());
    captured.schema_fingerprint = Some(schema::fingerprint(&definitions));
    captured.tools.insert("sqlite".to_owned(), rusqlite::version().to_owned());
    let mut out = BufWriter::with_capacity(64 << 10, SinkWriter(sink));
    let written = match content {
        Content::Schema => write_schema(&connection, &definitions, &mut out),
        _ => write_data(&connection, &definitions, &mut out, &mut captured),
    };
    written
        .and_then(|()| out.flush().map_err(TextError::Io))
        .map_err(|e| e.into_error("write", "the text", path))?;
    drop(out);
    connection.execute_batch("COMMIT").map_err(|e| explain(e, "end reading", path))?;
    Ok(captured)
}

fn write_schema(
    connection: &Connection,
    definitions: &[Definition],
    out: &mut dyn Write,
) -> Result<(), TextError> {
    writeln!(out, "-- Definitions of an SQLite database, written by backup; sqlite3 NEW.db < THIS_FILE")?;
    for name in ["user_version", "application_id"] {
        let value: i64 = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
        if value != 0 {
            writeln!(out, "PRAGMA {name}={value};")?;
        }
    }
    writeln!(out, "BEGIN;")?;
    for definition in in_order(definitions) {
        if let Some(sql) = &definition.sql {
            writeln!(out, "{sql};")?;
        }
    }
    writeln!(out, "COMMIT;\n{END}")?;
    Ok(())
}

/// Tables first, then what rests on them. Tables that a virtual table keeps for itself come with it.
fn in_order(definitions: &[Definition]) -> impl Iterator<Item = &Definition> {
    let is_shadow = |d: &Definition| {
        let owner = |v: &&Definition| v.is_virtual() && d.name.starts_with(&format!("{}_", v.name));
        d.kind == "table" && !d.is_virtual() && definitions.iter().any(|v| owner(&v))
    };
    let wanted: Vec<&Definition> = definitions.iter().filter(|d| !d.is_internal() && !is_shadow(d)).collect();
    ["table", "index", "view", "trigger"].into_iter().flat_map(move |kind| {
        let of_kind: Vec<&Definition> = wanted.iter().copied().filter(|d| d.kind == kind).collect();
        of_kind
    })
}

fn write_data(
    connection: &Connection,
    definitions: &[Definition],
    out: &mut dyn Write,
    captured: &mut Captured,
) -> Result<(), TextError> {
    writeln!(
        out,
        "-- Rows of an SQLite database, written by backup; only for the same definitions, whose triggers will fire"
    )?;
    writeln!(out, "PRAGMA foreign_keys=OFF;\nBEGIN;")?;
    for table in definitions.iter().filter(|definition| definition.is_user_table()) {
        let rows = write_inserts(connection, &table.name, out)?;
        captured.tables.push(TableFacts { name: identifier(&table.name), rows, digest: None });
    }
    captured.counted = true;
    writeln!(out, "COMMIT;\n{END}")?;
    Ok(())
}

/// Whether a text is there to its last line, and whether definitions can be run.
#[derive(Debug)]
pub(crate) struct WholeText;

impl Verifier for WholeText {
    fn name(&self) -> &str {
        "sql"
    }

    fn verify(&self, subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>> {
        let Some(path) = subject.whole_copy(cx)? else { return Ok(Vec::new()) };
        let manifest = subject.artifact().manifest();
        let name = &manifest.payload.name;
        if !ends_well(path)? {
            return Ok(vec![Finding::content("sql", name, "its last line is not the end marker")]);
        }
        if manifest.content != Content::Schema {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let defined = Connection::open_in_memory().and_then(|connection| {
            connection.execute_batch(&text)?;
            schema::read(&connection)
        });
        Ok(match defined {
            Ok(definitions)
                if manifest.schema_fingerprint.as_ref() != Some(&schema::fingerprint(&definitions)) =>
            {
                vec![Finding::content("sql", name, "it defines something other than the manifest says")]
            }
            Ok(_) => Vec::new(),
            Err(error) => vec![Finding::content("sql", name, format!("it does not run: {error}"))],
        })
    }
}

fn ends_well(path: &Path) -> Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).map_err(|e| Error::io("open", path, e))?;
    let end = format!("\n{END}\n");
    let mut tail = String::new();
    let read = file.seek(SeekFrom::End(-(end.len() as i64))).and_then(|_| file.read_to_string(&mut tail));
    Ok(read.is_ok() && tail == end)
}
