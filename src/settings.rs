//! What a job does when nobody says otherwise.

use std::{sync::Arc, time::Duration};

use backup_core::{
    Error, Result,
    capture::CaptureOptions,
    guardrail::Guardrails,
    operation::{DrillOptions, Objectives, RunOptions},
    retention::{Keep, RetentionPolicy},
    verify::Verifier,
};
use jiff::{SignedDuration, tz::TimeZone};

use crate::{
    config::{EncryptConfig, JobConfig},
    source::Source,
};

/// What a job does when nobody says otherwise: what a `backup.toml` says of it, and what a builder is given
/// ([`crate::BackupsBuilder::settings`]). The default is the command's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobSettings {
    /// The name of the store it is backed up into; `None` is the one that the builder was given.
    pub store: Option<String>,
    /// The names of the stores that receive copies.
    pub mirrors: Vec<String>,
    /// How it is run.
    pub run: RunOptions,
    /// How it is drilled, and the rules of one's own that runs, verifications and drills ask.
    pub drill: DrillOptions,
    /// What is asked of it.
    pub objectives: Objectives,
    /// A run that takes longer is stopped; `None` waits for ever.
    pub timeout: Option<SignedDuration>,
    /// How long its backups stay in the primary store, and in mirrors that have no policy of their own; `None` keeps
    /// all.
    pub retention: Option<Arc<dyn RetentionPolicy>>,
    /// The zone whose days, weeks and months the policies of its stores count.
    pub zone: TimeZone,
    /// Who can read its backups; `None` is everybody who can read the store.
    pub encrypt: Option<EncryptConfig>,
}

impl Default for JobSettings {
    /// What the command does without a configuration; days are those of UTC.
    fn default() -> Self {
        Self {
            store: None,
            mirrors: Vec::new(),
            run: RunOptions::default(),
            drill: DrillOptions::default(),
            objectives: Objectives::default(),
            timeout: None,
            retention: None,
            zone: TimeZone::UTC,
            encrypt: None,
        }
    }
}

impl JobSettings {
    /// Backed up into the store of this name.
    #[must_use]
    pub fn with_store(mut self, name: impl Into<String>) -> Self {
        self.store = Some(name.into());
        self
    }

    /// With one more store, by its name, that receives copies.
    #[must_use]
    pub fn with_mirror(mut self, name: impl Into<String>) -> Self {
        self.mirrors.push(name.into());
        self
    }

    /// Run this way: tags, guardrails, compression, recipients, depth of verification.
    #[must_use]
    pub fn with_run(mut self, run: RunOptions) -> Self {
        self.run = run;
        self
    }

    /// With one more query that the restored database of a drill must answer.
    #[must_use]
    pub fn with_smoke(mut self, sql: impl Into<String>) -> Self {
        self.drill.smoke.push(sql.into());
        self
    }

    /// With one more rule that runs, verifications and drills ask; what it finds is in their proofs.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        self.drill.verifiers.push(verifier);
        self
    }

    /// Drilled on another server than the source's own, and with these smoke queries and rules only.
    #[must_use]
    pub fn with_drill(mut self, drill: DrillOptions) -> Self {
        self.drill = drill;
        self
    }

    /// With this asked of it.
    #[must_use]
    pub fn with_objectives(mut self, objectives: Objectives) -> Self {
        self.objectives = objectives;
        self
    }

    /// Stopped when it takes longer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: SignedDuration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// With a policy by which older backups are removed after each good run.
    #[must_use]
    pub fn with_retention(mut self, policy: impl RetentionPolicy + 'static) -> Self {
        self.retention = Some(Arc::new(policy));
        self
    }

    /// Encrypted; no key of those who can read it is needed here.
    #[must_use]
    pub fn with_encrypt(mut self, encrypt: EncryptConfig) -> Self {
        self.encrypt = Some(encrypt);
        self
    }

    /// With another zone for the days, weeks and months that the policies of its stores count.
    #[must_use]
    pub fn with_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// What the configuration says of a job.
    pub(crate) fn of(job: &JobConfig) -> Self {
        let zone = job.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let mut settings = Self {
            store: Some(job.store.clone()),
            mirrors: job.mirrors.clone(),
            run: run_options(job),
            drill: DrillOptions::default().with_smoke(job.smoke.clone()),
            objectives: job.objectives,
            timeout: job.timeout,
            retention: None,
            zone: zone.unwrap_or(TimeZone::UTC),
            encrypt: job.encrypt.clone(),
        };
        settings.retention = job.retention.as_ref().map(|keep| settings.in_zone(keep));
        settings
    }

    /// A policy in the job's own days, weeks and months.
    pub(crate) fn in_zone(&self, keep: &Keep) -> Arc<dyn RetentionPolicy> {
        Arc::new(Keep { zone: self.zone.clone(), ..keep.clone() })
    }

    /// The options of one run: what `asked` leaves at its default is the job's, and tags add up.
    ///
    /// # Errors
    /// `Invalid` when a recipient of the configuration is none; nothing is ever stored in the clear instead.
    pub(crate) fn run_over(&self, asked: RunOptions) -> Result<RunOptions> {
        let usual = RunOptions::default();
        let mut options = self.run.clone();
        if asked.content != usual.content {
            options.content = asked.content;
        }
        if asked.verify != usual.verify {
            options.verify = asked.verify;
        }
        options.drill = self.drill_over(&asked.drill);
        options.guardrails = guardrails_over(&options.guardrails, &asked.guardrails);
        options.capture = capture_over(&options.capture, asked.capture);
        options.compression = asked.compression.or(options.compression);
        options.accept |= asked.accept;
        options.same_source |= asked.same_source;
        options.wait = options.wait.max(asked.wait);
        options.tags.extend(asked.tags);
        options.recipients = match &self.encrypt {
            _ if !asked.recipients.is_empty() => asked.recipients,
            Some(encrypt) => encrypt.recipients.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            None => options.recipients,
        };
        Ok(options)
    }

    /// The options of one drill; smoke queries and rules add up.
    pub(crate) fn drill_over(&self, asked: &DrillOptions) -> DrillOptions {
        let mut options = self.drill.clone().with_smoke(asked.smoke.clone());
        options.verifiers.extend(asked.verifiers.iter().cloned());
        options.on = asked.on.clone().or(options.on);
        options
    }

    /// The objectives to judge by; what `asked` names goes before the job's.
    pub(crate) fn objectives_over(&self, asked: &Objectives) -> Objectives {
        let own = self.objectives;
        Objectives::new(asked.rpo.or(own.rpo), asked.rto.or(own.rto), asked.proof.or(own.proof))
    }
}

fn guardrails_over(own: &Guardrails, asked: &Guardrails) -> Guardrails {
    let usual = Guardrails::default();
    let share = |own: f64, asked: f64, usual: f64| if asked == usual { own } else { asked };
    let mut rules = own.clone();
    rules.min_rows = asked.min_rows.or(own.min_rows);
    rules.ratchet = share(own.ratchet, asked.ratchet, usual.ratchet);
    rules.size_change = share(own.size_change, asked.size_change, usual.size_change);
    rules.min_free = share(own.min_free, asked.min_free, usual.min_free);
    rules
}

fn capture_over(own: &CaptureOptions, asked: CaptureOptions) -> CaptureOptions {
    let mut capture = own.clone();
    let lists = [
        (&mut capture.tables, asked.tables),
        (&mut capture.exclude_tables, asked.exclude_tables),
        (&mut capture.exclude_table_data, asked.exclude_table_data),
        (&mut capture.schemas, asked.schemas),
    ];
    lists.into_iter().filter(|(_, asked)| !asked.is_empty()).for_each(|(own, asked)| *own = asked);
    capture.format = asked.format.or(own.format);
    capture.jobs = asked.jobs.or(own.jobs);
    capture.inside = asked.inside.or(own.inside);
    capture.lock_wait = asked.lock_wait.or(own.lock_wait);
    capture.stall = asked.stall.or(own.stall);
    capture.cross_check |= asked.cross_check;
    capture.no_owner |= asked.no_owner;
    capture.no_roles |= asked.no_roles;
    capture
}

fn run_options(job: &JobConfig) -> RunOptions {
    let mut options = RunOptions::default().with_guardrails(job.guardrails.clone());
    options.content = job.content.unwrap_or(options.content);
    options.verify = job.verify.unwrap_or(options.verify);
    options.compression = job.compression;
    options.tags.clone_from(&job.tags);
    let capture = &mut options.capture;
    capture.tables.clone_from(&job.tables);
    capture.exclude_tables.clone_from(&job.exclude_tables);
    capture.exclude_table_data.clone_from(&job.exclude_table_data);
    capture.schemas.clone_from(&job.schemas);
    capture.format = job.format;
    capture.jobs = job.jobs;
    capture.cross_check = job.cross_check;
    capture.no_owner = job.no_owner;
    capture.no_roles = job.no_roles;
    capture.lock_wait = job.lock_wait.and_then(|wait| Duration::try_from(wait).ok());
    options
}

/// The database a job protects, its password put in, a relative path taken from the configuration's folder.
pub(crate) fn source_of(job: &JobConfig, folder: &std::path::Path) -> Result<Source> {
    let text = job.source.reveal(folder)?;
    let source: Source = text.parse()?;
    match (source, &job.password) {
        (Source::Sqlite(path), None) => Ok(Source::Sqlite(folder.join(path))),
        (Source::Sqlite(_), Some(_)) => {
            Err(Error::invalid("an SQLite database takes no \"password\"").with_hint("Leave it out."))
        }
        (Source::Postgres(text), None) => Ok(Source::Postgres(text)),
        (Source::Postgres(text), Some(password)) => {
            Ok(Source::Postgres(with_password(&text, &password.reveal(folder)?)))
        }
        (Source::Engine(_), _) => Err(Error::invalid("no text names an engine of the program's own")),
    }
}

/// A connection string with a password; libpq takes the last one written.
fn with_password(text: &str, password: &str) -> String {
    match text.split_once("://") {
        Some(_) => {
            let joint = if text.contains('?') { '&' } else { '?' };
            format!("{text}{joint}password={}", percent_encoded(password))
        }
        None => {
            let pairs = if text.contains('=') { text } else { "" };
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{pairs} password='{quoted}'").trim_start().to_owned()
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use backup_core::{content::Content, verify::Level};

    use super::*;

    #[test]
    fn what_is_not_asked_for_is_the_jobs() {
        let run = RunOptions::default().with_verify(Level::Checksum).with_tag("nightly");
        let mut settings = JobSettings { run, ..JobSettings::default() };
        settings.run.guardrails.min_rows = Some(100);
        let plain = settings.run_over(RunOptions::default()).unwrap();
        assert_eq!((plain.verify, plain.guardrails.min_rows), (Level::Checksum, Some(100)));
        let asked =
            settings.run_over(RunOptions::default().with_content(Content::Schema).with_tag("hot")).unwrap();
        assert_eq!(asked.content, Content::Schema);
        assert_eq!(asked.tags, ["nightly", "hot"]);
        assert_eq!(asked.verify, Level::Checksum);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_password_kept_apart_reaches_the_server() {
        for text in
            ["postgres://app@db1/shop", "postgres://app@db1/shop?sslmode=require", "host=db1", "postgres:"]
        {
            let whole = with_password(text, r"a'b\c &%ü");
            let conninfo = backup_pg::conninfo::Conninfo::parse(&whole).unwrap();
            assert_eq!(conninfo.get("password"), Some(r"a'b\c &%ü"), "{text}");
        }
    }
}
