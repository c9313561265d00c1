//! What other programs hear of a run, and how they name what is meant.

mod support;

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;
use support::Shop;

fn events(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).expect("every line is an event")).collect()
}

#[test]
fn every_line_of_stderr_is_an_event() {
    let shop = Shop::open();
    shop.welcome(20_000);
    for options in [&[][..], &["--json"]] {
        let run = shop.backup(&[&["--progress", "json", "run", "shop.db"], options].concat()).exits(0);
        let events = events(&run.stderr);
        let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
        let steps: Vec<&str> = of("began").iter().map(|event| event["step"].as_str().unwrap()).collect();
        assert_eq!(steps.first(), Some(&"capture"));
        assert_eq!(of("began").len(), of("ended").len());
        assert!(of("began")[0]["total"].as_u64().unwrap() > 0);
        assert!(of("progress").iter().all(|event| event["done"].is_u64()));
        assert!(of("told")[0]["text"].as_str().unwrap().contains("verified: structure"));
    }
}

#[test]
fn what_is_found_and_what_fails_are_events_too() {
    let shop = Shop::open();
    let id = shop.back_up();
    let payload = shop.payload(&id);
    let bytes = fs::read(&payload).unwrap();
    fs::remove_file(&payload).unwrap();
    fs::write(&payload, &bytes[..bytes.len() - 1]).unwrap();
    let verified = shop.backup(&["--progress", "json", "verify"]).exits(3);
    let found = events(&verified.stderr).into_iter().find(|event| event["event"] == "found").unwrap();
    assert_eq!(found["origin"], "stored");
    let failed = shop.backup(&["--progress", "json", "run", "nowhere.db"]).exits(4);
    let last = events(&failed.stderr).pop().unwrap();
    assert_eq!((&last["event"], &last["error"]["kind"]), (&"error".into(), &"not-found".into()));
}

/// A program that no longer reads must not end a backup with a panic half-way.
#[test]
fn a_reader_that_went_away_ends_no_run() {
    let shop = Shop::open();
    let mut command = shop.command(&["--progress", "json", "run", "shop.db"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((run.stdout.take(), run.stderr.take()));
    assert!(run.wait().unwrap().success());
    assert_eq!(shop.listed().len(), 1);
}

#[test]
fn backups_are_named_by_their_database() {
    let shop = Shop::open();
    let other = shop.path("other.db");
    assert!(Command::new("sqlite3").arg(&other).arg("CREATE TABLE a(b)").status().unwrap().success());
    let (own, path) = (shop.back_up(), other.to_str().unwrap());
    let theirs = shop.backup(&["run", path]).exits(0).stdout.trim().to_owned();
    let id = |arguments: &[&str]| {
        shop.backup(&[arguments, &["--json"]].concat()).exits(0).json()["manifest"]["id"].clone()
    };
    for of in [path, &format!("sqlite:{path}"), "other"] {
        assert_eq!(id(&["show", "latest", "--of", of]), *theirs);
        assert_eq!(shop.backup(&["list", of, "--json"]).json()["backups"].as_array().unwrap().len(), 1);
        assert_eq!(shop.backup(&["status", of, "--json"]).json()["sources"][0]["source"], "other");
        assert_eq!(shop.backup(&["drill", "--of", of, "--json"]).exits(0).json()["id"], *theirs);
        let verified = shop.backup(&["verify", "--all", "--of", of, "--json"]).exits(0).json();
        assert_eq!(verified["verified"].as_array().unwrap().len(), 1);
    }
    assert_eq!(id(&["show", "latest", "--of", "shop.db"]), *own);
    shop.backup(&["restore", &own, "--of", path, "--to", "wrong.db"])
        .exits(4)
        .says("is no backup of \"other\"");
}

#[test]
fn a_database_without_backups_is_no_unknown_name() {
    let shop = Shop::open();
    shop.back_up();
    let listed = shop.backup(&["list", "sqlite:new.db", "--json"]).exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 0);
    shop.backup(&["list", "nobody"]).exits(4).says("there are no backups of \"nobody\"");
}
