//! What of a source is captured, and in which form: the choices of engines that dump.

use std::{fmt, num::NonZeroUsize, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    engine::EngineCapabilities,
    error::{Error, ErrorKind, Result},
    manifest::Manifest,
    pipeline::InsideCompression,
};

/// Under this key stands what an adopted dump can be seen to lack.
pub(crate) const LEFT_OUT: &str = "left_out";

/// The keys under which a manifest's `options` keep what was left out of a backup; the first four are those of
/// [`CaptureOptions`].
pub(crate) const SELECTION_KEYS: [&str; 5] =
    ["tables", "exclude_tables", "exclude_table_data", "schemas", LEFT_OUT];

/// The form of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DumpFormat {
    /// An archive that `pg_restore` reads, whole or in parts.
    Custom,
    /// SQL text that `psql` reads.
    Plain,
    /// A folder with one file per table, dumped by several sessions at once and stored as one tar.
    Directory,
}

impl DumpFormat {
    /// The form's name in flags and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Plain => "plain",
            Self::Directory => "directory",
        }
    }
}

impl fmt::Display for DumpFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DumpFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Custom, Self::Plain, Self::Directory]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| {
                Error::invalid(format!("\"{}\" is not a format", text.escape_debug()))
                    .with_hint("Formats are custom, plain and directory.")
            })
    }
}

/// What of a source is captured, and in which form. The default is everything, in the engine's own form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureOptions {
    /// Only tables that match these patterns (`psql`'s patterns); empty is all.
    pub tables: Vec<String>,
    /// No tables that match these patterns.
    pub exclude_tables: Vec<String>,
    /// Tables whose definition is kept and whose rows are left out.
    pub exclude_table_data: Vec<String>,
    /// Only schemas that match these patterns; empty is all.
    pub schemas: Vec<String>,
    /// The form; `None` is the engine's own.
    pub format: Option<DumpFormat>,
    /// Sessions that dump at once, for [`DumpFormat::Directory`].
    pub jobs: Option<NonZeroUsize>,
    /// Whether the tables are also counted on the server, in the same snapshot, and must agree.
    pub cross_check: bool,
    /// Whether owners and privileges are left out (they can also be left out at restore).
    pub no_owner: bool,
    /// Whether what belongs to the whole server, its roles with the hashes of their passwords, is not stored beside.
    pub no_roles: bool,
    /// Compression that the dumping program does itself, inside of its own format.
    pub inside: Option<InsideCompression>,
    /// How long a lock on a table is waited for; `None` is the engine's own limit.
    pub lock_wait: Option<Duration>,
    /// How long the source may give no byte before the capture is given up; `None` is the engine's own limit.
    pub stall: Option<Duration>,
}

impl CaptureOptions {
    /// Whether something was left out, so that the artifact alone does not bring the source back.
    pub fn is_partial(&self) -> bool {
        let patterns = [&self.tables, &self.exclude_tables, &self.exclude_table_data, &self.schemas];
        patterns.into_iter().any(|patterns| !patterns.is_empty())
    }

    /// The tables, schemas and rows it is limited to.
    pub fn selection(&self) -> Selection {
        let mut chosen = self.describe();
        chosen.retain(|key, _| SELECTION_KEYS.contains(&key.as_str()));
        Selection(Arc::new(chosen))
    }

    /// Refuses what an engine cannot do, by the name of its flag.
    pub(crate) fn require(&self, can: &EngineCapabilities, engine: &dyn fmt::Display) -> Result<()> {
        let asked = [
            (self.is_partial() && !can.selective_capture, "a selection of tables or schemas"),
            (self.format.is_some_and(|format| !can.formats.contains(&format)), "--format"),
            (self.cross_check && !can.cross_check, "--cross-check"),
            (self.no_owner && !can.selective_capture, "--no-owner"),
            (self.no_roles && !can.selective_capture, "--no-roles"),
            (self.inside.is_some() && can.formats.is_empty(), "a compression inside the dump"),
        ];
        match asked.into_iter().find(|(refused, _)| *refused) {
            Some((_, what)) => {
                Err(Error::new(ErrorKind::Unsupported, format!("{engine} cannot be backed up with {what}"))
                    .with_hint("Leave it out: only PostgreSQL databases know it."))
            }
            None => Ok(()),
        }
    }

    /// The choices that differ from the default, as the manifest's `options` keep them.
    pub(crate) fn describe(&self) -> Map<String, Value> {
        let mut chosen = Map::new();
        let patterns = [&self.tables, &self.exclude_tables, &self.exclude_table_data, &self.schemas];
        for (key, patterns) in SELECTION_KEYS.into_iter().zip(patterns) {
            if !patterns.is_empty() {
                chosen.insert(key.to_owned(), patterns.clone().into());
            }
        }
        if let Some(format) = self.format {
            chosen.insert("format".to_owned(), format.name().into());
        }
        let flags =
            [("cross_check", self.cross_check), ("no_owner", self.no_owner), ("no_roles", self.no_roles)];
        for (key, is_set) in flags {
            if is_set {
                chosen.insert(key.to_owned(), true.into());
            }
        }
        chosen
    }
}

/// The tables, schemas and rows that backups are limited to; the default is to nothing. Made by
/// [`CaptureOptions::selection`]; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Arc<Map<String, Value>>);

impl Selection {
    /// Whether an artifact is limited to exactly this.
    pub fn is_of(&self, manifest: &Manifest) -> bool {
        SELECTION_KEYS.iter().all(|key| manifest.options.get(*key) == self.0.get(*key))
    }
}
