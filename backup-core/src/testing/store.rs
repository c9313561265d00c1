//! What every store must do.

use std::{io::Write, sync::Arc, thread};

use crate::{
    error::ErrorKind,
    id::Key,
    store::{ObjectMeta, PutMode, Store, StoreExt},
};

/// Runs the contract of [`Store`] against fresh, empty stores.
///
/// # Panics
/// At the first promise that is not kept.
pub fn store_suite(fresh: &dyn Fn() -> Arc<dyn Store>) {
    what_was_put_is_read_back_by_range(&*fresh());
    create_never_replaces(&*fresh());
    of_two_creators_one_wins(&fresh());
    replace_replaces(&*fresh());
    an_unfinished_object_is_invisible(&*fresh());
    listing_shows_one_level(&*fresh());
    listing_below_shows_all_levels(&*fresh());
    missing_objects_are_not_found(&*fresh());
    one_lease_at_a_time(&*fresh());
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a valid key")
}

fn what_was_put_is_read_back_by_range(store: &dyn Store) {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    store.put_bytes(&key("a/full/x"), &bytes, PutMode::Create).expect("put");
    assert_eq!(store.get(&key("a/full/x"), 1 << 30).expect("get"), bytes);
    let object = store.open(&key("a/full/x")).expect("open");
    assert_eq!(object.size(), bytes.len() as u64);
    let mut part = [0u8; 100];
    let count = object.read_at(2_000_000, &mut part).expect("read");
    assert!(count > 0 && part[..count] == bytes[2_000_000..2_000_000 + count]);
    assert_eq!(object.read_at(bytes.len() as u64, &mut part).expect("read at the end"), 0);
    assert!(store.get(&key("a/full/x"), 10).expect_err("too large").is_corruption());
    store.put_bytes(&key("a/full/empty"), b"", PutMode::Create).expect("put");
    assert_eq!(store.get(&key("a/full/empty"), 10).expect("get"), b"");
}

fn create_never_replaces(store: &dyn Store) {
    store.put_bytes(&key("a/x"), b"first", PutMode::Create).expect("put");
    let second = store.put_bytes(&key("a/x"), b"second", PutMode::Create).expect_err("exists");
    assert_eq!(second.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.get(&key("a/x"), 100).expect("get"), b"first");
}

fn of_two_creators_one_wins(store: &Arc<dyn Store>) {
    for round in 0..20 {
        let racers: Vec<_> = (0..2u8)
            .map(|racer| {
                let store = Arc::clone(store);
                thread::spawn(move || {
                    store.put_bytes(&key(&format!("r/{round}")), &[racer; 1000], PutMode::Create)
                })
            })
            .collect();
        let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let winner = outcomes.iter().position(Result::is_ok).expect("one") as u8;
        assert_eq!(store.get(&key(&format!("r/{round}")), 2000).expect("get"), [winner; 1000]);
    }
}

fn replace_replaces(store: &dyn Store) {
    store.put_bytes(&key("a/x"), b"first", PutMode::Replace).expect("put");
    store.put_bytes(&key("a/x"), b"second", PutMode::Replace).expect("put");
    assert_eq!(store.get(&key("a/x"), 100).expect("get"), b"second");
}

fn an_unfinished_object_is_invisible(store: &dyn Store) {
    let mut writer = store.put(&key("a/x"), PutMode::Create).expect("put");
    writer.write_all(b"half").expect("write");
    assert!(!store.exists(&key("a/x")).expect("exists"));
    assert_eq!(store.list("a").expect("list").objects, []);
    drop(writer);
    assert!(!store.exists(&key("a/x")).expect("exists"));
    assert_eq!(store.list("").expect("list").folders, Vec::<String>::new());
    store.put_bytes(&key("a/x"), b"whole", PutMode::Create).expect("the name is still free");
}

fn listing_shows_one_level(store: &dyn Store) {
    for name in ["b/full/2", "b/full/1", "a/full/1", "b/proofs/x/1", "top"] {
        store.put_bytes(&key(name), name.as_bytes(), PutMode::Create).expect("put");
    }
    assert_eq!(store.list("").expect("list").folders, ["a", "b"]);
    assert_eq!(store.list("b").expect("list").folders, ["full", "proofs"]);
    let full = store.list("b/full").expect("list").objects;
    let names: Vec<&str> = full.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(names, ["b/full/1", "b/full/2"]);
    assert_eq!(full[0].bytes, 8);
    assert_eq!(store.list("b/ful").expect("list").objects, []);
    assert_eq!(store.list("nowhere").expect("list").objects, []);
}

fn listing_below_shows_all_levels(store: &dyn Store) {
    let names =
        ["b/full/2", "b/full/1", "b-side/full/1", "b/proofs/x/1", "b/proofs/y/1", "b/top", "bb/full/1"];
    for name in names {
        store.put_bytes(&key(name), name.as_bytes(), PutMode::Create).expect("put");
    }
    let below = |folder: &str| -> Vec<String> {
        let objects = store.list_below(folder).expect("list below");
        let keys: Vec<Key> = objects.iter().map(|object| object.key.clone()).collect();
        assert_eq!(store.names_below(folder).expect("names below").keys, keys, "both list the same objects");
        let true_size = |object: &ObjectMeta| object.bytes == object.key.as_str().len() as u64;
        assert!(objects.iter().all(true_size), "{objects:?}");
        objects.into_iter().map(|object| object.key.to_string()).collect()
    };
    assert_eq!(below("b"), ["b/full/1", "b/full/2", "b/proofs/x/1", "b/proofs/y/1", "b/top"]);
    assert_eq!(below("b/proofs"), ["b/proofs/x/1", "b/proofs/y/1"]);
    assert_eq!(below("").len(), names.len());
    assert_eq!(below("b/ful"), [""; 0]);
    assert_eq!(below("nowhere"), [""; 0]);
    let direct = store.list("b/full").expect("list").objects;
    assert_eq!(store.list_below("b/full").expect("list below"), direct, "both tell the same of an object");
    let mut unfinished = store.put(&key("b/full/3"), PutMode::Create).expect("put");
    unfinished.write_all(b"half").expect("write");
    assert_eq!(below("b/full"), ["b/full/1", "b/full/2"]);
    assert!(store.parallel_reads() > 0);
}

fn missing_objects_are_not_found(store: &dyn Store) {
    assert!(store.open(&key("a/x")).expect_err("missing").is_not_found());
    assert!(store.delete(&key("a/x")).expect_err("missing").is_not_found());
    store.put_bytes(&key("a/x"), b"x", PutMode::Create).expect("put");
    store.delete(&key("a/x")).expect("delete");
    assert!(!store.exists(&key("a/x")).expect("exists"));
}

fn one_lease_at_a_time(store: &dyn Store) {
    let lease = store.lease("a").expect("lease");
    assert_eq!(store.lease("a").expect_err("held").kind(), ErrorKind::Busy);
    let _other = store.lease("b").expect("another folder");
    drop(lease);
    store.lease("a").expect("free again");
}
