//! What is written before guarded work begins and removed when it ended, so that a killed guard is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    id::{BackupId, Key, compact_instant},
    manifest::FORMAT,
    operation::Missed,
    store::{PutMode, StoreExt},
    vault::Vault,
};

/// An entry is a few hundred bytes; what is larger is none.
const MAX_ENTRY_BYTES: u64 = 1 << 20;

/// Guarded work that began, as the vault's journal keeps it: `<source>/guard/<id>.json`, beside the artifacts' folders
/// and no artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The format of the entry, as of manifests.
    pub(super) format: u64,
    /// The guard: `<source>-guard-<YYYYMMDDTHHMMSSZ>`, with `-2`, `-3` … when two begin in one second.
    pub(super) id: String,
    /// The database, as its manifest names it.
    pub(super) database: String,
    /// The backup that brings it back.
    pub(super) backup: BackupId,
    /// When the work began.
    pub(super) started_at: Timestamp,
    /// The host it ran on, where that has a name.
    pub(super) host: Option<String>,
    /// The process that guarded it.
    pub(super) process: u32,
    /// What was done, in a word: a program's name, never its arguments.
    pub(super) work: Option<String>,
    /// The line that brings the database back.
    pub(super) restore: String,
}

impl Entry {
    fn key(&self, vault: &Vault) -> Result<Key> {
        Key::new(format!("{}/{}.json", folder(vault), self.id))
    }

    /// Says what happened and how to go back, for people.
    fn tell(&self) -> String {
        let work = self.work.as_ref().map_or(String::new(), |work| format!(" ({work})"));
        let host = self.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
        format!(
            "guarded work{work} on \"{}\" was interrupted: it began at {}{host} and nobody saw its end; the backup \
             before it is \"{}\"; to go back: {}",
            self.database, self.started_at, self.backup, self.restore
        )
    }
}

fn folder(vault: &Vault) -> String {
    format!("{}/guard", vault.source())
}

/// Writes an entry under an id that none has.
pub(super) fn write(vault: &Vault, mut entry: Entry) -> Result<Entry> {
    let stem = format!("{}-guard-{}", vault.source(), compact_instant(entry.started_at));
    for collision in 1u32.. {
        entry.id = if collision == 1 { stem.clone() } else { format!("{stem}-{collision}") };
        let text = serde_json::to_vec_pretty(&entry)
            .map_err(|e| Error::failed("could not write a guard's entry as JSON").with_source(e))?;
        match vault.store().put_bytes(&entry.key(vault)?, &text, PutMode::Create) {
            Ok(()) => return Ok(entry),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.context("the guard's journal could not be written")),
        }
    }
    Err(Error::failed("no name is left for a guard's entry"))
}

/// Removes an entry; failing to is told.
pub(super) fn remove(vault: &Vault, entry: &Entry, cx: &Context) {
    let removed = entry.key(vault).and_then(|key| vault.store().delete(&key));
    if let Err(error) = removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) }) {
        cx.warn(format!("the journal of guard \"{}\" could not be removed: {error:?}", entry.id));
    }
}

/// Tells of guards whose end nobody saw, and clears them. Only the holder of the vault's lease may call it: a guard at
/// work holds it, so what is found belongs to a dead one.
pub(in crate::operation) fn tell_interrupted(vault: &Vault, cx: &Context) -> Result<()> {
    for object in vault.store().list(&folder(vault))?.objects {
        match read(vault, &object.key) {
            Ok(entry) => cx.alarm(entry.tell()),
            Err(error) if error.is_not_found() => continue,
            Err(error) => cx.alarm(format!(
                "guarded work on \"{}\" was interrupted, and its entry \"{}\" cannot be read: {error:?}",
                vault.source(),
                object.key
            )),
        }
        vault.store().delete(&object.key)?;
    }
    Ok(())
}

/// Guards whose end nobody saw, as something that is not as it should be; changes nothing.
pub(in crate::operation) fn missed(vault: &Vault) -> Result<Vec<Missed>> {
    let objects = vault.store().list(&folder(vault))?.objects;
    // Whoever guards holds the lease for as long as the work runs.
    let is_at_work = || vault.lease().is_err_and(|error| error.kind() == ErrorKind::Busy);
    if objects.is_empty() || is_at_work() {
        return Ok(Vec::new());
    }
    let entries = objects.iter().filter_map(|object| read(vault, &object.key).ok());
    Ok(entries.map(|entry| Missed { objective: "guard".to_owned(), what: entry.tell() }).collect())
}

fn read(vault: &Vault, key: &Key) -> Result<Entry> {
    let bytes = vault.store().get(key, MAX_ENTRY_BYTES)?;
    let entry: Entry = serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("\"{key}\" is no guard's entry")).with_source(e))?;
    match entry.format {
        FORMAT => Ok(entry),
        other => Err(Error::new(ErrorKind::Unsupported, format!("\"{key}\" has the unknown format {other}"))),
    }
}
