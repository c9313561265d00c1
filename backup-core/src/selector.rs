//! How people name a backup: an id, the beginning of one, or `latest`.

use std::{str::FromStr, sync::Arc};

use crate::{
    artifact::StoredArtifact,
    capture::Selection,
    content::Content,
    context::Context,
    error::{Error, ErrorKind, Result},
    event::Event,
    id::{BackupId, SourceName},
    store::Store,
    vault::{Vault, no_such_backup},
};

/// How people name a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// `latest`, `latest:CONTENT`, `SOURCE/latest`, `SOURCE/latest:CONTENT`: the newest that no guardrail complains of.
    Latest {
        /// The source; needed where the store holds several.
        source: Option<SourceName>,
        /// What it holds.
        content: Content,
        /// What the source's job is limited to; by default nothing, so that partial backups are passed over.
        selection: Selection,
    },
    /// A whole id, or the beginning of exactly one.
    Prefix(String),
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (source, rest) = match text.rsplit_once('/') {
            Some((source, rest)) => (Some(SourceName::new(source)?), rest),
            None => (None, text),
        };
        if rest == "latest" {
            return Ok(Self::Latest { source, content: Content::Full, selection: Selection::default() });
        }
        if let Some(content) = rest.strip_prefix("latest:") {
            return Ok(Self::Latest { source, content: content.parse()?, selection: Selection::default() });
        }
        let is_id_text =
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if source.is_some() || !is_id_text {
            return Err(Error::invalid(format!("\"{}\" does not name a backup", text.escape_debug()))
                .with_hint("Give an id, the beginning of one, latest, latest:schema, SOURCE/latest, or a file's path."));
        }
        Ok(Self::Prefix(rest.to_owned()))
    }
}

impl Selector {
    /// The artifact it names in a store, and the vault it lies in.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Invalid` when there are several; `Corrupt` when the one it names cannot be used.
    ///
    /// For `latest`, manifests that cannot be used are passed over, and those newer than the one that is returned are
    /// told as `Found` events.
    pub fn resolve(&self, store: &Arc<dyn Store>, cx: &Context) -> Result<(Vault, StoredArtifact)> {
        match self {
            Self::Latest { source, content, selection } => {
                latest(store, source.as_ref(), *content, selection, cx)
            }
            Self::Prefix(text) => by_prefix(store, text),
        }
    }
}

fn latest(
    store: &Arc<dyn Store>,
    source: Option<&SourceName>,
    content: Content,
    selection: &Selection,
    cx: &Context,
) -> Result<(Vault, StoredArtifact)> {
    let mut vaults = Vault::all(store)?;
    if let Some(source) = source {
        vaults.retain(|vault| vault.source() == source);
    }
    if let [first, second, ..] = vaults.as_slice() {
        return Err(Error::invalid(format!("latest of what? {store} holds backups of several sources"))
            .with_hint(format!("Name one: {}/latest, {}/latest …", first.source(), second.source())));
    }
    let vault = vaults.pop().ok_or_else(|| no_such_backup("latest", &**store))?;
    let vault = vault.with_selection(selection.clone());
    let (newest, damaged) = vault.newest_good(content)?;
    damaged.into_iter().for_each(|finding| cx.emit(Event::Found(finding)));
    match newest {
        Some(newest) => Ok((vault, newest)),
        None => {
            let message = format!("\"{}\" has no good {content} backup in {store}", vault.source());
            Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("`backup list` prints what there is, good or not."))
        }
    }
}

fn by_prefix(store: &Arc<dyn Store>, text: &str) -> Result<(Vault, StoredArtifact)> {
    if let Ok(id) = text.parse::<BackupId>() {
        let vault = Vault::new(Arc::clone(store), id.source());
        let artifact = vault.artifact(&id)?;
        return Ok((vault, artifact));
    }
    let mut matches = Vec::new();
    for vault in Vault::all(store)? {
        let related = vault.source().as_str().starts_with(text) || text.starts_with(vault.source().as_str());
        if related {
            matches.extend(vault.ids_beginning(text)?.into_iter().map(|id| (vault.clone(), id)));
        }
    }
    match matches.as_slice() {
        [] => Err(no_such_backup(text, &**store)),
        [(vault, id)] => Ok((vault.clone(), vault.artifact(id)?)),
        several => {
            let newest: Vec<&str> = several.iter().rev().take(3).map(|(_, id)| id.as_str()).collect();
            Err(Error::invalid(format!("\"{text}\" is the beginning of {} backups", several.len()))
                .with_hint(format!("Type more of it; the newest are {}.", newest.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_people_write_them() {
        let latest = |source: Option<&str>, content| Selector::Latest {
            source: source.map(|s| SourceName::new(s).unwrap()),
            content,
            selection: Selection::default(),
        };
        assert_eq!("latest".parse::<Selector>().unwrap(), latest(None, Content::Full));
        assert_eq!("latest:schema".parse::<Selector>().unwrap(), latest(None, Content::Schema));
        assert_eq!("shop/latest".parse::<Selector>().unwrap(), latest(Some("shop"), Content::Full));
        assert_eq!("shop-full-2026".parse::<Selector>().unwrap(), Selector::Prefix("shop-full-2026".into()));
        for bad in ["", "latest:odd", "a/b", "../latest", "x y"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
    }
}
