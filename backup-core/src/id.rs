//! Names of sources, backups and stored objects, checked once and then trusted.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    content::Content,
    error::{Error, Result},
};

/// The longest name of a source, in bytes.
const MAX_SOURCE_NAME: usize = 100;

/// The name of a source: the first folder of its vault and the first part of its backups' ids.
///
/// One to 100 letters, digits, `_`, `.` and `-`, starting with a letter, digit or `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceName(String);

impl SourceName {
    /// Checks a name.
    ///
    /// # Errors
    /// `Invalid` when the name is empty, too long, or has a character that a path or URL would change.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !starts_well || name.len() > MAX_SOURCE_NAME || !name.chars().all(is_name_char) {
            return Err(Error::invalid(format!("\"{}\" cannot name a source", name.escape_debug()))
                .with_hint("Use letters, digits, \"_\", \".\" and \"-\", at most 100, starting with a letter or digit."));
        }
        Ok(Self(name))
    }

    /// The nearest valid name to any text, e.g. a file stem: other characters become `_`.
    pub fn from_text(text: &str) -> Self {
        let mut name: String =
            text.chars().map(|c| if is_name_char(c) { c } else { '_' }).take(MAX_SOURCE_NAME).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            name.insert(0, '_');
            name.truncate(MAX_SOURCE_NAME);
        }
        Self(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SourceName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<SourceName> for String {
    fn from(name: SourceName) -> Self {
        name.0
    }
}

/// The id of one backup: `<source>-<content>-<YYYYMMDDTHHMMSSZ>`, with `-2`, `-3` … when two fall into one second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    text: String,
    source_len: usize,
    content: Content,
}

impl BackupId {
    /// The id of a backup of `source` started at `started_at`; `collision` is 1 for the first in that second.
    pub fn new(source: &SourceName, content: Content, started_at: Timestamp, collision: u32) -> Self {
        let instant = compact_instant(started_at);
        let mut text = format!("{source}-{content}-{instant}");
        if collision > 1 {
            text.push_str(&format!("-{collision}"));
        }
        Self { text, source_len: source.as_str().len(), content }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When its backup began, as its text carries it, and its number among those of that second: ids of one source and
    /// content sort by this as their backups were taken.
    pub fn order(&self) -> (&str, u32) {
        let tail = self.text.get(self.source_len + self.content.name().len() + 2..).unwrap_or_default();
        match tail.split_once('-') {
            Some((instant, number)) => (instant, number.parse().unwrap_or(1)),
            None => (tail, 1),
        }
    }

    /// The source's name.
    pub fn source(&self) -> SourceName {
        SourceName(self.text[..self.source_len].to_owned())
    }

    /// What the backup holds.
    pub fn content(&self) -> Content {
        self.content
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_id(text).ok_or_else(|| {
            Error::invalid(format!("\"{}\" is not a backup id", text.escape_debug()))
                .with_hint("An id looks like \"shop-full-20261121T083000Z\"; `backup list` prints them.")
        })
    }
}

fn parse_id(text: &str) -> Option<BackupId> {
    let mut head = text;
    let (rest, last) = head.rsplit_once('-')?;
    if !is_compact_instant(last) {
        let number: u32 = last.parse().ok()?;
        if number < 2 || last.starts_with(['0', '+']) {
            return None;
        }
        head = rest;
    }
    let (rest, instant) = head.rsplit_once('-')?;
    let (source, content) = rest.rsplit_once('-')?;
    if !is_compact_instant(instant) {
        return None;
    }
    let source = SourceName::new(source).ok()?;
    let content = content.parse().ok()?;
    Some(BackupId { text: text.to_owned(), source_len: source.as_str().len(), content })
}

impl TryFrom<String> for BackupId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.text
    }
}

/// An instant as file names carry it: `YYYYMMDDTHHMMSSZ`, UTC, whole seconds.
pub fn compact_instant(instant: Timestamp) -> String {
    instant.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string()
}

pub(crate) fn is_compact_instant(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 16
        && bytes[8] == b'T'
        && bytes[15] == b'Z'
        && bytes.iter().enumerate().all(|(i, b)| matches!(i, 8 | 15) || b.is_ascii_digit())
}

/// The name of an object in a store: segments of `[A-Za-z0-9._=-]` joined by `/`, none starting with a dot.
///
/// Keys can neither climb out of a store nor meet its hidden working files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// `Invalid` when a segment is empty, starts with a dot, or has another character.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        if key.len() > 900 || !key.split('/').all(is_segment) {
            return Err(Error::invalid(format!(
                "\"{}\" cannot be the name of a stored object",
                key.escape_debug()
            )));
        }
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The segments before the last, without the closing `/`; empty at the root.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty() && !segment.starts_with('.') && segment.chars().all(|c| is_name_char(c) || c == '=')
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_it_was_written(
            name in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}",
            seconds in 0i64..4_000_000_000,
            collision in 1u32..50,
            content in 0usize..5,
        ) {
            let source = SourceName::new(name).unwrap();
            let content = Content::ALL[content];
            let id = BackupId::new(&source, content, Timestamp::from_second(seconds).unwrap(), collision);
            let read: BackupId = id.as_str().parse().unwrap();
            prop_assert_eq!(&read, &id);
            prop_assert_eq!(read.source(), source);
            prop_assert_eq!(read.content(), content);
            let instant = compact_instant(Timestamp::from_second(seconds).unwrap());
            prop_assert_eq!(read.order(), (instant.as_str(), collision));
            prop_assert!(Key::new(id.as_str()).is_ok());
        }

        #[test]
        fn any_text_becomes_a_valid_source_name(text in ".*") {
            let name = SourceName::from_text(&text);
            prop_assert!(SourceName::new(name.as_str()).is_ok());
        }

        #[test]
        fn a_key_never_climbs(text in "[./a-z\\\\]{0,12}") {
            if let Ok(key) = Key::new(text) {
                prop_assert!(key.as_str().split('/').all(|s| !s.is_empty() && !s.starts_with('.')));
            }
        }
    }

    #[test]
    fn names_that_a_path_would_change_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "-x", "a\n", "é"] {
            assert!(SourceName::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "/etc/x", "../x", "a//b", "a/../b", "a/.hidden", "a\\b", "a\0"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "shop",
            "shop-full",
            "shop-full-2026",
            "shop-full-20261121T083000Z-1",
            "shop-odd-20261121T083000Z",
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad:?}");
        }
    }
}
