//! The table of contents: one entry per object of the database, some of them with data.

use std::collections::HashMap;

use backup_core::Result;

use super::{
    bytes::{Buffer, Cursor, Stop, damaged_at, unsigned},
    header::{Format, Header, text},
    name,
};

/// When an entry is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Section {
    /// Belongs to what it depends on: comments, privileges.
    #[default]
    None,
    /// Before the data: tables, types, functions.
    PreData,
    /// Rows, large objects, sequence values.
    Data,
    /// After the data: indexes, constraints, triggers.
    PostData,
}

/// Where an entry says that its data is. A pipe cannot be gone back in, so pg_dump leaves positions unset there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offset {
    /// There is data, somewhere.
    #[default]
    NotSet,
    /// The data begins at this byte of the file.
    Set(u64),
    /// There is no data.
    NoData,
}

/// One entry of the table of contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The number that names it in this archive, from 1.
    pub dump_id: i32,
    /// Whether data belongs to it: rows or large objects.
    pub has_data: bool,
    /// The catalogue its object is in; 0 when it has none.
    pub table_oid: u32,
    /// Its object's identifier; 0 when it has none.
    pub oid: u32,
    /// The object's name, without schema.
    pub tag: String,
    /// What it is, as in `TABLE DATA`.
    pub desc: String,
    /// When it is restored.
    pub section: Section,
    /// The statements that create it.
    pub definition: String,
    /// The statement that drops it.
    pub drop: String,
    /// The COPY statement its data is for; empty for INSERT statements.
    pub copy: String,
    /// The schema, empty for objects that are in none.
    pub namespace: String,
    /// The tablespace, empty for the database's.
    pub tablespace: String,
    /// The table access method; empty before format 1.14.
    pub table_am: String,
    /// The kind of relation, as `pg_class.relkind`; `None` before format 1.16 and for what is no relation.
    pub relkind: Option<char>,
    /// The owner.
    pub owner: String,
    /// The entries that must be restored before it.
    pub dependencies: Vec<i32>,
    /// What the archive says of where its data is.
    pub offset: Offset,
    /// Where in the file that is said; `None` in formats that do not.
    pub offset_at: Option<u64>,
    /// Where its data was found.
    pub data_at: Option<u64>,
    /// The file beside `toc.dat` that holds its data; empty in the custom format, and without data.
    pub data_file: String,
}

impl Entry {
    /// Its name in SQL: with schema where it has one, quoted where SQL needs it.
    pub fn name(&self) -> String {
        name::qualified(&self.namespace, &self.tag)
    }

    /// Whether its data are rows of COPY text.
    pub fn is_copy(&self) -> bool {
        self.has_data && self.desc == "TABLE DATA" && !self.copy.is_empty()
    }

    /// How messages call it.
    pub(crate) fn label(&self) -> String {
        format!("\"{} {}\"", self.desc, self.name())
    }
}

/// Reads entries as their bytes come.
#[derive(Debug)]
pub(crate) struct TocReader {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
    /// Entries by dump id.
    pub(crate) index: HashMap<i32, usize>,
    /// How many entries there are; `None` until it is read.
    count: Option<usize>,
    /// The entry being read, which lacks dependencies or offset.
    open: Option<Entry>,
}

impl TocReader {
    pub(crate) fn new(header: Header) -> Self {
        Self { header, entries: Vec::new(), index: HashMap::new(), count: None, open: None }
    }

    /// Reads as far as bytes have come; true when the table of contents is complete.
    ///
    /// Source: `ReadToc` of pg_backup_archiver.c, PostgreSQL 9.0 to 18.
    pub(crate) fn read(&mut self, buffer: &mut Buffer) -> Result<bool> {
        loop {
            if self.count == Some(self.entries.len()) {
                return Ok(true);
            }
            let mut cursor = buffer.cursor(self.header.widths());
            match self.step(&mut cursor) {
                Ok(()) => {
                    let at = cursor.position();
                    buffer.use_up_to(at);
                }
                Err(Stop::More) => return Ok(false),
                Err(Stop::Refused(error)) => {
                    let after = self.entries.last().map(|entry| format!(", after {}", entry.label()));
                    let place = format!("could not read the table of contents{}", after.unwrap_or_default());
                    return Err(error.context(place));
                }
            }
        }
    }

    /// How far it came, for messages.
    pub(crate) fn progress(&self) -> String {
        let all = self.count.map_or("an unknown number".to_owned(), |count| count.to_string());
        format!("the table of contents has {} of {all} entries", self.entries.len())
    }

    /// Reads the next thing that is small enough to begin anew when its end has not come.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let at = cursor.position();
        if self.count.is_none() {
            let count = cursor.int()?;
            self.count =
                Some(usize::try_from(count).map_err(|_| damaged_at(at, format!("{count} entries")))?);
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            let entry = entry(cursor, &self.header)?;
            if self.index.insert(entry.dump_id, self.entries.len()).is_some() {
                return Err(damaged_at(at, format!("two entries have the number {}", entry.dump_id)).into());
            }
            self.open = Some(entry);
            return Ok(());
        };
        // The list of dependencies ends with a string that is none; what follows it is read with it.
        if let Some(dependency) = cursor.string()? {
            open.dependencies.push(parse(dependency, at, "a dependency")?);
            return Ok(());
        }
        place(open, cursor, &self.header)?;
        self.entries.extend(self.open.take());
        Ok(())
    }
}

/// An entry up to its dependencies.
fn entry(cursor: &mut Cursor<'_>, header: &Header) -> Result<Entry, Stop> {
    let at = cursor.position();
    let dump_id = cursor.int()?;
    if dump_id <= 0 {
        return Err(damaged_at(at, format!("an entry has the number {dump_id}")).into());
    }
    let has_data = cursor.flag()?;
    let oids = [cursor.string()?, cursor.string()?];
    let [tag, desc] = [cursor.string()?, cursor.string()?];
    let section = section(cursor)?;
    let [definition, drop, copy, namespace, tablespace] =
        [cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?, cursor.string()?];
    let table_am = if header.version.since(14) { cursor.string()? } else { None };
    let relkind = if header.version.since(16) { relkind(cursor)? } else { None };
    let owner = cursor.string()?;
    with_oids(cursor)?;
    // Copies are made only now that nothing can make it begin anew.
    let [table_oid, oid] = oids.map(|text| parse(text.unwrap_or(b"0"), at, "an object identifier"));
    Ok(Entry {
        dump_id,
        has_data,
        table_oid: table_oid?,
        oid: oid?,
        tag: text(tag),
        desc: text(desc),
        section,
        definition: text(definition),
        drop: text(drop),
        copy: text(copy),
        namespace: text(namespace),
        tablespace: text(tablespace),
        table_am: text(table_am),
        relkind,
        owner: text(owner),
        ..Entry::default()
    })
}

fn section(cursor: &mut Cursor<'_>) -> Result<Section, Stop> {
    let at = cursor.position();
    match cursor.int()? {
        1 => Ok(Section::None),
        2 => Ok(Section::PreData),
        3 => Ok(Section::Data),
        4 => Ok(Section::PostData),
        other => Err(damaged_at(at, format!("unknown section {other}")).into()),
    }
}

fn relkind(cursor: &mut Cursor<'_>) -> Result<Option<char>, Stop> {
    let at = cursor.position();
    let kind = cursor.int()?;
    match u8::try_from(kind) {
        Ok(0) => Ok(None),
        Ok(kind) if kind.is_ascii_graphic() => Ok(Some(char::from(kind))),
        _ => Err(damaged_at(at, format!("unknown kind of relation {kind}")).into()),
    }
}

/// Whether rows have hidden identifiers, which ended with PostgreSQL 12; the field stayed.
fn with_oids(cursor: &mut Cursor<'_>) -> Result<(), Stop> {
    let at = cursor.position();
    match cursor.string()? {
        Some(b"true" | b"false") => Ok(()),
        _ => Err(damaged_at(at, "neither \"true\" nor \"false\" stands where one belongs").into()),
    }
}

/// Where the entry's data is, which ends an entry.
///
/// Source: `_ReadExtraToc` of pg_backup_custom.c, pg_backup_tar.c and pg_backup_directory.c.
fn place(entry: &mut Entry, cursor: &mut Cursor<'_>, header: &Header) -> Result<(), Stop> {
    let at = cursor.position();
    if header.format != Format::Custom {
        entry.data_file = text(cursor.string()?);
        return Ok(());
    }
    let flag = cursor.byte()?;
    let position = unsigned(cursor.bytes(cursor.widths.offset)?).unwrap_or_default();
    let offset = match flag {
        1 => Offset::NotSet,
        2 => Offset::Set(position),
        3 => Offset::NoData,
        other => return Err(damaged_at(at, format!("unknown kind of position {other}")).into()),
    };
    if entry.has_data == (offset == Offset::NoData) {
        let why = format!("the entry {} disagrees with itself about having data", entry.label());
        return Err(damaged_at(at, why).into());
    }
    entry.offset = offset;
    entry.offset_at = Some(at);
    Ok(())
}

fn parse<N: std::str::FromStr>(digits: &[u8], at: u64, what: &str) -> Result<N, Stop> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| damaged_at(at, format!("{what} is no number")).into())
}
