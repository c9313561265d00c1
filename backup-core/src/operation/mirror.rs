//! Copies a vault's artifacts to another store.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;

use super::{
    heal::{self, Mended},
    transfer::{Expected, Points, bring},
};
use crate::{
    artifact::Artifact,
    content::Content,
    context::Context,
    crash,
    error::{Error, ErrorKind, Result},
    event::Event,
    id::{BackupId, Key},
    manifest::{MAX_MANIFEST_BYTES, Manifest},
    mirror::{Mirror, nearest_first, told},
    store::{PutMode, Store, StoreExt},
    vault::{Catalogue, Vault},
};

const POINTS: Points = Points { written: "mirror.object-written", finished: "mirror.object-finished" };

/// What is copied.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MirrorOptions {
    /// Only these artifacts, and those that they need; `None` is all.
    pub only: Option<Vec<BackupId>>,
    /// Artifacts the mirror shall not get, e.g. because its own retention would remove them at once.
    pub without: Vec<BackupId>,
}

impl MirrorOptions {
    /// Only these artifacts, and those that they need.
    #[must_use]
    pub fn only(mut self, ids: impl IntoIterator<Item = BackupId>) -> Self {
        self.only = Some(ids.into_iter().collect());
        self
    }

    /// Without these artifacts.
    #[must_use]
    pub fn without(mut self, ids: impl IntoIterator<Item = BackupId>) -> Self {
        self.without.extend(ids);
        self
    }
}

/// What copying to one mirror did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Mirrored {
    /// The mirror's name.
    pub mirror: String,
    /// The source.
    pub source: String,
    /// Artifacts that the mirror holds whole since now, in the order they were copied.
    pub copied: Vec<BackupId>,
    /// How many it held already.
    pub already: usize,
    /// Objects that it had lost or held in the wrong size, and has again.
    pub mended: Vec<Mended>,
    /// What could not be copied.
    pub failed: Vec<Failed>,
    /// Bytes of payloads and companions that were sent.
    pub bytes: u64,
}

/// Something that could not be done, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failed {
    /// An artifact's id, or a stored object's key.
    pub object: String,
    /// Why, in one line.
    pub error: String,
}

impl Mirrored {
    /// Whether the mirror holds everything that it should.
    pub fn is_ok(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Failed {
    pub(super) fn new(object: impl Into<String>, error: &Error) -> Self {
        Self { object: object.into(), error: told(error) }
    }
}

/// Copies the artifacts that a mirror lacks, suspect ones too, newest first but none before those it needs; rolling
/// ones where the mirror's is older. Works from any store to any store, so a lost primary is rebuilt the same way.
///
/// Every object is hashed while it is read, and again by reading it at the far end; the manifest is written after
/// them, then the proofs. What is whole at the far end already is not sent again, so that an interrupted copy goes on
/// where it ended; until its manifest is there, a copy is invisible. A mirror that holds something else under an id
/// keeps it, and that is reported. One artifact's failure does not stop the others; it is in [`Mirrored::failed`].
///
/// # Errors
/// Only when nothing can be copied at all: `Busy` when another process writes to the mirror's vault; what listing
/// either store fails of; `Cancelled`.
pub fn mirror(vault: &Vault, mirror: &Mirror, options: &MirrorOptions, cx: &Context) -> Result<Mirrored> {
    if is_itself(&**vault.store(), &*mirror.store) {
        return Err(Error::invalid(format!("{mirror} is {} itself", vault.store()))
            .with_hint("A copy in the same place protects from nothing: name another store."));
    }
    let near = vault.catalogue(None)?;
    let mut copying = Copying {
        near: vault,
        far: vault.elsewhere(&mirror.store),
        known: BTreeMap::new(),
        sizes: BTreeMap::new(),
        done: Mirrored {
            mirror: mirror.name.clone(),
            source: vault.source().to_string(),
            ..Mirrored::default()
        },
    };
    let wanted = wanted(&near, options);
    if options.only.is_none() {
        for damaged in &near.damaged {
            let error =
                Error::corrupt(format!("its manifest in {} cannot be used: {}", vault.store(), damaged.what));
            copying.done.failed.push(Failed::new(&damaged.object, &error));
        }
    }
    if wanted.is_empty() {
        return Ok(copying.done);
    }
    let _lease = copying.far.lease()?;
    crash::point("mirror.leased");
    copying.far.store().sweep(vault.source().as_str())?;
    copying.look(&wanted, options)?;
    copying.all(&wanted, cx)?;
    if copying.done.is_ok() && options.only.is_none() {
        copying.far.sweep(cx)?;
    }
    Ok(copying.done)
}

/// Whether two stores keep their objects in one folder, by whatever name.
fn is_itself(near: &dyn Store, far: &dyn Store) -> bool {
    let folder = |store: &dyn Store| std::fs::canonicalize(store.local_folder()?).ok();
    near.local_folder().is_some() && folder(near).is_some() && folder(near) == folder(far)
}

/// What became of one mirror's copy.
#[derive(Debug)]
#[non_exhaustive]
pub struct MirrorOutcome {
    /// The mirror's name.
    pub mirror: String,
    /// What was copied, or why nothing could be.
    pub outcome: Result<Mirrored>,
}

impl MirrorOutcome {
    /// Why the mirror has not everything it should, in one line; `None` when it has.
    pub fn failure(&self) -> Option<String> {
        match &self.outcome {
            Ok(mirrored) => mirrored.failed.first().map(|failed| failed.error.clone()),
            Err(error) => Some(told(error)),
        }
    }
}

/// Whether a mirror has a copy of a backup that was just taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Copied {
    /// The mirror's name.
    pub mirror: String,
    /// Whether it has one.
    pub ok: bool,
    /// Why it has none, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&MirrorOutcome> for Copied {
    fn from(outcome: &MirrorOutcome) -> Self {
        let error = outcome.failure();
        Self { mirror: outcome.mirror.clone(), ok: error.is_none(), error }
    }
}

/// Copies one artifact, just taken, to every mirror, the nearest first. A mirror's failure is an alarm and an outcome;
/// the backup is good all the same, and the next [`mirror`] catches up.
pub fn mirror_new(vault: &Vault, mirrors: &[Mirror], id: &BackupId, cx: &Context) -> Vec<MirrorOutcome> {
    let options = MirrorOptions::default().only([id.clone()]);
    let mut outcomes = Vec::new();
    for far in nearest_first(mirrors) {
        let outcome = MirrorOutcome { mirror: far.name.clone(), outcome: mirror(vault, far, &options, cx) };
        if let Some(failure) = outcome.failure() {
            cx.alarm(format!("\"{id}\" is stored and proven, but {far} has no copy of it: {failure}"));
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// The manifests to copy: newest first, but each after what it needs.
fn wanted(near: &Catalogue, options: &MirrorOptions) -> Vec<Manifest> {
    let by_id: BTreeMap<&BackupId, &Manifest> =
        near.artifacts.iter().map(|artifact| (&artifact.manifest().id, artifact.manifest())).collect();
    let mut ordered: Vec<Manifest> = Vec::new();
    for artifact in near.artifacts.iter().rev() {
        let id = &artifact.manifest().id;
        if options.only.as_ref().is_some_and(|only| !only.contains(id)) || options.without.contains(id) {
            continue;
        }
        let mut chain: Vec<&Manifest> = Vec::new();
        let mut next = by_id.get(id).copied();
        while let Some(manifest) = next {
            if ordered.iter().any(|known| known.id == manifest.id)
                || chain.iter().any(|m| m.id == manifest.id)
            {
                break;
            }
            chain.push(manifest);
            next = manifest.requires.as_ref().and_then(|parent| by_id.get(parent).copied());
        }
        ordered.extend(chain.into_iter().rev().cloned());
    }
    ordered
}

/// What the far end holds under a manifest's key.
type Known = Result<Manifest, String>;

/// One copying from a vault to another.
struct Copying<'a> {
    near: &'a Vault,
    far: Vault,
    known: BTreeMap<Key, Known>,
    /// Sizes of the far end's objects, by content.
    sizes: BTreeMap<Content, BTreeMap<Key, u64>>,
    done: Mirrored,
}

impl Copying<'_> {
    /// Reads what manifests the far end has: all of them, or only those in question.
    fn look(&mut self, wanted: &[Manifest], options: &MirrorOptions) -> Result<()> {
        if options.only.is_some() {
            for manifest in wanted {
                let key = self.far.manifest_key(&manifest.id)?;
                match self.far.read_manifest(&key) {
                    Err(error) if error.is_not_found() => {}
                    Err(error) if error.is_corruption() || error.kind() == ErrorKind::Unsupported => {
                        self.known.insert(key, Err(told(&error)));
                    }
                    other => {
                        self.known.insert(key, Ok(other?));
                    }
                }
            }
            return Ok(());
        }
        let catalogue = self.far.catalogue(None)?;
        for artifact in &catalogue.artifacts {
            let manifest = artifact.manifest();
            self.known.insert(self.far.manifest_key(&manifest.id)?, Ok(manifest.clone()));
        }
        for damaged in catalogue.damaged {
            self.known.insert(Key::new(damaged.object)?, Err(damaged.what));
        }
        Ok(())
    }

    fn all(&mut self, wanted: &[Manifest], cx: &Context) -> Result<()> {
        for manifest in wanted {
            match self.one(manifest, cx) {
                Ok(()) => {}
                Err(error) if error.is_cancelled() => return Err(error),
                // Retention took it, or a newer rolling one took its place, while it was copied.
                Err(_) if self.is_gone(manifest) => {
                    cx.warn(format!("\"{}\" was removed or replaced while it was copied", manifest.id));
                }
                Err(error) => {
                    self.done.failed.push(Failed::new(manifest.id.as_str(), &error));
                    // A store that is away or full is so for the others, too.
                    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::NoSpace)
                    {
                        return Ok(());
                    }
                }
            }
        }
        let outcome = self.point_latest();
        outcome.unwrap_or_else(|error| {
            cx.warn(format!("the latest link in {} could not be moved: {}", self.far.store(), told(&error)));
        });
        Ok(())
    }

    fn one(&mut self, manifest: &Manifest, cx: &Context) -> Result<()> {
        let key = self.far.manifest_key(&manifest.id)?;
        match self.known.get(&key) {
            None => self.copy(manifest, &key, PutMode::Create, cx),
            Some(Ok(there)) if there == manifest => {
                self.complete(manifest, cx)?;
                self.done.already += 1;
                self.copy_proofs(manifest)
            }
            Some(Ok(there)) if manifest.content.is_rolling() && there.started_at < manifest.started_at => {
                self.copy(manifest, &key, PutMode::Replace, cx)
            }
            Some(Ok(there)) if manifest.content.is_rolling() && there.started_at > manifest.started_at => {
                self.done.already += 1;
                Ok(())
            }
            Some(Ok(_)) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("{} holds another backup under this id, which stays as it is", self.far.store()),
            )),
            Some(Err(what)) => Err(Error::corrupt(format!(
                "the manifest \"{key}\" in {} cannot be used: {what}; `backup verify --all --heal` on that store mends it",
                self.far.store()
            ))),
        }
    }

    fn copy(&mut self, manifest: &Manifest, key: &Key, mode: PutMode, cx: &Context) -> Result<()> {
        let mode = if manifest.content.is_rolling() { PutMode::Replace } else { mode };
        for expected in Expected::of(manifest) {
            let object = self.far.object_key(&manifest.id, &expected.name)?;
            if !self.is_there(&object, &expected, mode, cx)? {
                let (near, far) = (&**self.near.store(), &**self.far.store());
                self.done.bytes += bring(near, far, &object, &expected, mode, &POINTS, cx)?;
            }
        }
        crash::point("mirror.objects-proven");
        copy_manifest(self.near, &self.far, manifest, mode, "mirror.manifest-written")?;
        crash::point("mirror.committed");
        self.known.insert(key.clone(), Ok(manifest.clone()));
        self.done.copied.push(manifest.id.clone());
        cx.emit(Event::Copied { id: manifest.id.clone(), mirror: self.done.mirror.clone() });
        self.copy_proofs(manifest)?;
        crash::point("mirror.proofs-copied");
        Ok(())
    }

    /// Whether a copy that was interrupted has brought an object already; what is not whole makes room for it.
    fn is_there(&self, key: &Key, expected: &Expected, mode: PutMode, cx: &Context) -> Result<bool> {
        let store = self.far.store();
        let object = match store.open(key) {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        // Without facts nothing says that it is whole.
        if expected.bytes().is_some() && expected.examine(&*object, cx)?.is_none() {
            return Ok(true);
        }
        if mode == PutMode::Create {
            store.delete(key)?;
        }
        Ok(false)
    }

    /// Mends an artifact whose far objects are missing or have another size; their bytes are for `verify` to look at.
    fn complete(&mut self, manifest: &Manifest, cx: &Context) -> Result<()> {
        if !self.sizes.contains_key(&manifest.content) {
            let listed = self.far.store().list(&self.far.folder(manifest.content))?.objects;
            self.sizes.insert(
                manifest.content,
                listed.into_iter().map(|object| (object.key, object.bytes)).collect(),
            );
        }
        let sizes = self.sizes.get(&manifest.content);
        let mut broken = Vec::new();
        for expected in Expected::of(manifest) {
            let found =
                sizes.and_then(|sizes| sizes.get(&self.far.object_key(&manifest.id, &expected.name).ok()?));
            if found.is_none() || expected.bytes().is_some_and(|bytes| found != Some(&bytes)) {
                broken.push(expected);
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        let mended = heal::mend_objects(&self.far, manifest, &broken, &[self.near.store()], cx)?;
        self.done.mended.extend(mended);
        Ok(())
    }

    fn copy_proofs(&self, manifest: &Manifest) -> Result<()> {
        let folder = self.near.proof_folder(&manifest.id);
        let (near, far) = (self.near.store(), self.far.store());
        let there = far.list(&folder)?.objects;
        for proof in near.list(&folder)?.objects {
            if there.iter().any(|object| object.key == proof.key) {
                continue;
            }
            let bytes = near.get(&proof.key, MAX_MANIFEST_BYTES)?;
            match far.put_bytes(&proof.key, &bytes, PutMode::Create) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the far end's newest good backup its second name, if it came just now.
    fn point_latest(&self) -> Result<()> {
        let candidates = self.known.values().filter_map(|known| known.as_ref().ok());
        let newest = candidates
            .filter(|m| m.content == Content::Full && m.is_good() && self.far.is_complete(m))
            .max_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        match newest.filter(|newest| self.done.copied.contains(&newest.id)) {
            Some(newest) => self.far.point_latest(newest),
            None => Ok(()),
        }
    }

    fn is_gone(&self, manifest: &Manifest) -> bool {
        match self.near.artifact(&manifest.id) {
            Ok(artifact) => artifact.manifest() != manifest,
            Err(error) => error.is_not_found(),
        }
    }
}

/// Writes a manifest's very bytes to another vault, and reads them there again.
pub(super) fn copy_manifest(
    near: &Vault,
    far: &Vault,
    manifest: &Manifest,
    mode: PutMode,
    point: &str,
) -> Result<()> {
    let key = far.manifest_key(&manifest.id)?;
    let bytes = near.store().get(&key, MAX_MANIFEST_BYTES)?;
    if Manifest::from_json(&bytes)? != *manifest {
        return Err(Error::failed(format!("the manifest \"{key}\" in {} changed meanwhile", near.store())));
    }
    let mut writer = far.store().put(&key, mode)?;
    writer
        .write_all(&bytes)
        .map_err(|e| Error::from_io(format!("could not copy \"{key}\" to {}", far.store()), e))?;
    crash::point(point);
    writer.finish()?;
    if far.read_manifest(&key)? == *manifest {
        return Ok(());
    }
    Err(Error::corrupt(format!("\"{key}\" does not read back from {} as it was sent", far.store())))
}
