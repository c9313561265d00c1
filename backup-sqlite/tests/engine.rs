//! The SQLite engine keeps the contract of engines, in both journal modes.

use std::{
    cell::Cell,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use backup_core::{
    engine::{BackupEngine, Target},
    store::Store,
    testing::{EngineFixture, engine_suite},
};
use backup_sqlite::SqliteEngine;
use backup_storage::LocalStore;
use rusqlite::{Connection, types::Value};

struct Shop {
    folder: tempfile::TempDir,
    names: Cell<u32>,
}

impl Shop {
    fn open(journal_mode: &str) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap(), names: Cell::new(0) };
        let sql =
            "CREATE TABLE goods(id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX by_name ON goods(name);
                   WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                   INSERT INTO goods SELECT i, hex(randomblob(40)) FROM n";
        let connection = Connection::open(shop.path()).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode={journal_mode}; {sql}")).unwrap();
        shop
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    fn fresh_name(&self, kind: &str) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.folder.path().join(format!("{kind}-{}", self.names.get()))
    }
}

fn goods(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    let mut query = connection.prepare("SELECT id, name FROM goods ORDER BY id").unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Value>(1)?))).unwrap();
    rows.map(Result::unwrap).fold(String::new(), |mut text, (id, name)| {
        let _ = writeln!(text, "{id} {name:?}");
        text
    })
}

impl EngineFixture for Shop {
    fn engine(&self) -> Arc<dyn BackupEngine> {
        Arc::new(SqliteEngine::new(self.path()))
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(LocalStore::new(self.fresh_name("store")).unwrap())
    }

    fn change(&self) {
        let connection = Connection::open(self.path()).unwrap();
        connection.execute_batch("UPDATE goods SET name = hex(randomblob(40)) WHERE id % 7 = 0; INSERT INTO goods(name) VALUES('new')").unwrap();
    }

    fn fresh_target(&self) -> Target {
        Target::SqliteFile(self.fresh_name("target"))
    }

    fn contents(&self, target: &Target) -> String {
        match target {
            Target::SqliteFile(path) => goods(path),
            other => panic!("{other}"),
        }
    }

    fn source_contents(&self) -> String {
        goods(&self.path())
    }
}

#[test]
fn keeps_the_contract_of_engines_in_wal_mode() {
    engine_suite(&Shop::open("WAL"));
}

#[test]
fn keeps_the_contract_of_engines_in_rollback_mode() {
    engine_suite(&Shop::open("DELETE"));
}
