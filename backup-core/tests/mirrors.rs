//! Copying between stores, healing from one another, and reading whichever copy is good.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use backup_core::{
    Error, ErrorKind,
    content::Content,
    context::{CancelToken, Context},
    event::Event,
    id::{BackupId, Key, SourceName},
    manifest::{Manifest, Payload, SourceFacts},
    mirror::{Copies, Mirror},
    operation::{self, MirrorOptions, heal, heal_manifest, mirror, mirror_new},
    proof::Proof,
    selector::Selector,
    store::{PutMode, Store, StoreExt},
    testing::{AwayStore, FlippingStore, FullStore},
    vault::Vault,
    verify::Level,
};
use backup_storage::{DropboxStore, LocalStore, MemoryStore};
use jiff::Timestamp;
use proptest::prelude::*;

fn source(name: &str) -> SourceName {
    SourceName::new(name).unwrap()
}

fn vault(store: &Arc<dyn Store>) -> Vault {
    Vault::new(Arc::clone(store), source("shop"))
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn id(content: Content, day: i64) -> BackupId {
    BackupId::new(&source("shop"), content, instant(day), 1)
}

fn instant(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

/// Bytes that differ from day to day.
fn bytes_of(day: i64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; count];
    blake3::Hasher::new().update(&day.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn facts(name: String, bytes: &[u8]) -> Payload {
    let hash = blake3::hash(bytes).to_hex().to_string();
    Payload {
        name,
        bytes: bytes.len() as u64,
        blake3: hash.clone(),
        encoding: Vec::new(),
        plain_bytes: bytes.len() as u64,
        plain_blake3: hash,
    }
}

fn manifest_of(content: Content, day: i64, bytes: &[u8]) -> Manifest {
    let id = id(content, day);
    let stem = if content.is_rolling() { format!("shop-{content}") } else { id.to_string() };
    let payload = facts(format!("{stem}.db"), bytes);
    Manifest::new(id, SourceFacts::new("shop", "sqlite", "/srv/shop.db"), instant(day), payload)
}

fn store_artifact(store: &Arc<dyn Store>, manifest: &Manifest, payload: &[u8]) {
    let mode = if manifest.content.is_rolling() { PutMode::Replace } else { PutMode::Create };
    let folder = format!("shop/{}", manifest.content);
    store.put_bytes(&key(&format!("{folder}/{}", manifest.payload.name)), payload, mode).unwrap();
    let name = manifest.payload.name.trim_end_matches(".db").to_owned();
    store.put_bytes(&key(&format!("{folder}/{name}.json")), &manifest.to_json().unwrap(), mode).unwrap();
}

/// A full backup of that day with so many bytes.
fn take(store: &Arc<dyn Store>, day: i64, count: usize) -> BackupId {
    let bytes = bytes_of(day, count);
    let manifest = manifest_of(Content::Full, day, &bytes);
    store_artifact(store, &manifest, &bytes);
    manifest.id
}

fn ids(store: &Arc<dyn Store>) -> Vec<BackupId> {
    let manifests = vault(store).catalogue(None).unwrap().manifests();
    manifests.into_iter().map(|manifest| manifest.id).collect()
}

/// Every object below a store, with its bytes.
fn objects(store: &Arc<dyn Store>) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let listing = store.list(&folder).unwrap();
        for object in listing.objects {
            all.insert(object.key.to_string(), store.get(&object.key, 1 << 30).unwrap());
        }
        let below = listing.folders.into_iter();
        folders.extend(below.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }));
    }
    all
}

fn overwrite(store: &Arc<dyn Store>, name: &str, bytes: &[u8]) {
    store.put_bytes(&key(name), bytes, PutMode::Replace).unwrap();
}

fn payload_name(id: &BackupId) -> String {
    format!("shop/full/{id}.db")
}

fn manifest_name(id: &BackupId) -> String {
    format!("shop/full/{id}.json")
}

/// A context that keeps what is told.
fn listening() -> (Context, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let ears = Arc::clone(&told);
    let observer = move |event: &Event| {
        if let Event::Warning(warning) | Event::Alarm(warning) = event {
            ears.lock().unwrap().push(warning.clone());
        }
    };
    (Context::default().with_observer(Arc::new(observer)), told)
}

fn copy_all(from: &Arc<dyn Store>, to: &Arc<dyn Store>) -> operation::Mirrored {
    let far = Mirror::new("far", Arc::clone(to));
    mirror(&vault(from), &far, &MirrorOptions::default(), &Context::default()).unwrap()
}

/// A full error as a user reads it.
fn whole(error: &Error) -> String {
    format!("{error:?}")
}

#[test]
fn a_mirror_that_was_away_catches_up() {
    let near = memory();
    let away = Arc::new(AwayStore::new(memory()));
    let far: Arc<dyn Store> = away.clone();
    let mirrors = [Mirror::new("far", Arc::clone(&far)), Mirror::new("other", memory())];
    let (cx, told) = listening();

    let first = take(&near, 1, 3_000_000);
    assert!(
        mirror_new(&vault(&near), &mirrors, &first, &cx).iter().all(|outcome| outcome.failure().is_none())
    );
    assert!(told.lock().unwrap().is_empty());

    away.set_away(true);
    for day in [2, 3] {
        let new = take(&near, day, 1000);
        let outcomes = mirror_new(&vault(&near), &mirrors, &new, &cx);
        let failures: Vec<bool> = outcomes.iter().map(|outcome| outcome.failure().is_some()).collect();
        assert_eq!(failures, [true, false], "the mirror that is there gets its copy");
        let told = told.lock().unwrap().last().unwrap().clone();
        assert!(told.contains("mirror \"far\"") && told.contains("does not answer"), "{told}");
        assert!(vault(&near).artifact(&new).is_ok(), "the backup is as good as ever");
    }
    away.set_away(false);
    assert_eq!(ids(&far), [first]);
    away.take_written();
    let done = copy_all(&near, &far);
    assert_eq!((done.copied.len(), done.already, done.bytes), (2, 1, 2000), "{done:?}");
    assert!(away.take_written() < 10_000, "the old backup was sent again");
    assert_eq!(objects(&far), objects(&near));
    let idle = copy_all(&near, &far);
    assert_eq!((idle.copied.len(), idle.already, idle.bytes, away.take_written()), (0, 3, 0, 0));
}

#[test]
fn the_newest_is_copied_first_but_nothing_before_what_it_needs() {
    let (near, far) = (memory(), memory());
    let base = take(&near, 1, 100);
    for (day, parent) in [(2, base.clone()), (3, id(Content::Incremental, 2))] {
        let bytes = bytes_of(day, 50);
        let mut manifest = manifest_of(Content::Incremental, day, &bytes);
        manifest.requires = Some(parent);
        store_artifact(&near, &manifest, &bytes);
    }
    let newest = take(&near, 4, 100);
    let done = copy_all(&near, &far);
    let expected = [newest, base.clone(), id(Content::Incremental, 2), id(Content::Incremental, 3)];
    assert_eq!(done.copied, expected);

    let alone = memory();
    let only = MirrorOptions::default().only([id(Content::Incremental, 3)]);
    let done = mirror(&vault(&near), &Mirror::new("alone", alone), &only, &Context::default()).unwrap();
    assert_eq!(done.copied, expected[1..], "what it needs comes along");
}

#[test]
fn what_the_mirror_s_own_retention_would_remove_is_not_sent() {
    let (near, far) = (memory(), memory());
    let (old, new) = (take(&near, 1, 10), take(&near, 2, 10));
    let options = MirrorOptions::default().without([old]);
    mirror(&vault(&near), &Mirror::new("far", Arc::clone(&far)), &options, &Context::default()).unwrap();
    assert_eq!(ids(&far), [new]);
}

#[test]
fn an_interrupted_copy_goes_on_where_it_ended() {
    let (near, far) = (memory(), memory());
    let bytes = bytes_of(1, 5_000_000);
    let id = take(&near, 1, bytes.len());
    // The payload arrived, the manifest did not; of another try only a part arrived.
    far.put_bytes(&key(&payload_name(&id)), &bytes, PutMode::Create).unwrap();
    assert_eq!(ids(&far), []);
    let done = copy_all(&near, &far);
    assert_eq!((done.copied.len(), done.bytes), (1, 0), "sent again: {done:?}");
    assert_eq!(objects(&far), objects(&near));

    let torn = memory();
    torn.put_bytes(&key(&payload_name(&id)), &bytes[..4_000_000], PutMode::Create).unwrap();
    assert_eq!(copy_all(&near, &torn).bytes, 5_000_000);
    assert_eq!(objects(&torn), objects(&near));
}

#[test]
fn a_cancelled_copy_leaves_nothing_listed() {
    let (near, far) = (memory(), memory());
    take(&near, 1, 1000);
    let cancel = CancelToken::default();
    cancel.cancel();
    let far_mirror = Mirror::new("far", Arc::clone(&far));
    let cx = Context::default().with_cancel(cancel);
    let error = mirror(&vault(&near), &far_mirror, &MirrorOptions::default(), &cx).unwrap_err();
    assert!(error.is_cancelled(), "{error:?}");
    assert_eq!(objects(&far), BTreeMap::new());
    assert_eq!(copy_all(&near, &far).copied.len(), 1);
}

#[test]
fn a_rolling_backup_is_replaced_where_the_mirror_s_is_older_and_only_there() {
    let (near, far) = (memory(), memory());
    for day in [1, 2] {
        let bytes = bytes_of(day, 100);
        store_artifact(&near, &manifest_of(Content::Schema, day, &bytes), &bytes);
        assert_eq!(copy_all(&near, &far).copied, [id(Content::Schema, day)]);
        assert_eq!(objects(&far), objects(&near));
    }
    let newer = bytes_of(3, 100);
    store_artifact(&far, &manifest_of(Content::Schema, 3, &newer), &newer);
    let done = copy_all(&near, &far);
    assert_eq!((done.copied.len(), done.already, done.failed.len()), (0, 1, 0));
    assert_eq!(ids(&far), [id(Content::Schema, 3)]);
}

#[test]
fn damaged_backups_are_not_copied_and_the_others_are() {
    let (near, far) = (memory(), memory());
    let (bad, edited, good) = (take(&near, 1, 1000), take(&near, 2, 1000), take(&near, 3, 1000));
    let mut flipped = bytes_of(1, 1000);
    flipped[999] ^= 1;
    overwrite(&near, &payload_name(&bad), &flipped);
    overwrite(&near, &manifest_name(&edited), b"{}");
    let done = copy_all(&near, &far);
    assert_eq!(done.copied, std::slice::from_ref(&good));
    assert_eq!(done.failed.len(), 2, "{done:?}");
    assert!(
        done.failed.iter().any(|failed| failed.object == bad.as_str() && failed.error.contains("is damaged"))
    );
    assert!(done.failed.iter().any(|failed| failed.object.contains(edited.as_str())));
    let names: Vec<String> = objects(&far).into_keys().collect();
    assert_eq!(names, [payload_name(&good), manifest_name(&good)]);
}

#[test]
fn what_does_not_read_back_is_no_copy() {
    let (near, sound) = (memory(), memory());
    let id = take(&near, 1, 3_000_000);
    let flipping: Arc<dyn Store> = Arc::new(FlippingStore::new(Arc::clone(&sound), ".db", 2_000_000));
    let done = copy_all(&near, &flipping);
    assert!(done.copied.is_empty() && done.failed[0].error.contains("does not read back"), "{done:?}");
    assert_eq!(objects(&sound), BTreeMap::new(), "what misreads was taken away again");
    assert!(vault(&near).artifact(&id).is_ok());
}

#[test]
fn a_full_mirror_keeps_what_it_has_and_says_so() {
    let (near, sound) = (memory(), memory());
    let (old, new) = (take(&near, 1, 100_000), take(&near, 2, 3000));
    let full: Arc<dyn Store> = Arc::new(FullStore::new(Arc::clone(&sound), 20_000));
    let done = copy_all(&near, &full);
    assert_eq!(done.copied, std::slice::from_ref(&new));
    assert_eq!((done.failed.len(), done.failed[0].object.as_str()), (1, old.as_str()), "{done:?}");
    assert_eq!(ids(&sound), [new]);
}

#[test]
fn another_backup_under_the_same_id_is_never_overwritten() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 1000);
    let other = bytes_of(77, 500);
    store_artifact(&far, &manifest_of(Content::Full, 1, &other), &other);
    let before = objects(&far);
    let done = copy_all(&near, &far);
    assert_eq!((done.copied.len(), done.failed.len()), (0, 1));
    assert!(done.failed[0].error.contains("holds another backup under this id"), "{done:?}");
    assert_eq!(objects(&far), before);

    overwrite(&far, &manifest_name(&id), b"not json");
    let done = copy_all(&near, &far);
    assert!(done.failed[0].error.contains("--heal"), "{done:?}");
    assert_eq!(far.get(&key(&manifest_name(&id)), 100).unwrap(), b"not json");
}

#[test]
fn only_one_at_a_time_writes_to_a_mirror() {
    let (near, far) = (memory(), memory());
    take(&near, 1, 10);
    let _lease = far.lease("shop").unwrap();
    let far = Mirror::new("far", far);
    let error = mirror(&vault(&near), &far, &MirrorOptions::default(), &Context::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[test]
fn a_store_is_no_mirror_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let near: Arc<dyn Store> = Arc::new(LocalStore::new(folder.path()).unwrap());
    take(&near, 1, 10);
    let again = Mirror::new("again", Arc::new(LocalStore::new(folder.path().join("shop/..")).unwrap()));
    let error = mirror(&vault(&near), &again, &MirrorOptions::default(), &Context::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
}

#[test]
fn proofs_travel_with_the_backup() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 10);
    overwrite(&near, &payload_name(&id), b"damaged...");
    let good = memory();
    take(&good, 1, 10);
    // Healing stores a proof; its copy is a proof of the copy.
    heal(&vault(&near), &id, &[Mirror::new("good", good)], &Context::default()).unwrap();
    let proofs: Vec<Proof> = vault(&near).proofs(&id).unwrap();
    assert_eq!((proofs.len(), proofs[0].ok, proofs[0].level), (1, true, Level::Checksum));
    assert!(proofs[0].other.contains_key("healed"), "{proofs:?}");
    copy_all(&near, &far);
    assert_eq!(vault(&far).proofs(&id).unwrap(), proofs);
}

#[test]
fn a_lost_store_is_rebuilt_from_a_synced_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let near: Arc<dyn Store> = Arc::new(LocalStore::new(at("near")).unwrap());
    let synced: Arc<dyn Store> =
        Arc::new(DropboxStore::new(at("dropbox")).unwrap().flat(source("shop")).unwrap());
    take(&near, 1, 100_000);
    take(&near, 2, 100_000);
    let bytes = bytes_of(3, 70);
    store_artifact(&near, &manifest_of(Content::Data, 3, &bytes), &bytes);
    assert!(copy_all(&near, &synced).is_ok());
    assert!(at("dropbox/full").is_dir() && at("dropbox/data").is_dir());
    let before = objects(&near);
    std::fs::remove_dir_all(at("near")).unwrap();
    let rebuilt = copy_all(&synced, &near);
    assert_eq!((rebuilt.copied.len(), rebuilt.failed.len()), (3, 0), "{rebuilt:?}");
    assert_eq!(objects(&near), before);
    assert!(at("near/shop/full").join(format!("latest.{}", "db")).exists(), "the newest has its second name");
}

#[test]
fn every_kind_of_damage_is_healed_from_a_good_copy() {
    let folder = tempfile::tempdir().unwrap();
    let near: Arc<dyn Store> = Arc::new(LocalStore::new(folder.path().join("near")).unwrap());
    let far = memory();
    let (flipped, missing, short, manifest) =
        (take(&near, 1, 5000), take(&near, 2, 5000), take(&near, 3, 5000), take(&near, 4, 5000));
    copy_all(&near, &far);
    let (before, mirrors) = (objects(&near), [Mirror::new("far", far)]);
    let mut bytes = bytes_of(1, 5000);
    bytes[0] ^= 0x80;
    overwrite(&near, &payload_name(&flipped), &bytes);
    near.delete(&key(&payload_name(&missing))).unwrap();
    overwrite(&near, &payload_name(&short), &bytes[..100]);
    overwrite(&near, &manifest_name(&manifest), b"{ \"format\": 1 }");

    let (cx, vault) = (Context::default(), vault(&near));
    for id in [&flipped, &missing, &short] {
        let healed = heal(&vault, id, &mirrors, &cx).unwrap();
        assert_eq!((healed.mended.len(), healed.failed.len()), (1, 0), "{healed:?}");
        assert_eq!(healed.mended[0].object, payload_name(id));
    }
    let damaged = vault.catalogue(None).unwrap().damaged;
    let healed = heal_manifest(&vault, &damaged[0].object, &mirrors, &cx).unwrap();
    assert_eq!((healed.mended.len(), healed.failed.len()), (1, 0), "{healed:?}");

    let mut after = objects(&near);
    after.retain(|name, _| !name.contains("/proofs/"));
    assert_eq!(after, before);
    assert!(heal(&vault, &flipped, &mirrors, &cx).unwrap().mended.is_empty(), "nothing is left to do");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: String| {
            std::fs::metadata(folder.path().join("near").join(name)).unwrap().permissions().mode()
        };
        assert_eq!(mode(payload_name(&missing)) & 0o777, 0o400);
    }
}

#[test]
fn what_is_damaged_everywhere_is_not_healed_and_stays_as_it_is() {
    let (near, far, farther) = (memory(), memory(), memory());
    let id = take(&near, 1, 1000);
    copy_all(&near, &far);
    overwrite(&near, &payload_name(&id), b"damaged here");
    overwrite(&far, &payload_name(&id), &bytes_of(2, 1000));
    let mirrors = [Mirror::new("far", far), Mirror::new("farther", farther)];
    let healed = heal(&vault(&near), &id, &mirrors, &Context::default()).unwrap();
    assert!(healed.mended.is_empty() && healed.failed.len() == 1, "{healed:?}");
    assert_eq!(near.get(&key(&payload_name(&id)), 100).unwrap(), b"damaged here");
    assert!(vault(&near).proofs(&id).unwrap().is_empty(), "nothing was proven");
}

#[test]
fn a_manifest_of_a_newer_format_is_not_damage() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 1000);
    copy_all(&near, &far);
    overwrite(&near, &manifest_name(&id), b"{ \"format\": 2 }");
    let healed =
        heal_manifest(&vault(&near), &manifest_name(&id), &[Mirror::new("far", far)], &Context::default())
            .unwrap();
    assert!(healed.mended.is_empty() && healed.failed[0].error.contains("format 2"), "{healed:?}");
    assert_eq!(near.get(&key(&manifest_name(&id)), 100).unwrap(), b"{ \"format\": 2 }");
}

/// Whoever can write a mirror must not get us to read or write anything else.
#[test]
fn hostile_manifests_in_a_mirror_are_refused() {
    let (near, hostile) = (memory(), memory());
    let bytes = bytes_of(1, 1000);
    let mut climbing = manifest_of(Content::Full, 1, &bytes);
    climbing.payload.name = "../../etc/x".to_owned();
    let mut foreign = manifest_of(Content::Full, 2, &bytes);
    foreign.id = BackupId::new(&source("blog"), Content::Full, instant(2), 1);
    foreign.payload.name = format!("{}.db", foreign.id);
    let mut bragging = manifest_of(Content::Full, 3, &bytes);
    bragging.payload.bytes = 10_000_000_000;
    for (day, manifest) in [(1, &climbing), (2, &foreign), (3, &bragging)] {
        hostile
            .put_bytes(
                &key(&manifest_name(&id(Content::Full, day))),
                &manifest.to_json().unwrap(),
                PutMode::Create,
            )
            .unwrap();
    }
    hostile.put_bytes(&key(&payload_name(&id(Content::Full, 3))), &bytes, PutMode::Create).unwrap();

    let done = copy_all(&hostile, &near);
    let said: Vec<String> =
        done.failed.iter().map(|failed| format!("{}: {}", failed.object, failed.error)).collect();
    assert_eq!((done.copied.len(), said.len()), (0, 3), "{said:#?}");
    for expected in [
        "\"../../etc/x\", which is not its own",
        "it says it is \"blog-full-",
        "has 1000 bytes, expected 10000000000",
    ] {
        assert!(said.iter().any(|line| line.contains(expected)), "{expected} is missing in {said:#?}");
    }
    assert_eq!(objects(&near), BTreeMap::new());
    let selector: Selector = id(Content::Full, 1).as_str().parse().unwrap();
    let error =
        Copies::find(&selector, &near, &[Mirror::new("hostile", hostile)], &Context::default()).unwrap_err();
    assert!(error.is_corruption() && whole(&error).contains("not its own"), "{error:?}");
}

fn copies(
    text: &str,
    near: &Arc<dyn Store>,
    mirrors: &[Mirror],
    cx: &Context,
) -> backup_core::Result<Copies> {
    Copies::find(&text.parse::<Selector>().unwrap(), near, mirrors, cx)
}

fn read(copies: &Copies, cx: &Context) -> backup_core::Result<Vec<u8>> {
    let mut out = Vec::new();
    operation::cat_from(copies, &mut out, cx).map(|()| out)
}

#[test]
fn latest_is_the_newest_of_all_stores() {
    let (near, far) = (memory(), memory());
    let (old, new) = (take(&near, 1, 10), take(&far, 2, 10));
    let mirrors = [Mirror::new("far", far)];
    let (cx, told) = listening();
    assert_eq!(copies("latest", &near, &mirrors, &cx).unwrap().manifest().id, new);
    assert!(told.lock().unwrap().iter().any(|line| line.contains("cannot be read from the memory store")));
    assert_eq!(copies(&old.as_str()[..24], &near, &mirrors, &cx).unwrap().manifest().id, old);
    let ambiguous = copies("shop-full", &near, &mirrors, &cx).unwrap_err();
    assert_eq!(ambiguous.kind(), ErrorKind::Invalid, "{ambiguous:?}");
    let nothing = copies("blog/latest", &near, &mirrors, &cx).unwrap_err();
    assert!(nothing.is_not_found() && nothing.to_string().contains(", nor in "), "{nothing:?}");
}

/// One bucket may be the mirror of many hosts.
#[test]
fn other_sources_of_a_mirror_do_not_make_latest_ambiguous() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 10);
    far.put_bytes(&key("blog/full/x.json"), b"{}", PutMode::Create).unwrap();
    copy_all(&near, &far);
    let found = copies("latest", &near, &[Mirror::new("far", far)], &Context::default()).unwrap();
    assert_eq!((found.manifest().id.clone(), found.iter().count()), (id, 2));
}

#[test]
fn the_nearest_copy_is_read_first_and_the_primary_among_equals() {
    let folder = tempfile::tempdir().unwrap();
    let synced: Arc<dyn Store> = Arc::new(DropboxStore::new(folder.path().join("synced")).unwrap());
    let disk: Arc<dyn Store> = Arc::new(LocalStore::new(folder.path().join("disk")).unwrap());
    take(&synced, 1, 10);
    copy_all(&synced, &disk);
    let mirrors = [Mirror::new("disk", Arc::clone(&disk))];
    let found = copies("latest", &synced, &mirrors, &Context::default()).unwrap();
    let order: Vec<String> = found.iter().map(|copy| copy.vault.store().to_string()).collect();
    assert_eq!(order, [disk.to_string(), synced.to_string()]);
    let own = found.of_store(&synced).vault.store().to_string();
    assert_eq!(own, synced.to_string(), "to be verified is the store's own");
}

#[test]
fn damage_in_the_middle_of_a_copy_is_read_around() {
    let (near, far) = (memory(), memory());
    take(&near, 1, 3_000_000);
    copy_all(&near, &far);
    let expected = bytes_of(1, 3_000_000);
    let (cx, told) = listening();
    // A disk that gives out the first megabytes and then fails: what follows comes from the mirror.
    let failing: Arc<dyn Store> = Arc::new(Failing { inner: Arc::clone(&near), from: 2_000_000 });
    let found = copies("latest", &failing, &[Mirror::new("far", Arc::clone(&far))], &cx).unwrap();
    assert_eq!(read(&found, &cx).unwrap(), expected);
    let told = told.lock().unwrap().join("\n");
    assert!(told.contains("is of no use") && told.contains("bad sector"), "{told}");

    // Wrong bytes that went out already cannot be called back.
    let flipping: Arc<dyn Store> = Arc::new(FlippingStore::new(Arc::clone(&near), ".db", 5));
    let found = copies("latest", &flipping, &[Mirror::new("far", Arc::clone(&far))], &cx).unwrap();
    let error = read(&found, &cx).unwrap_err();
    assert!(error.is_corruption() && error.hint().unwrap().contains("not to be trusted"), "{error:?}");

    let found = copies("latest", &flipping, &[], &cx).unwrap();
    assert!(read(&found, &cx).unwrap_err().is_corruption());
}

#[test]
fn when_no_copy_is_good_each_reason_is_told() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 1000);
    copy_all(&near, &far);
    near.delete(&key(&payload_name(&id))).unwrap();
    overwrite(&far, &payload_name(&id), b"short");
    let away = Arc::new(AwayStore::new(memory()));
    away.set_away(true);
    let mirrors = [Mirror::new("far", far), Mirror::new("away", away)];
    let cx = Context::default();
    let found = copies("latest", &near, &mirrors, &cx).unwrap();
    let error = read(&found, &cx).unwrap_err();
    assert!(error.is_corruption(), "{error:?}");
    let said = whole(&error);
    for expected in ["no copy of", "the payload is missing", "has 5 bytes, expected 1000", "does not answer"]
    {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
}

/// A failure of the reader's own is not one of the copy, and reading another one would not help.
#[test]
fn a_reader_s_own_failure_does_not_try_the_next_copy() {
    let (near, far) = (memory(), memory());
    take(&near, 1, 10);
    copy_all(&near, &far);
    let cx = Context::default();
    let found = copies("latest", &near, &[Mirror::new("far", far)], &cx).unwrap();
    let mut attempts = 0;
    let outcome: backup_core::Result<()> = found.attempt(&cx, |artifact| {
        attempts += 1;
        artifact.open_payload()?;
        Err(Error::new(ErrorKind::NotFound, "the server has no such tablespace"))
    });
    assert_eq!((outcome.unwrap_err().kind(), attempts), (ErrorKind::NotFound, 1));
}

#[test]
fn a_mirror_with_another_backup_under_the_id_is_not_read() {
    let (near, far) = (memory(), memory());
    let id = take(&near, 1, 1000);
    let other = bytes_of(77, 500);
    store_artifact(&far, &manifest_of(Content::Full, 1, &other), &other);
    near.delete(&key(&payload_name(&id))).unwrap();
    let cx = Context::default();
    let found = copies("latest", &near, &[Mirror::new("far", far)], &cx).unwrap();
    assert_eq!(found.iter().count(), 1);
    assert!(read(&found, &cx).is_err(), "the other backup was given out");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a copy was left in by faults and kills, two more passes make it the original's equal.
    #[test]
    fn copying_again_always_ends_in_equal_stores(
        days in prop::collection::btree_set(0i64..6, 1..5),
        litter in prop::collection::vec((0i64..6, 0usize..3000), 0..4),
    ) {
        let (near, far) = (memory(), memory());
        for day in &days {
            take(&near, *day, 2000 + 100 * *day as usize);
        }
        for (day, length) in litter {
            // Left by a copy that was killed before its manifest.
            let left = bytes_of(day, 6000);
            overwrite(&far, &payload_name(&id(Content::Full, day)), &left[..length]);
        }
        let done = copy_all(&near, &far);
        prop_assert!(done.is_ok(), "{:?}", done);
        prop_assert_eq!(ids(&far), ids(&near));
        let copied = objects(&far);
        for (name, bytes) in objects(&near) {
            prop_assert_eq!(copied.get(&name), Some(&bytes));
        }
        prop_assert_eq!(copy_all(&near, &far).bytes, 0);
    }
}

/// A disk that fails behind some offset of every payload.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Store>,
    from: u64,
}

#[derive(Debug)]
struct FailingObject {
    inner: Arc<dyn backup_core::store::ObjectReader>,
    from: u64,
}

impl backup_core::store::ObjectReader for FailingObject {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> backup_core::Result<usize> {
        if offset >= self.from {
            return Err(Error::failed("bad sector"));
        }
        let count = buffer.len().min((self.from - offset) as usize);
        self.inner.read_at(offset, &mut buffer[..count])
    }
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the failing disk")
    }
}

impl Store for Failing {
    fn capabilities(&self) -> backup_core::store::Capabilities {
        self.inner.capabilities()
    }
    fn put(
        &self,
        key: &Key,
        mode: PutMode,
    ) -> backup_core::Result<Box<dyn backup_core::store::ObjectWriter>> {
        self.inner.put(key, mode)
    }
    fn open(&self, key: &Key) -> backup_core::Result<Arc<dyn backup_core::store::ObjectReader>> {
        let inner = self.inner.open(key)?;
        let from = if key.as_str().ends_with(".db") { self.from } else { u64::MAX };
        Ok(Arc::new(FailingObject { inner, from }))
    }
    fn list(&self, folder: &str) -> backup_core::Result<backup_core::store::Listing> {
        self.inner.list(folder)
    }
    fn delete(&self, key: &Key) -> backup_core::Result<()> {
        self.inner.delete(key)
    }
    fn lease(&self, folder: &str) -> backup_core::Result<Box<dyn backup_core::store::Lease>> {
        self.inner.lease(folder)
    }
    fn sweep(&self, folder: &str) -> backup_core::Result<usize> {
        self.inner.sweep(folder)
    }
    fn free_space(&self) -> backup_core::Result<Option<u64>> {
        self.inner.free_space()
    }
}
