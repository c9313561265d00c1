//! How large and how long the next backup will be, by what the source says and what the earlier ones were.

use serde::Serialize;

use crate::{
    content::Content, context::Context, engine::BackupEngine, error::Result, manifest::Manifest, vault::Vault,
};

/// What zstd makes of ordinary tables when nothing is known of these: two fifths, seen on text, numbers and dates.
const USUAL_RATIO: f64 = 0.4;

/// Plain bytes per second of a run on two cores when nothing is known of this machine.
const USUAL_SPEED: f64 = 120e6;

/// What the next full backup is expected to be.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Estimate {
    /// The source.
    pub source: String,
    /// Bytes of the database as it is captured, before compression; `None` where the source does not tell.
    pub plain_bytes: Option<u64>,
    /// Bytes it will take in the store.
    pub stored_bytes: Option<u64>,
    /// Seconds it will take.
    pub seconds: Option<f64>,
    /// Bytes in the store after a month of one backup a day.
    pub month_bytes: Option<u64>,
    /// Bytes in the store after a year of one backup a day.
    pub year_bytes: Option<u64>,
    /// Free bytes of the store, where it has an end.
    pub free_bytes: Option<u64>,
    /// The backups it was learnt from; 0 is a guess.
    pub learnt_from: usize,
}

/// Estimates the next full backup of a source. Cheap: nothing is read but sizes and manifests.
///
/// # Errors
/// What looking at the source or listing the vault reports.
pub fn estimate(vault: &Vault, engine: &dyn BackupEngine, cx: &Context) -> Result<Estimate> {
    let report = engine.inspect(cx)?;
    let catalogue = vault.catalogue(Some(Content::Full))?.manifests();
    let known: Vec<&Manifest> = catalogue
        .iter()
        .filter(|m| m.is_good() && vault.is_complete(m) && m.payload.plain_bytes > 0)
        .collect();
    let last = known.last();
    let ratio = last.map_or(USUAL_RATIO, |m| m.payload.bytes as f64 / m.payload.plain_bytes as f64);
    let speed = last.and_then(|m| speed_of(m)).unwrap_or(USUAL_SPEED);
    // A dump's text and a database's pages differ in size; what the last backup was is the better measure.
    let plain = last.map(|m| m.payload.plain_bytes).or(report.plain_bytes);
    let stored = plain.map(|plain| (plain as f64 * ratio) as u64);
    Ok(Estimate {
        source: vault.source().to_string(),
        plain_bytes: plain,
        stored_bytes: stored,
        seconds: plain.map(|plain| plain as f64 / speed),
        month_bytes: stored.map(|bytes| bytes.saturating_mul(30)),
        year_bytes: stored.map(|bytes| bytes.saturating_mul(365)),
        free_bytes: vault.store().free_space()?,
        learnt_from: known.len(),
    })
}

fn speed_of(manifest: &Manifest) -> Option<f64> {
    let seconds = manifest.finished_at.duration_since(manifest.started_at).as_secs_f64();
    (seconds > 0.0).then(|| manifest.payload.plain_bytes as f64 / seconds)
}
