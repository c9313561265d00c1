//! Prunes of whole vaults, in stores that work, refuse, and die.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use backup_core::{
    Error, ErrorKind, Result,
    content::Content,
    context::{CancelToken, Clock, Context},
    event::Event,
    id::{BackupId, Key, SourceName},
    manifest::Manifest,
    operation::{PruneOptions, Pruned, prune, prune_all},
    retention::{Keep, KeepAll},
    store::{Capabilities, Lease, Listing, ObjectReader, ObjectWriter, PutMode, Store, StoreExt},
    vault::Vault,
};
use backup_storage::MemoryStore;
use jiff::{SignedDuration, Timestamp};

use super::kit::*;

const NOW: &str = "2026-11-20T12:00:00Z";

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        at(NOW)
    }
}

fn context() -> Context {
    Context::default().with_clock(Arc::new(Noon))
}

/// What a store does when something is to be removed.
#[derive(Clone, Debug)]
enum Mood {
    /// Names that contain this are kept, with an error of this kind.
    Keeps(&'static str, ErrorKind),
    /// After so many removals nothing answers any more.
    DiesAfter(Arc<AtomicUsize>),
}

/// A store that works but for its removals.
#[derive(Clone, Debug)]
struct Moody {
    inner: MemoryStore,
    mood: Mood,
}

impl fmt::Display for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

impl Store for Moody {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.inner.put(key, mode)
    }
    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.inner.open(key)
    }
    fn list(&self, folder: &str) -> Result<Listing> {
        self.inner.list(folder)
    }
    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        self.inner.lease(folder)
    }
    fn sweep(&self, folder: &str) -> Result<usize> {
        self.inner.sweep(folder)
    }
    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
    fn delete(&self, key: &Key) -> Result<()> {
        match &self.mood {
            Mood::Keeps(part, kind) if key.as_str().contains(part) => {
                Err(Error::new(*kind, format!("\"{key}\" is kept until 2033")))
            }
            Mood::DiesAfter(left) => {
                let take = |left: usize| left.checked_sub(1);
                match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                    Ok(_) => self.inner.delete(key),
                    Err(_) => Err(Error::new(ErrorKind::Unavailable, "nobody answers")),
                }
            }
            Mood::Keeps(..) => self.inner.delete(key),
        }
    }
}

/// A vault with full backups of ten days, a chain, rolling definitions, a proof of each, and a file of somebody's.
fn ten_days() -> MemoryStore {
    let store = MemoryStore::new();
    let day = |day: i64| at("2026-11-10T02:00:00Z") + days(day);
    (0..10).for_each(|n| add(&store, &full(day(n))));
    for n in [0, 3] {
        let base = artifact(Content::Base, day(n), 1);
        let first = artifact(Content::Incremental, day(n + 1), 1).requiring(&base);
        let second = artifact(Content::Incremental, day(n + 2), 1).requiring(&first);
        [&base, &first, &second].into_iter().for_each(|link| add(&store, link));
    }
    add(&store, &artifact(Content::Schema, day(9), 1));
    put(&store, "shop/full/notes.txt", b"do not touch");
    store
}

fn add(store: &MemoryStore, artifact: &Manifest) {
    let mut artifact = artifact.clone();
    if artifact.content == Content::Full {
        artifact.companions.push(format!("{}.globals.sql", artifact.id));
    }
    let folder = format!("shop/{}", artifact.content);
    for name in std::iter::once(&artifact.payload.name).chain(&artifact.companions) {
        put(store, &format!("{folder}/{name}"), &[7; 100]);
    }
    put(store, &format!("{folder}/{}.json", artifact.object_stem()), &artifact.to_json().unwrap());
    let proof = serde_json::to_vec(&proof(&artifact, "structure", artifact.started_at, true)).unwrap();
    put(store, &format!("shop/proofs/{}/20261110T030000Z.json", artifact.id), &proof);
}

fn put(store: &MemoryStore, key: &str, bytes: &[u8]) {
    store.put_bytes(&Key::new(key).unwrap(), bytes, PutMode::Create).unwrap();
}

fn vault(store: impl Store) -> Vault {
    Vault::new(Arc::new(store), SourceName::new("shop").unwrap())
}

fn objects(store: &MemoryStore) -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    let mut folders = vec!["shop".to_owned()];
    while let Some(folder) = folders.pop() {
        let listing = store.list(&folder).unwrap();
        objects.extend(listing.objects.iter().map(|object| object.key.to_string()));
        folders.extend(listing.folders.iter().map(|name| format!("{folder}/{name}")));
    }
    objects
}

fn by(store: impl Store, keep: &str) -> Result<Pruned> {
    prune(&vault(store), &policy(keep), &PruneOptions::default(), &context())
}

fn listed(store: &MemoryStore) -> Vec<Manifest> {
    let catalogue = vault(store.clone()).catalogue(None).unwrap();
    assert!(catalogue.damaged.is_empty(), "{:?}", catalogue.damaged);
    catalogue.manifests()
}

/// Every listed artifact is whole: its objects are there, and the artifact that it requires is listed.
#[track_caller]
fn is_whole(store: &MemoryStore, when: &str) {
    let (objects, listed) = (objects(store), listed(store));
    for artifact in &listed {
        for name in std::iter::once(&artifact.payload.name).chain(&artifact.companions) {
            assert!(
                objects.contains(&format!("shop/{}/{name}", artifact.content)),
                "{when}: {name} is missing"
            );
        }
        let has_parent = |id: &BackupId| listed.iter().any(|other| other.id == *id);
        assert!(artifact.requires.as_ref().is_none_or(has_parent), "{when}: {} lost its parent", artifact.id);
    }
}

#[test]
fn what_the_policy_does_not_keep_goes_with_everything_of_it() {
    let store = ten_days();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let observer = move |event: &Event| {
        if let Event::Removed { id, reasons } = event {
            assert!(reasons.iter().all(|reason| reason.starts_with("not kept by any rule")), "{reasons:?}");
            hears.lock().unwrap().push(id.clone());
        }
    };
    let cx = context().with_observer(Arc::new(observer));
    let pruned = prune(&vault(store.clone()), &policy("last=3"), &PruneOptions::default(), &cx).unwrap();

    // Seven dumps; the chains are the three newest of their sets, and what those require.
    assert_eq!((pruned.removed.len(), pruned.freed_bytes), (7, 700));
    assert_eq!(*told.lock().unwrap(), pruned.removed);
    assert!(pruned.refused.is_empty() && pruned.damaged.is_empty());
    assert_eq!(listed(&store).len(), 3 + 6 + 1);
    let left = objects(&store);
    for gone in &pruned.removed {
        assert!(!left.iter().any(|object| object.contains(gone.as_str())), "{gone} left something: {left:?}");
    }
    assert!(left.contains("shop/full/notes.txt"));
    is_whole(&store, "after the prune");
    assert!(by(store, "last=3").unwrap().removed.is_empty(), "nothing is left to do");
}

#[test]
fn a_dry_run_plans_the_same_and_touches_nothing() {
    let store = ten_days();
    let before = objects(&store);
    let _run = vault(store.clone()).lease().unwrap();
    let options = PruneOptions::default().with_dry_run(true);
    let planned = prune(&vault(store.clone()), &policy("last=3"), &options, &context()).unwrap();
    assert_eq!(planned.plan.removals().count(), 7);
    assert!(planned.removed.is_empty() && planned.freed_bytes == 0);
    assert_eq!(objects(&store), before);
    assert_eq!(by(store, "last=3").unwrap_err().kind(), ErrorKind::Busy, "a run holds the vault");
}

#[test]
fn what_the_store_keeps_is_told_and_is_no_error() {
    for kind in [ErrorKind::Locked, ErrorKind::Denied] {
        let store = ten_days();
        let kept = "shop-full-20261111T020000Z";
        let pruned = by(Moody { inner: store.clone(), mood: Mood::Keeps(kept, kind) }, "last=3").unwrap();
        assert_eq!(pruned.removed.len(), 6);
        let [(id, why)] = pruned.refused.as_slice() else { panic!("{:?}", pruned.refused) };
        assert_eq!(id.as_str(), kept);
        assert!(why.contains("is kept until 2033"), "{why}");
        assert!(listed(&store).iter().any(|artifact| artifact.id == *id));
        is_whole(&store, "after a refusal");
    }
}

#[test]
fn the_parents_of_what_the_store_keeps_stay() {
    let store = ten_days();
    let kept = "shop-incremental-20261112T020000Z";
    let mood = Mood::Keeps(kept, ErrorKind::Locked);
    let pruned = by(Moody { inner: store.clone(), mood }, "last=1").unwrap();
    let refused: Vec<&str> = pruned.refused.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(refused, [kept, "shop-incremental-20261111T020000Z", "shop-base-20261110T020000Z"]);
    is_whole(&store, "after a refusal");
}

#[test]
fn a_damaged_manifest_is_never_touched_nor_what_it_may_require() {
    let store = ten_days();
    for id in ["shop-full-20261110T020000Z", "shop-incremental-20261112T020000Z"] {
        let content = if id.contains("full") { "full" } else { "incremental" };
        let key = Key::new(format!("shop/{content}/{id}.json")).unwrap();
        store.put_bytes(&key, b"{ half", PutMode::Replace).unwrap();
    }
    let pruned = by(store.clone(), "last=1").unwrap();
    assert_eq!((pruned.removed.len(), pruned.damaged.len()), (8, 2));
    let left = objects(&store);
    for of in
        ["full/shop-full-20261110T020000Z.db", "proofs/shop-full-20261110T020000Z/20261110T030000Z.json"]
    {
        assert!(left.contains(&format!("shop/{of}")), "{of}");
    }
    assert_eq!(left.iter().filter(|object| object.starts_with("shop/base/")).count(), 4);
    let reason = |id: &str| {
        let decision = pruned.plan.decisions.iter().find(|decision| decision.id.as_str() == id).unwrap();
        assert!(decision.keep);
        decision.reasons.join("; ")
    };
    assert!(
        reason("shop-full-20261110T020000Z")
            .contains("its manifest cannot be used: it is not a JSON document")
    );
    assert!(reason("shop-base-20261110T020000Z").contains("whose manifest cannot be used, may require it"));
}

#[test]
fn a_source_that_gets_no_backups_any_more_loses_none() {
    let store = ten_days();
    let prune_with = |hours| {
        let rpo = Some(SignedDuration::from_hours(hours));
        prune(&vault(store.clone()), &policy("last=1"), &PruneOptions::default().with_rpo(rpo), &context())
    };
    assert_eq!(prune_with(24).unwrap().removed.len(), 0, "the newest is 34 hours old");
    assert_eq!(prune_with(48).unwrap().removed.len(), 12);
}

/// The store dies after each number of removals in turn: whatever is listed is whole, and the next prune ends where an
/// undisturbed one ends.
#[test]
fn a_prune_that_dies_at_any_removal_is_finished_by_the_next() {
    let undisturbed = ten_days();
    by(undisturbed.clone(), "last=1").unwrap();
    let mut deaths = 0;
    loop {
        let store = ten_days();
        let mood = Mood::DiesAfter(Arc::new(AtomicUsize::new(deaths)));
        let outcome = by(Moody { inner: store.clone(), mood }, "last=1");
        is_whole(&store, &format!("dead after {deaths} removals"));
        by(store.clone(), "last=1").unwrap();
        assert_eq!(objects(&store), objects(&undisturbed), "finished after {deaths} removals");
        // Each removal is at least the manifest, the payload and the proof.
        if deaths > 3 * 12 && outcome.is_ok() {
            break;
        }
        deaths += 1;
    }
}

#[test]
fn a_cancelled_prune_stops_between_two_backups() {
    let store = ten_days();
    let cancel = CancelToken::default();
    let stops = cancel.clone();
    let observer = move |event: &Event| {
        if matches!(event, Event::Removed { .. }) {
            stops.cancel();
        }
    };
    let cx = context().with_observer(Arc::new(observer)).with_cancel(cancel);
    let error = prune(&vault(store.clone()), &policy("last=1"), &PruneOptions::default(), &cx).unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(listed(&store).len(), 16);
    is_whole(&store, "after a cancellation");
}

#[test]
fn every_vault_of_a_store_is_pruned_and_a_busy_one_stops_no_other() {
    let store = ten_days();
    for name in ["attic", "zoo"] {
        for day in 1..=3 {
            let started_at = at("2026-11-01T00:00:00Z") + days(day);
            let id = BackupId::new(&SourceName::new(name).unwrap(), Content::Full, started_at, 1);
            let mut made = full(started_at);
            made.payload.name = format!("{id}.db");
            made.id = id;
            put(&store, &format!("{name}/full/{}", made.payload.name), &[7; 100]);
            put(&store, &format!("{name}/full/{}.json", made.id), &made.to_json().unwrap());
        }
    }
    let shared: Arc<dyn Store> = Arc::new(store);
    let _busy = shared.lease("shop").unwrap();
    let outcomes = prune_all(&shared, &policy("last=1"), &PruneOptions::default(), &context()).unwrap();
    let removed: Vec<(String, Option<usize>)> = outcomes
        .into_iter()
        .map(|(name, outcome)| (name.to_string(), outcome.ok().map(|pruned| pruned.removed.len())))
        .collect();
    assert_eq!(removed, [("attic".into(), Some(2)), ("shop".into(), None), ("zoo".into(), Some(2))]);
}

#[test]
fn keeping_everything_removes_nothing() {
    let store = ten_days();
    let before = objects(&store);
    for policy in [&KeepAll as &dyn backup_core::retention::RetentionPolicy, &Keep::default()] {
        let pruned = prune(&vault(store.clone()), policy, &PruneOptions::default(), &context()).unwrap();
        assert!(pruned.removed.is_empty());
    }
    assert_eq!(objects(&store), before);
}
