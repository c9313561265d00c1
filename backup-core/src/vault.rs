//! All artifacts of one source in one store: layout, commit protocol, catalogue.
//!
//! An artifact begins to exist when its manifest is created, after its payload is stored and proven, and ceases to
//! exist when its manifest is deleted, before its payload is. Everything else in the vault's folders is invisible.

use std::{io::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    artifact::{Artifact, StoredArtifact},
    content::Content,
    context::Context,
    crash,
    error::{Error, Result},
    id::{BackupId, Key, SourceName, compact_instant},
    manifest::{MAX_MANIFEST_BYTES, Manifest, object_stem},
    proof::Proof,
    store::{Lease, ObjectMeta, ObjectWriter, PutMode, Store, StoreExt},
    verify::Finding,
};

/// How long a payload without manifest is left alone.
const ORPHAN_GRACE: SignedDuration = SignedDuration::from_hours(24);

/// All artifacts of one source in one store.
#[derive(Clone, Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    source: SourceName,
}

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

    /// The newest artifact of a content that no guardrail complains of.
    pub fn newest_good(&self, content: Content) -> Option<&StoredArtifact> {
        let is_candidate = |artifact: &&StoredArtifact| {
            let manifest = artifact.manifest();
            manifest.content == content && manifest.is_good() && !manifest.is_partial()
        };
        self.artifacts.iter().rev().find(is_candidate)
    }
}

impl Vault {
    /// The vault of a source; nothing is read or made yet.
    pub fn new(store: Arc<dyn Store>, source: SourceName) -> Self {
        Self { store, source }
    }

    /// The vaults of a store, by name. Folders that cannot name a source are not vaults.
    pub fn all(store: &Arc<dyn Store>) -> Result<Vec<Self>> {
        let names = store.list("")?.folders;
        let sources = names.into_iter().filter_map(|name| SourceName::new(name).ok());
        Ok(sources.map(|source| Self::new(Arc::clone(store), source)).collect())
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
    pub fn lease(&self) -> Result<Box<dyn Lease>> {
        self.store.lease(self.source.as_str())
    }

    /// Every artifact, of one content or of all.
    pub fn catalogue(&self, content: Option<Content>) -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        let contents = content.map_or(Content::ALL.to_vec(), |content| vec![content]);
        for content in contents {
            for object in self.store.list(&self.folder(content))?.objects {
                if object.key.as_str().ends_with(".json") {
                    self.read_into(&object.key, &mut catalogue)?;
                }
            }
        }
        catalogue.artifacts.sort_by(|a, b| {
            let (a, b) = (a.manifest(), b.manifest());
            (a.started_at, &a.id).cmp(&(b.started_at, &b.id))
        });
        Ok(catalogue)
    }

    fn read_into(&self, key: &Key, catalogue: &mut Catalogue) -> Result<()> {
        match self.read_manifest(key) {
            Ok(manifest) => {
                let folder = key.folder().to_owned();
                catalogue.artifacts.push(StoredArtifact::new(Arc::clone(&self.store), folder, manifest));
            }
            // A run's prune on another host may have taken it since it was listed.
            Err(error) if error.is_not_found() => {}
            Err(error) if is_about_bytes(&error) => {
                catalogue.damaged.push(Finding::stored("manifest", key.as_str(), error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read_manifest(&self, key: &Key) -> Result<Manifest> {
        let bytes = self.store.get(key, MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::from_json(&bytes)?;
        if key.name() != format!("{}.json", manifest.object_stem()) || manifest.id.source() != self.source {
            return Err(Error::corrupt(format!(
                "it says it is \"{}\", which its name does not",
                manifest.id
            )));
        }
        Ok(manifest)
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
            return Err(no_such_backup(id.as_str(), &*self.store));
        }
        Ok(StoredArtifact::new(Arc::clone(&self.store), key.folder().to_owned(), manifest))
    }

    /// An id no artifact and no left-over of this vault has.
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
        if id.content().is_rolling() {
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
        let instant = compact_instant(proof.started_at);
        let text = serde_json::to_vec_pretty(proof)
            .map_err(|e| Error::failed("could not write a proof as JSON").with_source(e))?;
        let mut collision = 1;
        loop {
            let name = if collision == 1 { instant.clone() } else { format!("{instant}-{collision}") };
            let key = Key::new(format!("{folder}/{name}.json"))?;
            match self.store.put_bytes(&key, &text, PutMode::Create) {
                Err(error) if error.kind() == crate::error::ErrorKind::AlreadyExists => collision += 1,
                other => return other,
            }
        }
    }

    /// The proofs of one artifact, oldest first. A damaged proof proves nothing and is left out.
    pub fn proofs(&self, id: &BackupId) -> Result<Vec<Proof>> {
        let mut proofs: Vec<Proof> = Vec::new();
        for object in self.store.list(&self.proof_folder(id))?.objects {
            let bytes = self.store.get(&object.key, MAX_MANIFEST_BYTES)?;
            proofs.extend(serde_json::from_slice::<Proof>(&bytes).ok().filter(|proof| proof.id == *id));
        }
        proofs.sort_by_key(|proof| proof.started_at);
        Ok(proofs)
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

    fn folder(&self, content: Content) -> String {
        format!("{}/{content}", self.source)
    }

    fn proof_folder(&self, id: &BackupId) -> String {
        format!("{}/proofs/{id}", self.source)
    }

    fn manifest_key(&self, id: &BackupId) -> Result<Key> {
        Key::new(format!("{}/{}.json", self.folder(id.content()), object_stem(id)))
    }

    fn object_key(&self, id: &BackupId, name: &str) -> Result<Key> {
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

/// Whether an error speaks of a manifest's bytes, so that the others can still be listed.
fn is_about_bytes(error: &Error) -> bool {
    error.is_corruption() || error.kind() == crate::error::ErrorKind::Unsupported
}

fn put_mode(id: &BackupId) -> PutMode {
    if id.content().is_rolling() { PutMode::Replace } else { PutMode::Create }
}

fn orphans(objects: &[ObjectMeta], now: Timestamp) -> Vec<&ObjectMeta> {
    let owners: Vec<&str> =
        objects.iter().filter_map(|object| object.key.name().strip_suffix(".json")).collect();
    let is_orphan = |object: &&ObjectMeta| {
        let name = object.key.name();
        id_of(name).is_some_and(|id| !owners.contains(&id.as_str()))
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
