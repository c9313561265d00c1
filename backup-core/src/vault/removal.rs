//! How an artifact ceases to exist: its manifest first, then its bytes, the proofs of it last.

use std::collections::BTreeSet;

use super::Vault;
use crate::{
    content::Content,
    crash,
    error::{Error, Result},
    id::{BackupId, Key},
    manifest::Manifest,
};

impl Vault {
    /// Removes an artifact. From the moment its manifest is gone it does not exist; what a kill leaves of its objects
    /// is invisible, and cleared by the next prune or sweep. Only the holder of the lease may call it.
    ///
    /// # Errors
    /// `Invalid` for rolling contents, which only their next run replaces. Whatever the store says to the removal of
    /// the manifest, after which the artifact is as it was.
    pub(crate) fn remove(&self, manifest: &Manifest) -> Result<Removal> {
        if manifest.content.is_rolling() {
            return Err(Error::invalid(format!(
                "\"{}\" is replaced by its next run, never removed",
                manifest.id
            )));
        }
        self.store.delete(&self.manifest_key(&manifest.id)?)?;
        crash::point("prune.manifest-removed");
        let mut removal = Removal::default();
        for name in std::iter::once(&manifest.payload.name).chain(&manifest.companions) {
            let key = self.object_key(&manifest.id, name)?;
            removal.delete(self, &key);
        }
        crash::point("prune.payload-removed");
        // They are how a later prune knows that what is left here was removed.
        if removal.left.is_empty() {
            self.remove_proofs(&manifest.id, &mut removal);
        }
        crash::point("prune.proofs-removed");
        Ok(removal)
    }

    /// Finishes removals that were cut short: proofs without a manifest are those of an artifact that existed and was
    /// removed, so what else is left of it goes at once. An artifact whose manifest cannot be read still exists. Only
    /// the holder of the lease may call it.
    pub(crate) fn finish_removals(&self) -> Result<Removal> {
        let (mut objects, mut existing) = (Vec::new(), BTreeSet::new());
        for content in Content::ALL {
            objects.extend(self.store.list(&self.folder(content))?.objects);
        }
        existing.extend(objects.iter().filter_map(|object| object.key.name().strip_suffix(".json")));
        let mut removal = Removal::default();
        for folder in self.store.list(&format!("{}/proofs", self.source))?.folders {
            // Rolling artifacts have one manifest for all their ids.
            let id = folder.parse::<BackupId>().ok().filter(|id| !id.content().is_rolling());
            let Some(id) = id.filter(|id| id.source() == self.source && !existing.contains(id.as_str()))
            else {
                continue;
            };
            let prefix = format!("{id}.");
            let own = objects.iter().filter(|object| object.key.name().starts_with(&prefix));
            let mut of_this = Removal::default();
            own.for_each(|object| of_this.delete(self, &object.key));
            if of_this.left.is_empty() {
                self.remove_proofs(&id, &mut of_this);
            }
            removal.left.extend(of_this.left);
        }
        Ok(removal)
    }

    fn remove_proofs(&self, id: &BackupId, removal: &mut Removal) {
        match self.store.list(&self.proof_folder(id)) {
            Ok(listing) => listing.objects.iter().for_each(|proof| removal.delete(self, &proof.key)),
            Err(error) => removal.left.push(format!("{error:?}")),
        }
    }
}

/// What became of the objects of an artifact whose manifest is gone.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// What the store said of objects that it did not remove; they are invisible.
    pub(crate) left: Vec<String>,
}

impl Removal {
    fn delete(&mut self, vault: &Vault, key: &Key) {
        match vault.store.delete(key) {
            Err(error) if !error.is_not_found() => self.left.push(format!("{error:?}")),
            _ => {}
        }
    }
}
