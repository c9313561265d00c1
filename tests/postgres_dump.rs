//! Dumps of PostgreSQL databases hold what was there at one instant, and stock tools read them.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use postgres::{
    MAJORS, Server, Writer, consistent_orders, create_latin1, create_shape_of_everything, schema_dump,
};
use postgres_shop::{PgShop, outcome, stated};

/// The manifest's counts, taken while a bank is busy, are those of the dump; the dump is one instant of the bank.
#[test]
fn stock_tools_find_one_instant_of_a_busy_bank() {
    for major in MAJORS {
        let shop = PgShop::open(major);
        let writer = Writer::start(&shop.server, "shop");
        let before = consistent_orders(&shop.server, "shop");
        let id = shop.back_up_with(&["--cross-check"]);
        let after = consistent_orders(&shop.server, "shop");
        assert!(writer.stop() > 0, "nobody worked there");
        shop.server.create_database("copy", "TEMPLATE template0");
        restore_by_stock_tools(&shop.server, "copy", &shop.decoded(&id, "dump"));
        let orders = consistent_orders(&shop.server, "copy");
        assert!((before..=after).contains(&orders), "{before} orders, {orders} in the backup, {after}");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("copy"));
    }
}

#[track_caller]
fn restore_by_stock_tools(server: &Server, database: &str, archive: &Path) {
    server.run("pg_restore", database, &["--exit-on-error", "-d", database, archive.to_str().unwrap()]);
}

/// Checks that a database is the shop's, in its definitions and in its rows.
#[track_caller]
fn is_the_shop(shop: &PgShop, database: &str) {
    assert_eq!(schema_dump(&shop.server, database), schema_dump(&shop.server, "shop"));
    assert_eq!(shop.digests(database), shop.digests("shop"));
}

#[test]
fn zstd_and_pg_restore_read_what_was_stored() {
    for major in [15, 18] {
        let shop = PgShop::open(major);
        let id = shop.back_up();
        let list = "zstd -dc < \"$0\" | pg_restore --list";
        let mut pipe = shop.server.tool("pg_restore", "shop");
        let path = format!("{}:{}", shop.server.bin().display(), std::env::var("PATH").unwrap());
        pipe = with_environment_of(&pipe, "sh");
        let listed = pipe.args(["-c", list]).arg(shop.payload(&id)).env("PATH", path).output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        assert!(
            String::from_utf8_lossy(&listed.stdout).contains("TABLE DATA public customers"),
            "{listed:?}"
        );

        shop.server.create_database("copy", "TEMPLATE template0");
        restore_by_stock_tools(&shop.server, "copy", &shop.decoded(&id, "dump"));
        is_the_shop(&shop, "copy");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
    }
}

/// Large tables' rows go past pg_dump, small tables' and large objects through it; all are in its archive, in its order.
#[test]
fn rows_that_went_past_pg_dump_are_in_its_archive() {
    let tables = "CREATE TABLE a_few AS SELECT generate_series(1, 10) AS n;
        CREATE TABLE b_many AS SELECT n, repeat(md5(n::text), 4) AS t FROM generate_series(1, 20000) AS n;
        CREATE TABLE c_none (n int);
        CREATE TABLE d_long AS SELECT n, repeat('a long row\t\n\\.', 700000) AS t FROM generate_series(1, 3) AS n;
        CREATE TABLE e_backslashes AS SELECT E'\\\\.' AS t FROM generate_series(1, 300000);
        CREATE TABLE f_last AS SELECT 1 AS n;
        SELECT lo_from_bytea(4200000000, decode(repeat('ab', 400000), 'hex')), lo_from_bytea(0, '');";
    for major in MAJORS {
        let shop = PgShop::open(major);
        shop.server.psql("shop", tables);
        let id = shop.back_up_with(&["--cross-check"]);
        let dump = shop.decoded(&id, "dump");
        let listed = shop.server.run("pg_restore", "shop", &["--list", dump.to_str().unwrap()]);
        let in_list: Vec<&str> = listed.lines().filter(|line| line.contains("TABLE DATA")).collect();
        assert!(in_list.len() > 6, "{listed}");
        shop.server.create_database("copy", "TEMPLATE template0");
        restore_by_stock_tools(&shop.server, "copy", &dump);
        is_the_shop(&shop, "copy");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
        let large = "SELECT count(*), sum(length(lo_get(oid))) FROM pg_largeobject_metadata";
        assert_eq!(shop.server.psql("copy", large), "2|400000");
        // Whoever reads an archive from a pipe needs its data in the order of its contents.
        shop.server.create_database("piped", "TEMPLATE template0");
        let mut piped = shop.server.tool("pg_restore", "piped");
        let piped = piped.args(["--exit-on-error", "-d", "piped"]).stdin(File::open(&dump).unwrap()).output();
        assert!(piped.as_ref().is_ok_and(|output| output.status.success()), "{piped:?}");
        is_the_shop(&shop, "piped");
    }
}

/// Over TLS everything goes the ordinary way, whatever its size.
#[test]
fn a_dump_over_tls_and_its_restore_are_encrypted() {
    let shop = PgShop::on(Server::with(15, &["ssl=on"]));
    shop.server.create_database("shop", "");
    let many =
        "CREATE TABLE many AS SELECT n, repeat(md5(n::text), 4) AS t FROM generate_series(1, 100000) AS n";
    shop.server.psql("shop", many);
    shop.server.admit("hostnossl all all all reject\nhostssl all all all trust");
    let id = shop.back_up();
    shop.restore(&id, "copy");
    assert_eq!(stated(&shop.manifest(&id)), [("public.many".to_owned(), 100_000)]);
    let plain = format!("{}?sslmode=disable", shop.uri());
    shop.backup(&["run", &plain]).exits(1).says("pg_hba.conf");
}

#[test]
fn roles_can_be_left_out_beside_a_dump() {
    let shop = PgShop::open(15);
    let with = shop.back_up();
    let without = shop.back_up_with(&["--no-roles"]);
    let companions = |id: &str| shop.manifest(id)["companions"].as_array().unwrap().len();
    assert_eq!((companions(&with), companions(&without)), (1, 0));
    assert_eq!(shop.manifest(&without)["options"]["no_roles"], true);
    shop.restore(&without, "copy");
    is_the_shop(&shop, "copy");
    shop.folder.backup(&["run", "shop.db", "--no-roles"]).exits(2).says("--no-roles");
}

/// Text has no inside: what pg_dump would compress in an archive is compressed around it.
#[test]
fn a_compression_for_archives_lies_around_text() {
    for (major, compression, test) in [(15, "pg:gzip:9", "gzip"), (18, "pg:zstd:7", "zstd")] {
        let shop = PgShop::open(major);
        let plain = shop.back_up_with(&["--compression", compression, "--format", "plain"]);
        shop.backup(&["verify", &plain]).exits(0);
        let stored = shop.stored(&plain, "sql");
        assert!(
            Command::new(test).arg("-t").arg(&stored).status().unwrap().success(),
            "{}",
            stored.display()
        );
        shop.restore(&plain, "copy");
        is_the_shop(&shop, "copy");
        for content in ["schema", "data"] {
            shop.back_up_with(&["--compression", compression, "--content", content]);
            let latest = format!("latest:{content}");
            shop.backup(&["verify", &latest]).exits(0);
            let text = shop.backup(&["cat", &latest]).exits(0).stdout;
            assert!(text.contains("PostgreSQL database dump complete"), "{text}");
        }
        let refused = ["run", &shop.uri(), "--compression", "pg:lz4", "--content", "schema"];
        shop.backup(&refused).exits(2).says("SQL text cannot be compressed with pg:lz4");
    }
}

/// Another program, led where a client program is.
fn with_environment_of(tool: &Command, program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, value) in tool.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn psql_reads_a_plain_dump() {
    for major in [16, 18] {
        let shop = PgShop::open(major);
        let id = shop.back_up_with(&["--format", "plain"]);
        shop.server.create_database("copy", "TEMPLATE template0");
        shop.server.psql_file("copy", &shop.decoded(&id, "sql"));
        is_the_shop(&shop, "copy");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
    }
}

#[test]
fn tar_and_pg_restore_read_a_directory_dump() {
    for major in [15, 16] {
        let shop = PgShop::open(major);
        let id = shop.back_up_with(&["--format", "directory", "--jobs", "2"]);
        let folder = shop.path("unpacked");
        fs::create_dir(&folder).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(shop.decoded(&id, "tar")).arg("-C").arg(&folder);
        assert!(tar.status().unwrap().success());
        shop.server.create_database("copy", "TEMPLATE template0");
        let arguments = ["--exit-on-error", "-Fd", "-j2", "-d", "copy", folder.to_str().unwrap()];
        shop.server.run("pg_restore", "copy", &arguments);
        is_the_shop(&shop, "copy");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
    }
}

#[test]
fn pg_restore_reads_its_own_compression_where_it_lies() {
    for (major, compression) in [(15, "pg:gzip:9"), (18, "pg:gzip:1")] {
        let shop = PgShop::open(major);
        let id = shop.back_up_with(&["--compression", compression]);
        let payload = shop.payload(&id);
        assert_eq!(payload.file_name().unwrap().to_str().unwrap(), format!("{id}.dump"));
        shop.server.create_database("copy", "TEMPLATE template0");
        restore_by_stock_tools(&shop.server, "copy", &payload);
        is_the_shop(&shop, "copy");
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
        shop.backup(&["verify", &id]).exits(0);
    }
}

/// A build of pg_dump that has a method is used with it; one that has not is named.
#[test]
fn pg_dumps_other_compressions_work_or_are_said_to_be_missing() {
    for major in MAJORS {
        let shop = PgShop::open(major);
        for compression in ["pg:zstd:3", "pg:lz4"] {
            let method = compression.split(':').nth(1).unwrap();
            let probe = shop.server.tool("pg_dump", "shop").args(["-Fc", "-Z", method]).output().unwrap();
            let run = shop.backup(&["run", &shop.uri(), "--compression", compression]);
            if !probe.status.success() {
                assert!([Some(1), Some(2)].contains(&run.code), "{run:#?}");
                assert!(run.says("ompress").stderr.contains("pg_dump"), "{major} {compression}");
                shop.has_no_sessions();
                shop.folder.has_no_litter();
                continue;
            }
            let id = run.exits(0).stdout.trim().to_owned();
            shop.server.create_database("copy", "TEMPLATE template0");
            restore_by_stock_tools(&shop.server, "copy", &shop.payload(&id));
            is_the_shop(&shop, "copy");
            assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
            shop.server.psql("postgres", "DROP DATABASE copy");
        }
    }
}

#[test]
fn an_extracted_table_loads_back_with_equal_rows() {
    for major in [15, 18] {
        let shop = PgShop::open(major);
        let id = shop.back_up();
        shop.server.psql("postgres", "CREATE DATABASE copy TEMPLATE shop");
        for (table, empty) in
            [("customers", "TRUNCATE customers CASCADE"), ("public.orders", "TRUNCATE orders")]
        {
            shop.backup(&["extract", &id, "--table", table, "--output", "table.sql"]).exits(0);
            shop.server.psql("copy", empty);
            shop.server.psql_file("copy", &shop.path("table.sql"));
            fs::remove_file(shop.path("table.sql")).unwrap();
        }
        assert_eq!(shop.digests("copy"), shop.digests("shop"));
        for table in ["customers", "orders"] {
            let csv = shop.path(&format!("{table}.csv"));
            shop.backup(&[
                "extract",
                &id,
                "--table",
                table,
                "--format",
                "csv",
                "--output",
                csv.to_str().unwrap(),
            ])
            .exits(0);
            let copy = format!(
                "TRUNCATE {table} CASCADE;\n\\copy {table} FROM '{}' (FORMAT csv, HEADER match, NULL '')",
                csv.display()
            );
            shop.server.psql("copy", &copy);
        }
        assert_eq!(shop.digests("copy"), shop.digests("shop"));
    }
}

#[test]
fn cat_as_sql_restores_through_psql() {
    for (major, format) in [(15, "custom"), (16, "plain"), (18, "custom")] {
        let shop = PgShop::open(major);
        let id = shop.back_up_with(&["--format", format]);
        shop.server.create_database("copy", "TEMPLATE template0");
        let mut cat = shop.command(&["cat", &id, "--format", "sql"]);
        let mut cat = cat.stdout(Stdio::piped()).spawn().unwrap();
        let mut psql = shop.server.tool("psql", "copy");
        psql.args(["-Xq", "-v", "ON_ERROR_STOP=1"]).stdin(cat.stdout.take().unwrap());
        let psql = psql.output().unwrap();
        assert!(psql.status.success(), "{major} {format}: {psql:?}");
        assert!(cat.wait().unwrap().success());
        is_the_shop(&shop, "copy");
    }
}

/// `backup cat latest --format sql | head`: whoever has seen enough is not kept waiting, and it is no failure.
#[test]
fn a_reader_who_has_seen_enough_ends_cat_at_once() {
    let shop = PgShop::with_notes(15, 20_000);
    let id = shop.back_up();
    for format in ["sql", "payload"] {
        let mut cat = shop.command(&["cat", &id, "--format", format]);
        let mut cat = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut begin = [0; 4096];
        cat.stdout.take().unwrap().read_exact(&mut begin).unwrap();
        let ended = outcome(cat.wait_with_output().unwrap(), &["cat", format]).exits(0);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn everything_in_latin1_and_nothing_are_dumped_and_stock_tools_restore_them() {
    type Create = fn(&Server, &str);
    let shapes: [(&str, Create, &str); 3] = [
        ("everything", create_shape_of_everything, "TEMPLATE template0"),
        ("latin1", create_latin1, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"),
        ("nothing", |server, name| server.create_database(name, ""), "TEMPLATE template0"),
    ];
    for major in MAJORS {
        let shop = PgShop::on(Server::start(major));
        for (name, create, options) in shapes {
            create(&shop.server, name);
            let run = shop.backup(&["run", &shop.server.uri(name), "--compression", "none"]).exits(0);
            let id = run.stdout.trim().to_owned();
            let payload = shop.folder.store().join(format!("{name}/full/{id}.dump"));
            shop.server.create_database("copy", options);
            restore_by_stock_tools(&shop.server, "copy", &payload);
            assert_eq!(schema_dump(&shop.server, "copy"), schema_dump(&shop.server, name), "{major} {name}");
            assert_eq!(
                without_moods(shop.digests("copy")),
                without_moods(shop.digests(name)),
                "{major} {name}"
            );
            let rows = |counts: Vec<(String, u64)>| counts.iter().map(|(_, rows)| rows).sum::<u64>();
            let total = rows(shop.counts(name));
            assert_eq!(rows(stated(&shop.manifest(&id))), total, "{major} {name}");
            shop.server.psql("postgres", "DROP DATABASE copy");
        }
    }
}

#[test]
fn a_cross_check_agrees_in_every_encoding() {
    for major in MAJORS {
        let shop = PgShop::on(Server::start(major));
        create_latin1(&shop.server, "shop");
        let id = shop.back_up_with(&["--cross-check"]);
        assert_eq!(stated(&shop.manifest(&id)), shop.counts("shop"));
    }
}

/// Rows of partitions by the hash of an enum are in another partition after a restore.
fn without_moods(mut digests: serde_json::Value) -> serde_json::Value {
    digests.as_object_mut().unwrap().retain(|name, _| !name.starts_with("shop.moods_"));
    digests
}

#[test]
fn no_file_of_a_run_can_be_read_by_others() {
    use std::os::unix::fs::MetadataExt;
    let shop = PgShop::open(15);
    let id = shop.back_up();
    for path in [shop.payload(&id), shop.stored(&id, "globals.sql"), shop.stored(&id, "json")] {
        assert_eq!(File::open(&path).unwrap().metadata().unwrap().mode() & 0o077, 0, "{}", path.display());
    }
}
