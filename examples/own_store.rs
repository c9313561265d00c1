//! A store of your own, here one around another: what it holds, nobody deletes.
//!
//! `cargo run --example own_store -- app.db backups`
#![allow(clippy::print_stdout)]

use std::{fmt, sync::Arc};

use backup::{Error, ErrorKind, Result, id::Key, prelude::*, store::*};

#[derive(Debug)]
struct KeepsAll(Arc<dyn Store>);

impl fmt::Display for KeepsAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keeper of {}", self.0)
    }
}

impl Store for KeepsAll {
    fn delete(&self, key: &Key) -> Result<()> {
        Err(Error::new(ErrorKind::Locked, format!("\"{key}\" is kept for ever")))
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.0.put(key, mode)
    }
    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.0.open(key)
    }
    fn list(&self, folder: &str) -> Result<Listing> {
        self.0.list(folder)
    }
    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        self.0.lease(folder)
    }
    fn sweep(&self, folder: &str) -> Result<usize> {
        self.0.sweep(folder)
    }
    fn free_space(&self) -> Result<Option<u64>> {
        self.0.free_space()
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, store] = arguments.as_slice() else { return Err(Error::invalid("usage: DATABASE STORE")) };
    let store = Arc::new(KeepsAll(backup::open_store(store)?));
    let app = Backups::builder().opened_store(store).source("app", database).build()?.job("app")?.blocking();
    (0..3).try_for_each(|_| app.run(RunOptions::default()).map(drop))?;
    let pruned = app.prune(&"last=1".parse::<Keep>()?, &PruneOptions::default())?;
    pruned.refused.iter().for_each(|(id, why)| println!("{id} stays: {why}"));
    println!("{} removed, {} there", pruned.removed.len(), app.list()?.len());
    Ok(())
}
