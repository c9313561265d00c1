//! Dumps that other scripts made: recognised, verified, counted, and refused when they are not whole.

#[path = "support/postgres.rs"]
mod postgres;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backup::{AdoptOptions, Backups, ErrorKind, Manifest, RestoreOptions, Taken, engine::Target};
use postgres::Server;
use tempfile::TempDir;

/// A server with a small shop, and a folder with the dumps its script has made so far.
struct Script {
    server: Server,
    folder: TempDir,
}

impl Script {
    fn of_a_shop() -> Self {
        let server = Server::start(15);
        server.create_database("shop", "");
        server.psql("shop", "CREATE TABLE orders(id int PRIMARY KEY, what text); INSERT INTO orders SELECT n, 'thing ' || n FROM generate_series(1, 500) n");
        Self { server, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dump(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut command = self.server.tool("pg_dump", "shop");
        let output = command.args(arguments).arg("--file").arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        path
    }

    fn backups(&self) -> Backups {
        Backups::builder().store(self.path("backups").display().to_string()).build().unwrap()
    }

    fn adopt(&self, path: &Path) -> backup::Result<Taken> {
        self.backups().adopt(path, None, &AdoptOptions::default())
    }
}

fn counted(manifest: &Manifest) -> Vec<(&str, u64)> {
    manifest.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect()
}

#[test]
fn every_form_of_pg_dump_is_recognised_counted_and_restorable() {
    let script = Script::of_a_shop();
    let gzipped = script.dump("shop-full-2024-01-29T00-00-00-000Z.sql", &["--clean", "--if-exists"]);
    assert!(Command::new("gzip").arg(&gzipped).status().unwrap().success());
    let dumps = [
        script.dump("full_20260122_1518.dump", &["--format=custom", "--compress=9", "--no-owner"]),
        script.dump("plain.sql", &[]),
        script.dump("directory", &["--format=directory", "--jobs=2"]),
        gzipped.with_extension("sql.gz"),
    ];
    for (number, dump) in dumps.iter().enumerate() {
        let taken = script.adopt(dump).unwrap_or_else(|error| panic!("{}: {error:?}", dump.display()));
        assert_eq!(counted(&taken.manifest), [("public.orders", 500)], "{}", dump.display());
        assert!(taken.is_good() && dump.exists(), "it stays where it was");
        let target = format!("copy{number}");
        let engine = backup::engine_for(&taken.manifest, None).unwrap();
        let (_, artifact) = script.backups().find(taken.id().as_str()).unwrap();
        let options = RestoreOptions::into(Target::Postgres(script.server.uri(&target)));
        backup::operation::restore(&artifact, &*engine, &options, &backup::Context::default()).unwrap();
        assert_eq!(script.server.psql(&target, "SELECT count(*), max(what) FROM orders"), "500|thing 99");
    }
    let digests: Vec<_> = script
        .backups()
        .vaults()
        .unwrap()
        .iter()
        .flat_map(|vault| vault.catalogue(None).unwrap().manifests())
        .map(|m| m.tables[0].digest.clone())
        .collect();
    assert_eq!(digests.len(), 4);
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "the same rows, whatever the form: {digests:?}"
    );
}

#[test]
fn a_dump_keeps_its_own_date_and_the_name_of_its_database() {
    let script = Script::of_a_shop();
    let dump = script.dump("nightly-2024-01-29T03-04-05-000Z.sql", &[]);
    let taken = script.adopt(&dump).unwrap();
    assert_eq!(taken.id().as_str(), "nightly-full-20240129T030405Z");
    let archive = script.dump("whatever.dump", &["--format=custom"]);
    assert_eq!(script.adopt(&archive).unwrap().manifest.source.database, "shop");
}

#[test]
fn what_is_cut_short_unknown_or_there_already_is_refused_and_leaves_nothing() {
    let script = Script::of_a_shop();
    for (name, arguments) in [("cut.dump", &["--format=custom"][..]), ("cut.sql", &[])] {
        let dump = script.dump(name, arguments);
        let bytes = fs::read(&dump).unwrap();
        for length in [bytes.len() / 2, bytes.len() - 200] {
            fs::write(&dump, &bytes[..length]).unwrap();
            assert_eq!(script.adopt(&dump).unwrap_err().kind(), ErrorKind::Corrupt, "{name} cut to {length}");
        }
    }
    fs::write(script.path("notes.txt"), "milk, bread").unwrap();
    assert_eq!(script.adopt(&script.path("notes.txt")).unwrap_err().kind(), ErrorKind::Unsupported);
    let known = script
        .backups()
        .vaults()
        .unwrap()
        .iter()
        .map(|vault| vault.catalogue(None).unwrap().artifacts.len())
        .sum::<usize>();
    assert_eq!(known, 0);

    let dump = script.dump("whole.dump", &["--format=custom"]);
    script.adopt(&dump).unwrap();
    assert_eq!(script.adopt(&dump).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn an_sqlite_file_is_adopted_under_the_date_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app-20240129T030405Z.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)")
        .unwrap();
    let backups =
        Backups::builder().store(folder.path().join("backups").display().to_string()).build().unwrap();
    let taken = backups.adopt(&path, None, &AdoptOptions::default()).unwrap();
    assert_eq!(taken.id().as_str(), "app-full-20240129T030405Z");
    assert_eq!(counted(&taken.manifest), [("t", 2)]);
}
