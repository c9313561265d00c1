//! From a configuration's data to a text that reads back as the same.

use backup_core::guardrail::Guardrails;
use jiff::SignedDuration;
use toml::{Table, Value};

use super::{
    Config, EncryptConfig, JobConfig, Keep, KeepFor, NotifyConfig, Occasion, Secret, StoreConfig,
    secret::escape, units::write_bytes,
};

impl Config {
    /// The configuration as TOML; [`Config::parse`] reads it back as an equal one.
    ///
    /// Secrets stand in it as they were written: a variable stays a variable, and a plain password is a plain one.
    pub fn to_toml(&self) -> String {
        let mut root = Writer::default();
        root.tables("stores", self.stores.iter().map(|(name, store)| (name.as_str(), write_store(store))));
        root.tables("notify", self.notify.iter().map(|(name, notify)| (name.as_str(), write_notify(notify))));
        root.tables("jobs", self.jobs.iter().map(|(name, job)| (name.as_str(), write_job(job))));
        root.0.to_string()
    }
}

/// A table that takes only what is set.
#[derive(Default)]
struct Writer(Table);

impl Writer {
    fn value(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn text(&mut self, key: &str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.value(key, escape(text.as_ref()));
        }
    }

    fn secret(&mut self, key: &str, secret: Option<&Secret>) {
        if let Some(secret) = secret {
            self.value(key, secret.written());
        }
    }

    fn duration(&mut self, key: &str, duration: Option<SignedDuration>) {
        self.text(key, duration.map(|duration| format!("{duration:#}")));
    }

    fn count(&mut self, key: &str, count: Option<u32>) {
        if let Some(count) = count {
            self.value(key, i64::from(count));
        }
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.value(key, texts.iter().map(|text| Value::from(escape(text))).collect::<Vec<_>>());
        }
    }

    fn truth(&mut self, key: &str, is_so: bool) {
        if is_so {
            self.value(key, true);
        }
    }

    fn table(&mut self, key: &str, table: Option<Table>) {
        if let Some(table) = table {
            self.value(key, table);
        }
    }

    fn tables<'n>(&mut self, key: &str, tables: impl Iterator<Item = (&'n str, Table)>) {
        let tables: Table = tables.map(|(name, table)| (name.to_owned(), Value::from(table))).collect();
        if !tables.is_empty() {
            self.value(key, tables);
        }
    }
}

fn write_store(store: &StoreConfig) -> Table {
    let mut out = Writer::default();
    out.text("url", Some(&store.url));
    out.text("storage_class", store.storage_class.as_ref());
    out.text("sse", store.sse.as_ref());
    out.text("endpoint", store.endpoint.as_ref());
    out.text("region", store.region.as_ref());
    out.text("layout", store.layout.as_ref());
    out.table("retention", store.retention.as_ref().map(write_retention));
    out.0
}

fn write_notify(notify: &NotifyConfig) -> Table {
    let mut out = Writer::default();
    if let Some(email) = &notify.email {
        let mut mail = Writer::default();
        mail.texts("to", &email.to);
        mail.secret("smtp", Some(&email.smtp));
        out.table("email", Some(mail.0));
    }
    out.secret("webhook", notify.webhook.as_ref());
    if notify.on != Occasion::USUAL {
        out.value("on", notify.on.iter().map(|occasion| Value::from(occasion.name())).collect::<Vec<_>>());
    }
    out.0
}

fn write_job(job: &JobConfig) -> Table {
    let mut out = Writer::default();
    out.secret("source", Some(&job.source));
    out.secret("password", job.password.as_ref());
    out.text("store", Some(&job.store));
    out.texts("mirrors", &job.mirrors);
    out.text("schedule", job.schedule.as_ref());
    out.text("timezone", job.timezone.as_ref());
    out.text("drill", job.drill.as_ref());
    out.table("retention", job.retention.as_ref().map(write_retention));
    let mut objectives = Writer::default();
    objectives.duration("rpo", job.objectives.rpo);
    objectives.duration("rto", job.objectives.rto);
    objectives.duration("proof", job.objectives.proof);
    out.table("objectives", Some(objectives.0).filter(|table| !table.is_empty()));
    out.table("guardrails", Some(write_guardrails(&job.guardrails)).filter(|table| !table.is_empty()));
    out.table("encrypt", job.encrypt.as_ref().map(write_encrypt));
    out.duration("timeout", job.timeout);
    out.texts("smoke", &job.smoke);
    out.texts("notify", &job.notify);
    out.text("content", job.content.map(|content| content.name()));
    out.texts("tables", &job.tables);
    out.texts("exclude_tables", &job.exclude_tables);
    out.texts("exclude_table_data", &job.exclude_table_data);
    out.texts("schemas", &job.schemas);
    out.text("format", job.format.map(|format| format.name()));
    out.text("compression", job.compression.map(|compression| compression.to_string()));
    out.text("verify", job.verify.map(|level| level.name()));
    out.texts("tags", &job.tags);
    out.count("jobs", job.jobs.and_then(|jobs| u32::try_from(jobs.get()).ok()));
    out.truth("cross_check", job.cross_check);
    out.truth("no_owner", job.no_owner);
    out.truth("no_roles", job.no_roles);
    out.duration("lock_wait", job.lock_wait);
    out.0
}

fn write_retention(retention: &Keep) -> Table {
    let mut out = Writer::default();
    out.count("last", retention.last);
    out.count("hourly", retention.hourly);
    out.count("daily", retention.daily);
    out.count("weekly", retention.weekly);
    out.count("monthly", retention.monthly);
    out.count("yearly", retention.yearly);
    out.duration("within", retention.within);
    let kept = |kept: &KeepFor| match kept {
        KeepFor::For(duration) => format!("{duration:#}"),
        KeepFor::Forever => "forever".to_owned(),
    };
    let tags: Table = retention.tags.iter().map(|(tag, k)| (tag.clone(), Value::from(kept(k)))).collect();
    out.table("tags", Some(tags).filter(|tags| !tags.is_empty()));
    out.text("max_bytes", retention.max_bytes.map(write_bytes));
    out.0
}

fn write_guardrails(rules: &Guardrails) -> Table {
    let (mut out, usual) = (Writer::default(), Guardrails::default());
    if let Some(rows) = rules.min_rows {
        // TOML's integers are signed; nobody counts so many rows.
        out.value("min_rows", i64::try_from(rows).unwrap_or(i64::MAX));
    }
    let shares = [
        ("ratchet", rules.ratchet, usual.ratchet),
        ("size_change", rules.size_change, usual.size_change),
        ("min_free", rules.min_free, usual.min_free),
    ];
    for (key, share, usual) in shares {
        if share != usual {
            out.value(key, share);
        }
    }
    out.0
}

fn write_encrypt(encrypt: &EncryptConfig) -> Table {
    let mut out = Writer::default();
    let recipients = encrypt.recipients.iter().map(|recipient| Value::from(escape(recipient)));
    out.value("recipients", recipients.collect::<Vec<_>>());
    out.text("identity", encrypt.identity.as_ref().map(|path| path.display().to_string()));
    out.0
}
