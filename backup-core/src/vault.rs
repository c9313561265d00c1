//! All artifacts of one source in one store: layout and commit protocol. Its catalogue has a file of its own.
//!
//! An artifact begins to exist when its manifest is created, after its payload is stored and proven, and ceases to
//! exist when its manifest is deleted, before its payload is. Everything else in the vault's folders is invisible.

mod removal;

use std::{collections::BTreeSet, io::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp};

pub use crate::catalogue::Catalogue;
use crate::{
    artifact::StoredArtifact,
    cache::{Cache, Remembered},
    capture::Selection,
    content::Content,
    context::Context,
    crash,
    error::{Error, Result},
    id::{BackupId, Key, SourceName},
    listed::Listed,
    manifest::{Manifest, object_stem},
    parallel,
    proof::Proof,
    proofs::proof_name,
    store::{Lease, ObjectMeta, ObjectWriter, PutMode, Store, StoreExt},
    verify::Finding,
};

/// The folder of the folders of proofs.
const PROOFS: &str = "proofs";

/// How long a payload without manifest is left alone.
const ORPHAN_GRACE: SignedDuration = SignedDuration::from_hours(24);

/// All artifacts of one source in one store.
#[derive(Clone, Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    source: SourceName,
    cache: Option<Cache>,
    /// What its job is limited to.
    selection: Selection,
}

impl Vault {
    /// The vault of a source; nothing is read or made yet.
    pub fn new(store: Arc<dyn Store>, source: SourceName) -> Self {
        Self { store, source, cache: None, selection: Selection::default() }
    }

    /// With what its job is limited to: backups of exactly that count as whole ones here.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// The vault of the same source in another store.
    #[must_use]
    pub fn elsewhere(&self, store: &Arc<dyn Store>) -> Self {
        Self::new(Arc::clone(store), self.source.clone()).with_selection(self.selection.clone())
    }

    /// Whether an artifact brings back all that is asked for: everything, or what its job is limited to.
    pub fn is_complete(&self, manifest: &Manifest) -> bool {
        !manifest.is_partial() || self.selection.is_of(manifest)
    }

    /// With a cache for [`Vault::overview`] and [`crate::operation::status`], used where the store is far away.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<Cache>) -> Self {
        self.cache = cache;
        self
    }

    /// The vaults of a store, by name. Folders that cannot name a source are not vaults, nor are those that hold nothing
    /// of ours: what another program keeps in the same place is neither listed nor judged.
    ///
    /// # Errors
    /// What listing the store reports.
    pub fn all(store: &Arc<dyn Store>) -> Result<Vec<Self>> {
        let names = store.list("")?.folders;
        let sources = names.into_iter().filter_map(|name| SourceName::new(name).ok());
        let vaults: Vec<Self> = sources.map(|source| Self::new(Arc::clone(store), source)).collect();
        let are_ours = parallel::map(store.parallel_reads(), &vaults, Self::holds_ours);
        Ok(vaults.into_iter().zip(are_ours).filter_map(|(vault, is_ours)| is_ours.then_some(vault)).collect())
    }

    /// Whether there is a proof, or an object that is named after an id; also when that cannot be told, so that whoever
    /// looks into it says why.
    fn holds_ours(&self) -> bool {
        let Ok(folders) = self.store.list(self.source.as_str()).map(|listing| listing.folders) else {
            return true;
        };
        let is_there = |name: &str| folders.iter().any(|folder| folder == name);
        if is_there(PROOFS) {
            return true;
        }
        Content::ALL.into_iter().filter(|content| is_there(content.name())).any(|content| {
            let rolling = format!("{}-{content}.", self.source);
            self.store.list(&self.folder(content)).map_or(true, |listing| {
                listing
                    .objects
                    .iter()
                    .map(|object| object.key.name())
                    .any(|name| id_of(name).is_some() || (content.is_rolling() && name.starts_with(&rolling)))
            })
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The source.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Takes the exclusive right to write here.
    ///
    /// # Errors
    /// `Busy`, naming the holder.
    pub fn lease(&self) -> Result<Box<dyn Lease>> {
        self.store.lease(self.source.as_str())
    }

    /// What the cache knows of this vault; a local store is read as fast as a cache would be.
    pub(crate) fn remembered(&self) -> Option<Remembered> {
        let cache = self.cache.as_ref().filter(|_| self.store.local_folder().is_none());
        cache.map(|cache| cache.open(&*self.store, &self.source))
    }

    /// All objects of the vault, and what a sync client made of some.
    pub(crate) fn listing(&self, remembered: Option<&Remembered>) -> Result<(Vec<Listed>, Vec<Finding>)> {
        let source = self.source.as_str();
        let (listed, conflicts) = Listed::below(source, &*self.store, remembered)?;
        let is_empty = |folder: &str| !listed.iter().any(|listed| listed.key().as_str().starts_with(folder));
        let folders =
            Content::ALL.map(|content| self.folder(content)).into_iter().chain([self.proofs_folder()]);
        for folder in folders.filter(|folder| is_empty(&format!("{folder}/"))) {
            // One that is a link was not gone through, which must not look as if there were nothing.
            self.store.list(&folder)?;
        }
        remembered.iter().for_each(|remembered| remembered.keep_only(source, &listed));
        Ok((listed, conflicts))
    }

    /// The artifact with this id.
    ///
    /// # Errors
    /// `NotFound` when there is no manifest; `Corrupt` or `Unsupported` when it cannot be used.
    pub fn artifact(&self, id: &BackupId) -> Result<StoredArtifact> {
        let key = self.manifest_key(id)?;
        let manifest = self.read_manifest(&key).map_err(|error| match error.is_not_found() {
            true => no_such_backup(id.as_str(), &*self.store),
            false => error.context(format!("the manifest \"{key}\" in {} cannot be used", self.store)),
        })?;
        if manifest.id != *id {
            // A rolling content's newer backup has taken its place.
            return Err(no_such_backup(id.as_str(), &*self.store));
        }
        Ok(StoredArtifact::new(Arc::clone(&self.store), key.folder().to_owned(), manifest))
    }

    /// An id no artifact and no left-over of this vault has.
    ///
    /// # Errors
    /// What listing the vault reports.
    pub fn next_id(&self, content: Content, started_at: Timestamp) -> Result<BackupId> {
        let taken = self.store.list(&self.folder(content))?.objects;
        let is_taken = |id: &BackupId| {
            let prefix = format!("{id}.");
            taken.iter().any(|object| object.key.name().starts_with(&prefix))
        };
        let mut collision = 1;
        loop {
            let id = BackupId::new(&self.source, content, started_at, collision);
            if content.is_rolling() || !is_taken(&id) {
                return Ok(id);
            }
            collision += 1;
        }
    }

    /// Starts an object of an artifact; `name` is the payload's or a companion's.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn begin_object(&self, id: &BackupId, name: &str) -> Result<Box<dyn ObjectWriter>> {
        self.store.put(&self.object_key(id, name)?, put_mode(id))
    }

    /// The artifact a draft manifest describes, before it is committed.
    pub(crate) fn draft(&self, manifest: Manifest) -> StoredArtifact {
        StoredArtifact::new(Arc::clone(&self.store), self.folder(manifest.content), manifest)
    }

    /// The commit point: creates the manifest.
    pub(crate) fn commit(&self, manifest: &Manifest) -> Result<()> {
        let mut writer = self.store.put(&self.manifest_key(&manifest.id)?, put_mode(&manifest.id))?;
        writer
            .write_all(&manifest.to_json()?)
            .map_err(|e| Error::from_io(format!("could not write the manifest of \"{}\"", manifest.id), e))?;
        crash::point("manifest.written");
        writer.finish()
    }

    /// Removes the objects of a run that failed before its commit.
    pub(crate) fn discard(&self, id: &BackupId, names: &[String]) {
        // Where creating may replace, what stands there could be another host's by now.
        if id.content().is_rolling() || !self.store.capabilities().create_only {
            return;
        }
        for key in names.iter().filter_map(|name| self.object_key(id, name).ok()) {
            // What stays is invisible, and swept after the grace time.
            let _ = self.store.delete(&key);
        }
    }

    /// Gives the newest good backup its second name, where the store can.
    pub(crate) fn point_latest(&self, manifest: &Manifest) -> Result<()> {
        let Some(linker) = self.store.latest_link() else { return Ok(()) };
        let extensions = manifest.payload.name.strip_prefix(&manifest.object_stem()).unwrap_or("");
        linker.point_latest(&self.object_key(&manifest.id, &manifest.payload.name)?, extensions)
    }

    /// Stores a proof.
    pub(crate) fn record(&self, proof: &Proof) -> Result<()> {
        let folder = self.proof_folder(&proof.id);
        let text = serde_json::to_vec_pretty(proof)
            .map_err(|e| Error::failed("could not write a proof as JSON").with_source(e))?;
        let mut collision = 1;
        loop {
            let key = Key::new(format!("{folder}/{}", proof_name(proof, collision)))?;
            match self.store.put_bytes(&key, &text, PutMode::Create) {
                Err(error) if error.kind() == crate::error::ErrorKind::AlreadyExists => collision += 1,
                other => return other,
            }
        }
    }

    /// Clears what dead runs left: half-written objects at once, payloads without manifest after a day of grace.
    /// Only the holder of the lease may call it. Files that are not ours are never touched.
    pub(crate) fn sweep(&self, cx: &Context) -> Result<()> {
        self.store.sweep(self.source.as_str())?;
        for content in Content::ALL.into_iter().filter(|content| !content.is_rolling()) {
            let objects = self.store.list(&self.folder(content))?.objects;
            for orphan in orphans(&objects, cx.now()) {
                self.store.delete(&orphan.key)?;
                cx.warn(format!("removed \"{}\", left by a run that died before its manifest", orphan.key));
            }
        }
        Ok(())
    }

    pub(crate) fn folder(&self, content: Content) -> String {
        format!("{}/{content}", self.source)
    }

    pub(crate) fn proof_folder(&self, id: &BackupId) -> String {
        format!("{}/{id}", self.proofs_folder())
    }

    /// The folder of the folders of proofs.
    pub(crate) fn proofs_folder(&self) -> String {
        format!("{}/{PROOFS}", self.source)
    }

    pub(crate) fn manifest_key(&self, id: &BackupId) -> Result<Key> {
        Key::new(format!("{}/{}.json", self.folder(id.content()), object_stem(id)))
    }

    pub(crate) fn object_key(&self, id: &BackupId, name: &str) -> Result<Key> {
        Key::new(format!("{}/{name}", self.folder(id.content())))
    }
}

/// The error for an id that nothing has.
pub(crate) fn no_such_backup(text: &str, store: &dyn Store) -> Error {
    Error::new(
        crate::error::ErrorKind::NotFound,
        format!("there is no backup \"{}\" in {store}", text.escape_debug()),
    )
    .with_hint("`backup list` prints the backups there are.")
}

fn put_mode(id: &BackupId) -> PutMode {
    if id.content().is_rolling() { PutMode::Replace } else { PutMode::Create }
}

fn orphans(objects: &[ObjectMeta], now: Timestamp) -> Vec<&ObjectMeta> {
    let owners: BTreeSet<&str> =
        objects.iter().filter_map(|object| object.key.name().strip_suffix(".json")).collect();
    let is_orphan = |object: &&ObjectMeta| {
        let name = object.key.name();
        id_of(name).is_some_and(|id| !owners.contains(id.as_str()))
            && !name.ends_with(".json")
            && now.duration_since(object.modified) > ORPHAN_GRACE
    };
    objects.iter().filter(is_orphan).collect()
}

/// The id an object is named after; `None` for files that are not ours.
fn id_of(name: &str) -> Option<BackupId> {
    name.match_indices('.').find_map(|(at, _)| name[..at].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_payloads_of_ours_without_manifest_are_orphans() {
        let object = |name: &str, hour: i64| ObjectMeta {
            key: Key::new(format!("a.b/full/{name}")).unwrap(),
            bytes: 1,
            modified: Timestamp::from_second(hour * 3600).unwrap(),
        };
        let objects = [
            object("a.b-full-20260101T000000Z.db.zst", 0),
            object("a.b-full-20260102T000000Z.db.zst", 0),
            object("a.b-full-20260102T000000Z.json", 0),
            object("a.b-full-20260102T000000Z-2.db.zst", 0),
            object("a.b-full-20260103T000000Z.db.zst", 90),
            object("latest.db.zst", 0),
            object("notes.txt", 0),
        ];
        let found = orphans(&objects, Timestamp::from_second(100 * 3600).unwrap());
        let names: Vec<&str> = found.iter().map(|object| object.key.name()).collect();
        assert_eq!(names, ["a.b-full-20260101T000000Z.db.zst", "a.b-full-20260102T000000Z-2.db.zst"]);
    }
}
