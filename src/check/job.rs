//! Whether a job could run: its database, programs, keys, room, and what is asked of it.

use std::path::Path;

use backup_core::{
    Result,
    context::Context,
    encryption::Recipient,
    engine::{BackupEngine, SourceReport},
    retention::show_age,
    store::Store,
    vault::Vault,
    verify::Level,
};

use super::Report;
use crate::{
    backups::Backups,
    config::{EncryptConfig, JobConfig, about as size, is_readable_by_others},
    job::Job,
    source::Source,
};

pub(super) fn check(backups: &Backups, name: &str, report: &mut Report, cx: &Context) {
    let about = format!("job {name}");
    let source = match backups.source(name) {
        Ok(source) => source,
        Err(error) => return report.error(&about, "source", &error),
    };
    let found = source.engine().and_then(|engine| Ok((engine.inspect(cx)?, engine)));
    match found {
        Ok((found, engine)) => {
            let bytes = found.plain_bytes.map_or("size unknown".to_owned(), size);
            let version = found.facts.server_version.as_deref().unwrap_or_default();
            report.ok(&about, "source", format!("{engine}, {bytes}, {} {version}", found.facts.engine));
            programs(&about, source, version, report, cx);
            room(backups, name, &*engine, &found, report, cx);
        }
        Err(error) => report.error(&about, "source", &error),
    }
    if let Some((file, job)) = backups.file().and_then(|file| Some((file, file.config.job(name)?))) {
        intentions(&about, job, report);
        if let Some(encrypt) = &job.encrypt {
            keys(&about, encrypt, file.folder(), report);
        }
    }
}

/// pg_dump of the right version, and the right to read what it dumps.
#[cfg(feature = "postgres")]
fn programs(about: &str, source: &Source, version: &str, report: &mut Report, cx: &Context) {
    let Source::Postgres(text) = source else { return };
    match backup_pg::client_programs(version) {
        Ok(found) => report.ok(about, "programs", format!("pg_dump {found}")),
        Err(error) => report.error(about, "programs", &error),
    }
    match backup_pg::unreadable_tables(text, 5, cx) {
        Ok(tables) if tables.is_empty() => report.ok(about, "rights", "every table can be read"),
        Ok(tables) => report.fail(
            about,
            "rights",
            format!("not readable: {}", tables.join(", ")),
            "GRANT pg_read_all_data to the role, or leave these tables out with \"exclude_tables\".",
        ),
        Err(error) => report.error(about, "rights", &error),
    }
}

#[cfg(not(feature = "postgres"))]
fn programs(_about: &str, _source: &Source, _version: &str, _report: &mut Report, _cx: &Context) {}

/// Free space against what the next backup is expected to take, by the same rule as a run's.
fn room(
    backups: &Backups,
    name: &str,
    engine: &dyn BackupEngine,
    found: &SourceReport,
    report: &mut Report,
    cx: &Context,
) {
    let about = format!("job {name}");
    let (Some(plain), Ok(job)) = (found.plain_bytes, backups.job(name)) else { return };
    let stored = match stored_bytes(&job, plain, cx) {
        Ok(stored) => stored,
        Err(error) => return report.error(&about, "room", &error),
    };
    let options = &job.settings().run;
    let checks_copy = options.verify >= Level::Structure && engine.capabilities().checks_copy;
    let copy = if checks_copy { plain } else { 0 };
    let factor = options.guardrails.min_free;
    let needed = |bytes: u64| (bytes as f64 * factor) as u64;
    tell_room(&about, &**job.vault().store(), needed(stored.saturating_add(copy)), report);
    for one in job.mirrors() {
        tell_room(&about, &*one.mirror.store, needed(stored), report);
    }
}

/// By the last backup; without one, as if nothing could be compressed.
fn stored_bytes(job: &Job, plain: u64, cx: &Context) -> Result<u64> {
    let vault: &Vault = job.vault();
    let estimate = backup_core::operation::estimate(vault, &**job.engine(), cx)?;
    Ok(estimate.stored_bytes.filter(|_| estimate.learnt_from > 0).unwrap_or(plain))
}

fn tell_room(about: &str, store: &dyn Store, needed: u64, report: &mut Report) {
    match store.free_space() {
        Ok(Some(free)) if free < needed => report.fail(
            about,
            "room",
            format!("{store} has {} free and a backup wants {}", size(free), size(needed)),
            "Free some room there, choose another store, or lower guardrails.min_free.",
        ),
        Ok(Some(free)) => report.ok(
            about,
            "room",
            format!("{store} has {} free, a backup wants {}", size(free), size(needed)),
        ),
        Ok(None) => report.ok(about, "room", format!("{store} has no end")),
        Err(error) => report.error(about, "room", &error),
    }
}

/// What is asked of it, and when it is to happen.
fn intentions(about: &str, job: &JobConfig, report: &mut Report) {
    match &job.schedule {
        Some(schedule) => report.warn(
            about,
            "schedule",
            format!(
                "{schedule}, in {}; this version has no service that keeps it",
                job.timezone.as_deref().unwrap_or("UTC")
            ),
            "Let cron, a systemd timer or your scheduler start `backup run`.",
        ),
        None => report.warn(
            about,
            "schedule",
            "there is none: something else must run it",
            "Make sure that cron, a systemd timer or your scheduler starts `backup run`.",
        ),
    }
    let asked = [("rpo", job.objectives.rpo), ("rto", job.objectives.rto), ("proof", job.objectives.proof)];
    let asked: Vec<String> =
        asked.iter().filter_map(|(name, value)| Some(format!("{name} {}", show_age((*value)?)))).collect();
    match asked.as_slice() {
        [] => report.warn(
            about,
            "objectives",
            "nothing is asked of it",
            "Set objectives.rpo at least: without it nobody is told when backups stop.",
        ),
        asked => report.ok(about, "objectives", asked.join(", ")),
    }
}

fn keys(about: &str, encrypt: &EncryptConfig, folder: &Path, report: &mut Report) {
    let bad = encrypt.recipients.iter().filter(|text| text.parse::<Recipient>().is_err()).count();
    match (bad, encrypt.recipients.len()) {
        (_, 0) => report.fail(
            about,
            "recipients",
            "there are none",
            "Name the public keys: recipients = [\"age1…\"].",
        ),
        (0, count) => report.ok(about, "recipients", format!("{count} can read the backups")),
        (bad, count) => report.fail(
            about,
            "recipients",
            format!("{bad} of {count} are no age recipients"),
            "Copy the whole public key that age-keygen printed: \"age1\" and 58 small letters and digits.",
        ),
    }
    let Some(identity) = &encrypt.identity else { return };
    let path = folder.join(identity);
    match backup_core::file::read(&path, 64 << 10) {
        Ok(_) if is_readable_by_others(&path) => report.warn(
            about,
            "identity",
            format!("\"{}\" can be read by other users", path.display()),
            "chmod 600 it: whoever has this file can read every backup.",
        ),
        Ok(_) => report.ok(about, "identity", format!("\"{}\" can be read", path.display())),
        Err(error) => report.error(about, "identity", &error),
    }
}
