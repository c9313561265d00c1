//! How fast a large object goes into a bucket and comes back, against a file of the same size.
//!
//! The S3 server runs in this process over HTTP on loopback, so its work (hashing each part, writing it to disk) is in
//! the figures. `cargo bench -p backup-storage --bench object_store`

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    error::Error,
    io::{Read, Write, stdout},
    time::Instant,
};

use backup_core::{
    id::Key,
    store::{PutMode, SequentialReader, Store},
};
use backup_storage::LocalStore;
use support::S3Server;

const BYTES: usize = 500_000_000;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let server = S3Server::start();
    server.bucket("backups");
    let folder = tempfile::tempdir()?;
    let local = LocalStore::new(folder.path())?;
    let bucket = server.store("backups/db");
    let payload = incompressible();
    for round in 0..ROUNDS {
        for (name, store) in [("local", &local as &dyn Store), ("bucket", &bucket)] {
            let key = Key::new(format!("shop/full/{round}"))?;
            let up = upload(store, &key, &payload)?;
            let down = download(store, &key)?;
            writeln!(stdout(), "{name:7} upload {up:6.0} MB/s   download {down:6.0} MB/s")?;
            store.delete(&key)?;
        }
    }
    Ok(())
}

fn incompressible() -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(BYTES + 8);
    while bytes.len() < BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(BYTES);
    bytes
}

fn upload(store: &dyn Store, key: &Key, payload: &[u8]) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let mut writer = store.put(key, PutMode::Create)?;
    for piece in payload.chunks(1 << 20) {
        writer.write_all(piece)?;
    }
    writer.finish()?;
    Ok(BYTES as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

fn download(store: &dyn Store, key: &Key) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let mut reader = SequentialReader::new(store.open(key)?);
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, BYTES);
    Ok(BYTES as f64 / 1e6 / begun.elapsed().as_secs_f64())
}
