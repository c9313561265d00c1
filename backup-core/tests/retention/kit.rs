//! Artifacts and proofs made up from dates.

use backup_core::{
    content::Content,
    id::{BackupId, SourceName},
    manifest::{Manifest, Payload, SourceFacts, Suspicion},
    proof::Proof,
    retention::{Decision, Keep, Plan, RetentionPolicy},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::json;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("the zones of the IANA database: apt-get install tzdata")
}

pub(crate) fn policy(text: &str) -> Keep {
    text.parse().unwrap()
}

/// A good full artifact of 100 bytes.
pub(crate) fn full(started_at: Timestamp) -> Manifest {
    artifact(Content::Full, started_at, 1)
}

pub(crate) fn artifact(content: Content, started_at: Timestamp, collision: u32) -> Manifest {
    let id = BackupId::new(&SourceName::new("shop").unwrap(), content, started_at, collision);
    let stem = if content.is_rolling() { format!("shop-{content}") } else { id.to_string() };
    let payload = Payload {
        name: format!("{stem}.db"),
        bytes: 100,
        blake3: "00".into(),
        encoding: Vec::new(),
        plain_bytes: 100,
        plain_blake3: "00".into(),
    };
    Manifest::new(id, SourceFacts::new("shop", "sqlite", "/srv/shop.db"), started_at, payload)
}

/// What a test says of an artifact beyond its date.
pub(crate) trait Told {
    fn tagged(self, tag: &str) -> Self;
    fn suspect(self) -> Self;
    fn requiring(self, parent: &Manifest) -> Self;
    fn of_cluster(self, system_id: &str) -> Self;
    fn only_table(self, table: &str) -> Self;
    fn of_bytes(self, bytes: u64) -> Self;
}

impl Told for Manifest {
    fn tagged(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    fn suspect(mut self) -> Self {
        self.suspect.push(Suspicion { rule: "ratchet".into(), found: "1".into(), expected: "9".into() });
        self
    }

    fn requiring(mut self, parent: &Manifest) -> Self {
        self.requires = Some(parent.id.clone());
        self
    }

    fn of_cluster(mut self, system_id: &str) -> Self {
        self.source.system_id = Some(system_id.to_owned());
        self
    }

    fn only_table(mut self, table: &str) -> Self {
        self.options.insert("tables".into(), json!([table]));
        self
    }

    fn of_bytes(mut self, bytes: u64) -> Self {
        self.payload.bytes = bytes;
        self
    }
}

pub(crate) fn proof(of: &Manifest, level: &str, started_at: Timestamp, ok: bool) -> Proof {
    let document = json!({ "format": 1, "id": of.id, "level": level, "started_at": started_at, "seconds": 1.0,
        "ok": ok, "findings": [], "payload_blake3": "00", "host": null });
    serde_json::from_value(document).unwrap()
}

/// The plan by id.
pub(crate) fn decision<'p>(plan: &'p Plan, of: &Manifest) -> &'p Decision {
    plan.decisions.iter().find(|decision| decision.id == of.id).unwrap()
}

pub(crate) fn keeps(plan: &Plan, of: &Manifest) -> bool {
    decision(plan, of).keep
}

/// Whether a reason of this artifact contains the text.
#[track_caller]
pub(crate) fn has_reason(plan: &Plan, of: &Manifest, text: &str) {
    let decision = decision(plan, of);
    assert!(decision.reasons.iter().any(|reason| reason.contains(text)), "{text:?} is not in {decision:?}");
}

/// What is left once the plan was carried out.
pub(crate) fn carried_out(plan: &Plan, artifacts: &[Manifest]) -> Vec<Manifest> {
    let kept = plan.decisions.iter().zip(artifacts).filter(|(decision, _)| decision.keep);
    kept.map(|(_, manifest)| manifest.clone()).collect()
}

pub(crate) fn plan(keep: &Keep, artifacts: &[Manifest], now: Timestamp) -> Plan {
    keep.plan(artifacts, &[], now)
}
