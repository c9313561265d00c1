//! One table of a dump as text that can be reviewed: INSERT statements or CSV.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use backup_core::{
    Error, ErrorKind, Result, capture::DumpFormat, context::Context, engine::ExtractFormat, verify::Subject,
};

use crate::{
    archive::{ArchiveReader, Entry, RowSink},
    contents::format_in,
    copy::{column_names, target_and_columns},
};

/// Rows per INSERT statement: few enough to review and to blame, enough to load quickly.
const ROWS_PER_INSERT: u64 = 100;

/// Rows are handed over to the writer in pieces of about so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Writes one table; returns its rows.
pub(crate) fn extract(
    subject: &Subject<'_>,
    table: &str,
    format: ExtractFormat,
    out: &mut dyn Write,
    cx: &Context,
) -> Result<u64> {
    let manifest = subject.artifact().manifest();
    if format_in(manifest)? != DumpFormat::Custom || manifest.content.is_rolling() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("\"{}\" is no archive to extract from", manifest.id),
        )
        .with_hint("Only dumps in the custom format can be; `backup cat` gives this one's text."));
    }
    let writer = Arc::new(Mutex::new(TableWriter { format, ..TableWriter::default() }));
    let mut reader =
        ArchiveReader::with_rows(Box::new(OneTable { table: table.to_owned(), writer: Arc::clone(&writer) }));
    let take_text = |writer: &Mutex<TableWriter>| std::mem::take(&mut lock(writer).text);
    let mut put =
        |text: &[u8]| out.write_all(text).map_err(|e| Error::from_io("could not write the table", e));
    let is_whole = subject.read(cx, &mut |bytes| {
        bytes.chunks(PIECE_BYTES).try_for_each(|piece| {
            reader.feed(piece)?;
            put(&take_text(&writer))
        })
    })?;
    if !is_whole {
        let damage = subject.decoded().unwrap_or_default();
        let first = damage.first().map(ToString::to_string).unwrap_or_default();
        return Err(Error::corrupt(format!("\"{}\" is damaged: {first}", manifest.id))
            .with_hint("What was written is not to be trusted."));
    }
    let archive = reader.finish()?;
    let mut writer = lock(&writer);
    if writer.chosen.is_none() {
        return Err(unknown(table, archive.entries.iter().filter(|entry| entry.is_copy())));
    }
    writer.end();
    put(&std::mem::take(&mut writer.text))?;
    Ok(writer.rows)
}

fn lock(writer: &Mutex<TableWriter>) -> std::sync::MutexGuard<'_, TableWriter> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the rows of one table.
struct OneTable {
    table: String,
    writer: Arc<Mutex<TableWriter>>,
}

impl RowSink for OneTable {
    fn wants(&mut self, entry: &Entry) -> bool {
        let mut writer = lock(&self.writer);
        let is_meant = writer.chosen.is_none() && names(entry, &self.table);
        if is_meant {
            writer.begin(entry);
        }
        is_meant
    }

    fn row(&mut self, _entry: &Entry, row: &[u8]) -> Result<()> {
        lock(&self.writer).row(row);
        Ok(())
    }
}

/// Whether a table is meant: by its name in SQL, or by its bare name, with or without schema.
fn names(entry: &Entry, table: &str) -> bool {
    let bare = format!("{}.{}", entry.namespace, entry.tag);
    table == entry.name()
        || table == bare
        || table == entry.tag
        || entry.name().rsplit_once('.').is_some_and(|(_, name)| name == table)
}

fn unknown<'e>(table: &str, entries: impl Iterator<Item = &'e Entry>) -> Error {
    let names: Vec<String> = entries.map(Entry::name).take(50).collect();
    Error::new(ErrorKind::NotFound, format!("the backup has no table \"{}\"", table.escape_debug()))
        .with_hint(format!("It has {}.", names.join(", ")))
}

/// Turns rows of COPY text into SQL or CSV.
struct TableWriter {
    format: ExtractFormat,
    chosen: Option<(String, String)>,
    text: Vec<u8>,
    rows: u64,
}

impl Default for TableWriter {
    fn default() -> Self {
        Self { format: ExtractFormat::Sql, chosen: None, text: Vec::new(), rows: 0 }
    }
}

impl TableWriter {
    fn begin(&mut self, entry: &Entry) {
        let columns =
            target_and_columns(&entry.copy).map_or_else(String::new, |(_, columns)| columns.to_owned());
        match self.format {
            ExtractFormat::Csv => {
                let names: Vec<Vec<u8>> = column_names(&columns)
                    .iter()
                    .map(|name| csv_field(Some(unquoted(name).into_bytes())))
                    .collect();
                self.text.extend(names.join(&b','));
                self.text.extend(b"\r\n");
            }
            _ => self.text.extend(
                b"SET standard_conforming_strings = on;\nSET client_min_messages = warning;\nBEGIN;\n",
            ),
        }
        self.chosen = Some((entry.name(), columns));
    }

    fn row(&mut self, row: &[u8]) {
        let has_columns = self.chosen.as_ref().is_some_and(|(_, columns)| !columns.is_empty());
        let values: Vec<Option<Vec<u8>>> =
            if has_columns { row.split(|byte| *byte == b'\t').map(value_of).collect() } else { Vec::new() };
        match self.format {
            ExtractFormat::Csv => {
                let fields: Vec<Vec<u8>> = values.into_iter().map(csv_field).collect();
                self.text.extend(fields.join(&b','));
                self.text.extend(b"\r\n");
            }
            _ => self.insert(&values),
        }
        self.rows += 1;
    }

    fn insert(&mut self, values: &[Option<Vec<u8>>]) {
        let Some((table, columns)) = &self.chosen else { return };
        if values.is_empty() {
            return self.text.extend(format!("INSERT INTO {table} DEFAULT VALUES;\n").bytes());
        }
        if self.rows.is_multiple_of(ROWS_PER_INSERT) {
            if self.rows > 0 {
                self.text.extend(b";\n");
            }
            // An identity column takes the values it had.
            self.text
                .extend(format!("INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES\n").bytes());
        } else {
            self.text.extend(b",\n");
        }
        self.text.push(b'(');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.text.extend(b", ");
            }
            match value {
                None => self.text.extend(b"NULL"),
                Some(value) => {
                    self.text.push(b'\'');
                    value.iter().for_each(|byte| {
                        if *byte == b'\'' {
                            self.text.push(b'\'');
                        }
                        self.text.push(*byte);
                    });
                    self.text.push(b'\'');
                }
            }
        }
        self.text.push(b')');
    }

    fn end(&mut self) {
        if self.format == ExtractFormat::Csv {
            return;
        }
        let is_open = self.rows > 0 && self.chosen.as_ref().is_some_and(|(_, columns)| !columns.is_empty());
        self.text.extend(if is_open { &b";\nCOMMIT;\n"[..] } else { b"COMMIT;\n" });
    }
}

fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(name) => name.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

/// A value of COPY text; `None` for `\N` (PostgreSQL manual, COPY, "Text Format").
fn value_of(field: &[u8]) -> Option<Vec<u8>> {
    if field == b"\\N" {
        return None;
    }
    let mut value = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        value.push(match bytes.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(other) => other,
            None => b'\\',
        });
    }
    Some(value)
}

/// RFC 4180; NULL is an empty field and the empty string a quoted one, as PostgreSQL's own CSV has it.
fn csv_field(value: Option<Vec<u8>>) -> Vec<u8> {
    let Some(value) = value else { return Vec::new() };
    let needs_quotes = value.is_empty() || value.iter().any(|byte| b",\"\r\n".contains(byte));
    if !needs_quotes {
        return value;
    }
    let mut field = vec![b'"'];
    for byte in value {
        if byte == b'"' {
            field.push(b'"');
        }
        field.push(byte);
    }
    field.push(b'"');
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_they_went_in() {
        assert_eq!(value_of(b"\\N"), None);
        assert_eq!(value_of(b"a\\tb\\\\N\\n"), Some(b"a\tb\\N\n".to_vec()));
        assert_eq!(csv_field(value_of(b"")), b"\"\"");
        assert_eq!(csv_field(value_of(b"a\"b,c")), b"\"a\"\"b,c\"");
    }
}
