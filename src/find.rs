//! Finding a backup, wherever it lies, and the engine that reads it.

use std::sync::Arc;

use backup_core::{
    Error, ErrorKind, Result,
    engine::BackupEngine,
    id::BackupId,
    manifest::Manifest,
    mirror::{Copies, Mirror},
    selector::Selector,
};

use crate::{backups::Backups, engines::engine_for, job::Job};

impl Backups {
    /// The copies of the backup that a text names: an id, the beginning of one, `latest`, `JOB/latest`. They are looked
    /// for in the stores of the jobs and in their mirrors together.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Invalid` when there are several.
    pub fn find(&self, selector: &str) -> Result<Copies> {
        let mut selector = selector.parse::<Selector>()?;
        if let Selector::Latest { source: source @ None, .. } = &mut selector
            && let [only] = self.definitions().keys().collect::<Vec<_>>().as_slice()
            && self.file().is_some()
        {
            *source = Some((*only).clone());
        }
        let source = match &selector {
            Selector::Latest { source, .. } => source.clone(),
            Selector::Prefix(text) => text.parse::<BackupId>().ok().map(|id| id.source()),
            _ => None,
        };
        match source.and_then(|source| self.definitions().get_key_value(&source)) {
            Some((name, job)) => {
                if let Selector::Latest { selection, .. } = &mut selector {
                    *selection = job.selection();
                }
                let mirrors = self.mirrors_of(name).into_iter().map(|one| one.mirror).collect::<Vec<_>>();
                Copies::find(&selector, &self.store_named(&job.store)?, &mirrors, self.heard())
            }
            None => self.find_anywhere(&selector),
        }
    }

    /// The job of a backup that was found: its source's own, or else one made of what the manifest tells, with its
    /// password from where `psql` would take it.
    ///
    /// # Errors
    /// `Unsupported` when this build has no engine for it; what opening the job's store reports.
    pub fn job_of_copies(&self, copies: &Copies) -> Result<Job> {
        let (manifest, vault) = (copies.manifest(), &copies.nearest().vault);
        if self.definitions().contains_key(vault.source()) {
            return self.job(vault.source().as_str());
        }
        let engine = engine_for(manifest, None)?;
        Ok(Job::heard_by(vault.clone(), engine, self.context(), Some(self.readers())))
    }

    /// Looks into every store; what one does not have, another may.
    fn find_anywhere(&self, selector: &Selector) -> Result<Copies> {
        let (mut found, mut missing, mut failed): (Vec<Copies>, _, _) = (Vec::new(), None, None);
        for name in self.primary_names() {
            let store = match self.store_named(name) {
                Ok(store) => store,
                Err(error) => {
                    failed = failed.or(Some(error));
                    continue;
                }
            };
            match Copies::find(selector, &store, &self.mirrors_beside(name), self.heard()) {
                Ok(copies) => found.push(copies),
                Err(error) if error.is_not_found() => missing = missing.or(Some(error)),
                // More than one here is more than one, whatever the others have.
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let (Some(error), false) = (&failed, found.is_empty()) {
            self.heard().warn(format!("not every store could be looked into: {error:?}"));
        }
        match (found.pop(), found.first(), failed.or(missing)) {
            (Some(only), None, _) => Ok(only),
            (Some(one), Some(other), _) => {
                let (one, other) = (one.nearest().vault.store(), other.nearest().vault.store());
                Err(Error::invalid(format!("{other} and {one} both have such a backup")).with_hint(
                    "Type more of its id, name its job as in JOB/latest, or name the store with --store.",
                ))
            }
            (None, _, Some(error)) => Err(error),
            (None, _, None) => Err(Error::invalid("there is no store to look into")),
        }
    }

    /// The mirrors of all jobs that write to a store, each once.
    fn mirrors_beside(&self, store: &str) -> Vec<Mirror> {
        if let Some(mirrors) = self.given_mirrors() {
            return mirrors.to_vec();
        }
        let mut beside: Vec<Mirror> = Vec::new();
        for (name, _) in self.definitions().iter().filter(|(_, job)| job.store == store) {
            for one in self.mirrors_of(name) {
                if beside.iter().all(|known| known.name != one.mirror.name) {
                    beside.push(one.mirror);
                }
            }
        }
        beside
    }

    /// The engine of an artifact. Where it was taken from a job's database, the job's connection is used.
    ///
    /// # Errors
    /// `Unsupported` when this build does not have it.
    pub fn engine_for(&self, manifest: &Manifest) -> Result<Arc<dyn BackupEngine>> {
        let own = self.definitions().iter().find(|(name, _)| name.as_str() == manifest.source.name);
        engine_for(manifest, own.map(|(_, job)| &job.source))
    }
}
