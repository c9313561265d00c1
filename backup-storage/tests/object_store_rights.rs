//! Object stores whose keys may not do everything, and objects that nobody may delete.

mod support;

use std::io::Read;

use backup_core::{
    ErrorKind,
    id::Key,
    store::{PutMode, SequentialReader, Store, StoreExt},
};
use backup_storage::{AccessKeys, ObjectStore};
use support::{options, rights::Server};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn each_missing_right_is_named() {
    let server = Server::start();
    let all = server.store("backup", "backups/db");
    all.put_bytes(&key("shop/full/a"), b"a", PutMode::Create).unwrap();
    let probe = all.probe().unwrap();
    assert!(probe.capabilities.create_only && probe.denied.is_empty(), "{probe:?}");

    let denied = [
        (server.store("no-list", "backups/db").list("shop").unwrap_err(), "s3:ListBucket"),
        (server.store("no-read", "backups/db").open(&key("shop/full/a")).unwrap_err(), "s3:GetObject"),
        (
            server
                .store("no-write", "backups/db")
                .put_bytes(&key("shop/full/b"), b"b", PutMode::Create)
                .unwrap_err(),
            "s3:PutObject",
        ),
        (server.store("no-delete", "backups/db").delete(&key("shop/full/a")).unwrap_err(), "s3:DeleteObject"),
    ];
    for (error, right) in denied {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.to_string().contains("s3://backups/db"), "{error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.contains(right) && hint.contains("bucket \"backups\" below \"db\""), "{error:?}");
    }
    assert_eq!(all.list("shop/full").unwrap().objects.len(), 1, "what was refused has changed nothing");
}

#[test]
fn the_probe_names_what_is_denied() {
    let server = Server::start();
    for (user, right) in
        [("no-list", "s3:ListBucket"), ("no-read", "s3:GetObject"), ("no-delete", "s3:DeleteObject")]
    {
        let probe = server.store(user, "backups/db").probe().unwrap();
        assert_eq!(probe.denied.len(), 1, "{user}: {probe:?}");
        assert!(probe.denied[0].hint().unwrap().contains(right), "{probe:?}");
    }
    assert_eq!(server.store("no-write", "backups/db").probe().unwrap_err().kind(), ErrorKind::Denied);
}

/// The keys of a host that is not trusted: it can neither delete nor, as creating never replaces, destroy.
#[test]
fn a_host_that_may_not_delete_takes_backups_one_after_the_other() {
    let server = Server::start();
    let store = server.store("no-delete", "backups/db");
    for round in 0..2 {
        let lease = store.lease("shop").expect("a lease that could not be deleted was released");
        let name = format!("shop/full/{round}");
        store.put_bytes(&key(&name), &vec![round; 9 << 20], PutMode::Create).unwrap();
        drop(lease);
    }
    let again = store.put_bytes(&key("shop/full/0"), b"other", PutMode::Create).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.list("").unwrap().folders, ["shop"]);
}

#[test]
fn wrong_keys_and_missing_buckets_are_told_apart() {
    let server = Server::start();
    let unknown = options().with_access_keys(AccessKeys::new("AKIAUNKNOWN", "wrong"));
    let known = server.store("backup", "backups/db");
    let url = server.url("backups/db");
    let error = ObjectStore::open(&url, &unknown).unwrap().list("shop").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.to_string().contains("keys are not known or wrong"), "{error:?}");

    let nowhere = server.store("backup", "nowhere/db");
    for error in [
        nowhere.open(&key("shop/full/a")).unwrap_err(),
        nowhere.list("shop").unwrap_err(),
        nowhere.put_bytes(&key("shop/full/a"), b"x", PutMode::Create).unwrap_err(),
        nowhere.put_bytes(&key("shop/full/a"), &vec![0; 9 << 20], PutMode::Create).unwrap_err(),
        nowhere.lease("shop").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(format!("{error:?}").contains("there is no bucket \"nowhere\""), "{error:?}");
    }
    let absent = known.open(&key("shop/full/a")).unwrap_err();
    assert_eq!(absent.to_string(), "there is no object \"shop/full/a\" in store \"s3://backups/db\"");
}

#[test]
fn keeps_the_contract_of_stores_here_too() {
    let server = Server::start();
    let number = std::cell::Cell::new(0);
    backup_core::testing::store_suite(&|| {
        number.set(number.get() + 1);
        std::sync::Arc::new(server.store("backup", &format!("backups/{}", number.get())))
    });
}

/// The bucket locks each object for 30 days. Somebody has got hold of the backing-up host's keys, which may do all
/// that keys may, and wants the backups gone.
#[test]
fn an_intruder_with_the_hosts_keys_destroys_no_locked_backup() {
    let mut server = Server::start();
    // This server takes no other proof of a body's integrity; S3 takes the checksum that is sent anyway.
    let locking = options().with_write_header("x-amz-sdk-checksum-algorithm", "SHA256");
    let store = server.store_with("backup", "locked/db", &locking);
    // In one request: this server locks no object that came in parts, which S3 does.
    let large = vec![7; 6 << 20];
    store.put_bytes(&key("shop/full/large"), &large, PutMode::Create).unwrap();
    store.put_bytes(&key("shop/full/large.json"), b"{}", PutMode::Create).unwrap();

    let refused = store.delete(&key("shop/full/large")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked, "{refused:?}");
    assert!(refused.to_string().contains("is locked until 20"), "{refused:?}");
    assert_eq!(store.list("shop/full").unwrap().objects.len(), 2, "no delete marker was put over it");

    let before = server.ask("contents");
    let attempts = server.ask("attack");
    let after = server.ask("contents");
    let outcomes = |name: &str| -> Vec<String> {
        let all = attempts.as_array().unwrap().iter();
        all.filter(|attempt| attempt[0] == name)
            .map(|attempt| attempt[1].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(outcomes("delete version").len() >= 2, "{attempts}");
    for name in ["delete version", "bypass"] {
        assert!(outcomes(name).iter().all(|outcome| outcome == "AccessDenied"), "{attempts}");
    }
    for version in before.as_array().unwrap() {
        assert!(after.as_array().unwrap().contains(version), "lost: {version}, of {after}");
    }
    let versions: Vec<_> =
        before.as_array().unwrap().iter().filter(|v| v[0] == "db/shop/full/large").collect();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0][2], large.len());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_at_once() {
    let mut server = Server::start();
    let port = server.ask("serve_tls");
    let keys = options().with_access_keys(AccessKeys::new("a", "b"));
    let url = format!("s3://backups/db?endpoint=https://localhost:{port}");
    let error = ObjectStore::open(&url, &keys).unwrap().list("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("TLS certificate is not trusted"), "{error:?}");
    assert!(!format!("{error:?}").contains("attempts"), "trying again would not help: {error:?}");
}

#[test]
fn large_objects_come_back_from_this_server_too() {
    let server = Server::start();
    let store = server.store("backup", "backups/db");
    let bytes: Vec<u8> = (0..20_000_000u32).flat_map(|n| n.to_be_bytes()).take(25_000_000).collect();
    store.put_bytes(&key("shop/full/a"), &bytes, PutMode::Create).unwrap();
    let mut read = Vec::new();
    SequentialReader::new(store.open(&key("shop/full/a")).unwrap()).read_to_end(&mut read).unwrap();
    assert!(read == bytes);
}
