//! From the text of a configuration to its data, or to everything that is wrong with it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use backup_core::{Error, ErrorKind, Result, guardrail::Guardrails, id::SourceName, operation::Objectives};
use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::{
    Config, EmailConfig, EncryptConfig, JobConfig, Keep, KeepFor, NotifyConfig, Occasion, StoreConfig,
    nearest::did_you_mean,
    problem::{Problem, refuse},
    secret::Secret,
    section::{Placed, Reader, Section},
    units::parse_duration,
};
use crate::source::Source;

/// Words that stand for five fields.
const SCHEDULE_WORDS: [&str; 7] =
    ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];

impl Config {
    /// Reads a configuration; `name` is what messages call its file, `lookup` knows the variables.
    ///
    /// # Errors
    /// `Invalid`: every mistake with its line, column and text, and what may have been meant. No value of a key that
    /// may hold a secret is repeated.
    pub fn parse(text: &str, name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| {
                Problem::new(error.span().unwrap_or(0..0), format!("this is no TOML: {}", error.message()))
            };
            return Err(refuse(name, text, errors.iter().map(problem).collect()));
        }
        let reader = Reader { lookup, problems: RefCell::default() };
        let config = read(Section::new(&reader, "the file", table.get_ref(), table.span()));
        let problems = reader.problems.into_inner();
        if problems.is_empty() { Ok(config) } else { Err(refuse(name, text, problems)) }
    }
}

fn read(root: Section<'_, '_>) -> Config {
    let mut config = Config::default();
    let mut named = Vec::new();
    for (name, section) in root.sections("stores") {
        require_plain_name(&name, &section);
        config.stores.insert(name, store(section));
    }
    for (name, section) in root.sections("notify") {
        require_plain_name(&name, &section);
        if let Some(notify) = notify(section) {
            config.notify.insert(name, notify);
        }
    }
    let stores: Vec<&str> = config.stores.keys().map(String::as_str).collect();
    let notify: Vec<&str> = config.notify.keys().map(String::as_str).collect();
    for (name, section) in root.sections("jobs") {
        let (reader, span) = (section.reader, section.span.clone());
        let job = job(section, &stores, &notify);
        named.extend(reader.accept(span, SourceName::new(name)).map(|name| (name, job)));
    }
    config.jobs.extend(named);
    root.finish();
    config
}

/// Names are typed on command lines and compared with paths.
fn require_plain_name(name: &str, section: &Section<'_, '_>) {
    section.reader.accept(
        section.span.clone(),
        SourceName::new(name).map_err(|e| {
            Error::invalid(format!("\"{}\" cannot be a name", name.escape_debug()))
                .with_hint(e.hint().unwrap_or_default())
        }),
    );
}

fn store(section: Section<'_, '_>) -> StoreConfig {
    if !section.has("url") {
        section.missing("has no \"url\"", "Say where it is: url = \"/var/backups/db\".");
    }
    let store = StoreConfig {
        url: section.string("url").unwrap_or_default(),
        storage_class: section.string("storage_class"),
        retention: section.section("retention").map(retention),
        sse: section.string("sse"),
        endpoint: section.string("endpoint"),
        region: section.string("region"),
        layout: section.string("layout"),
    };
    section.finish();
    store
}

fn notify(section: Section<'_, '_>) -> Option<NotifyConfig> {
    if !section.has("email") && !section.has("webhook") {
        section.missing("tells nobody", "Give it an \"email\" or a \"webhook\".");
    }
    let occasions = section.texts("on");
    let occasion = |(text, span): Placed<String>| {
        let found = Occasion::ALL.into_iter().find(|occasion| occasion.name() == text);
        let names = Occasion::ALL.map(Occasion::name);
        section.reader.accept(span, found.ok_or_else(|| unknown("occasion", &text, &names)))
    };
    let on: Vec<Occasion> = occasions.into_iter().filter_map(occasion).collect();
    let notify = NotifyConfig {
        email: section.section("email").and_then(email),
        webhook: section.secret("webhook", true).map(|(secret, _)| secret),
        on: if section.has("on") { on } else { Occasion::USUAL.to_vec() },
    };
    section.finish();
    Some(notify)
}

fn email(section: Section<'_, '_>) -> Option<EmailConfig> {
    let (to, smtp) = (section.texts("to"), section.secret("smtp", true));
    for (address, span) in &to {
        let parts = address.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty());
        let refusal = || Error::invalid(format!("\"{}\" is no mail address", address.escape_debug()));
        section.reader.accept(span.clone(), parts.ok_or_else(refusal));
    }
    if !section.has("to") || !section.has("smtp") {
        section.missing(
            "needs \"to\" and \"smtp\"",
            "Write email = { to = [\"ops@example.org\"], smtp = \"smtp://mail.example.org\" }.",
        );
    }
    let to = to.into_iter().map(|(address, _)| address).collect();
    section.finish();
    smtp.map(|(smtp, _)| EmailConfig { to, smtp })
}

fn job(section: Section<'_, '_>, stores: &[&str], notify: &[&str]) -> JobConfig {
    if !section.has("source") {
        section.missing(
            "has no \"source\"",
            "Name the database: source = \"sqlite:/srv/app.db\", or source = \"postgres://user@host/database\".",
        );
    }
    let source = section.secret("source", false);
    if let Some((secret, span)) = &source {
        section.reader.accept(span.clone(), require_source(secret));
    }
    let source = source.map(|(secret, _)| secret).unwrap_or_default();
    let mut job = JobConfig::new(source, primary(&section, stores).unwrap_or_default());
    job.password = section.secret("password", true).map(|(secret, _)| secret);
    job.mirrors = names_of(&section, "mirrors", "store", stores);
    job.notify = names_of(&section, "notify", "notify", notify);
    refuse_mirror_of_itself(&section, &job);
    times(&section, &mut job);
    job.retention = section.section("retention").map(retention);
    job.objectives = section.section("objectives").map(objectives).unwrap_or_default();
    job.guardrails = section.section("guardrails").map(guardrails).unwrap_or_default();
    job.encrypt = section.section("encrypt").map(encrypt);
    job.smoke = section.strings("smoke");
    what(&section, &mut job);
    section.finish();
    job
}

/// Nothing is connected: only the text is looked at.
fn require_source(source: &Secret) -> Result<()> {
    match source.reveal(Path::new("")).and_then(|text| text.parse::<Source>()?.engine()) {
        // What this build has no engine for may be another build's job.
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}

/// What a run is told beside its source.
fn what(section: &Section<'_, '_>, job: &mut JobConfig) {
    job.content = section.named("content");
    job.tables = section.strings("tables");
    job.exclude_tables = section.strings("exclude_tables");
    job.exclude_table_data = section.strings("exclude_table_data");
    job.schemas = section.strings("schemas");
    job.format = section.named("format");
    job.compression = section.named("compression");
    job.verify = section.named("verify");
    job.tags = section.strings("tags");
    job.jobs = section.threads("jobs");
    job.cross_check = section.truth("cross_check");
    job.no_owner = section.truth("no_owner");
    job.no_roles = section.truth("no_roles");
    job.lock_wait = section.duration("lock_wait");
}

fn times(section: &Section<'_, '_>, job: &mut JobConfig) {
    job.schedule = section.parsed("schedule", schedule);
    job.drill = section.parsed("drill", schedule);
    job.timezone = section.parsed("timezone", zone);
    job.timeout = section.duration("timeout");
}

/// The store a job writes to; one alone need not be named.
fn primary(section: &Section<'_, '_>, stores: &[&str]) -> Option<String> {
    match (section.text("store"), stores) {
        (Some((name, span)), _) => section.reader.accept(span, known("store", name, stores)),
        (None, _) if section.has("store") => None,
        (None, [only]) => Some((*only).to_owned()),
        (None, []) => {
            section.missing("has no store", "Add one: [stores.local] with url = \"/var/backups/db\".");
            None
        }
        (None, several) => {
            let hint = format!("Say which: store = \"{}\".", several.join("\" or \""));
            section.missing("has no \"store\", and there are several", &hint);
            None
        }
    }
}

fn names_of(section: &Section<'_, '_>, key: &'static str, what: &str, names: &[&str]) -> Vec<String> {
    let texts = section.texts(key).into_iter();
    let mut found: Vec<String> = Vec::new();
    for (name, span) in texts {
        let is_twice = found.contains(&name);
        let refusal = || Error::invalid(format!("\"{}\" is named twice", name.escape_debug()));
        section.reader.accept(span.clone(), if is_twice { Err(refusal()) } else { Ok(()) });
        found.extend(section.reader.accept(span, known(what, name, names)));
    }
    found
}

fn refuse_mirror_of_itself(section: &Section<'_, '_>, job: &JobConfig) {
    if job.mirrors.contains(&job.store) {
        section.missing(
            &format!("has \"{}\" both as its store and as a mirror", job.store),
            "A mirror is another store, best another disk or another place.",
        );
    }
}

fn known(what: &str, name: String, names: &[&str]) -> Result<String> {
    if names.contains(&name.as_str()) { Ok(name) } else { Err(unknown(what, &name, names)) }
}

fn unknown(what: &str, name: &str, names: &[&str]) -> Error {
    let near = did_you_mean(name, names.iter().copied());
    let error = Error::invalid(format!("unknown {what} \"{}\"{near}", name.escape_debug()));
    match names {
        [] => error.with_hint(format!(
            "There is none; add [{}.NAME].",
            if what == "store" { "stores" } else { what }
        )),
        names => error.with_hint(format!("There are {}.", names.join(", "))),
    }
}

fn retention(section: Section<'_, '_>) -> Keep {
    let retention = Keep {
        last: section.count("last"),
        hourly: section.count("hourly"),
        daily: section.count("daily"),
        weekly: section.count("weekly"),
        monthly: section.count("monthly"),
        yearly: section.count("yearly"),
        within: section.duration("within"),
        tags: section.section("tags").map(tags).unwrap_or_default(),
        max_bytes: section.bytes("max_bytes"),
        ..Keep::default()
    };
    section.finish();
    retention
}

fn tags(section: Section<'_, '_>) -> BTreeMap<String, KeepFor> {
    let mut tags = BTreeMap::new();
    for (tag, _, value) in section.entries() {
        let text = value.get_ref().as_str().unwrap_or_default();
        let kept = match text {
            "forever" => Ok(KeepFor::Forever),
            text => parse_duration(text).map(KeepFor::For).map_err(|_| {
                Error::invalid(format!("the tag \"{}\" takes a duration or \"forever\"", tag.escape_debug()))
                    .with_hint("Durations are written as in \"24h\", \"7d\" or \"90d\".")
            }),
        };
        tags.extend(section.reader.accept(value.span(), kept).map(|kept| (tag.to_owned(), kept)));
    }
    tags
}

fn objectives(section: Section<'_, '_>) -> Objectives {
    let objectives =
        Objectives::new(section.duration("rpo"), section.duration("rto"), section.duration("proof"));
    section.finish();
    objectives
}

fn guardrails(section: Section<'_, '_>) -> Guardrails {
    let mut rules = Guardrails::default();
    rules.min_rows = section.whole("min_rows", 0..=u64::MAX);
    rules.ratchet = section.number("ratchet", 1.0).unwrap_or(rules.ratchet);
    rules.size_change = section.number("size_change", 1000.0).unwrap_or(rules.size_change);
    rules.min_free = section.number("min_free", 1000.0).unwrap_or(rules.min_free);
    section.finish();
    rules
}

fn encrypt(section: Section<'_, '_>) -> EncryptConfig {
    let recipients = section.texts("recipients");
    for (recipient, span) in &recipients {
        let is_secret = recipient.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-");
        let refusal = || match is_secret {
            // Not repeated: it is the key itself.
            true => Error::invalid("\"recipients\" holds a secret key").with_hint(
                "Recipients are public keys; the secret one stays in a file that \"identity\" may name.",
            ),
            false => Error::invalid("a recipient begins with \"age1\"")
                .with_hint("`age-keygen` prints it as the public key; several are written as a list."),
        };
        let is_fitting = recipient.starts_with("age1") && !recipient.contains(char::is_whitespace);
        section.reader.accept(span.clone(), is_fitting.then_some(()).ok_or_else(refusal));
    }
    if recipients.is_empty() && !section.has("recipients") {
        section.missing("has no \"recipients\"", "Name the public keys: recipients = [\"age1…\"].");
    }
    let identity = section.string("identity");
    let encrypt = EncryptConfig {
        recipients: recipients.into_iter().map(|(recipient, _)| recipient).collect(),
        identity: identity.map(|path| PathBuf::from(path.strip_prefix("file:").unwrap_or(&path))),
    };
    section.finish();
    encrypt
}

/// Only the form: when it is due is for whoever runs it.
fn schedule(text: &str) -> Result<String> {
    let refuse = |near: String| {
        Error::invalid(format!("\"{}\" is not a schedule{near}", text.escape_debug())).with_hint(
            "Five fields as in cron, \"0 2 * * *\", or @hourly, @daily, @weekly, @monthly, @yearly.",
        )
    };
    if text.starts_with('@') {
        let is_known = SCHEDULE_WORDS.contains(&text);
        return if is_known { Ok(text.to_owned()) } else { Err(refuse(did_you_mean(text, SCHEDULE_WORDS))) };
    }
    let is_field = |field: &str| field.chars().all(|c| c.is_ascii_alphanumeric() || "*/,-?#".contains(c));
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() == 5 && fields.into_iter().all(is_field) {
        Ok(text.to_owned())
    } else {
        Err(refuse(String::new()))
    }
}

fn zone(text: &str) -> Result<String> {
    match TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let near = did_you_mean(text, names.iter().map(String::as_str));
            Err(Error::invalid(format!("\"{}\" is not a time zone{near}", text.escape_debug()))
                .with_hint("Zones are named as in \"Europe/Berlin\" or \"UTC\"."))
        }
    }
}
