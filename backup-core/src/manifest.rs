//! The JSON document that makes an artifact exist.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    content::Content,
    error::{Error, ErrorKind, Result},
    id::BackupId,
    seal::{SEAL, holds_as_written, seal_of},
};

/// The format this crate writes and the newest it reads.
pub const FORMAT: u64 = 1;

/// Manifests larger than this are not ours.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Nor are those with more entries: each may take a hundred bytes of memory for its two in the file. A table has four.
const MAX_ENTRIES: usize = 2_000_000;

/// Everything known of one artifact. Written once, last; an artifact without manifest does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The format's number.
    pub format: u64,
    /// The artifact's id; the manifest's name is `<id>.json`.
    pub id: BackupId,
    /// Where it was taken from.
    pub source: SourceFacts,
    /// What it holds.
    pub content: Content,
    /// Why it was taken.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When the run began.
    pub started_at: Timestamp,
    /// The instant whose state it holds.
    pub snapshot_at: Timestamp,
    /// When its payload was stored and proven.
    pub finished_at: Timestamp,
    /// The stored bytes.
    pub payload: Payload,
    /// What is in each table, read from the payload itself.
    #[serde(default)]
    pub tables: Vec<TableFacts>,
    /// All tables' rows together, where the engine can count.
    #[serde(default)]
    pub rows: Option<u64>,
    /// The highest row count of any good backup of this source so far.
    #[serde(default)]
    pub high_water_rows: Option<u64>,
    /// Why it may not be trusted; empty for a good backup.
    #[serde(default)]
    pub suspect: Vec<Suspicion>,
    /// The parent without which it cannot be restored.
    #[serde(default)]
    pub requires: Option<BackupId>,
    /// The WAL it needs, for physical backups.
    #[serde(default)]
    pub wal: Option<WalRange>,
    /// Versions of the programs that made it.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// The choices it was made with.
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
    /// Names of the objects beside the payload.
    #[serde(default)]
    pub companions: Vec<String>,
    /// A hash of the definitions of everything in it, where the engine has one.
    #[serde(default)]
    pub schema_fingerprint: Option<String>,
    /// What else the engine knows of the payload, e.g. page size and page count.
    #[serde(default)]
    pub facts: BTreeMap<String, Value>,
    /// Keys of later formats, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is known of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceFacts {
    /// The source's name.
    pub name: String,
    /// The engine that reads it: `sqlite`, `postgres`.
    pub engine: String,
    /// The database's name, or its absolute path.
    pub database: String,
    /// The host it was read on.
    pub host: Option<String>,
    /// The version of the server, or of the library that read the file.
    pub server_version: Option<String>,
    /// What tells this cluster or database from another under the same name.
    pub system_id: Option<String>,
}

impl SourceFacts {
    /// Facts with the three things every source has.
    pub fn new(name: impl Into<String>, engine: impl Into<String>, database: impl Into<String>) -> Self {
        Self { name: name.into(), engine: engine.into(), database: database.into(), ..Self::default() }
    }
}

/// One stored object and what it decodes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The object's name, in the manifest's own folder.
    pub name: String,
    /// Stored bytes.
    pub bytes: u64,
    /// BLAKE3 of the stored bytes, hex.
    pub blake3: String,
    /// Layers, innermost first; empty for plain bytes.
    pub encoding: Vec<String>,
    /// Decoded bytes.
    pub plain_bytes: u64,
    /// BLAKE3 of the decoded bytes, hex.
    pub plain_blake3: String,
}

/// What is in one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its name as an SQL identifier, quoted where SQL needs it.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// An order-free digest of its rows, 32 hex digits, where the engine makes one.
    #[serde(default)]
    pub digest: Option<String>,
}

impl TableFacts {
    /// So many rows, without a digest.
    pub fn new(name: impl Into<String>, rows: u64) -> Self {
        Self { name: name.into(), rows, digest: None }
    }
}

/// Why a backup may not be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The rule that was broken.
    pub rule: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

/// A range of WAL on one timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRange {
    /// The first LSN needed.
    pub start_lsn: String,
    /// The LSN at which the backup is consistent.
    pub stop_lsn: String,
    /// The timeline.
    pub timeline: u32,
}

impl Manifest {
    /// A manifest with the things every artifact has; the rest is empty.
    pub fn new(id: BackupId, source: SourceFacts, started_at: Timestamp, payload: Payload) -> Self {
        Self {
            format: FORMAT,
            content: id.content(),
            id,
            source,
            tags: Vec::new(),
            started_at,
            snapshot_at: started_at,
            finished_at: started_at,
            payload,
            tables: Vec::new(),
            rows: None,
            high_water_rows: None,
            suspect: Vec::new(),
            requires: None,
            wal: None,
            tools: BTreeMap::new(),
            options: BTreeMap::new(),
            companions: Vec::new(),
            schema_fingerprint: None,
            facts: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// Whether no guardrail was broken.
    pub fn is_good(&self) -> bool {
        self.suspect.is_empty()
    }

    /// Whether tables or schemas were left out, so that it alone does not bring its source back.
    pub fn is_partial(&self) -> bool {
        crate::capture::SELECTION_KEYS.iter().any(|key| self.options.contains_key(*key))
    }

    /// What it was limited to, as its options say it: the tables, schemas and rows that were chosen or left out, and
    /// what an adopted dump can be seen to lack. `None` for a whole one.
    pub fn limited_to(&self) -> Option<String> {
        let items = |key: &str| {
            let items = self.options.get(key)?.as_array()?.iter().filter_map(Value::as_str);
            Some(format!("{} {}", key.replace('_', " "), items.collect::<Vec<_>>().join(", ")))
        };
        let chosen: Vec<String> = crate::capture::SELECTION_KEYS.into_iter().filter_map(items).collect();
        self.is_partial().then(|| chosen.join("; "))
    }

    /// The document, sealed: its `seal` is the BLAKE3 of the same document without it, as compact JSON with sorted keys.
    ///
    /// # Errors
    /// `Failed` when it holds what JSON cannot say.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut document = self.document()?;
        let seal = seal_of(&document);
        document.insert(SEAL.to_owned(), Value::String(seal));
        let mut text = serde_json::to_vec_pretty(&document).map_err(unwritable)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a document of format 1. Memory stays within some hundred MiB, whatever the bytes are.
    ///
    /// # Errors
    /// `Unsupported` for a newer format; `Corrupt` when it is no manifest, its seal is broken, or a name in it leaves
    /// its folder. The message says what; the caller names the object.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        if memchr::memchr_iter(b',', bytes).count() > MAX_ENTRIES {
            return Err(Error::corrupt(format!(
                "it has more entries than {MAX_ENTRIES}, the most that make sense"
            )));
        }
        let manifest = match Self::as_written(bytes) {
            Some(manifest) => manifest,
            None => Self::in_any_order(bytes)?,
        };
        manifest.check_names()?;
        Ok(manifest)
    }

    /// Reads what [`Manifest::to_json`] wrote, several times as fast as a document whose keys have to be sorted.
    fn as_written(bytes: &[u8]) -> Option<Self> {
        if !holds_as_written(bytes) {
            return None;
        }
        let mut manifest: Self = serde_json::from_slice(bytes).ok()?;
        manifest.other.remove(SEAL);
        (manifest.format == FORMAT).then_some(manifest)
    }

    fn in_any_order(bytes: &[u8]) -> Result<Self> {
        let mut document: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt("it is not a JSON document").with_source(e))?;
        match document.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("it has format {newer}; this version reads up to {FORMAT}"),
                )
                .with_hint("A newer version of backup made it: upgrade this one."));
            }
            _ => return Err(Error::corrupt("it has no known format number")),
        }
        let seal = document.remove(SEAL);
        if seal.as_ref().and_then(Value::as_str) != Some(seal_of(&document).as_str()) {
            return Err(Error::corrupt("its seal is broken: it was edited or damaged after it was written"));
        }
        serde_json::from_value(Value::Object(document))
            .map_err(|e| Error::corrupt("it is not a manifest").with_source(e))
    }

    fn document(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self).map_err(unwritable)? {
            Value::Object(document) => Ok(document),
            _ => Err(Error::failed("a manifest is not a JSON object")),
        }
    }

    /// A payload or companion stands beside its manifest and is named after it, so that a manifest can never point
    /// at another artifact's bytes, another vault or a path outside the store.
    fn check_names(&self) -> Result<()> {
        let expected = self.object_stem();
        for name in std::iter::once(&self.payload.name).chain(&self.companions) {
            let suffix = name.strip_prefix(expected.as_str());
            let is_own = suffix.is_some_and(|suffix| {
                suffix.starts_with('.') && suffix.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
            });
            if !is_own {
                return Err(Error::corrupt(format!(
                    "it names the object \"{}\", which is not its own",
                    name.escape_debug()
                )));
            }
        }
        if self.content != self.id.content() {
            return Err(Error::corrupt("its content is not the one its id says"));
        }
        Ok(())
    }

    /// What the names of this artifact's objects begin with: the id, or `<source>-<content>` for rolling contents.
    pub fn object_stem(&self) -> String {
        object_stem(&self.id)
    }
}

/// What the names of an artifact's objects begin with.
pub(crate) fn object_stem(id: &BackupId) -> String {
    if id.content().is_rolling() { format!("{}-{}", id.source(), id.content()) } else { id.to_string() }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::failed("could not write a manifest as JSON").with_source(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::SourceName;

    fn manifest(rows: u64, tag: &str) -> Manifest {
        let started = Timestamp::from_second(1_700_000_000).unwrap();
        let id = BackupId::new(&SourceName::new("shop").unwrap(), Content::Full, started, 1);
        let payload = Payload {
            name: format!("{id}.db.zst"),
            bytes: 10,
            blake3: "00".into(),
            encoding: vec!["zstd".into()],
            plain_bytes: 20,
            plain_blake3: "11".into(),
        };
        let mut manifest =
            Manifest::new(id, SourceFacts::new("shop", "sqlite", "/srv/shop.db"), started, payload);
        manifest.tables.push(TableFacts { name: "customers".into(), rows, digest: None });
        manifest.rows = Some(rows);
        manifest.tags.push(tag.to_owned());
        manifest
    }

    proptest! {
        #[test]
        fn a_manifest_reads_back_as_it_was_written(rows in any::<u64>(), tag in ".*", other in any::<i32>()) {
            let mut written = manifest(rows, &tag);
            written.other.insert("later".into(), serde_json::json!({ "b": other, "a": [tag] }));
            let read = Manifest::from_json(&written.to_json().unwrap()).unwrap();
            prop_assert_eq!(&read, &written);
            prop_assert_eq!(read.to_json().unwrap(), written.to_json().unwrap());
        }

        #[test]
        fn a_flipped_byte_never_reads_as_a_manifest(position in any::<prop::sample::Index>(), bit in 0u8..8) {
            let whole = manifest(600, "hot");
            let mut bytes = whole.to_json().unwrap();
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            // White space between tokens is not part of the document.
            if let Ok(read) = Manifest::from_json(&bytes) {
                prop_assert_eq!(read, whole);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Manifest::from_json(&bytes).is_err());
        }
    }

    #[test]
    fn a_manifest_that_names_foreign_objects_is_refused() {
        for name in
            ["../../etc/x", "/etc/passwd", "other-full-20231114T221320Z.db.zst", "shop-full-20231114T221320Z"]
        {
            let mut bad = manifest(1, "x");
            bad.payload.name = name.to_owned();
            let error = Manifest::from_json(&bad.to_json().unwrap()).unwrap_err();
            assert!(error.to_string().contains("not its own"), "{error}");
        }
    }

    #[test]
    fn a_newer_format_asks_for_an_upgrade() {
        let mut newer = manifest(1, "x");
        newer.format = 2;
        let error = Manifest::from_json(&newer.to_json().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("upgrade"));
    }
}
