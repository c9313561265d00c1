//! A vault's artifacts as retention sees them: sets that are judged apart, an order, and what each artifact is worth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    capture::SELECTION_KEYS,
    content::Content,
    id::BackupId,
    manifest::{Manifest, Payload},
    proof::Proof,
    verify::Level,
};

/// How long a suspect artifact stays after a good one followed it: time to look into what happened.
pub const SUSPECT_GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The bytes that an artifact's payload and companions take in its store, as far as its manifest says.
pub fn stored_bytes(manifest: &Manifest) -> u64 {
    let companions = manifest.facts.get("companions").cloned().unwrap_or(Value::Null);
    let companions: Vec<Payload> = serde_json::from_value(companions).unwrap_or_default();
    companions.iter().fold(manifest.payload.bytes, |sum, companion| sum.saturating_add(companion.bytes))
}

/// What an artifact is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Counts.
    Good,
    /// Does not count: a guardrail was broken, or a later verification found damage (at the instant given).
    Suspect { why: String, since: Option<Timestamp> },
    /// Replaced by its own next run, never by retention.
    Rolling,
    /// Dated after now, so one of two clocks was wrong: nothing can be said of its age.
    Future,
}

#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) standing: Standing,
    /// A verification to its structure, or a drill, found nothing.
    pub(super) is_proven: bool,
    /// A drill restored it whole.
    pub(super) is_drilled: bool,
    /// The place of the artifact it requires.
    pub(super) parent: Option<usize>,
}

impl Item<'_> {
    pub(super) fn is_good(&self) -> bool {
        self.standing == Standing::Good
    }

    /// Artifacts are as old as their runs, in the order that lists show.
    pub(super) fn order(&self) -> (Timestamp, &BackupId) {
        (self.manifest.started_at, &self.manifest.id)
    }
}

/// What tells the sets of a vault apart: artifacts of one never count for another.
type SetKey = (Content, String, Option<String>);

#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) now: Timestamp,
    pub(super) items: Vec<Item<'a>>,
    /// The good and the suspect ones of each set, newest first.
    pub(super) sets: Vec<Vec<usize>>,
}

impl<'a> View<'a> {
    pub(super) fn new(artifacts: &'a [Manifest], proofs: &[Proof], now: Timestamp) -> Self {
        let places: HashMap<&BackupId, usize> =
            artifacts.iter().enumerate().map(|(place, manifest)| (&manifest.id, place)).collect();
        let mut proofs_of: HashMap<&BackupId, Vec<&Proof>> = HashMap::new();
        proofs.iter().for_each(|proof| proofs_of.entry(&proof.id).or_default().push(proof));
        let item = |manifest: &'a Manifest| {
            let own = proofs_of.get(&manifest.id).map_or(&[][..], Vec::as_slice);
            let parent = manifest.requires.as_ref().and_then(|parent| places.get(parent).copied());
            let is_proven = own.iter().any(|proof| proof.ok && proof.level >= Level::Structure);
            let is_drilled = own.iter().any(|proof| proof.ok && proof.level == Level::Restore);
            Item { manifest, standing: standing(manifest, own, now), is_proven, is_drilled, parent }
        };
        let items: Vec<Item<'a>> = artifacts.iter().map(item).collect();
        let sets = sets(&items);
        Self { now, items, sets }
    }

    /// The newest good one of a set.
    pub(super) fn newest_good(&self, set: &[usize]) -> Option<usize> {
        set.iter().copied().find(|&place| self.items[place].is_good())
    }

    /// The chain of artifacts that one requires, nearest first; it ends where it would come back.
    pub(super) fn ancestors(&self, place: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = self.items[place].parent;
        while let Some(parent) = next.filter(|parent| *parent != place && !chain.contains(parent)) {
            chain.push(parent);
            next = self.items[parent].parent;
        }
        chain
    }
}

fn standing(manifest: &Manifest, proofs: &[&Proof], now: Timestamp) -> Standing {
    if manifest.content.is_rolling() {
        return Standing::Rolling;
    }
    if manifest.started_at > now {
        return Standing::Future;
    }
    if let Some(suspicion) = manifest.suspect.first() {
        return Standing::Suspect { why: format!("suspect ({})", suspicion.rule), since: None };
    }
    match unanswered_failure(proofs) {
        Some(failed) => {
            let since = failed.started_at;
            let why = format!("damaged (the {} verification of {since:.0} failed)", failed.level);
            Standing::Suspect { why, since: Some(since) }
        }
        None => Standing::Good,
    }
}

/// The last failed verification that no later one, as deep or deeper, took back.
fn unanswered_failure<'p>(proofs: &[&'p Proof]) -> Option<&'p Proof> {
    let answers = |failed: &Proof, later: &Proof| {
        later.ok && later.level >= failed.level && later.started_at > failed.started_at
    };
    let failures = proofs.iter().copied().filter(|proof| !proof.ok);
    let open = failures.filter(|failed| !proofs.iter().any(|later| answers(failed, later)));
    open.max_by_key(|failed| failed.started_at)
}

fn sets(items: &[Item<'_>]) -> Vec<Vec<usize>> {
    let clusters: BTreeSet<&String> =
        items.iter().filter_map(|item| item.manifest.source.system_id.as_ref()).collect();
    // What was adopted does not say which cluster it is of; where there was only one, it can be of no other.
    let only = if clusters.len() == 1 { clusters.first().map(|id| (*id).clone()) } else { None };
    let mut sets: BTreeMap<SetKey, Vec<usize>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        if matches!(item.standing, Standing::Good | Standing::Suspect { .. }) {
            let cluster = item.manifest.source.system_id.clone().or_else(|| only.clone());
            let key = (item.manifest.content, selection(item.manifest), cluster);
            sets.entry(key).or_default().push(place);
        }
    }
    let mut sets: Vec<Vec<usize>> = sets.into_values().collect();
    sets.iter_mut().for_each(|set| set.sort_by(|a, b| items[*b].order().cmp(&items[*a].order())));
    sets
}

/// The tables or schemas that a partial artifact was limited to; empty for a whole one.
fn selection(manifest: &Manifest) -> String {
    let chosen =
        SELECTION_KEYS.iter().filter_map(|key| Some(format!("{key}={}", manifest.options.get(*key)?)));
    chosen.collect::<Vec<_>>().join(" ")
}
