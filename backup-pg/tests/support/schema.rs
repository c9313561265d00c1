//! Databases to be backed up, and how to tell that a restored one has the same schema.

use std::{fs, thread, time::Duration};

use super::Server;

const EXTENSION: &str = "
CREATE TABLE settings (name text PRIMARY KEY, value text, is_own boolean);
INSERT INTO settings VALUES ('made by', 'the extension', false);
SELECT pg_catalog.pg_extension_config_dump('settings', 'WHERE is_own');";

/// Creates a database with everything that PostgreSQL 15, 16 and 18 can hold, with data.
///
/// The extensions in it are those which the server's build has.
pub(crate) fn create_shape_of_everything(server: &Server, database: &str) {
    server.create_database(database, "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'");
    server.psql(database, include_str!("everything.sql"));
}

/// Creates a database in the encoding LATIN1, with names and data beyond ASCII.
pub(crate) fn create_latin1(server: &Server, database: &str) {
    server.create_database(database, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    server.psql(database, include_str!("latin1.sql"));
}

/// Creates a database whose one table has a column and many values of every common type.
pub(crate) fn create_values(server: &Server, database: &str) {
    server.create_database(database, "");
    server.psql(database, include_str!("values.sql"));
    server.psql(database, &format!("ALTER DATABASE {database} SET timezone = 'America/St_Johns'"));
}

/// Creates a database whose large tables have keys and indexes of every form.
pub(crate) fn create_keys(server: &Server, database: &str) {
    server.create_database(database, "");
    server.psql(database, include_str!("keys.sql"));
}

/// Creates so many tables `t1`, `t2`, …, each with a primary key and one row, in an existing database.
pub(crate) fn create_tables(server: &Server, database: &str, count: u32) {
    // In parts: a transaction holds a lock per table and index.
    for begin in (1..=count).step_by(500) {
        let end = count.min(begin + 499);
        let sql = format!(
            "DO $$ BEGIN FOR n IN {begin}..{end} LOOP
               EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, note text)', n);
               EXECUTE format('INSERT INTO t%s VALUES ({{}}, ''of %s'')', n, n, n);
             END LOOP; END $$"
        );
        server.psql(database, &sql.replace("{}", "%s"));
    }
}

/// Creates an extension with a configuration table, `settings`, of whose two rows a dump holds one, in an existing
/// database. Only PostgreSQL 18 finds an extension that is not installed.
pub(crate) fn create_configured_extension(server: &Server, database: &str) {
    assert!(server.major() >= 18, "extension_control_path came with PostgreSQL 18");
    let share = server.socket_folder().join("share");
    fs::create_dir_all(share.join("extension")).unwrap();
    let control = "default_version = '1.0'\nrelocatable = true\n";
    fs::write(share.join("extension/configured.control"), control).unwrap();
    fs::write(share.join("extension/configured--1.0.sql"), EXTENSION).unwrap();
    // For every database, since the one to restore into does not exist yet.
    let path = format!("ALTER SYSTEM SET extension_control_path = '{}:$system'", share.display());
    server.psql("postgres", &format!("{path}; SELECT pg_reload_conf()"));
    // The postmaster reads its settings when it comes to it; sessions from then on have them.
    while !server.psql("postgres", "SHOW extension_control_path").contains("share") {
        thread::sleep(Duration::from_millis(10));
    }
    server.psql(database, "CREATE EXTENSION configured; INSERT INTO settings VALUES ('ours', 'a row', true)");
}

/// The schema as `pg_dump` writes it, without the lines that differ between two dumps of the same thing.
pub(crate) fn schema_dump(server: &Server, database: &str) -> String {
    let noise = [r"\restrict ", r"\unrestrict ", "-- Dumped from", "-- Dumped by"];
    let dump = server.run("pg_dump", database, &["--schema-only"]);
    let lines = dump.lines().filter(|line| !noise.iter().any(|start| line.starts_with(start)));
    lines.map(|line| format!("{line}\n")).collect()
}
