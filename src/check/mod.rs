//! Examines everything a run would need, before one needs it.

mod job;
mod store;

use std::collections::BTreeSet;

use backup_core::{Error, Result, context::Context, id::SourceName};
use serde::Serialize;

use crate::backups::Backups;

/// Everything that was examined, in the order it was.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// One entry per thing.
    pub items: Vec<Item>,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// What it belongs to: `configuration`, `job NAME`, `store NAME`.
    pub about: String,
    /// What of it: `source`, `writing`, `room` …
    pub what: String,
    /// How it is.
    pub state: State,
    /// What is the case, for people; holds no secret.
    pub found: String,
    /// What to do, a sentence.
    pub advice: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// As it should be.
    Ok,
    /// Runs will work, and somebody should look at it.
    Warn,
    /// A run would fail, or not do what was asked.
    Fail,
}

impl Report {
    /// Whether nothing fails.
    pub fn is_well(&self) -> bool {
        self.items.iter().all(|item| item.state < State::Fail)
    }

    fn add(&mut self, about: &str, what: &str, state: State, found: impl Into<String>) -> &mut Item {
        self.items.push(Item {
            about: about.to_owned(),
            what: what.to_owned(),
            state,
            found: found.into(),
            advice: None,
        });
        let last = self.items.len() - 1;
        &mut self.items[last]
    }

    fn ok(&mut self, about: &str, what: &str, found: impl Into<String>) {
        self.add(about, what, State::Ok, found);
    }

    fn warn(&mut self, about: &str, what: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(about, what, State::Warn, found).advice = Some(advice.into());
    }

    fn fail(&mut self, about: &str, what: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(about, what, State::Fail, found).advice = Some(advice.into());
    }

    /// An error as a failure, with its causes and hint.
    fn error(&mut self, about: &str, what: &str, error: &Error) {
        let mut found = error.to_string();
        error.causes().iter().for_each(|cause| found = format!("{found}: {cause}"));
        self.add(about, what, State::Fail, found).advice = error.hint().map(str::to_owned);
    }
}

pub(crate) fn check(backups: &Backups, only: Option<&str>, cx: &Context) -> Result<Report> {
    let jobs: Vec<&SourceName> = match only {
        Some(job) => vec![backups.name_of(job)?],
        None => backups.names().collect(),
    };
    let mut report = Report::default();
    configuration(backups, &mut report);
    let mut stores = BTreeSet::new();
    for job in &jobs {
        let (primary, mirrors) = backups.stores_of(job.as_str())?;
        stores.insert(primary.to_owned());
        stores.extend(mirrors.iter().cloned());
    }
    if only.is_none() {
        // One that nobody uses yet is examined before somebody does.
        stores.extend(backups.store_names().map(str::to_owned));
    }
    for name in &stores {
        cx.cancel().check()?;
        store::check(backups, name, &mut report, cx);
    }
    for job in jobs {
        cx.cancel().check()?;
        job::check(backups, job.as_str(), &mut report, cx);
    }
    Ok(report)
}

fn configuration(backups: &Backups, report: &mut Report) {
    const ABOUT: &str = "configuration";
    let Some(file) = backups.file() else {
        report.warn(
            ABOUT,
            "file",
            "there is none; environment and defaults are examined",
            "`backup init` writes a backup.toml.",
        );
        return;
    };
    let counts = format!(
        "{}; jobs: {}, stores: {}",
        file.path.display(),
        file.config.jobs.len(),
        file.config.stores.len()
    );
    report.ok(ABOUT, "file", counts);
    for warning in file.warnings() {
        report.warn(ABOUT, "secrets", warning, "Keep secrets out of the file, or the file to yourself.");
    }
    if file.config.jobs.is_empty() {
        report.fail(
            ABOUT,
            "jobs",
            "nothing is protected: there are no jobs",
            "Add one: [jobs.NAME] with a source.",
        );
    }
    notifications(backups, report);
}

/// Secrets that lie in files can be gone.
fn notifications(backups: &Backups, report: &mut Report) {
    let Some(file) = backups.file() else { return };
    for (name, notify) in &file.config.notify {
        let about = format!("notify {name}");
        let secrets = notify.webhook.iter().chain(notify.email.as_ref().map(|email| &email.smtp));
        match secrets.map(|secret| secret.reveal(file.folder())).find_map(Result::err) {
            Some(error) => report.error(&about, "address", &error),
            None => report.ok(&about, "address", "known; nothing was sent"),
        }
    }
}
