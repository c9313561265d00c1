//! Mends a damaged copy from a good one.

use std::sync::Arc;

use serde::Serialize;

use super::{
    mirror::{Failed, copy_manifest},
    prove::{Proven, make_proof},
    transfer::{Expected, Points, bring},
};
use crate::{
    artifact::Artifact,
    context::Context,
    crash,
    error::{Error, ErrorKind, Result},
    id::{BackupId, Key},
    manifest::Manifest,
    mirror::{Mirror, nearest_first, told},
    store::{PutMode, Store},
    vault::Vault,
    verify::Level,
};

const POINTS: Points = Points { written: "heal.object-written", finished: "heal.object-finished" };

/// Under this key of a proof stands what was mended before it.
const HEALED: &str = "healed";

/// A stored object that was missing or damaged and is whole again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mended {
    /// Its key.
    pub object: String,
    /// What was wrong with it.
    pub was: String,
    /// The store it was copied from.
    pub from: String,
}

/// What mending one artifact did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Healed {
    /// Objects that are whole again; empty when nothing was wrong.
    pub mended: Vec<Mended>,
    /// What could not be mended.
    pub failed: Vec<Failed>,
}

impl Healed {
    /// Whether everything is whole now.
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Looks at every object of an artifact whose manifest is good, and replaces those that are missing or damaged by the
/// nearest copy that is what the manifest says. A checksum proof that names what was mended is stored.
///
/// Good bytes are hashed before they take the damaged ones' place, which happens at once, and are read again
/// afterwards. A kill on the way leaves an artifact that is as damaged as before or less, and healing goes on.
///
/// # Errors
/// Only when the artifact could not be looked at: no such artifact; `Busy` when another process writes to its vault.
pub fn heal(vault: &Vault, id: &BackupId, others: &[Mirror], cx: &Context) -> Result<Healed> {
    let _lease = vault.lease()?;
    crash::point("heal.leased");
    vault.store().sweep(vault.source().as_str())?;
    let artifact = vault.artifact(id)?;
    let mut healed = Healed::default();
    mend(vault, artifact.manifest(), others, &mut healed, cx)?;
    record(vault, artifact.manifest(), &healed, cx);
    Ok(healed)
}

/// Replaces a manifest that is damaged by the nearest good copy, after the objects it names were mended.
///
/// `key` is the manifest's, as the catalogue's findings name it. A manifest of a newer format is not damaged, and stays.
///
/// # Errors
/// As [`heal`]; `Invalid` when `key` is none of this vault's manifests.
pub fn heal_manifest(vault: &Vault, key: &str, others: &[Mirror], cx: &Context) -> Result<Healed> {
    let key = Key::new(key)?;
    let is_own = key.as_str().starts_with(&format!("{}/", vault.source())) && key.name().ends_with(".json");
    if !is_own {
        return Err(Error::invalid(format!("\"{key}\" is no manifest of \"{}\"", vault.source())));
    }
    let _lease = vault.lease()?;
    crash::point("heal.leased");
    vault.store().sweep(vault.source().as_str())?;
    let was = match vault.read_manifest(&key) {
        Ok(_) => return Ok(Healed::default()),
        Err(error) if error.is_corruption() => error,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Healed::failed(&key, &error)),
        Err(error) => return Err(error),
    };
    let mut healed = Healed::default();
    let (near, manifest) = match good_manifest(vault, &key, others) {
        Ok(good) => good,
        Err(error) => return Ok(Healed::failed(&key, &error)),
    };
    mend(vault, &manifest, others, &mut healed, cx)?;
    if !healed.is_whole() {
        return Ok(healed);
    }
    match copy_manifest(&near, vault, &manifest, PutMode::Replace, "heal.manifest-written") {
        Ok(()) => {
            let (object, from) = (key.to_string(), near.store().to_string());
            healed.mended.push(Mended { object, was: told(&was), from });
            crash::point("heal.committed");
            record(vault, &manifest, &healed, cx);
        }
        Err(error) => healed.failed.push(Failed::new(key.as_str(), &error)),
    }
    Ok(healed)
}

impl Healed {
    fn failed(key: &Key, error: &Error) -> Self {
        Self { mended: Vec::new(), failed: vec![Failed::new(key.as_str(), error)] }
    }
}

/// The nearest good manifest under this key.
fn good_manifest(vault: &Vault, key: &Key, others: &[Mirror]) -> Result<(Vault, Manifest)> {
    let mut reasons = Vec::new();
    for other in nearest_first(others) {
        let near = other.vault(vault.source());
        match near.read_manifest(key) {
            Ok(manifest) => return Ok((near, manifest)),
            Err(error) => reasons.push(format!("in {}: {}", near.store(), told(&error))),
        }
    }
    Err(no_good_copy(key, &reasons))
}

/// Looks at every object of an artifact and mends what is damaged; damage that nobody can mend is in `healed`.
fn mend(
    vault: &Vault,
    manifest: &Manifest,
    others: &[Mirror],
    healed: &mut Healed,
    cx: &Context,
) -> Result<()> {
    let near: Vec<&Arc<dyn Store>> = nearest_first(others).into_iter().map(|other| &other.store).collect();
    for expected in Expected::of(manifest) {
        match mend_objects(vault, manifest, std::slice::from_ref(&expected), &near, cx) {
            Ok(mended) => healed.mended.extend(mended),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                let key = vault.object_key(&manifest.id, &expected.name)?;
                healed.failed.push(Failed::new(key.as_str(), &error));
            }
        }
    }
    crash::point("heal.objects-proven");
    Ok(())
}

/// Replaces those of an artifact's objects that are missing or damaged, each by the first good copy among stores.
/// The vault's lease is the caller's.
pub(super) fn mend_objects(
    vault: &Vault,
    manifest: &Manifest,
    objects: &[Expected],
    near: &[&Arc<dyn Store>],
    cx: &Context,
) -> Result<Vec<Mended>> {
    let mut mended = Vec::new();
    for expected in objects {
        let key = vault.object_key(&manifest.id, &expected.name)?;
        let (was, mode) = match vault.store().open(&key) {
            Ok(object) => (expected.examine(&*object, cx)?, PutMode::Replace),
            Err(error) if error.is_not_found() => (Some("it is missing".to_owned()), PutMode::Create),
            Err(error) => return Err(error),
        };
        let Some(was) = was else { continue };
        let from = replace(vault, &key, expected, mode, near, cx)?;
        mended.push(Mended { object: key.to_string(), was, from });
    }
    Ok(mended)
}

/// Copies an object from the first store whose copy is good; says from which.
fn replace(
    vault: &Vault,
    key: &Key,
    expected: &Expected,
    mode: PutMode,
    near: &[&Arc<dyn Store>],
    cx: &Context,
) -> Result<String> {
    let mut reasons = Vec::new();
    for store in near {
        match bring(&***store, &**vault.store(), key, expected, mode, &POINTS, cx) {
            Ok(_) => return Ok(store.to_string()),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => reasons.push(format!("from {store}: {}", told(&error))),
        }
    }
    Err(no_good_copy(key, &reasons))
}

fn no_good_copy(key: &Key, reasons: &[String]) -> Error {
    let error = Error::corrupt(format!("no other store has a good copy of \"{key}\""));
    if reasons.is_empty() { error } else { error.with_source(reasons.join("; ")) }
}

/// A proof that cannot be stored changes nothing about what was mended.
fn record(vault: &Vault, manifest: &Manifest, healed: &Healed, cx: &Context) {
    if healed.mended.is_empty() || !healed.is_whole() {
        return;
    }
    let mut proven = Proven::of(Vec::new());
    proven.started_at = cx.now();
    let mut proof = make_proof(manifest, Level::Checksum, &proven);
    proof.other.insert(HEALED.to_owned(), serde_json::to_value(&healed.mended).unwrap_or_default());
    if let Err(error) = vault.record(&proof) {
        cx.warn(format!("the proof of what was mended could not be stored: {}", told(&error)));
    }
}
