//! How work is guarded.

use jiff::SignedDuration;

use crate::{
    content::Content,
    error::{Error, Result},
    id::BackupId,
    mirror::Mirror,
    operation::RunOptions,
    store::Store,
    verify::Level,
};

/// The tag of a backup that a guard takes.
const TAG: &str = "guard";

/// The share of its rows that a table may lose before that is told.
const MAX_LOSS: f64 = 0.5;

/// How work is guarded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuardOptions {
    /// A proven backup of at most this age is enough; `None`, the default, takes one now.
    ///
    /// Age is all that is asked for: whether somebody wrote since cannot be told from the outside, so a restore may
    /// lose what was written since. Tables whose number of rows is not the backup's any more are told.
    pub fresh: Option<SignedDuration>,
    /// Whether the database is restored when the work fails; default no: the line that restores it is told.
    pub restore_on_failure: bool,
    /// Work that succeeded and took more than this share of a table's rows (0 to 1) is told as a warning; `None` is
    /// off, the default is a half. A table that is gone is always told.
    pub max_loss: Option<f64>,
    /// Whether every table is counted before and after; default yes.
    pub census: bool,
    /// How a backup is taken; its content is always full, and the tag `guard` is added. `verify` is also the least
    /// proof (and never less than `structure`) that a backup found by `fresh` must have.
    pub run: RunOptions,
    /// Stores that the backup is copied to before the work begins, and from which it is restored where the vault's own
    /// copy is damaged.
    pub mirrors: Vec<Mirror>,
    /// The words before `restore` in the line that people paste; by default `backup --store <the vault's store>`.
    pub command: Option<Vec<String>>,
    /// What the work is, in a word, for the journal. Never give arguments, which may hold secrets.
    pub work: Option<String>,
}

impl Default for GuardOptions {
    /// A backup taken now, verified to `structure`, no restore by itself, every table counted.
    fn default() -> Self {
        Self {
            fresh: None,
            restore_on_failure: false,
            max_loss: Some(MAX_LOSS),
            census: true,
            run: RunOptions::default(),
            mirrors: Vec::new(),
            command: None,
            work: None,
        }
    }
}

impl GuardOptions {
    /// With a proven backup of at most this age being enough.
    #[must_use]
    pub fn with_fresh(mut self, age: SignedDuration) -> Self {
        self.fresh = Some(age);
        self
    }

    /// With the database restored when the work fails.
    #[must_use]
    pub fn with_restore_on_failure(mut self, restore: bool) -> Self {
        self.restore_on_failure = restore;
        self
    }

    /// With another share of its rows that a table may lose; `None` is off.
    #[must_use]
    pub fn with_max_loss(mut self, share: Option<f64>) -> Self {
        self.max_loss = share;
        self
    }

    /// With or without counting every table.
    #[must_use]
    pub fn with_census(mut self, census: bool) -> Self {
        self.census = census;
        self
    }

    /// With another way to take the backup.
    #[must_use]
    pub fn with_run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }

    /// With stores that receive a copy.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Vec<Mirror>) -> Self {
        self.mirrors = mirrors;
        self
    }

    /// With other words before `restore` in the line that people paste.
    #[must_use]
    pub fn with_command(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.command = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// With a word for what the work is.
    #[must_use]
    pub fn with_work(mut self, work: impl Into<String>) -> Self {
        self.work = Some(work.into());
        self
    }

    /// Refuses what could not bring the database back.
    pub(super) fn check(&self) -> Result<()> {
        if self.run.capture.is_partial() {
            return Err(Error::invalid("a guard needs a backup of everything, not of some tables")
                .with_hint("Leave the selection of tables and schemas out."));
        }
        if self.run.verify == Level::None {
            return Err(Error::invalid("a guard needs a proven backup, not one verified to \"none\"")
                .with_hint("Levels are checksum, structure and restore."));
        }
        match self.max_loss {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(Error::invalid(format!("\"{share}\" is no share of a table's rows"))
                    .with_hint("Give a number from 0 to 1."))
            }
            _ => Ok(()),
        }
    }

    /// How the backup is taken.
    pub(super) fn run(&self) -> RunOptions {
        let mut run = self.run.clone();
        run.content = Content::Full;
        if !run.tags.iter().any(|tag| tag == TAG) {
            run.tags.push(TAG.to_owned());
        }
        run
    }

    /// The line that brings a backup back, for a POSIX shell. It asks nothing: what stands there is kept.
    pub(super) fn restore_line(&self, store: &dyn Store, backup: &BackupId) -> String {
        let default = || vec!["backup".to_owned(), "--store".to_owned(), name_of(store)];
        let mut words = self.command.clone().unwrap_or_else(default);
        words.extend(["restore", backup.as_str(), "--replace", "--yes"].map(str::to_owned));
        words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A store as `--store` names it, as far as the store itself can tell.
fn name_of(store: &dyn Store) -> String {
    if let Some(folder) = store.local_folder() {
        return folder.display().to_string();
    }
    let shown = store.to_string();
    let quoted = shown.split_once('"').and_then(|(_, rest)| Some(rest.rsplit_once('"')?.0));
    quoted.map_or(shown.clone(), str::to_owned)
}

/// A word quoted where a POSIX shell needs it. No name of a file or store can hold the one character that cannot be.
fn shell_word(word: &str) -> String {
    shlex::try_quote(&word.replace('\0', "")).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_word_reads_back_as_one_word(word in "[^\0\r]{0,20}") {
            prop_assert_eq!(shlex::split(&shell_word(&word)), Some(vec![word]));
        }
    }

    #[test]
    fn what_could_not_bring_a_database_back_is_refused() {
        let mut partial = RunOptions::default();
        partial.capture.tables.push("orders".to_owned());
        for bad in [
            GuardOptions::default().with_run(partial),
            GuardOptions::default().with_run(RunOptions::default().with_verify(Level::None)),
            GuardOptions::default().with_max_loss(Some(1.5)),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), crate::error::ErrorKind::Invalid);
        }
        assert!(GuardOptions::default().check().is_ok());
    }
}
