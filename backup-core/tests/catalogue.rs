//! Looking at a vault asks its store for no more than the question needs.

use std::{fs, sync::Arc, time::Duration};

use backup_core::{
    ErrorKind,
    cache::Cache,
    content::Content,
    context::Context,
    id::{BackupId, Key, SourceName, compact_instant},
    manifest::{Manifest, Payload, SourceFacts, Suspicion},
    operation::{self, Objectives},
    selector::Selector,
    store::{PutMode, Store, StoreExt},
    testing::FarStore,
    vault::Vault,
    verify::Level,
};
use backup_storage::MemoryStore;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// A vault of hourly backups, the last of them now, in a store that counts what it is asked.
struct Archive {
    store: Arc<FarStore>,
    vault: Vault,
    ids: Vec<BackupId>,
}

impl Archive {
    fn of(backups: i64) -> Self {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let store = Arc::new(FarStore::new(memory, Duration::ZERO));
        let vault = Vault::new(Arc::clone(&store) as Arc<dyn Store>, SourceName::new("shop").unwrap());
        let mut archive = Self { store, vault, ids: Vec::new() };
        let now = Timestamp::now();
        for age in (0..backups).rev() {
            archive.back_up(now - SignedDuration::from_hours(age), |_| {});
        }
        archive
    }

    fn back_up(&mut self, at: Timestamp, edit: impl FnOnce(&mut Manifest)) {
        let id = BackupId::new(self.vault.source(), Content::Full, at, 1);
        let payload = Payload {
            name: format!("{id}.db.zst"),
            bytes: 1,
            blake3: "00".into(),
            encoding: vec!["zstd".into()],
            plain_bytes: 1,
            plain_blake3: "11".into(),
        };
        let mut manifest =
            Manifest::new(id.clone(), SourceFacts::new("shop", "sqlite", "shop.db"), at, payload);
        edit(&mut manifest);
        self.put(&format!("shop/full/{id}.json"), &manifest.to_json().unwrap());
        self.ids.push(id);
    }

    fn prove(&self, backup: usize, age: SignedDuration, level: &str, ok: bool) {
        let (id, at) = (&self.ids[backup], Timestamp::now() - age);
        let proof = json!({
            "format": 1, "id": id, "level": level, "started_at": at, "seconds": 1.0, "ok": ok, "findings": [],
            "payload_blake3": "00", "host": null, "restore_seconds": if level == "restore" { Some(4.0) } else { None },
        });
        let key = format!("shop/proofs/{id}/{}-{level}.json", compact_instant(at));
        self.put(&key, proof.to_string().as_bytes());
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        self.store.put_bytes(&Key::new(key).unwrap(), bytes, PutMode::Replace).unwrap();
    }

    fn find(&self, text: &str) -> backup_core::Result<BackupId> {
        let store: Arc<dyn Store> = Arc::clone(&self.store) as Arc<dyn Store>;
        let (_, artifact) = text.parse::<Selector>()?.resolve(&store, &Context::default())?;
        Ok(backup_core::artifact::Artifact::manifest(&artifact).id.clone())
    }

    fn asked(&self) -> (u64, u64) {
        (self.store.take_opened(), self.store.take_listed())
    }
}

fn suspicion() -> Suspicion {
    Suspicion { rule: "min_rows".into(), found: "0".into(), expected: "1".into() }
}

#[test]
fn the_latest_is_found_without_reading_the_others() {
    let mut archive = Archive::of(300);
    archive.asked();
    assert_eq!(archive.find("latest").unwrap(), archive.ids[299]);
    assert_eq!(archive.asked().0, 1);
    for minutes in 1..=5 {
        let at = Timestamp::now() + SignedDuration::from_mins(minutes);
        archive.back_up(at, |manifest| manifest.suspect.push(suspicion()));
    }
    archive.asked();
    assert_eq!(archive.find("shop/latest").unwrap(), archive.ids[299], "suspects are never the latest");
    assert!(archive.asked().0 < 25);
}

#[test]
fn the_latest_of_one_second_is_the_last_that_began() {
    let archive = Archive::of(1);
    let first = &archive.ids[0];
    let manifest = archive.vault.artifact(first).unwrap();
    for number in [2, 9, 10] {
        let mut copy = backup_core::artifact::Artifact::manifest(&manifest).clone();
        let id: BackupId = format!("{first}-{number}").parse().unwrap();
        copy.payload.name = format!("{id}.db.zst");
        copy.id = id.clone();
        archive.put(&format!("shop/full/{id}.json"), &copy.to_json().unwrap());
    }
    assert_eq!(archive.find("latest").unwrap().as_str(), format!("{first}-10"));
    assert_eq!(archive.vault.next_id(Content::Full, Timestamp::now()).unwrap().source(), first.source());
}

#[test]
fn the_beginning_of_an_id_is_looked_up_by_names() {
    let archive = Archive::of(300);
    archive.asked();
    let wanted = &archive.ids[17];
    let beginning = &wanted.as_str()[..wanted.as_str().len() - 3];
    assert_eq!(archive.find(beginning).unwrap(), *wanted);
    assert_eq!(archive.asked().0, 1);
    let several = archive.find("shop-full-20").unwrap_err();
    assert_eq!((several.kind(), archive.asked().0), (ErrorKind::Invalid, 0));
    assert!(several.hint().unwrap().contains(archive.ids[299].as_str()), "{several:?}");
    assert_eq!(archive.find("shop-full-1999").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_new_id_reads_nothing() {
    let archive = Archive::of(50);
    archive.asked();
    archive.vault.next_id(Content::Full, Timestamp::now()).unwrap();
    assert_eq!(archive.asked(), (0, 1));
}

#[test]
fn status_reads_the_newest_proofs_only() {
    let archive = Archive::of(100);
    let hours = SignedDuration::from_hours;
    for backup in 0..100 {
        archive.prove(backup, hours(200 - backup as i64), "structure", true);
        archive.prove(backup, hours(400 - backup as i64), "checksum", true);
    }
    archive.prove(3, hours(2), "restore", true);
    archive.prove(40, hours(1), "checksum", false);
    archive.asked();
    let status = operation::status(&archive.vault, &Objectives::default(), &Context::default()).unwrap();
    let (opened, listed) = archive.asked();
    assert!(opened <= 100 + 3, "{opened}");
    // The contents, the proofs, the guards.
    assert!(listed <= 7, "{listed}");
    let last = status.last_proof.unwrap();
    assert_eq!((&last.id, last.level, last.ok), (&archive.ids[40], Level::Checksum, false));
    assert_eq!(status.measured_rto_seconds, Some(4.0));
    assert_eq!((status.good, status.newest.as_ref()), (100, archive.ids.last()));
    let missed: Vec<&str> = status.missed.iter().map(|missed| missed.objective.as_str()).collect();
    assert_eq!(missed, ["proof"], "the last verification found damage");
}

#[test]
fn every_proof_is_read_where_every_proof_is_asked_for() {
    let archive = Archive::of(30);
    (0..30).for_each(|backup| archive.prove(backup, SignedDuration::from_hours(1), "structure", true));
    archive.asked();
    assert_eq!(archive.vault.all_proofs().unwrap().len(), 30);
    assert_eq!(archive.asked(), (30, 1));
    assert_eq!(archive.vault.proofs(&archive.ids[4]).unwrap().len(), 1);
}

#[test]
fn a_far_store_is_asked_once_for_what_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Archive::of(60);
    archive.prove(59, SignedDuration::from_hours(1), "structure", true);
    let cached = archive.vault.clone().with_cache(Some(Cache::new(folder.path())));
    let status = || operation::status(&cached, &Objectives::default(), &Context::default()).unwrap();
    archive.asked();
    let first = status();
    assert!(archive.asked().0 >= 60);
    assert_eq!(
        serde_json::to_value(status()).unwrap()["newest"],
        serde_json::to_value(first).unwrap()["newest"]
    );
    assert_eq!(archive.asked().0, 0);

    archive.back_up(Timestamp::now() + SignedDuration::from_secs(5), |_| {});
    assert_eq!(cached.overview(None).unwrap().artifacts.len(), 61);
    assert_eq!(archive.asked().0, 1, "only the new one");
    archive.store.delete(&Key::new(format!("shop/full/{}.json", archive.ids[0])).unwrap()).unwrap();
    assert_eq!(cached.overview(None).unwrap().artifacts.len(), 60, "what is gone is gone");

    cached.catalogue(None).unwrap();
    assert_eq!(archive.asked().0, 60, "what decides reads the store");
}

#[test]
fn a_cache_is_never_believed_against_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Archive::of(20);
    let cached = archive.vault.clone().with_cache(Some(Cache::new(folder.path())));
    cached.overview(None).unwrap();

    let id = archive.ids[7].clone();
    archive.put(&format!("shop/full/{id}.json"), b"{}");
    assert_eq!(cached.overview(None).unwrap().damaged.len(), 1, "another size or time is another object");
    assert_eq!(cached.artifact(&id).unwrap_err().kind(), ErrorKind::Corrupt);

    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", &[&whole[..100], &[0; 5000]].concat()] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(cached.overview(None).unwrap().artifacts.len(), 19);
    }
    fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(cached.overview(None).unwrap().artifacts.len(), 19);
    archive.back_up(Timestamp::now() + SignedDuration::from_secs(5), |_| {});
    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "no folder").unwrap();
    assert_eq!(cached.overview(None).unwrap().artifacts.len(), 20, "a cache that cannot be is none");
    fs::remove_file(folder.path()).unwrap();
}

#[test]
fn rolling_contents_are_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::of(0);
    let cached = archive.vault.clone().with_cache(Some(Cache::new(folder.path())));
    let put = |at: Timestamp| {
        let id = BackupId::new(archive.vault.source(), Content::Schema, at, 1);
        let payload = Payload {
            name: "shop-schema.sql".into(),
            bytes: 1,
            blake3: "00".into(),
            encoding: vec![],
            plain_bytes: 1,
            plain_blake3: "11".into(),
        };
        let facts = SourceFacts::new("shop", "sqlite", "shop.db");
        let manifest = Manifest::new(id.clone(), facts, at, payload);
        archive.put("shop/schema/shop-schema.json", &manifest.to_json().unwrap());
        id
    };
    for second in [100_000_000, 100_000_001] {
        let id = put(Timestamp::from_second(second).unwrap());
        let seen = cached.overview(None).unwrap().manifests();
        assert_eq!(seen[0].id, id);
        let text = id.as_str();
        assert_eq!(archive.find(&text[..text.len() - 1]).unwrap(), id);
    }
}
