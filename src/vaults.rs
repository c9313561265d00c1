//! The stores that jobs write to, and the vaults and sources in them.

use std::{collections::BTreeSet, sync::Arc};

use backup_core::{Error, Result, id::SourceName, store::Store, vault::Vault};

use crate::backups::Backups;

impl Backups {
    /// The store of what belongs to no job: the only one that jobs write to.
    ///
    /// # Errors
    /// `Invalid` when there are several; what opening it reports.
    pub fn store(&self) -> Result<Arc<dyn Store>> {
        match self.primary_names().as_slice() {
            [only] => self.store_named(only),
            names => Err(Error::invalid(format!("which store is meant? There are {}", names.join(", ")))
                .with_hint("Name one of them with --store, or a job, whose store is known.")),
        }
    }

    /// The stores that jobs write to, each once, by name.
    ///
    /// # Errors
    /// What opening one reports.
    pub fn stores(&self) -> Result<Vec<Arc<dyn Store>>> {
        self.primary_names().into_iter().map(|name| self.store_named(name)).collect()
    }

    /// Mirrors are no jobs' own: what lies in them is found by naming them.
    pub(crate) fn primary_names(&self) -> Vec<&str> {
        let is_primary = |name: &&str| {
            self.definitions().is_empty() || self.definitions().values().any(|job| job.store == *name)
        };
        self.store_names().filter(is_primary).collect()
    }

    /// The vaults of the stores, those of sources that were not named included; a job's own is only where its store is.
    ///
    /// # Errors
    /// What opening or listing a store reports.
    pub fn vaults(&self) -> Result<Vec<Vault>> {
        let mut vaults = Vec::new();
        for name in self.primary_names() {
            let here = Vault::all(&self.store_named(name)?)?.into_iter();
            vaults.extend(here.filter_map(|vault| match self.definitions().get(vault.source()) {
                Some(job) if job.store == name => Some(vault.with_selection(job.selection())),
                Some(_) => None,
                None => Some(vault),
            }));
        }
        vaults.sort_by(|a, b| a.source().cmp(b.source()));
        Ok(vaults)
    }

    /// The sources of which there is a job, a vault, or a copy in a mirror that all jobs were given.
    ///
    /// # Errors
    /// As [`Backups::vaults`]; a mirror that does not answer is told when something is looked for in it.
    pub fn sources(&self) -> Result<BTreeSet<SourceName>> {
        let mut sources: BTreeSet<SourceName> = self.definitions().keys().cloned().collect();
        sources.extend(self.vaults()?.iter().map(|vault| vault.source().clone()));
        for mirror in self.given_mirrors().into_iter().flatten() {
            let there = Vault::all(&mirror.store).unwrap_or_default();
            sources.extend(there.iter().map(|vault| vault.source().clone()));
        }
        Ok(sources)
    }
}
