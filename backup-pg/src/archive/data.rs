//! The data behind the table of contents: blocks of rows and large objects.

use std::collections::HashMap;

use backup_core::{Error, Result};
use memchr::memchr;

use super::{
    LargeObjects, Sinks, TableData,
    bytes::{UNTRUSTED, cut_short, damaged, number},
    decoder::Decoder,
    header::{Header, InnerCompression},
    toc::{Entry, Offset, TocReader},
};
use crate::rows::RowFold;

/// The block types of pg_backup_archiver.h.
pub(super) const BLOCK_DATA: u8 = 1;
pub(super) const BLOCK_LARGE_OBJECTS: u8 = 3;

/// What the entries are called whose data are large objects.
const LARGE_OBJECTS: &str = "BLOBS";

/// The widest number with its sign.
const MAX_NUMBER: usize = 9;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The type of an entry's data, or the end of the archive.
    Type,
    /// The entry's dump id.
    Id { is_data: bool },
    /// A large object's identifier, or 0 after the last.
    LargeObject,
    /// The length of a chunk, or 0 after the last.
    Length,
    /// So many bytes of a chunk.
    Chunk(usize),
}

/// Reads data as its bytes come.
pub(crate) struct DataReader {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
    pub(crate) tables: Vec<TableData>,
    pub(crate) large_objects: LargeObjects,
    index: HashMap<i32, usize>,
    next: Next,
    number: PartialNumber,
    decoder: Decoder,
    content: Content,
    sinks: Sinks,
    /// Where the last piece ends in the archive.
    end: u64,
    /// Where the block of the current entry begins.
    block_at: u64,
}

/// What is done with the current entry's plain bytes.
#[derive(Default)]
struct Content {
    entry: usize,
    is_large_object: bool,
    bytes: u64,
    fold: Option<RowFold>,
    lines: Option<Lines>,
    /// It goes to the sink of all data.
    is_sunk: bool,
}

/// A number whose last byte has not come.
#[derive(Default)]
struct PartialNumber {
    bytes: [u8; MAX_NUMBER],
    length: usize,
}

impl DataReader {
    pub(crate) fn new(toc: TocReader, sinks: Sinks, start: u64) -> Result<Self> {
        Ok(Self {
            decoder: Decoder::new(toc.header.compression)?,
            header: toc.header,
            entries: toc.entries,
            tables: Vec::new(),
            large_objects: LargeObjects::default(),
            index: toc.index,
            next: Next::Type,
            number: PartialNumber::default(),
            content: Content::default(),
            sinks,
            end: start,
            block_at: start,
        })
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        let mut rest = bytes;
        let result = self.read(&mut rest);
        let position = self.end - rest.len() as u64;
        result.map_err(|stop| match stop {
            Stop::Damaged(why) => damaged(self.place(position), why),
            Stop::Failed(error) if error.is_corruption() => error
                .context(format!("the archive is damaged at {}", self.place(position)))
                .with_hint(UNTRUSTED),
            Stop::Failed(error) => error,
        })
    }

    /// Every entry that has data has it, and nothing is half read.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.next != Next::Type {
            return Err(cut_short(self.end, format!("the data of {} has no end", self.label())));
        }
        let mut missing = self.entries.iter().filter(|entry| entry.has_data && entry.data_at.is_none());
        let Some(first) = missing.next() else { return Ok(()) };
        let why = match missing.count() {
            0 => format!("the data of {} is missing", first.label()),
            more => format!("the data of {} and {more} other entries is missing", first.label()),
        };
        Err(cut_short(self.end, why))
    }

    fn read(&mut self, rest: &mut &[u8]) -> Result<(), Stop> {
        while !rest.is_empty() {
            match self.next {
                Next::Chunk(left) => self.chunk(rest, left)?,
                Next::Length => match self.number.read(rest, self.header.int_size)? {
                    None => return Ok(()),
                    Some(0) => self.end_stream()?,
                    Some(length) => {
                        let length = usize::try_from(length).map_err(|_| "a negative length")?;
                        self.next = Next::Chunk(length);
                    }
                },
                Next::Type => self.block_type(rest)?,
                Next::Id { is_data } => match self.number.read(rest, self.header.int_size)? {
                    None => return Ok(()),
                    Some(id) => self.begin_entry(id, is_data)?,
                },
                Next::LargeObject => match self.number.read(rest, self.header.int_size)? {
                    None => return Ok(()),
                    Some(0) => self.next = Next::Type,
                    Some(_) => {
                        self.large_objects.count += 1;
                        self.next = Next::Length;
                    }
                },
            }
        }
        Ok(())
    }

    #[inline]
    fn chunk(&mut self, rest: &mut &[u8], left: usize) -> Result<(), Stop> {
        let (now, later) = rest.split_at(left.min(rest.len()));
        *rest = later;
        self.next = if now.len() == left { Next::Length } else { Next::Chunk(left - now.len()) };
        let Self { decoder, content, entries, sinks, .. } = self;
        if let (Decoder::None, Content { fold: Some(fold), lines: None, bytes, .. }) =
            (&*decoder, &mut *content)
        {
            // The path of nearly all bytes: pg_dump before 17 makes each row a chunk of its own.
            *bytes += now.len() as u64;
            if !fold.feed_row(now) {
                fold.feed(now);
            }
            return Ok(());
        }
        Ok(decoder.push(now, &mut |plain| content.take(plain, entries, sinks))?)
    }

    fn block_type(&mut self, rest: &mut &[u8]) -> Result<(), Stop> {
        let Some((kind, later)) = rest.split_first() else { return Ok(()) };
        self.block_at = self.end - rest.len() as u64;
        let is_data = match *kind {
            BLOCK_DATA => true,
            BLOCK_LARGE_OBJECTS => false,
            other => return Err(Stop::Damaged(format!("{other} is no type of data, or follows the end"))),
        };
        *rest = later;
        self.next = Next::Id { is_data };
        Ok(())
    }

    fn begin_entry(&mut self, id: i32, is_data: bool) -> Result<(), Stop> {
        let found = self.index.get(&id).copied();
        let entry = found.and_then(|found| Some((found, self.entries.get_mut(found)?)));
        let (found, entry) = entry.ok_or_else(|| format!("data for the unknown entry {id}"))?;
        self.content = Content { entry: found, is_large_object: !is_data, ..Content::default() };
        let surprise = match entry.offset {
            _ if !entry.has_data => "which has none",
            _ if entry.data_at.is_some() => "which has it already",
            _ if is_data == (entry.desc == LARGE_OBJECTS) => "of another type",
            Offset::Set(at) if at != self.block_at => "which is expected elsewhere",
            _ => "",
        };
        if !surprise.is_empty() {
            return Err(format!("data of {}, {surprise}", entry.label()).into());
        }
        entry.data_at = Some(self.block_at);
        if is_data && entry.is_copy() {
            // Who loads rows has them compared afterwards, as the server gives them back.
            self.content.fold = self.sinks.data.is_none().then(RowFold::with_end_marker);
            let wanted = self.sinks.rows.as_mut().is_some_and(|rows| rows.wants(entry));
            self.content.lines = wanted.then(Lines::default);
            if let Some(data) = &mut self.sinks.data {
                data.begin(entry)?;
                self.content.is_sunk = true;
            }
        }
        self.next = if is_data { Next::Length } else { Next::LargeObject };
        Ok(())
    }

    /// After the last chunk of a table or large object.
    fn end_stream(&mut self) -> Result<(), Stop> {
        self.decoder.end()?;
        if self.content.is_large_object {
            self.large_objects.bytes += std::mem::take(&mut self.content.bytes);
            self.next = Next::LargeObject;
            return Ok(());
        }
        if let (true, Some(data)) = (self.content.is_sunk, &mut self.sinks.data) {
            data.end()?;
        }
        let fold = self.content.fold.take();
        if let Some(entry) = self.entries.get(self.content.entry).filter(|entry| entry.desc == "TABLE DATA") {
            let facts = fold.map(RowFold::finish).transpose()?;
            let (dump_id, name) = (entry.dump_id, entry.name());
            self.tables.push(TableData { dump_id, name, facts, bytes: self.content.bytes });
        }
        self.next = Next::Type;
        Ok(())
    }

    /// The current entry in messages.
    fn label(&self) -> String {
        self.entries.get(self.content.entry).map_or_else(String::new, Entry::label)
    }

    /// Where it stands, for messages.
    fn place(&self, position: u64) -> String {
        match self.next {
            Next::Type | Next::Id { .. } => format!("byte {position}"),
            Next::LargeObject | Next::Length | Next::Chunk(_) => {
                format!("byte {position}, in the data of {}", self.label())
            }
        }
    }
}

impl Content {
    fn take(&mut self, plain: &[u8], entries: &[Entry], sinks: &mut Sinks) -> Result<()> {
        self.bytes += plain.len() as u64;
        if let Some(fold) = &mut self.fold {
            fold.feed(plain);
        }
        if let (true, Some(data)) = (self.is_sunk, &mut sinks.data) {
            data.data(plain)?;
        }
        if let (Some(lines), Some(rows), Some(entry)) =
            (&mut self.lines, &mut sinks.rows, entries.get(self.entry))
        {
            lines.split(plain, &mut |row| rows.row(entry, row))?;
        }
        Ok(())
    }
}

/// Why the current entry cannot be read on.
enum Stop {
    Damaged(String),
    Failed(Error),
}

impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Self::Damaged(why.to_owned())
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Damaged(why)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl PartialNumber {
    /// The number at the beginning of `rest`, which it leaves; `None` while its last byte has not come.
    #[inline]
    fn read(&mut self, rest: &mut &[u8], int_size: u8) -> Result<Option<i32>, &'static str> {
        let width = usize::from(int_size) + 1;
        if self.length == 0
            && let Some((whole, later)) = rest.split_at_checked(width)
        {
            *rest = later;
            return number(whole).map(Some);
        }
        self.join(rest, width)
    }

    #[cold]
    fn join(&mut self, rest: &mut &[u8], width: usize) -> Result<Option<i32>, &'static str> {
        let missing = width.saturating_sub(self.length).min(rest.len());
        let (now, later) = rest.split_at(missing);
        *rest = later;
        if let Some(place) = self.bytes.get_mut(self.length..self.length + missing) {
            place.copy_from_slice(now);
        }
        self.length += missing;
        if self.length < width {
            return Ok(None);
        }
        self.length = 0;
        number(self.bytes.get(..width).unwrap_or_default()).map(Some)
    }
}

/// Puts rows together for a sink: this path alone holds a row.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
    is_ended: bool,
}

impl Lines {
    fn split(&mut self, mut bytes: &[u8], row: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let Some(end) = memchr(b'\n', bytes).filter(|_| !self.is_ended) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.open.is_empty() {
                self.line(line, row)?;
            } else {
                self.open.extend_from_slice(line);
                let mut whole = std::mem::take(&mut self.open);
                self.line(&whole, row)?;
                whole.clear();
                self.open = whole;
            }
        }
        if !self.is_ended {
            self.open.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], row: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if line == br"\." {
            self.is_ended = true;
            return Ok(());
        }
        row(line)
    }
}

impl std::fmt::Debug for DataReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_compressed = self.header.compression != InnerCompression::None;
        f.debug_struct("DataReader")
            .field("next", &self.next)
            .field("end", &self.end)
            .field("is_compressed", &is_compressed)
            .finish_non_exhaustive()
    }
}
