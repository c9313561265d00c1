//! Databases of every shape come back byte for byte sound: page sizes, journal modes, odd names, odd contents, odd disks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backup::{Backups, BlockingJob, ErrorKind, RestoreOptions, RunOptions, Taken, engine::Target};
use rusqlite::{Connection, config::DbConfig};

fn job(folder: &Path, database: &Path) -> BlockingJob {
    let backups = Backups::builder()
        .store(folder.join("backups").display().to_string())
        .source("shape", format!("sqlite:{}", database.display()))
        .build()
        .unwrap();
    backups.job("shape").unwrap().blocking()
}

/// Backs up, restores elsewhere, and compares what SQLite says of both.
fn round_trip(folder: &Path, database: &Path) -> Taken {
    let job = job(folder, database);
    let taken = job.run(RunOptions::default().with_same_source(true).with_accept(true)).unwrap();
    assert!(taken.is_good(), "{:?}", taken.manifest.suspect);
    let copy = folder.join("came back.db");
    let _ = fs::remove_file(&copy);
    job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
    assert_eq!(contents(&copy), contents(database));
    assert_eq!(taken.manifest.payload.plain_bytes, fs::metadata(&copy).unwrap().len());
    assert_eq!(taken.manifest.rows.unwrap(), count_all(&copy));
    taken
}

/// Everything in a database as the stock shell writes it.
fn contents(database: &Path) -> String {
    let output = Command::new("sqlite3")
        .arg(database)
        .arg(".dump")
        .output()
        .expect("sqlite3 runs (apt-get install sqlite3)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn count_all(database: &Path) -> u64 {
    let connection = Connection::open(database).unwrap();
    let mut query = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        .unwrap();
    let names: Vec<String> =
        query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let count = |name: &String| {
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    names.iter().map(count).sum::<i64>().try_into().unwrap()
}

fn make(path: &Path, pragmas: &str, sql: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(pragmas).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

const MIXED: &str = "
    CREATE TABLE big(id INTEGER PRIMARY KEY, t TEXT, b BLOB);
    CREATE TABLE pairs(a TEXT, b INTEGER, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE INDEX big_t ON big(t);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO big SELECT i, 'text ' || i, randomblob(i % 700) FROM n;
    INSERT INTO big VALUES(100001, 'overflows', randomblob(300000));
    INSERT INTO pairs SELECT t, id FROM big;
    DELETE FROM big WHERE id % 5 = 0;";

#[test]
fn every_page_size_in_both_journal_modes() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for journal_mode in ["WAL", "DELETE"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pages.db");
            let pragmas = format!("PRAGMA page_size={page_size}; PRAGMA journal_mode={journal_mode}");
            let open = make(&path, &pragmas, MIXED);
            let taken = round_trip(folder.path(), &path);
            assert_eq!(taken.manifest.facts["page_size"], page_size);
            // Pages that are only in the log, and pages that are in both.
            open.execute_batch(
                "UPDATE big SET t = t || '!' WHERE id % 3 = 0; DELETE FROM pairs WHERE b % 2 = 0",
            )
            .unwrap();
            round_trip(folder.path(), &path);
        }
    }
}

#[test]
fn a_database_without_tables_and_one_that_shrank_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.db");
    make(&path, "PRAGMA journal_mode=WAL", "PRAGMA user_version=7");
    let taken = round_trip(folder.path(), &path);
    assert_eq!((taken.manifest.rows, taken.manifest.facts["user_version"].as_i64()), (Some(0), Some(7)));

    let path = folder.path().join("shrinks.db");
    let open = make(&path, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", MIXED);
    open.execute_batch("PRAGMA wal_checkpoint; DELETE FROM big; DELETE FROM pairs; VACUUM; INSERT INTO big VALUES(1, 'x', NULL)").unwrap();
    let taken = round_trip(folder.path(), &path);
    assert!(taken.manifest.payload.plain_bytes < fs::metadata(&path).unwrap().len());
}

#[test]
fn a_log_left_by_a_killed_program_is_in_the_backup_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.db");
    let open = make(&path, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", MIXED);
    open.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(open);
    let log = folder.path().join("killed.db-wal");
    let (database_before, log_before) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert!(!log_before.is_empty());
    job(folder.path(), &path).run(RunOptions::default()).unwrap();
    assert!(fs::read(&path).unwrap() == database_before, "a backup does not change its source");
    assert!(fs::read(&log).unwrap() == log_before, "a backup does not change its source");
    round_trip(folder.path(), &path);
}

#[test]
fn names_that_shells_and_uris_would_mangle() {
    for name in [
        "a b.db",
        "100%.db",
        "what?.db",
        "x#y.db",
        "quote'\".db",
        "new\nline.db",
        "größe.db",
        "file:odd?mode=ro.db",
        "-rf.db",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        make(&path, "PRAGMA journal_mode=WAL", MIXED);
        let job = job(folder.path(), &path);
        let taken = job.run(RunOptions::default()).unwrap();
        // And back over itself, where the kept file's name is as odd.
        let restored = job
            .restore(taken.id(), RestoreOptions::into(Target::SqliteFile(path.clone())).with_replace(true))
            .unwrap();
        assert!(fs::metadata(&restored.swapped.kept[0]).is_ok(), "{name:?}");
        assert_eq!(count_all(&path), taken.manifest.rows.unwrap(), "{name:?}");
        let undone = Command::new("sh").arg("-c").arg(restored.swapped.undo.unwrap()).status().unwrap();
        assert!(undone.success(), "{name:?}");
        assert_eq!(count_all(&path), taken.manifest.rows.unwrap(), "{name:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_followed_to_its_database_and_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.db"), folder.path().join("link.db"));
    let _open = make(&real, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", MIXED);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let taken = round_trip(folder.path(), &link);
    assert_eq!(taken.manifest.source.database, fs::canonicalize(&real).unwrap().display().to_string());
}

#[test]
fn everything_sqlite_can_define() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.db");
    make(
        &path,
        "PRAGMA encoding='UTF-16le'; PRAGMA auto_vacuum=FULL; PRAGMA journal_mode=WAL",
        "CREATE TABLE \"sel\"\"ect\"(id INTEGER PRIMARY KEY AUTOINCREMENT, \"or der\" TEXT COLLATE NOCASE UNIQUE,
                                     twice INTEGER AS (id * 2) STORED, CHECK (id > 0));
         CREATE TABLE child(parent REFERENCES \"sel\"\"ect\"(id) DEFERRABLE INITIALLY DEFERRED) STRICT;
         CREATE VIRTUAL TABLE notes USING fts5(body);
         CREATE VIRTUAL TABLE spots USING rtree(id, x0, x1);
         CREATE VIEW v AS SELECT * FROM \"sel\"\"ect\";
         CREATE INDEX partial ON \"sel\"\"ect\"(\"or der\") WHERE id > 2;
         CREATE TRIGGER t AFTER INSERT ON child BEGIN INSERT INTO notes VALUES('child'); END;
         INSERT INTO \"sel\"\"ect\"(\"or der\") VALUES('ä'), ('🦀'), (NULL), ('z');
         INSERT INTO notes VALUES('words to find'), ('more words');
         INSERT INTO spots VALUES(1, 0.5, 1.5);
         ANALYZE;"
            .replace(" STRICT", "")
            .as_str(),
    );
    let taken = round_trip(folder.path(), &path);
    assert!(taken.manifest.tables.iter().any(|table| table.name == "\"sel\"\"ect\"" && table.rows == 4));
    assert_eq!(taken.manifest.facts["text_encoding"], "UTF-16le");
}

#[test]
fn rows_that_refer_to_nothing_are_told_and_condemn_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orphans.db");
    make(
        &path,
        "PRAGMA foreign_keys=OFF",
        "CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent(id)); INSERT INTO child VALUES(1), (2)",
    );
    let taken = round_trip(folder.path(), &path);
    assert_eq!(taken.findings.len(), 1, "{:?}", taken.findings);
    assert!(taken.findings[0].to_string().contains("child: 2 rows refer to no row of parent"));
}

#[test]
fn a_broken_check_constraint_in_the_source_makes_the_backup_suspect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checks.db");
    make(
        &path,
        "PRAGMA ignore_check_constraints=ON",
        "CREATE TABLE t(a CHECK (a > 0)); INSERT INTO t VALUES(-1)",
    );
    let taken = job(folder.path(), &path).run(RunOptions::default()).unwrap();
    assert!(!taken.is_good());
    assert!(taken.manifest.suspect[0].found.contains("CHECK"), "{:?}", taken.manifest.suspect);
}

#[test]
fn what_looks_encrypted_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cipher.db");
    let noise: Vec<u8> = (0..64u64 * 1024)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) >> 31) as u8)
        .collect();
    fs::write(&path, &noise).unwrap();
    let job = job(folder.path(), &path);
    let taken = job.run(RunOptions::default()).unwrap();
    assert_eq!((taken.manifest.facts["method"].as_str(), taken.manifest.rows), (Some("opaque"), None));
    let copy = folder.path().join("back.db");
    job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
    assert!(fs::read(&copy).unwrap() == noise);

    fs::write(folder.path().join("cipher.db-wal"), b"changes").unwrap();
    assert_eq!(job.run(RunOptions::default()).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// A disk in memory that can be made read-only; needs root, as the tests of servers do.
struct Mount(PathBuf);

impl Mount {
    fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", path.to_str().unwrap()]);
        Self(path)
    }

    fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", self.0.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) {
    assert!(
        Command::new(program).args(args).status().unwrap().success(),
        "{program} {args:?} (run the tests as root)"
    );
}

#[test]
fn read_only_media_in_both_journal_modes_and_with_a_log() {
    for (name, pragmas, keep_log) in [
        ("rollback.db", "PRAGMA journal_mode=DELETE", false),
        ("wal.db", "PRAGMA journal_mode=WAL", false),
        ("logged.db", "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Mount::make(folder.path().join("disk"));
        let path = disk.0.join(name);
        let open = make(&path, pragmas, MIXED);
        let rows = count_all(&path);
        open.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep_log).unwrap();
        drop(open);
        if keep_log {
            let _ = fs::remove_file(disk.0.join(format!("{name}-shm")));
        }
        disk.make_read_only();
        let job = job(folder.path(), &path);
        let taken = job.run(RunOptions::default()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(taken.is_good(), "{name}: {:?}", taken.manifest.suspect);
        let copy = folder.path().join("back.db");
        job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
        assert_eq!(count_all(&copy), rows, "{name}");
    }
}

#[test]
fn the_page_that_locks_live_on_is_carried_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    let open = make(
        &path,
        "PRAGMA page_size=65536; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)",
    );
    for _ in 0..9 {
        open.execute_batch("INSERT INTO t(b) VALUES(zeroblob(125000000))").unwrap();
    }
    open.execute_batch("INSERT INTO t(b) VALUES('beyond the gigabyte'); PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    open.execute_batch("UPDATE t SET b = 'in the log' WHERE id = 10").unwrap();
    let job = job(folder.path(), &path);
    let taken = job.run(RunOptions::default()).unwrap();
    assert!(taken.is_good() && taken.manifest.payload.plain_bytes > 1 << 30);
    let copy = folder.path().join("back.db");
    job.restore(taken.id(), RestoreOptions::into(Target::SqliteFile(copy.clone()))).unwrap();
    let restored = Connection::open(&copy).unwrap();
    let (rows, last): (i64, String) = restored
        .query_row("SELECT count(*), max(b) FROM (SELECT b FROM t WHERE id >= 10)", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    assert_eq!((rows, last.as_str()), (1, "in the log"));
}
