//! A manifest that reads is written as it was read; so is one whose seal the fuzzer could not have found.
#![no_main]

use backup_core::manifest::Manifest;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    read_back(bytes);
    if let Some(sealed) = seal(bytes) {
        if let Err(error) = Manifest::from_json(&sealed) {
            assert!(!error.to_string().contains("seal"), "{error}");
        }
        read_back(&sealed);
        reads_the_same_in_any_order(&sealed);
    }
});

fn read_back(bytes: &[u8]) {
    let Ok(manifest) = Manifest::from_json(bytes) else { return };
    let written = manifest.to_json().expect("what was read can be written");
    let again = Manifest::from_json(&written).expect("what was written can be read");
    assert_eq!(again, manifest);
    assert_eq!(again.to_json().expect("again"), written);
}

/// What is read in the order it was written in, and what has to be put in order first, are the same manifest.
fn reads_the_same_in_any_order(sealed: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Map<String, Value>>(sealed) else { return };
    let entries = document.iter().rev().map(|(key, value)| format!("{}:{value}", Value::String(key.clone())));
    let reversed = format!("{{ {} }}", entries.collect::<Vec<_>>().join(",\n"));
    match (Manifest::from_json(sealed), Manifest::from_json(reversed.as_bytes())) {
        (Ok(written), Ok(sorted)) => assert_eq!(written, sorted),
        (Err(written), Err(sorted)) => assert_eq!(written.to_string(), sorted.to_string()),
        (written, sorted) => panic!("{written:?} and {sorted:?}"),
    }
}

/// The document with the seal that its other keys ask for.
fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut document: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    document.remove("seal");
    document.sort_keys();
    document.values_mut().for_each(Value::sort_all_objects);
    let seal = blake3::hash(Value::Object(document.clone()).to_string().as_bytes());
    document.insert("seal".into(), Value::String(seal.to_hex().to_string()));
    serde_json::to_vec(&document).ok()
}
