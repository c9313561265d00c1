//! The PostgreSQL engine keeps the contract of engines, on each server version.

mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use backup_core::{
    engine::{BackupEngine, Target},
    store::Store,
    testing::{EngineFixture, engine_suite},
};
use backup_pg::PgEngine;
use backup_storage::LocalStore;
use support::Server;
use tempfile::TempDir;

/// A library's books on a server of its own.
struct Library {
    server: Server,
    folder: TempDir,
    made: AtomicU32,
}

impl Library {
    fn on(major: u32) -> Self {
        let server = Server::start(major);
        server.create_database("library", "");
        server.psql(
            "library",
            "CREATE TABLE authors(id int PRIMARY KEY, name text NOT NULL);
             CREATE TABLE books(id serial PRIMARY KEY, author int REFERENCES authors, title text, added timestamptz);
             CREATE INDEX ON books(title);
             INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 200) n;
             INSERT INTO books(author, title, added)
             SELECT 1 + n % 200, md5(n::text), '2026-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, 20000) n;
             ALTER DATABASE library SET timezone = 'Asia/Tokyo'",
        );
        Self { server, folder: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
    }

    fn next(&self) -> u32 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn contents_of(&self, database: &str) -> String {
        let rows = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM";
        self.server.psql(
            database,
            &format!(
                "SET timezone = 'UTC'; {rows} authors t; {rows} books t; SELECT last_value FROM books_id_seq"
            ),
        )
    }
}

impl EngineFixture for Library {
    fn engine(&self) -> Arc<dyn BackupEngine> {
        Arc::new(PgEngine::new(&self.server.uri("library")).unwrap())
    }

    fn store(&self) -> Arc<dyn Store> {
        let folder: PathBuf = self.folder.path().join(format!("store{}", self.next()));
        Arc::new(LocalStore::new(&folder).unwrap())
    }

    fn change(&self) {
        self.server.psql(
            "library",
            "DELETE FROM books WHERE id % 50 = 0; UPDATE books SET title = title || '!' WHERE id % 3 = 0",
        );
    }

    fn fresh_target(&self) -> Target {
        Target::Postgres(self.server.uri(&format!("copy{}", self.next())))
    }

    fn contents(&self, target: &Target) -> String {
        let Target::Postgres(uri) = target else { panic!("{target} is no database") };
        self.contents_of(uri.rsplit('/').next().unwrap())
    }

    fn source_contents(&self) -> String {
        self.contents_of("library")
    }
}

#[test]
fn keeps_the_contract_of_engines_on_15() {
    engine_suite(&Library::on(15));
}

#[test]
fn keeps_the_contract_of_engines_on_16() {
    engine_suite(&Library::on(16));
}

#[test]
fn keeps_the_contract_of_engines_on_18() {
    engine_suite(&Library::on(18));
}
