//! Reads archives of pg_dump's custom format (`pg_dump -Fc`) as they pass by, and tables of contents of the others.
//!
//! # Layout
//! A header, a table of contents with its count of entries, then a block of data for each entry that has some, in any
//! order: a type, the entry's number, and chunks with their length, of which the last has length 0. Large objects
//! come as several such runs of chunks within one block. Source: `src/bin/pg_dump/pg_backup_archiver.c` and
//! `pg_backup_custom.c` of PostgreSQL 9.0 to 18, formats 1.12 to 1.16.
//!
//! # What shows that an archive is whole
//! The format has no end mark, no length and no checksum. An archive that was cut is found nevertheless, wherever it
//! was cut: the table of contents comes first and says how many entries there are and which of them have data, so a
//! block that is missing is missed, and a block that is cut lacks its final length of 0. Within a table, pg_dump's
//! line `\.` must stand after the last row.
//!
//! What the format does not show: bytes that were changed in data without compression, LZ4 or Zstandard (pg_dump asks
//! for no checksums), and chunks, rows or large objects that are missing from the middle. These need the digests of
//! [`crate::rows`], compared with the server's.

mod bytes;
mod data;
mod decoder;
mod header;
mod list;
mod name;
mod offsets;
mod spliced;
#[cfg(test)]
mod tests;
mod toc;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    io::Read,
};

use backup_core::{Error, ErrorKind, Result};

use self::{
    bytes::{Buffer, Stop, Widths, cut_short, damaged_at},
    data::DataReader,
    toc::TocReader,
};
pub use self::{
    header::{Format, Header, InnerCompression, MAGIC, Version},
    list::list,
    name::{identifier, qualified},
    offsets::fill_offsets,
    toc::{Entry, Offset, Section},
};
use crate::rows::RowFacts;
pub(crate) use spliced::spliced;

/// How much is put into the buffer at once while the table of contents is read.
const BUFFERED_BYTES: usize = 64 << 10;

/// An archive that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// What it says about itself.
    pub header: Header,
    /// The table of contents, in its order.
    pub entries: Vec<Entry>,
    /// The tables that have data, in the order of their data; none when only a table of contents was read.
    pub tables: Vec<TableData>,
    /// The large objects.
    pub large_objects: LargeObjects,
}

impl Archive {
    /// The encoding that its text and rows are in, where it says.
    pub(crate) fn encoding(&self) -> Option<&str> {
        let stated = self.entries.iter().find(|entry| entry.desc == "ENCODING")?;
        stated.definition.split('\'').nth(1)
    }

    /// Whether its text is UTF-8: in other encodings what was read of names and definitions is not exact.
    pub(crate) fn is_utf8(&self) -> bool {
        self.encoding() == Some("UTF8")
    }

    /// The bytes of each table's data, by the number of the table's entry.
    pub(crate) fn sizes_of_tables(&self) -> HashMap<i32, u64> {
        let is_table = |entry: &&Entry| entry.desc == "TABLE";
        let tables: HashSet<i32> = self.entries.iter().filter(is_table).map(|entry| entry.dump_id).collect();
        let bytes: HashMap<i32, u64> = self.tables.iter().map(|table| (table.dump_id, table.bytes)).collect();
        let of = |entry: &Entry| {
            let table = entry.dependencies.iter().find(|id| tables.contains(id))?;
            Some((*table, *bytes.get(&entry.dump_id)?))
        };
        self.entries.iter().filter_map(of).collect()
    }
}

/// The data of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableData {
    /// The number of its entry.
    pub dump_id: i32,
    /// Its name in SQL, with schema, as in `public.prices_daily` or `"Odd Schema"."odd ""table"""`.
    pub name: String,
    /// Rows and digest; `None` for INSERT statements, and where a [`DataSink`] took the rows.
    pub facts: Option<RowFacts>,
    /// Bytes before compression, with the end marker.
    pub bytes: u64,
}

/// How many large objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeObjects {
    /// Large objects.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes the rows of chosen tables while an archive passes by.
pub trait RowSink: Send {
    /// Whether the rows of `entry`, which are COPY text, are wanted. Asked once, before its first row.
    fn wants(&mut self, entry: &Entry) -> bool;

    /// Takes a row without its line feed.
    ///
    /// # Errors
    /// Whatever the sink returns ends the reading and is returned by [`ArchiveReader::feed`].
    fn row(&mut self, entry: &Entry, row: &[u8]) -> Result<()>;
}

/// Takes the data of all tables while an archive passes by, to load them elsewhere.
pub trait DataSink: Send {
    /// The rows of `entry` come next: COPY text, with the line that ends it.
    ///
    /// # Errors
    /// Whatever the sink returns, here and below, ends the reading and is returned by [`ArchiveReader::feed`].
    fn begin(&mut self, entry: &Entry) -> Result<()>;

    /// The next bytes, which may be cut anywhere.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;

    /// The rows are complete.
    fn end(&mut self) -> Result<()>;
}

/// Reads a custom-format archive as it passes by.
///
/// Memory is the table of contents and 128 KiB or so, besides what decompression needs; only for a [`RowSink`] is a
/// row held.
pub struct ArchiveReader {
    stage: Stage,
    buffer: Buffer,
    sinks: Sinks,
}

/// Who else is given what passes by.
#[derive(Default)]
pub(crate) struct Sinks {
    pub(crate) rows: Option<Box<dyn RowSink>>,
    pub(crate) data: Option<Box<dyn DataSink>>,
}

/// How far the reader is.
enum Stage {
    Header,
    Contents(Box<TocReader>),
    Data(Box<DataReader>),
    /// An error was returned.
    Stopped,
}

impl Default for ArchiveReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ArchiveReader {
    /// A reader that stands before the first byte.
    pub fn new() -> Self {
        Self { stage: Stage::Header, buffer: Buffer::default(), sinks: Sinks::default() }
    }

    /// A reader that also hands out rows.
    pub fn with_rows(rows: Box<dyn RowSink>) -> Self {
        Self { sinks: Sinks { rows: Some(rows), data: None }, ..Self::new() }
    }

    /// A reader that hands out the data of all tables, and does not count it.
    pub fn with_data(data: Box<dyn DataSink>) -> Self {
        Self { sinks: Sinks { rows: None, data: Some(data) }, ..Self::new() }
    }

    /// Takes the next bytes, which may be cut anywhere.
    ///
    /// # Errors
    /// `Corrupt`, with the entry and the position, when the bytes are not an archive; `Unsupported` for formats that
    /// are newer, older or not in one file; and the errors of the sinks. The reader is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self.take(bytes);
        if result.is_err() {
            self.stage = Stage::Stopped;
        }
        result
    }

    /// The archive, after its last byte.
    ///
    /// # Errors
    /// `Corrupt` when the archive is cut short, and when an error came before.
    pub fn finish(self) -> Result<Archive> {
        match self.stage {
            Stage::Header => Err(cut_short(self.buffer.end(), "the header has no end")),
            Stage::Contents(toc) => Err(cut_short(self.buffer.end(), toc.progress())),
            Stage::Data(data) => {
                data.finish()?;
                let DataReader { header, entries, tables, large_objects, .. } = *data;
                Ok(Archive { header, entries, tables, large_objects })
            }
            Stage::Stopped => Err(Error::corrupt("the archive could not be read to its end")),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Stage::Data(data) = &mut self.stage {
                return data.feed(rest);
            }
            let (now, later) = rest.split_at(rest.len().min(BUFFERED_BYTES));
            rest = later;
            self.buffer.push(now);
            self.read_buffered()?;
        }
        Ok(())
    }

    /// Reads header and table of contents as far as they have come, and goes on to the data.
    fn read_buffered(&mut self) -> Result<()> {
        if let Stage::Header = &self.stage {
            let Some(header) = read_header(&mut self.buffer)? else { return Ok(()) };
            if header.format != Format::Custom {
                let message =
                    "the archive is a table of contents without its data, not a custom-format archive";
                return Err(Error::new(ErrorKind::Unsupported, message)
                    .with_hint("Use the output of pg_dump --format=custom."));
            }
            self.stage = Stage::Contents(Box::new(TocReader::new(header)));
        }
        let is_complete = match &mut self.stage {
            Stage::Contents(toc) => toc.read(&mut self.buffer)?,
            Stage::Header | Stage::Data(_) => false,
            Stage::Stopped => return Err(Error::corrupt("the archive could not be read to its end")),
        };
        if !is_complete {
            return Ok(());
        }
        if let Stage::Contents(toc) = std::mem::replace(&mut self.stage, Stage::Stopped) {
            let buffer = std::mem::take(&mut self.buffer);
            let mut data = DataReader::new(*toc, std::mem::take(&mut self.sinks), buffer.position())?;
            data.feed(&buffer.into_rest())?;
            self.stage = Stage::Data(Box::new(data));
        }
        Ok(())
    }
}

impl fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Header => f.write_str("ArchiveReader(header)"),
            Stage::Contents(toc) => write!(f, "ArchiveReader({})", toc.progress()),
            Stage::Data(data) => f.debug_tuple("ArchiveReader").field(data).finish(),
            Stage::Stopped => f.write_str("ArchiveReader(stopped)"),
        }
    }
}

/// Reads a table of contents alone: `toc.dat` of the directory and tar formats, or the beginning of a custom-format
/// archive, whose data is not read.
///
/// # Errors
/// `Corrupt` when it is not one, is cut short, or is followed by bytes in a format where its file ends with it;
/// `Unsupported` for formats that are newer or older; the errors of `input`.
pub fn read_toc(mut input: impl Read) -> Result<Archive> {
    let (TocReader { header, entries, .. }, end, buffered) = read_head(&mut input)?;
    let is_followed = end < buffered || read_piece(&mut input, &mut [0])? > 0;
    if header.format != Format::Custom && is_followed {
        return Err(damaged_at(end, "bytes follow the table of contents"));
    }
    Ok(Archive { header, entries, ..Archive::default() })
}

/// Reads an archive up to its data: the table of contents, where it ends, and how much was read.
fn read_head(input: &mut impl Read) -> Result<(TocReader, u64, u64)> {
    let mut buffer = Buffer::default();
    let mut toc: Option<TocReader> = None;
    let mut piece = vec![0; BUFFERED_BYTES];
    loop {
        if toc.is_none() {
            toc = read_header(&mut buffer)?.map(TocReader::new);
        }
        let is_complete = match &mut toc {
            Some(toc) => toc.read(&mut buffer)?,
            None => false,
        };
        if let Some(toc) = toc.take_if(|_| is_complete) {
            return Ok((toc, buffer.position(), buffer.end()));
        }
        let count = read_piece(input, &mut piece)?;
        if count == 0 {
            let why = toc.map_or_else(|| "the header has no end".to_owned(), |toc| toc.progress());
            return Err(cut_short(buffer.end(), why));
        }
        buffer.push(piece.get(..count).unwrap_or_default());
    }
}

fn read_piece(input: &mut impl Read, piece: &mut [u8]) -> Result<usize> {
    loop {
        match input.read(piece) {
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            read => {
                return read.map_err(|cause| Error::from_io("could not read the table of contents", cause));
            }
        }
    }
}

fn read_header(buffer: &mut Buffer) -> Result<Option<Header>> {
    let mut cursor = buffer.cursor(Widths::default());
    match Header::read(&mut cursor) {
        Ok(header) => {
            let at = cursor.position();
            buffer.use_up_to(at);
            Ok(Some(header))
        }
        Err(Stop::More) => Ok(None),
        Err(Stop::Refused(error)) => Err(error),
    }
}
