//! What a command line wants protected: jobs of the configuration, or databases that it names itself.

use std::{path::Path, sync::Arc};

use backup::{Backups, Error, Job, Result, Source, store::Store};

use crate::{command::Session, environment};

/// What is to be backed up.
pub(crate) enum Protected {
    /// A job of the configuration.
    Job(String),
    /// A database that was named.
    Source(String),
}

impl Protected {
    /// What people call it; no password.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Job(job) => job.clone(),
            Self::Source(text) => {
                text.parse::<Source>().map_or_else(|_| "the database".to_owned(), |source| source.to_string())
            }
        }
    }
}

impl Session<'_> {
    /// What the words of a command line name; without any, every job, or the database of `DATABASE_URL`.
    pub(crate) fn protected(&self, typed: &[String]) -> Result<Vec<Protected>> {
        let backups = self.backups()?;
        if !typed.is_empty() {
            return typed.iter().map(|text| self.protected_one(backups, text)).collect();
        }
        let Some(file) = backups.file() else {
            return Ok(vec![Protected::Source(environment::source(None)?)]);
        };
        let names: Vec<String> = backups.names().map(ToString::to_string).collect();
        if names.is_empty() {
            return Err(Error::invalid(format!("\"{}\" has no jobs", file.path.display()))
                .with_hint("Add one: [jobs.NAME] with a source; `backup init` shows how."));
        }
        self.output.tell(&format!("every job of {}: {}", file.path.display(), names.join(", ")));
        Ok(names.into_iter().map(Protected::Job).collect())
    }

    /// The name of the vault that a word means: a job, a vault, or a database.
    pub(crate) fn vault_name(&self, text: &str) -> Result<String> {
        let backups = self.backups()?;
        let is_name =
            |name: &str| backups.vaults().map(|all| all.iter().any(|one| one.source().as_str() == name));
        if !text.contains(['/', '\\', ':', '=', '.']) || backups.source(text).is_ok() {
            return Ok(text.to_owned());
        }
        if !text.contains(['/', '\\', ':', '=']) && is_name(text)? {
            return Ok(text.to_owned());
        }
        match self.protected_one(backups, text)? {
            Protected::Job(name) => Ok(name),
            Protected::Source(text) => Ok(text.parse::<Source>()?.default_name().to_string()),
        }
    }

    fn protected_one(&self, backups: &Backups, text: &str) -> Result<Protected> {
        if backups.source(text).is_ok() {
            if Path::new(text).exists() {
                self.output.tell(&format!(
                    "\"{text}\" is taken for the job, not for the file; ./{text} means the file"
                ));
            }
            return Ok(Protected::Job(text.to_owned()));
        }
        let is_bare = !text.contains(['/', '\\', '.', ':', '=']);
        if is_bare && backups.file().is_some() && !Path::new(text).exists() {
            backups.source(text)?;
        }
        if let Some(job) = backups.job_of(&text.parse::<Source>()?) {
            self.output.tell(&format!("that is the source of the job \"{job}\""));
            return Ok(Protected::Job(job.to_string()));
        }
        Ok(Protected::Source(text.to_owned()))
    }

    /// The job of what is to be backed up; `name` is that of the vault of a database that no job protects.
    pub(crate) fn job(&self, protected: &Protected, name: Option<&str>) -> Result<Job> {
        let text = match protected {
            Protected::Job(job) if name.is_none_or(|name| name == job) => return self.backups()?.job(job),
            Protected::Job(job) => {
                return Err(Error::invalid(format!("the vault of job \"{job}\" has the name of the job"))
                    .with_hint("Leave --name out, or name the database itself instead of the job."));
            }
            Protected::Source(text) => text,
        };
        let name = match name {
            Some(name) => name.to_owned(),
            None => text.parse::<Source>()?.default_name().to_string(),
        };
        let store = self.store_of_others()?;
        let mirrors = self.typed_mirrors(self.backups()?, &*store)?;
        let builder = Backups::builder().opened_store(store).source(&name, text);
        builder.context(self.context.clone()).build()?.with_mirrors(mirrors).job(&name)
    }

    /// The store of a database that no job protects.
    fn store_of_others(&self) -> Result<Arc<dyn Store>> {
        let backups = self.backups()?;
        match environment::stated_store(self.global) {
            Some(text) if self.global.store.is_none() && backups.file().is_some() => {
                backup::open_store(&text)
            }
            _ => backups.store(),
        }
    }
}
