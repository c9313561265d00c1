//! Dumps that other scripts made: recognised, verified, counted, and refused when they are not whole.

#[path = "support/postgres.rs"]
mod postgres;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backup::{
    AdoptOptions, Backups, ErrorKind, Manifest, Objectives, RestoreOptions, SourceName, Taken, engine::Target,
};
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
        let copies = script.backups().find(taken.id().as_str()).unwrap();
        let options = RestoreOptions::into(Target::Postgres(script.server.uri(&target)));
        backup::operation::restore_from(&copies, &*engine, &options, &backup::Context::default()).unwrap();
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

/// A shop with a second schema, keys between tables and a partitioned table; and the dumps of parts of it.
fn dumps_of_parts(script: &Script) -> Vec<(PathBuf, &'static str)> {
    script.server.psql(
        "shop",
        "CREATE TABLE empty(id int);
         CREATE TABLE items(of int REFERENCES orders, what text);
         CREATE TABLE days(day date) PARTITION BY RANGE (day);
         CREATE TABLE january PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE SCHEMA stocks; CREATE TABLE stocks.prices(day date, close numeric)",
    );
    let parts: [(&[&str], &str); 6] = [
        (&["--schema-only"], "left out rows"),
        (&["--data-only"], "left out definitions"),
        (&["--exclude-table-data=orders"], "left out rows"),
        (&["--table=items"], "left out objects"),
        (&["--table=stocks.prices"], "left out objects"),
        (&["--data-only", "--inserts"], "left out definitions"),
    ];
    let mut dumps = Vec::new();
    for (number, (arguments, what)) in parts.into_iter().enumerate() {
        for form in ["custom", "plain", "directory"] {
            let form_flag = format!("--format={form}");
            let all: Vec<&str> = arguments.iter().copied().chain([form_flag.as_str()]).collect();
            dumps.push((script.dump(&format!("part{number}.{form}"), &all), what));
        }
    }
    dumps
}

#[test]
fn a_dump_of_a_part_is_adopted_as_a_part_and_is_never_the_latest() {
    let script = Script::of_a_shop();
    let shop = SourceName::new("shop").unwrap();
    let adopt = |path: &Path| script.backups().adopt(path, Some(&shop), &AdoptOptions::default()).unwrap();
    for (dump, what) in dumps_of_parts(&script) {
        let taken = adopt(&dump);
        assert_eq!(taken.manifest.limited_to().as_deref(), Some(what), "{}", dump.display());
        assert!(taken.manifest.is_partial() && taken.is_good(), "{}", dump.display());
    }
    assert_eq!(script.backups().find("shop/latest").unwrap_err().kind(), ErrorKind::NotFound);
    let vault = script.backups().vaults().unwrap().remove(0);
    let status = backup::operation::status(&vault, &Objectives::default(), &backup::Context::default());
    assert_eq!(status.unwrap().good, 0);

    for whole in [&["--format=custom"][..], &[], &["--inserts"], &["--format=directory"], &["--verbose"]] {
        let number = script.folder.path().read_dir().unwrap().count();
        let taken = adopt(&script.dump(&format!("whole{number}"), whole));
        assert!(!taken.manifest.is_partial(), "{whole:?}: {:?}", taken.manifest.limited_to());
        assert_eq!(script.backups().find("shop/latest").unwrap().manifest().id, *taken.id());
    }
}

#[test]
fn roles_alone_are_no_backup_of_a_database() {
    let script = Script::of_a_shop();
    let path = script.path("globals.sql");
    let mut command = script.server.tool("pg_dumpall", "postgres");
    let output = command.args(["--globals-only", "--file"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(script.adopt(&path).unwrap().manifest.limited_to().as_deref(), Some("left out databases"));
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
