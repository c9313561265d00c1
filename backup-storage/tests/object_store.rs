//! Object stores against a real S3 server over HTTP.

mod support;

use std::{
    io::{Read, Write},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use backup_core::{
    ErrorKind,
    id::Key,
    store::{PutMode, SequentialReader, Store, StoreExt},
};
use backup_storage::{AccessKeys, ObjectOptions, ObjectStore};
use support::{Fault, S3Server, files_below, options};

const MIB: usize = 1 << 20;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Bytes that differ everywhere, so that a range taken from the wrong place shows.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn read_all(store: &dyn Store, name: &str) -> Vec<u8> {
    let mut all = Vec::new();
    SequentialReader::new(store.open(&key(name)).unwrap()).read_to_end(&mut all).unwrap();
    all
}

#[test]
fn keeps_the_contract_of_stores() {
    let server = S3Server::start();
    server.bucket("backups");
    let number = std::cell::Cell::new(0);
    backup_core::testing::store_suite(&|| {
        number.set(number.get() + 1);
        Arc::new(server.store(&format!("backups/db/{}", number.get())))
    });
}

#[test]
fn keeps_the_contract_in_a_bucket_of_its_own() {
    let server = S3Server::start();
    let number = std::cell::Cell::new(0);
    backup_core::testing::store_suite(&|| {
        number.set(number.get() + 1);
        let name = format!("bucket-{}", number.get());
        server.bucket(&name);
        Arc::new(server.store(&name))
    });
}

#[test]
fn an_object_of_many_parts_comes_back_as_it_was() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    let store = server.store("backups/db");
    let payload = bytes(50 * MIB + 12_345, 1);
    let mut writer = store.put(&key("shop/full/a.dump.zst"), PutMode::Create).unwrap();
    for piece in payload.chunks(1_000_003) {
        writer.write_all(piece).unwrap();
    }
    assert_eq!(store.list("").unwrap().folders, Vec::<String>::new(), "nothing is half visible");
    assert_eq!(store.open(&key("shop/full/a.dump.zst")).unwrap_err().kind(), ErrorKind::NotFound);
    writer.finish().unwrap();
    assert!(read_all(&store, "shop/full/a.dump.zst") == payload);
    let listed = store.list("shop/full").unwrap().objects;
    assert_eq!((listed.len(), listed[0].bytes), (1, payload.len() as u64));
    assert!(!files_below(&bucket).iter().any(|name| name.contains(".claims")), "the claim was given back");
}

#[test]
fn sizes_around_a_part_come_back_as_they_were() {
    let server = S3Server::start();
    server.bucket("backups");
    let store = server.store("backups");
    for (number, length) in [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB].into_iter().enumerate() {
        let payload = bytes(length, number as u64);
        let name = format!("shop/full/{length}");
        store.put_bytes(&key(&name), &payload, PutMode::Create).unwrap();
        assert!(read_all(&store, &name) == payload, "{length} bytes");
        let second = store.put_bytes(&key(&name), b"other", PutMode::Create).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AlreadyExists);
    }
}

#[test]
fn of_two_creators_of_a_large_object_one_wins() {
    let server = S3Server::start();
    server.bucket("backups");
    for round in 0..3 {
        let name = format!("shop/full/{round}");
        let start = Arc::new(Barrier::new(2));
        let racers: Vec<_> = (0..2u64)
            .map(|racer| {
                // Each with a store of its own, as two hosts have.
                let (store, name, start) = (server.store("backups"), name.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    store.put_bytes(&key(&name), &bytes(9 * MIB, racer), PutMode::Create)
                })
            })
            .collect();
        let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        let winners: Vec<u64> = (0..2).filter(|racer| outcomes[*racer as usize].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let loser = outcomes.into_iter().find_map(Result::err).unwrap();
        assert_eq!(loser.kind(), ErrorKind::AlreadyExists, "{loser:?}");
        assert!(read_all(&server.store("backups"), &name) == bytes(9 * MIB, winners[0]));
    }
}

/// The claim of the large one does not stop a small one, which needs none: the condition at its end does.
#[test]
fn a_large_object_does_not_replace_a_small_one_that_came_meanwhile() {
    let server = S3Server::start();
    server.bucket("backups");
    let store = server.store("backups");
    let mut large = store.put(&key("shop/full/a"), PutMode::Create).unwrap();
    large.write_all(&bytes(20 * MIB, 1)).unwrap();
    store.put_bytes(&key("shop/full/a"), b"small", PutMode::Create).unwrap();
    assert_eq!(large.finish().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(read_all(&store, "shop/full/a"), b"small");
}

#[test]
fn a_large_object_can_take_the_place_of_another() {
    let server = S3Server::start();
    server.bucket("backups");
    let store = server.store("backups");
    for seed in 0..2 {
        store.put_bytes(&key("shop/schema/s.sql"), &bytes(9 * MIB, seed), PutMode::Replace).unwrap();
        assert!(read_all(&store, "shop/schema/s.sql") == bytes(9 * MIB, seed));
    }
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    let store = server.store("backups");
    let mut writer = store.put(&key("shop/full/a"), PutMode::Create).unwrap();
    writer.write_all(&bytes(20 * MIB, 1)).unwrap();
    assert!(files_below(&bucket).iter().any(|name| name.starts_with(".claims/shop/full/a")), "it is claimed");
    drop(writer);
    assert_eq!(store.list("").unwrap().folders, Vec::<String>::new());
    assert!(!files_below(&bucket).iter().any(|name| name.contains(".claims")));
    store.put_bytes(&key("shop/full/a"), &bytes(9 * MIB, 2), PutMode::Create).expect("the name is free");
}

#[test]
fn a_killed_writers_claim_is_swept_when_it_is_old() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    std::fs::create_dir_all(bucket.join(".claims/shop/full")).unwrap();
    std::fs::write(bucket.join(".claims/shop/full/a"), "claimed\n").unwrap();
    let store = server.store("backups");
    assert_eq!(store.sweep("shop").unwrap(), 0, "its writer may live");
    let refused = store.put_bytes(&key("shop/full/a"), &bytes(9 * MIB, 1), PutMode::Create).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);

    let mut impatient = options();
    impatient.claim_lifetime = Duration::ZERO;
    let later = server.store_with("backups", &impatient);
    // Times of objects are told in whole seconds.
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(later.sweep("other").unwrap(), 0, "of another source");
    assert_eq!(later.sweep("shop").unwrap(), 1);
    later.put_bytes(&key("shop/full/a"), &bytes(9 * MIB, 1), PutMode::Create).expect("the name is free");
}

#[test]
fn parts_grow_when_a_store_takes_few() {
    let server = S3Server::start();
    server.bucket("backups");
    let mut few = options();
    few.max_parts = 4;
    few.part_bytes = Some(5 << 20);
    let store = server.store_with("backups", &few);
    let payload = bytes(60 * MIB, 3);
    store.put_bytes(&key("shop/full/a"), &payload, PutMode::Create).unwrap();
    assert!(read_all(&store, "shop/full/a") == payload);

    few.equal_parts = Some(true);
    let equal = server.store_with("backups", &few);
    let error = equal.put_bytes(&key("shop/full/b"), &payload, PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.hint().unwrap().contains("part_size"));
    assert_eq!(equal.list("shop/full").unwrap().objects.len(), 1);
}

#[test]
fn any_range_of_an_object_is_read_from_any_thread() {
    let server = S3Server::start();
    server.bucket("backups");
    let store = server.store("backups");
    let payload = Arc::new(bytes(40 * MIB, 5));
    store.put_bytes(&key("shop/full/a"), &payload, PutMode::Create).unwrap();
    let object = store.open(&key("shop/full/a")).unwrap();
    let readers: Vec<_> = (0..3usize)
        .map(|reader| {
            let (object, payload) = (Arc::clone(&object), Arc::clone(&payload));
            thread::spawn(move || {
                for round in 0..40usize {
                    let offset = (reader * 7_919_111 + round * 3_333_333) % payload.len();
                    let mut part = vec![0; 1 + (round * 40_001) % 300_000];
                    let count = object.read_at(offset as u64, &mut part).unwrap();
                    assert!(count > 0 && part[..count] == payload[offset..offset + count], "at {offset}");
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let mut rest = Vec::new();
    SequentialReader::new(object).read_to_end(&mut rest).unwrap();
    assert!(rest == *payload, "from start to end after all that jumping");
}

#[test]
fn an_object_that_changes_while_it_is_read_is_corrupt() {
    let server = S3Server::start();
    server.bucket("backups");
    let store = server.store("backups");
    store.put_bytes(&key("shop/full/a"), &bytes(12 * MIB, 1), PutMode::Create).unwrap();
    let object = store.open(&key("shop/full/a")).unwrap();
    store.put_bytes(&key("shop/full/a"), &bytes(12 * MIB, 2), PutMode::Replace).unwrap();
    let error = object.read_at(0, &mut [0; 100]).unwrap_err();
    assert!(error.is_corruption(), "{error:?}");
}

#[test]
fn more_than_a_thousand_objects_are_listed() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    std::fs::create_dir_all(bucket.join("shop/proofs/x")).unwrap();
    for number in 0..1203 {
        std::fs::write(bucket.join(format!("shop/proofs/x/{number:05}.json")), "{}").unwrap();
    }
    std::fs::create_dir_all(bucket.join(".leases")).unwrap();
    std::fs::write(bucket.join(".leases/shop.json"), "{}").unwrap();
    let store = server.store("backups");
    let level = store.list("shop/proofs/x").unwrap().objects;
    assert_eq!(level.len(), 1203);
    assert!(level.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(store.list_below("").unwrap(), level, "hidden objects are not shown");
    assert_eq!(store.list_below("shop/pro").unwrap(), [], "a folder is a whole name");
}

#[test]
fn what_the_store_can_do_is_found_out() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    let probe = server.store("backups/db").probe().unwrap();
    assert!(probe.capabilities.create_only && probe.conditional_uploads, "{probe:?}");
    assert!(probe.denied.is_empty(), "{probe:?}");
    assert!(!files_below(&bucket).iter().any(|name| name.contains(".probes")), "nothing is left behind");
}

#[test]
fn wrong_keys_are_told_without_showing_them() {
    let server = S3Server::start();
    server.bucket("backups");
    let keys = AccessKeys::new("backup", "another-secret-that-is-wrong");
    let store = server.store_with("backups/db", &options().with_access_keys(keys));
    for error in [
        store.open(&key("shop/full/a")).unwrap_err(),
        store.list("shop").unwrap_err(),
        store.put_bytes(&key("shop/full/a"), b"x", PutMode::Create).unwrap_err(),
        store.delete(&key("shop/full/a")).unwrap_err(),
        store.lease("shop").unwrap_err(),
        store.probe().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        let told = format!("{error:?}");
        assert!(told.contains("s3://backups/db") && told.contains("keys are not known or wrong"), "{told}");
        assert!(!told.contains("another-secret") && !told.contains("Signature="), "{told}");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let server = S3Server::start();
    let error = server.store("nowhere/db").list("shop").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.to_string().contains("there is no bucket \"nowhere\""), "{error:?}");
}

#[test]
fn a_server_that_cannot_be_reached_is_unavailable_after_a_while() {
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut hasty = options();
    hasty.first_patience = Duration::from_millis(200);
    let cases = [
        (format!("http://127.0.0.1:{free_port}"), "refused the connection"),
        ("http://no-such-host.invalid".to_owned(), "no address is known"),
    ];
    for (endpoint, why) in cases {
        let store = ObjectStore::open(&format!("s3://backups/db?endpoint={endpoint}"), &hasty).unwrap();
        let error = store.list("").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains(why) && error.hint().is_some(), "{error:?}");
    }
}

#[test]
fn what_needs_no_server_to_be_wrong_is_said_at_once() {
    let open = |url: &str, options: &ObjectOptions| ObjectStore::open(url, options).unwrap_err();
    let defaults = ObjectOptions::default();
    assert_eq!(open("s3://", &defaults).kind(), ErrorKind::Invalid);
    assert_eq!(open("s3://b/p?profile=there-is-none", &defaults).kind(), ErrorKind::NotFound);
    let class = ObjectOptions::default().with_storage_class("Cool");
    assert_eq!(open("az://c/p?account=a", &class).kind(), ErrorKind::Unsupported);
    let keys = ObjectOptions::default().with_access_keys(AccessKeys::new("a", "b"));
    assert_eq!(open("gs://b/p", &keys).kind(), ErrorKind::Unsupported);
    assert_eq!(open("az://c/p", &defaults).kind(), ErrorKind::Invalid, "without an account");
}

#[test]
fn a_second_holder_is_told_who_is_first() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    let (first, second) = (server.store("backups/db"), server.store("backups/db"));
    let lease = first.lease("shop").unwrap();
    let busy = second.lease("shop").unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    let process = format!("process {}", std::process::id());
    assert!(busy.to_string().contains(&process) && busy.to_string().contains("since 20"), "{busy:?}");
    assert_eq!(first.list("").unwrap().folders, Vec::<String>::new(), "leases are hidden");
    assert_eq!(first.list_below("").unwrap(), []);
    drop(lease);
    assert!(!files_below(&bucket).iter().any(|name| name.contains(".leases")), "given back");
    let _lease = second.lease("shop").unwrap();
}

#[test]
fn a_lease_is_renewed_while_it_is_held() {
    let server = S3Server::start();
    let bucket = server.bucket("backups");
    let mut often = options();
    often.lease_renewal = Duration::from_millis(50);
    let lease = server.store_with("backups", &often).lease("shop").unwrap();
    wait_until("it was renewed three times", || {
        std::fs::read_to_string(bucket.join(".leases/shop.json"))
            .is_ok_and(|text| text.contains("\"renewals\": 3"))
    });
    assert_eq!(server.store("backups").lease("shop").unwrap_err().kind(), ErrorKind::Busy);
    drop(lease);
}

#[test]
fn a_killed_holders_lease_is_taken_over_once_it_is_over() {
    let server = S3Server::start();
    server.bucket("backups");
    let mut never = options();
    never.lease_renewal = Duration::from_secs(3600);
    // As good as killed: it is neither renewed nor, before the end of this story, given back.
    let _killed = server.store_with("backups", &never).lease("shop").unwrap();
    let mut hasty = options();
    hasty.lease_lifetime = Duration::from_secs(1);
    let store = server.store_with("backups", &hasty);
    let mut taken = Vec::new();
    wait_until("it is over", || {
        taken.extend(store.lease("shop").ok());
        !taken.is_empty()
    });
    let error = server.store("backups").lease("shop").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "the new holder's lease has just begun");
}

#[test]
fn who_has_lost_its_lease_changes_nothing_any_more() {
    let server = S3Server::start();
    server.bucket("backups");
    let mut late = options();
    late.lease_renewal = Duration::from_secs(3);
    let store = server.store_with("backups", &late);
    let lease = store.lease("shop").unwrap();
    store.put_bytes(&key("shop/full/before"), b"x", PutMode::Create).unwrap();
    let mut writer = store.put(&key("shop/full/begun"), PutMode::Create).unwrap();
    writer.write_all(b"x").unwrap();

    let mut robber = options();
    robber.lease_lifetime = Duration::ZERO;
    let other = server.store_with("backups", &robber);
    let mut taken = Vec::new();
    wait_until("another host has taken it", || {
        taken.extend(other.lease("shop").ok());
        !taken.is_empty()
    });
    wait_until("it is noticed", || {
        store
            .put_bytes(&key("shop/full/after"), b"x", PutMode::Replace)
            .is_err_and(|error| error.kind() == ErrorKind::Busy)
    });
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(store.delete(&key("shop/full/before")).unwrap_err().kind(), ErrorKind::Busy);
    store.put_bytes(&key("other/full/x"), b"x", PutMode::Create).expect("another source is not concerned");
    drop(lease);
    assert_eq!(store.lease("shop").unwrap_err().kind(), ErrorKind::Busy, "the other's lease stands");
}

#[test]
fn a_store_that_ignores_conditions_is_found_out() {
    let server = S3Server::start_with(Fault::IgnoresConditions);
    server.bucket("backups");
    let store = server.store("backups");
    let probe = store.probe().unwrap();
    assert!(!probe.capabilities.create_only && !probe.conditional_uploads, "{probe:?}");
    assert!(!store.capabilities().create_only);

    let unprobed = server.store("backups");
    assert!(unprobed.capabilities().create_only, "nothing is known yet");
    let lease = unprobed.lease("shop").unwrap();
    assert!(!unprobed.capabilities().create_only, "the first lease shows it");
    assert_eq!(server.store("backups").lease("shop").unwrap_err().kind(), ErrorKind::Busy);
    for length in [10, 9 * MIB] {
        let name = format!("shop/full/{length}");
        unprobed.put_bytes(&key(&name), &bytes(length, 1), PutMode::Create).unwrap();
        let again = unprobed.put_bytes(&key(&name), &bytes(length, 2), PutMode::Create).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "one writer after the other is still refused");
        assert!(read_all(&unprobed, &name) == bytes(length, 1));
    }
    drop(lease);
}

#[test]
fn of_two_who_want_a_lease_without_conditions_at_most_one_gets_it() {
    let server = S3Server::start_with(Fault::IgnoresConditions);
    server.bucket("backups");
    let start = Arc::new(Barrier::new(2));
    let racers: Vec<_> = (0..2)
        .map(|_| {
            let (store, start) = (server.store("backups"), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                store.lease("shop")
            })
        })
        .collect();
    let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() <= 1, "{outcomes:?}");
}

/// The first answer to each kind of request is lost after the server has done it: what is repeated finds its own
/// traces, and must not take them for somebody else's.
#[test]
fn lost_answers_are_not_taken_for_another_writer() {
    for method in ["PUT", "POST", "DELETE"] {
        let server = S3Server::start_with(Fault::LosesFirstAnswers(method));
        let bucket = server.bucket("backups");
        let store = server.store("backups");
        let lease = store.lease("shop").unwrap();
        store.put_bytes(&key("shop/full/small"), b"small", PutMode::Create).unwrap();
        store.put_bytes(&key("shop/full/large"), &bytes(20 * MIB, 1), PutMode::Create).unwrap();
        assert_eq!(read_all(&store, "shop/full/small"), b"small");
        assert!(read_all(&store, "shop/full/large") == bytes(20 * MIB, 1));
        store.delete(&key("shop/full/small")).unwrap();
        assert_eq!(store.list("shop/full").unwrap().objects.len(), 1);
        drop(lease);
        let hidden: Vec<_> =
            files_below(&bucket).into_iter().filter(|name| name.starts_with(".leases")).collect();
        assert_eq!(hidden, Vec::<String>::new(), "with lost answers to {method}");
    }
}

#[test]
fn an_overloaded_store_is_asked_again() {
    let server = S3Server::start_with(Fault::Overloaded { refusals: 5 });
    server.bucket("backups");
    let store = server.store("backups");
    store.put_bytes(&key("shop/full/a"), &bytes(20 * MIB, 1), PutMode::Create).unwrap();
    assert!(read_all(&store, "shop/full/a") == bytes(20 * MIB, 1));

    let server = S3Server::start_with(Fault::Overloaded { refusals: usize::MAX });
    server.bucket("backups");
    let mut hasty = options();
    hasty.patience = Duration::from_millis(300);
    let error = server.store_with("backups", &hasty).list("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(format!("{error:?}").contains("503 SlowDown"), "{error:?}");
}

#[test]
fn an_object_whose_part_was_lost_is_never_finished() {
    let server = S3Server::start_with(Fault::Overloaded { refusals: 1 });
    server.bucket("backups");
    let mut hasty = options();
    hasty.patience = Duration::ZERO;
    hasty.first_patience = Duration::ZERO;
    let store = server.store_with("backups", &hasty);
    let mut writer = store.put(&key("shop/full/a"), PutMode::Create).unwrap();
    writer.write_all(&bytes(20 * MIB, 1)).expect_err("the store refuses");
    // The store works again, and whoever writes has not looked at the error.
    let _ = writer.write_all(b"the rest");
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(store.list("shop").unwrap().folders, Vec::<String>::new());
    store.put_bytes(&key("shop/full/a"), b"x", PutMode::Create).expect("the name is free");
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("after a minute it is not so that {what}");
}
