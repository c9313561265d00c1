//! Plain SQL dumps: whole or cut short, and how many rows of which table.
//!
//! pg_dump writes one statement per paragraph and each table's rows as `COPY … FROM stdin;` up to a line `\.`. Its
//! last comment says that it is complete; a text cut at a statement's end loads without an error, so that comment is
//! the only sign.

use backup_core::{Error, Result, manifest::TableFacts};

use crate::{copy::target_and_columns, left_out::Outline, rows::RowFold};

/// What pg_dump's plain text ends with.
const TRAILER: &[u8] = b"-- PostgreSQL database dump complete";

/// The same of pg_dumpall.
const CLUSTER_TRAILER: &[u8] = b"-- PostgreSQL database cluster dump complete";

/// What ends a table's rows.
const MARKER: &[u8] = b"\\.";

/// The longest line outside of rows that is looked at; longer ones are no statement this reader needs.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Reads a plain dump as it passes by.
#[derive(Default)]
pub(crate) struct PlainReader {
    line: Vec<u8>,
    /// The lines of a COPY statement that has not ended.
    statement: Vec<u8>,
    rows: Option<CopiedRows>,
    tables: Vec<TableFacts>,
    outline: Outline,
    is_complete: bool,
    is_cluster: bool,
    bytes: u64,
}

/// What a plain dump holds.
#[derive(Debug)]
pub(crate) struct PlainContents {
    pub(crate) tables: Vec<TableFacts>,
    /// Whether all rows came as COPY text: INSERT statements are not counted.
    pub(crate) counted: bool,
    /// What it can be seen to lack.
    pub(crate) left_out: Vec<&'static str>,
}

/// The rows of one table passing by.
struct CopiedRows {
    table: String,
    fold: RowFold,
    /// The beginning of a line that may yet be the end marker.
    head: Vec<u8>,
    is_row: bool,
}

impl PlainReader {
    /// The next bytes.
    ///
    /// # Errors
    /// `Corrupt` when a table's rows are not what COPY writes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.push(&bytes[..end]);
            self.end_line()?;
            bytes = &bytes[end + 1..];
        }
        self.push(bytes);
        Ok(())
    }

    /// What was in it.
    ///
    /// # Errors
    /// `Corrupt` when it does not end as pg_dump ends it.
    pub(crate) fn finish(mut self) -> Result<PlainContents> {
        self.end_line()?;
        let bytes = self.bytes;
        match (&self.rows, self.is_complete) {
            (None, true) => Ok(PlainContents {
                counted: self.tables.len() >= self.outline.row_sections(),
                tables: self.tables,
                left_out: match self.is_cluster {
                    true => self.outline.left_out_of_cluster(),
                    false => self.outline.left_out(),
                },
            }),
            (Some(rows), _) => Err(Error::corrupt(format!(
                "the dump is cut short after {bytes} bytes, in the rows of {}",
                rows.table
            ))),
            (None, false) => Err(Error::corrupt(format!(
                "the dump is cut short after {bytes} bytes: its last line \"dump complete\" is missing"
            ))),
        }
    }

    /// A COPY statement whose names have line feeds goes on with the next line.
    fn statement_with(&mut self, line: Vec<u8>) -> Vec<u8> {
        let mut statement = std::mem::take(&mut self.statement);
        if statement.is_empty() || statement.len() + line.len() > MAX_LINE_BYTES {
            return line;
        }
        statement.push(b'\n');
        statement.extend(line);
        statement
    }

    fn push(&mut self, part: &[u8]) {
        if let Some(rows) = &mut self.rows {
            return rows.push(part);
        }
        let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) -> Result<()> {
        if let Some(mut rows) = self.rows.take() {
            if rows.is_at_marker() {
                self.tables.push(rows.done()?);
            } else {
                rows.end_row();
                self.rows = Some(rows);
            }
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        self.is_complete |= line == TRAILER || line == CLUSTER_TRAILER;
        self.is_cluster |= line == CLUSTER_TRAILER;
        let statement = self.statement_with(line);
        let text = std::str::from_utf8(&statement).ok();
        text.iter().for_each(|text| self.outline.add_line(text));
        let table = text.and_then(target_and_columns);
        self.rows = table.map(|(table, _)| CopiedRows::of(table.to_owned()));
        if self.rows.is_none() && is_open_copy(&statement) {
            self.statement = statement;
        }
        Ok(())
    }
}

impl CopiedRows {
    fn of(table: String) -> Self {
        Self { table, fold: RowFold::new(), head: Vec::new(), is_row: false }
    }

    fn push(&mut self, part: &[u8]) {
        if self.is_row {
            return self.fold.feed(part);
        }
        self.head.extend_from_slice(&part[..part.len().min(MARKER.len() + 1)]);
        if self.head.len() > MARKER.len() || part.len() > MARKER.len() {
            let seen = part.len().min(MARKER.len() + 1);
            self.fold.feed(&std::mem::take(&mut self.head));
            self.fold.feed(&part[seen..]);
            self.is_row = true;
        }
    }

    fn is_at_marker(&self) -> bool {
        !self.is_row && self.head == MARKER
    }

    fn end_row(&mut self) {
        self.fold.feed(&std::mem::take(&mut self.head));
        self.fold.feed(b"\n");
        self.is_row = false;
    }

    fn done(self) -> Result<TableFacts> {
        let facts = self.fold.finish()?;
        Ok(TableFacts { name: self.table, rows: facts.rows, digest: Some(facts.hex()) })
    }
}

/// Whether a COPY statement stands in the middle of a quoted name.
fn is_open_copy(statement: &[u8]) -> bool {
    statement.starts_with(b"COPY ") && statement.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUMP: &[u8] = b"--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\nCOPY public.\"odd name\" (a, b) FROM stdin;\n1\tone\n\n\\.x\n3\t\\N\n\\.\n\n\nCOPY public.empty  FROM stdin;\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n";

    fn read(pieces: &[&[u8]]) -> Result<Vec<TableFacts>> {
        let mut reader = PlainReader::default();
        pieces.iter().try_for_each(|piece| reader.feed(piece))?;
        reader.finish().map(|contents| contents.tables)
    }

    #[test]
    fn rows_are_counted_up_to_the_end_marker() {
        let tables = read(&[DUMP]).unwrap();
        let counts: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
        assert_eq!(counts, [("public.\"odd name\"", 4), ("public.empty", 0)]);
    }

    #[test]
    fn a_dump_cut_anywhere_before_its_last_comment_is_refused() {
        let end = DUMP.len() - b"\n--\n\n".len();
        for cut in 0..end {
            assert!(read(&[&DUMP[..cut]]).unwrap_err().is_corruption(), "cut at {cut}");
        }
    }

    #[test]
    fn names_with_line_feeds_are_names() {
        let dump = b"COPY \"odd\nname\" (\"a\n\nb\") FROM stdin;\n1\n\\.\nCOPY \"never\n-- PostgreSQL database dump complete\n";
        let tables = read(&[dump]).unwrap();
        assert_eq!((tables[0].name.as_str(), tables[0].rows), ("\"odd\nname\"", 1));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in prop::collection::vec(0..DUMP.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, DUMP.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &DUMP[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces).unwrap(), read(&[DUMP]).unwrap());
        }
    }
}
