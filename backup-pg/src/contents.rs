//! What a dump holds, read from its bytes.

use std::collections::BTreeMap;

use backup_core::{
    Error, Result,
    capture::DumpFormat,
    content::Content,
    engine::Captured,
    manifest::{Manifest, TableFacts},
};
use serde_json::json;

use crate::{
    archive::{Archive, ArchiveReader},
    directory::TarReader,
    left_out,
    plain::PlainReader,
    rows::RowFacts,
};

/// What a dump holds.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Tables with rows in it.
    pub(crate) tables: Vec<TableFacts>,
    /// Whether rows could be counted: there are none to count in definitions, nor in INSERT statements.
    pub(crate) counted: bool,
    /// Its table of contents, where it has one.
    pub(crate) archive: Option<Archive>,
    /// What it can be seen to lack.
    pub(crate) left_out: Vec<&'static str>,
}

/// Reads a dump as it passes by.
pub(crate) enum ContentsReader {
    Custom(Box<ArchiveReader>),
    Directory(Box<TarReader>),
    Plain { reader: Box<PlainReader>, has_rows: bool },
}

impl ContentsReader {
    pub(crate) fn new(format: DumpFormat, content: Content) -> Self {
        match format {
            DumpFormat::Plain => Self::Plain { reader: Box::default(), has_rows: content != Content::Schema },
            DumpFormat::Directory => Self::Directory(Box::default()),
            _ => Self::Custom(Box::default()),
        }
    }

    /// The next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Custom(reader) => reader.feed(bytes),
            Self::Directory(reader) => reader.feed(bytes),
            Self::Plain { reader, .. } => reader.feed(bytes),
        }
    }

    /// What was in it.
    ///
    /// # Errors
    /// `Corrupt` when it is cut short.
    pub(crate) fn finish(self) -> Result<Contents> {
        let contents = match self {
            Self::Custom(reader) => Contents::of_archive(reader.finish()?),
            Self::Directory(reader) => reader.finish()?,
            Self::Plain { reader, has_rows } => {
                let plain = reader.finish()?;
                let counted = has_rows && plain.counted;
                Contents { tables: plain.tables, counted, archive: None, left_out: plain.left_out }
            }
        };
        Ok(Contents { tables: by_name(&contents.tables).into_values().collect(), ..contents })
    }
}

impl Contents {
    /// What an archive holds.
    pub(crate) fn of_archive(archive: Archive) -> Self {
        let facts = |table: &crate::archive::TableData| {
            let facts = table.facts.as_ref()?;
            Some(TableFacts { name: table.name.clone(), rows: facts.rows, digest: Some(facts.hex()) })
        };
        let tables: Option<Vec<TableFacts>> = archive.tables.iter().map(facts).collect();
        let left_out = left_out::of_archive(&archive);
        let counted = tables.is_some();
        Self { counted, tables: tables.unwrap_or_default(), archive: Some(archive), left_out }
    }

    /// Adds itself to what a capture knows.
    pub(crate) fn describe(self, captured: &mut Captured) {
        captured.tables = self.tables;
        captured.counted = self.counted;
        captured.left_out = self.left_out.into_iter().map(str::to_owned).collect();
        if let Some(archive) = &self.archive {
            captured.schema_fingerprint = Some(fingerprint(archive));
            captured.facts.insert(
                "archive_version".to_owned(),
                json!(format!("{}.{}", archive.header.version.major, archive.header.version.minor)),
            );
        }
    }

    /// What differs from what a manifest says, as table and words.
    pub(crate) fn differences(&self, expected: &[TableFacts]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for table in expected {
            match self.tables.iter().find(|own| own.name == table.name) {
                None => found.push((table.name.clone(), "has no rows in the dump".to_owned())),
                Some(own) if own.rows != table.rows => {
                    found.push((
                        table.name.clone(),
                        format!("has {} rows, the manifest says {}", own.rows, table.rows),
                    ));
                }
                Some(own) if table.digest.is_some() && own.digest != table.digest => {
                    found.push((table.name.clone(), "has other rows than the manifest says".to_owned()));
                }
                Some(_) => {}
            }
        }
        found
    }
}

/// One entry per table: rows of several partitions may be dumped as rows of their root.
pub(crate) fn by_name(tables: &[TableFacts]) -> BTreeMap<String, TableFacts> {
    let mut named: BTreeMap<String, TableFacts> = BTreeMap::new();
    for table in tables {
        let sum = named.get(&table.name).map_or_else(|| table.clone(), |other| joined(other, table));
        named.insert(table.name.clone(), sum);
    }
    named
}

/// The facts of two sets of rows of one table.
pub(crate) fn joined(one: &TableFacts, other: &TableFacts) -> TableFacts {
    let digest = |facts: &TableFacts| u128::from_str_radix(facts.digest.as_deref()?, 16).ok();
    let sum = digest(one).zip(digest(other));
    let digest = sum.map(|(one, other)| RowFacts { rows: 0, digest: one.wrapping_add(other) }.hex());
    TableFacts { name: one.name.clone(), rows: one.rows + other.rows, digest }
}

/// A hash of all definitions, whatever their order or numbers.
fn fingerprint(archive: &Archive) -> String {
    let mut defined: Vec<[&str; 4]> = archive
        .entries
        .iter()
        .filter(|entry| !entry.has_data && entry.desc != "SEQUENCE SET")
        .map(|entry| [entry.desc.as_str(), &entry.namespace, &entry.tag, &entry.definition])
        .collect();
    defined.sort_unstable();
    let mut hash = blake3::Hasher::new();
    for text in defined.into_iter().flatten() {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// What an artifact's dump format is: plain for rolling contents, else by its manifest's word, else custom.
pub(crate) fn format_in(manifest: &Manifest) -> Result<DumpFormat> {
    if manifest.content.is_rolling() {
        return Ok(DumpFormat::Plain);
    }
    match manifest.facts.get("format").and_then(|value| value.as_str()) {
        None => Ok(DumpFormat::Custom),
        Some(text) => text
            .parse()
            .map_err(|_| Error::corrupt(format!("its manifest names the unknown form \"{text}\""))),
    }
}
