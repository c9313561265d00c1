//! The artifacts of a vault: read many at once, or only as many as a question needs.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    artifact::{Artifact, StoredArtifact},
    cache::Remembered,
    content::Content,
    error::{Error, ErrorKind, Result},
    id::{BackupId, Key, compact_instant},
    listed::Listed,
    manifest::{MAX_MANIFEST_BYTES, Manifest},
    parallel,
    store::{self, ObjectMeta},
    vault::Vault,
    verify::Finding,
};

/// Objects larger than this are read one at a time, so that many large ones do not fill the memory at once.
const LARGE_BYTES: u64 = 1 << 20;

/// The artifacts of a vault, oldest first, and the manifests that cannot be used.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Usable artifacts.
    pub artifacts: Vec<StoredArtifact>,
    /// Unusable manifests: edited, damaged, or from a newer format.
    pub damaged: Vec<Finding>,
}

impl Catalogue {
    /// The manifests, oldest first.
    pub fn manifests(&self) -> Vec<Manifest> {
        self.artifacts.iter().map(|artifact| artifact.manifest().clone()).collect()
    }

    /// The newest whole artifact of a content that no guardrail complains of.
    pub fn newest_good(&self, content: Content) -> Option<&StoredArtifact> {
        let is_meant = |m: &Manifest| m.content == content && m.is_good() && !m.is_partial();
        self.artifacts.iter().rev().find(|artifact| is_meant(artifact.manifest()))
    }
}

/// What came of reading one manifest.
enum Read<T> {
    Usable(T),
    Damaged(Finding),
    /// A run's prune on another host has taken it since it was listed.
    Gone,
}

impl Vault {
    /// Every artifact, of one content or of all, as the store has it now.
    ///
    /// # Errors
    /// What listing the store, or reading a manifest there, reports; one that cannot be used is in the catalogue.
    pub fn catalogue(&self, content: Option<Content>) -> Result<Catalogue> {
        self.read_catalogue(content, None)
    }

    /// The same for people to look at: what the vault's cache knows already is not fetched again. Nothing that
    /// decides or acts may rely on it ([`crate::cache`]).
    ///
    /// # Errors
    /// As [`Vault::catalogue`].
    pub fn overview(&self, content: Option<Content>) -> Result<Catalogue> {
        let remembered = self.remembered();
        let catalogue = self.read_catalogue(content, remembered.as_ref());
        remembered.iter().for_each(Remembered::save);
        catalogue
    }

    /// What `keep` takes of each usable artifact among these objects, in no order, and the manifests that cannot be used.
    pub(crate) fn survey<T: Send>(
        &self,
        listed: &[Listed],
        remembered: Option<&Remembered>,
        keep: &(impl Fn(&Manifest) -> T + Sync),
    ) -> Result<(Vec<T>, Vec<Finding>)> {
        let folders = Content::ALL.map(|content| (content, self.folder(content)));
        let is_ours = |listed: &&Listed| {
            folders.iter().any(|(content, folder)| self.is_manifest(listed.key(), *content, folder))
        };
        let manifests: Vec<Listed> = listed.iter().filter(is_ours).cloned().collect();
        let (mut kept, mut damaged) = (Vec::with_capacity(manifests.len()), Vec::new());
        for read in self.read_manifests(&manifests, remembered, &|artifact| keep(artifact.manifest()))? {
            match read {
                Read::Usable(brief) => kept.push(brief),
                Read::Damaged(finding) => damaged.push(finding),
                Read::Gone => {}
            }
        }
        Ok((kept, damaged))
    }

    /// The newest artifact of a content that is complete ([`Vault::is_complete`]) and that no guardrail complains of, and
    /// the newer manifests that cannot be used.
    ///
    /// Reads no more manifests than it must, newest first.
    ///
    /// # Errors
    /// As [`Vault::catalogue`].
    pub fn newest_good(&self, content: Content) -> Result<(Option<StoredArtifact>, Vec<Finding>)> {
        let is_meant = |m: &Manifest| m.content == content && m.is_good() && self.is_complete(m);
        let mut listed = self.listed_manifests(content, None)?;
        sort_by_order(&mut listed);
        let (mut damaged, mut count) = (Vec::new(), 1);
        while !listed.is_empty() {
            let next = listed.split_off(listed.len().saturating_sub(count));
            for read in self.read_manifests(&next, None, &whole)?.into_iter().rev() {
                match read {
                    Read::Usable(artifact) if is_meant(artifact.manifest()) => {
                        return Ok((Some(artifact), damaged));
                    }
                    Read::Damaged(finding) => damaged.push(finding),
                    Read::Usable(_) | Read::Gone => {}
                }
            }
            count = (count * 4).min(256);
        }
        Ok((None, damaged))
    }

    /// The ids that begin so, by the names of their manifests, oldest first within their content.
    pub(crate) fn ids_beginning(&self, text: &str) -> Result<Vec<BackupId>> {
        let mut ids = Vec::new();
        for content in Content::ALL {
            let mut listed = self.listed_manifests(content, None)?;
            sort_by_order(&mut listed);
            if content.is_rolling() {
                // Their names do not tell the instant of their ids.
                let id = |artifact: StoredArtifact| artifact.manifest().id.clone();
                let known = self.read_manifests(&listed, None, &id)?.into_iter();
                ids.extend(known.filter_map(|read| match read {
                    Read::Usable(id) => Some(id),
                    Read::Damaged(_) | Read::Gone => None,
                }));
            } else {
                ids.extend(listed.iter().filter_map(|object| id_in(object.key().name())));
            }
        }
        ids.retain(|id| id.as_str().starts_with(text) && id.source() == *self.source());
        Ok(ids)
    }

    fn read_catalogue(&self, content: Option<Content>, remembered: Option<&Remembered>) -> Result<Catalogue> {
        let contents = content.map_or(Content::ALL.to_vec(), |content| vec![content]);
        let mut listed = Vec::new();
        for content in contents {
            listed.extend(self.listed_manifests(content, remembered)?);
        }
        let mut catalogue = Catalogue::default();
        for read in self.read_manifests(&listed, remembered, &whole)? {
            match read {
                Read::Usable(artifact) => catalogue.artifacts.push(artifact),
                Read::Damaged(finding) => catalogue.damaged.push(finding),
                Read::Gone => {}
            }
        }
        catalogue.artifacts.sort_by(|a, b| {
            let (a, b) = (a.manifest(), b.manifest());
            (a.started_at, &a.id).cmp(&(b.started_at, &b.id))
        });
        Ok(catalogue)
    }

    /// The manifests of a content by their names. Other names are not ours, and nothing is said of them.
    fn listed_manifests(&self, content: Content, remembered: Option<&Remembered>) -> Result<Vec<Listed>> {
        let folder = self.folder(content);
        let mut objects: Vec<Listed> = match remembered {
            Some(_) => self.store().list(&folder)?.objects.into_iter().map(Listed::Seen).collect(),
            None => self.store().names_below(&folder)?.keys.into_iter().map(Listed::Named).collect(),
        };
        objects.retain(|object| self.is_manifest(object.key(), content, &folder));
        if let Some(remembered) = remembered {
            remembered.keep_only(&folder, &objects);
        }
        Ok(objects)
    }

    fn is_manifest(&self, key: &Key, content: Content, folder: &str) -> bool {
        let is_rolling = || content.is_rolling() && key.name() == format!("{}-{content}.json", self.source());
        key.folder() == folder && (id_in(key.name()).is_some() || is_rolling())
    }

    fn read_manifests<T: Send>(
        &self,
        listed: &[Listed],
        remembered: Option<&Remembered>,
        keep: &(impl Fn(StoredArtifact) -> T + Sync),
    ) -> Result<Vec<Read<T>>> {
        let large = Mutex::new(());
        let alone =
            |bytes: u64| (bytes > LARGE_BYTES).then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
        let reads = parallel::map(self.store().parallel_reads(), listed, |object| {
            let key = object.key();
            let manifest = match object {
                Listed::Seen(seen) => {
                    let _alone = alone(seen.bytes);
                    self.seen_manifest(seen, remembered)
                }
                Listed::Named(_) => self.store().open(key).and_then(|object| {
                    let _alone = alone(object.size());
                    let name = || format!("object \"{key}\" in {}", self.store());
                    self.parse_manifest(key, &store::read_whole(&*object, MAX_MANIFEST_BYTES, name)?)
                }),
            };
            self.read(key, manifest, keep)
        });
        reads.into_iter().collect()
    }

    fn seen_manifest(&self, seen: &ObjectMeta, remembered: Option<&Remembered>) -> Result<Manifest> {
        let known = remembered.and_then(|remembered| remembered.get(seen));
        if let Some(manifest) = known.and_then(|bytes| self.parse_manifest(&seen.key, &bytes).ok()) {
            return Ok(manifest);
        }
        let bytes = self.read_manifest_bytes(&seen.key)?;
        let manifest = self.parse_manifest(&seen.key, &bytes)?;
        // A rolling manifest is replaced in place, maybe by one of its size and within its second.
        remembered.filter(|_| !manifest.content.is_rolling()).iter().for_each(|r| r.put(seen, &bytes));
        Ok(manifest)
    }

    fn read<T>(
        &self,
        key: &Key,
        read: Result<Manifest>,
        keep: &impl Fn(StoredArtifact) -> T,
    ) -> Result<Read<T>> {
        match read {
            Ok(manifest) => {
                let folder = key.folder().to_owned();
                Ok(Read::Usable(keep(StoredArtifact::new(Arc::clone(self.store()), folder, manifest))))
            }
            Err(error) if error.is_not_found() => Ok(Read::Gone),
            Err(error) if is_about_bytes(&error) => {
                Ok(Read::Damaged(Finding::stored("manifest", key.as_str(), error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    /// The manifest under a key, as the store has it now.
    pub(crate) fn read_manifest(&self, key: &Key) -> Result<Manifest> {
        self.parse_manifest(key, &self.read_manifest_bytes(key)?)
    }

    fn read_manifest_bytes(&self, key: &Key) -> Result<Vec<u8>> {
        self.store().get(key, MAX_MANIFEST_BYTES)
    }

    fn parse_manifest(&self, key: &Key, bytes: &[u8]) -> Result<Manifest> {
        let manifest = Manifest::from_json(bytes)?;
        let is_named_so = key.name().strip_suffix(".json") == Some(manifest.object_stem().as_str());
        if !is_named_so
            || manifest.id.source() != *self.source()
            || key.folder() != self.folder(manifest.content)
        {
            return Err(Error::corrupt(format!(
                "it says it is \"{}\", which its name does not",
                manifest.id
            )));
        }
        // Ids are taken for the order of backups wherever reading all manifests would be too much.
        if manifest.id.order().0 != compact_instant(manifest.started_at) {
            return Err(Error::corrupt(format!(
                "it says it was started at {}, which its id does not",
                manifest.started_at
            )));
        }
        Ok(manifest)
    }
}

fn whole(artifact: StoredArtifact) -> StoredArtifact {
    artifact
}

/// Whether an error speaks of a manifest's bytes, so that the others can still be listed.
fn is_about_bytes(error: &Error) -> bool {
    error.is_corruption() || error.kind() == ErrorKind::Unsupported
}

/// The id a manifest is named after.
fn id_in(name: &str) -> Option<BackupId> {
    name.strip_suffix(".json")?.parse().ok()
}

/// Oldest first, as the ids in their names tell.
fn sort_by_order(objects: &mut [Listed]) {
    objects.sort_by_cached_key(|object| {
        id_in(object.key().name()).map(|id| {
            let (instant, number) = id.order();
            (instant.to_owned(), number)
        })
    });
}
