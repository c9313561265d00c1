//! What an artifact holds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What an artifact holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Content {
    /// Schema and data: restorable alone.
    Full,
    /// Definitions only, as SQL text; one rolling artifact per source.
    Schema,
    /// Rows only, as SQL text; one rolling artifact per source.
    Data,
    /// A physical base backup of a whole server.
    Base,
    /// What changed since a parent (`requires`).
    Incremental,
}

impl Content {
    /// Every content.
    pub const ALL: [Content; 5] =
        [Content::Full, Content::Schema, Content::Data, Content::Base, Content::Incremental];

    /// The content's name in ids, folders, flags and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Schema => "schema",
            Self::Data => "data",
            Self::Base => "base",
            Self::Incremental => "incremental",
        }
    }

    /// Whether the newest artifact takes the place of the one before (`schema`, `data`).
    pub fn is_rolling(self) -> bool {
        matches!(self, Self::Schema | Self::Data)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Content {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|content| content.name() == text).ok_or_else(|| {
            Error::invalid(format!("\"{}\" is not a content", text.escape_debug()))
                .with_hint("Contents are full, schema, data, base and incremental.")
        })
    }
}
