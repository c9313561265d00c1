//! Whether a store takes an object, gives it back, keeps it from being replaced, and lets it go.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use backup_core::{
    Error, ErrorKind, Result,
    context::Context,
    file,
    id::{Key, SourceName, compact_instant},
    store::{PutMode, Store, StoreExt},
};
use jiff::SignedDuration;

use super::Report;
use crate::backups::Backups;

/// What the probe holds.
const PROBE: &[u8] = b"An object that `backup check` wrote to see whether it can; it may be deleted.\n";

/// Clocks further apart than this make ages and retention wrong.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(2);

/// What a probe showed.
struct Probed {
    /// A second writer was refused.
    create_only: bool,
    /// How far the store's clock is ahead of ours.
    ahead: Option<SignedDuration>,
    /// Why the probe could not be deleted.
    undeleted: Option<Error>,
}

pub(super) fn check(backups: &Backups, name: &str, report: &mut Report, cx: &Context) {
    let about = format!("store {name}");
    let store = match backups.store_named(name) {
        Ok(store) => store,
        Err(error) => return report.error(&about, "opening", &error),
    };
    let made = store.local_folder().map(missing_folders).unwrap_or_default();
    let probed = probe(&*store, cx);
    // The store was not there before, so it is not there afterwards.
    made.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    match probed {
        Ok(probed) => tell(&about, &*store, &probed, report),
        Err(error) => report.error(&about, "writing", &error),
    }
}

/// The folders above and including `folder` that are not there, deepest first.
fn missing_folders(folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect()
}

fn probe(store: &dyn Store, cx: &Context) -> Result<Probed> {
    let host = SourceName::from_text(&file::host_name().unwrap_or_default());
    let name = format!("backup-check-{host}-{}-{}", process::id(), compact_instant(cx.now()));
    let key = Key::new(match store.only_source() {
        Some(source) => format!("{source}/{name}"),
        None => name,
    })?;
    store.put_bytes(&key, PROBE, PutMode::Create)?;
    let outcome = examine(store, &key, cx);
    let deleted = store.delete(&key).and_then(|()| match store.exists(&key)? {
        true => Err(Error::failed(format!("\"{key}\" was deleted from {store} and is still there"))),
        false => Ok(()),
    });
    let (create_only, ahead) = outcome?;
    Ok(Probed { create_only, ahead, undeleted: deleted.err() })
}

fn examine(store: &dyn Store, key: &Key, cx: &Context) -> Result<(bool, Option<SignedDuration>)> {
    if store.get(key, 1 << 20)? != PROBE {
        return Err(Error::corrupt(format!("{store} does not give back what was written"))
            .with_hint("Do not use this store before it does."));
    }
    let listed = store.list(key.folder())?.objects.into_iter().find(|object| object.key == *key);
    let listed = listed.ok_or_else(|| Error::failed(format!("{store} does not list what was written")))?;
    let create_only = match store.put_bytes(key, b"a second writer", PutMode::Create) {
        Ok(()) => false,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => store.get(key, 1 << 20)? == PROBE,
        Err(error) => return Err(error),
    };
    Ok((create_only, Some(listed.modified.duration_since(cx.now()))))
}

fn tell(about: &str, store: &dyn Store, probed: &Probed, report: &mut Report) {
    report.ok(about, "writing", format!("{store}: an object was written, listed and read back"));
    match (probed.create_only, store.capabilities().create_only) {
        (true, _) => report.ok(about, "create-only", "a second writer was refused"),
        (false, false) => report.warn(
            about,
            "create-only",
            "the store lets an object be replaced, and says so",
            "Let only one host write to it.",
        ),
        (false, true) => report.fail(
            about,
            "create-only",
            "the store let a second writer replace an object",
            "Two hosts could overwrite each other's backups here; use another store.",
        ),
    }
    match &probed.undeleted {
        None => report.ok(about, "deleting", "the object was deleted"),
        Some(error) if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) => report.warn(
            about,
            "deleting",
            format!("objects cannot be deleted: {error}"),
            "Backups are safe from this host; retention must be done by the store's own rules.",
        ),
        Some(error) => report.error(about, "deleting", error),
    }
    if let Some(ahead) = probed.ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE) {
        report.warn(
            about,
            "clock",
            format!("the store's clock differs from this host's by {ahead:#}"),
            "Set this host's clock: backups are named and kept by their time.",
        );
    }
}
