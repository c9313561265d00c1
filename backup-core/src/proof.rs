//! Stored records of verifications and drills.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    id::BackupId,
    verify::{Finding, Level},
};

/// A record that an artifact was verified, and how that went. Append-only: later proofs are further objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proof {
    /// The format's number, that of manifests.
    pub format: u64,
    /// The artifact.
    pub id: BackupId,
    /// How deep the verification looked.
    pub level: Level,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// For drills, how long loading and proving took: the measured recovery time.
    #[serde(default)]
    pub restore_seconds: Option<f64>,
    /// Whether nothing was found.
    pub ok: bool,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Answers of the smoke queries, for drills.
    #[serde(default)]
    pub smoke: Vec<SmokeAnswer>,
    /// The hash of the stored bytes that were proven.
    pub payload_blake3: String,
    /// Where it ran.
    pub host: Option<String>,
    /// Versions of the programs that looked.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// What an encrypted payload was decrypted with; `None` when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyUsed>,
    /// Keys of later formats, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What an encrypted payload was decrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyUsed {
    /// The key that its own run had encrypted it with and forgot thereafter: the bytes are proven, and that a
    /// recipient's key opens them is not.
    Run,
    /// The secret key of one of its recipients.
    Identity,
}

/// A smoke query and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeAnswer {
    /// The query.
    pub sql: String,
    /// Its first row, columns joined by `|`; `None` when it gave none.
    pub answer: Option<String>,
}
