//! How people name a backup: an id, the beginning of one, or `latest`.

use std::{str::FromStr, sync::Arc};

use crate::{
    artifact::{Artifact, StoredArtifact},
    content::Content,
    context::Context,
    error::{Error, ErrorKind, Result},
    event::Event,
    id::{BackupId, SourceName},
    store::Store,
    vault::{Vault, no_such_backup},
    verify::Finding,
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
            return Ok(Self::Latest { source, content: Content::Full });
        }
        if let Some(content) = rest.strip_prefix("latest:") {
            return Ok(Self::Latest { source, content: content.parse()? });
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
    /// `NotFound` when there is none; `Invalid` when there are several.
    ///
    /// Manifests that cannot be used are passed over, and told as `Found` events: the newest may be among them.
    pub fn resolve(&self, store: &Arc<dyn Store>, cx: &Context) -> Result<(Vault, StoredArtifact)> {
        match self {
            Self::Latest { source, content } => latest(store, source.as_ref(), *content, cx),
            Self::Prefix(text) => by_prefix(store, text),
        }
    }
}

fn latest(
    store: &Arc<dyn Store>,
    source: Option<&SourceName>,
    content: Content,
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
    let catalogue = vault.catalogue(Some(content))?;
    catalogue.damaged.iter().for_each(|finding| cx.emit(Event::Found(finding.clone())));
    match catalogue.newest_good(content) {
        Some(newest) => Ok((vault, newest.clone())),
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
    let (mut matches, mut unusable) = (Vec::new(), Vec::new());
    for vault in Vault::all(store)? {
        let related = vault.source().as_str().starts_with(text) || text.starts_with(vault.source().as_str());
        if related {
            let catalogue = vault.catalogue(None)?;
            let name_of =
                |finding: &Finding| finding.object.rsplit('/').next().unwrap_or_default().to_owned();
            unusable
                .extend(catalogue.damaged.into_iter().filter(|finding| name_of(finding).starts_with(text)));
            let artifacts = catalogue.artifacts.into_iter();
            let matching = artifacts.filter(|artifact| artifact.manifest().id.as_str().starts_with(text));
            matches.extend(matching.map(|artifact| (vault.clone(), artifact)));
        }
    }
    match (matches.len(), unusable.first()) {
        (0, Some(finding)) => Err(Error::corrupt(format!("\"{text}\" cannot be used: {finding}"))),
        (0, None) => Err(no_such_backup(text, &**store)),
        (1, _) => Ok(matches.remove(0)),
        (several, _) => {
            let ids: Vec<&str> =
                matches.iter().rev().take(3).map(|(_, a)| a.manifest().id.as_str()).collect();
            Err(Error::invalid(format!("\"{text}\" is the beginning of {several} backups"))
                .with_hint(format!("Type more of it; the newest are {}.", ids.join(", "))))
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
