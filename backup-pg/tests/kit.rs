//! The servers, the schemas and the writer of the other tests are what they are said to be.

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{
    MAJORS, Server, Writer, consistent_orders, create_configured_extension, create_latin1,
    create_shape_of_everything, create_tables, is_alive, schema_dump,
};

/// What makes this binary start a server, tell where it is, and wait to be killed.
const VICTIM: &str = "BACKUP_TEST_VICTIM";

#[test]
fn a_server_of_each_major_starts_and_answers() {
    for major in MAJORS {
        let server = Server::start(major);
        let version = server.psql("postgres", "SHOW server_version_num");
        assert!(version.starts_with(&major.to_string()), "{version}");
        let encoding = server.psql("postgres", "SHOW server_encoding; SELECT current_user");
        assert_eq!(encoding, "UTF8\npostgres");
        let (tcp, socket) = (server.uri("postgres"), server.socket_uri("postgres"));
        for address in [tcp, socket] {
            let answer = server.run("psql", "nowhere", &["-XAtq", "-d", &address, "-c", "SHOW port"]);
            assert_eq!(answer.trim(), server.port().to_string());
        }
    }
}

#[test]
fn a_server_is_gone_with_the_test_that_started_it() {
    let server = Server::start(15);
    let (data, postmaster) = (server.data(), server.postmaster());
    assert!(data.exists() && is_alive(postmaster));
    drop(server);
    assert!(!data.exists() && !is_alive(postmaster));
}

#[test]
fn no_server_survives_a_killed_test() {
    if std::env::var_os(VICTIM).is_some() {
        let server = Server::start(16);
        server.psql("postgres", "CREATE TABLE t (id integer)");
        println!("\nserver {} {}", server.postmaster().as_raw_nonzero(), server.data().display());
        thread::sleep(Duration::from_secs(600));
    }
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["no_server_survives_a_killed_test", "--exact", "--nocapture"]).env(VICTIM, "1");
    let mut victim = victim.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = { lines }.find(|line| line.starts_with("server ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let postmaster = rustix::process::Pid::from_raw(words.next().unwrap().parse().unwrap()).unwrap();
    let data = Path::new(words.next().unwrap());
    assert!(data.exists() && is_alive(postmaster));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually(|| !data.exists() && !is_alive(postmaster));
}

#[test]
fn a_killed_postmaster_starts_again_with_what_was_committed() {
    let server = Server::start(18);
    server.create_database("bank", "");
    let writer = Writer::start(&server, "bank");
    let committed = consistent_orders(&server, "bank");
    server.kill_postmaster();
    assert!(writer.stop_after_crash() > 0);
    server.restart();
    let recovered = consistent_orders(&server, "bank");
    assert!(recovered >= committed, "{recovered} of {committed}");
    server.fast_stop();
    server.restart();
    assert_eq!(consistent_orders(&server, "bank"), recovered);
}

#[test]
fn a_writer_keeps_the_bank_and_the_shop_consistent() {
    for major in MAJORS {
        let server = Server::start(major);
        server.create_database("bank", "");
        let writer = Writer::start(&server, "bank");
        let writers = server.sessions("bank").into_iter().filter(|s| s.application_name == "writer").count();
        assert_eq!(writers, 3);
        let before = consistent_orders(&server, "bank");
        eventually(|| consistent_orders(&server, "bank") > before + 100);
        eventually(|| server.psql("bank", "SELECT min(generation) > 0 FROM busy.board") == "t");
        let committed = writer.stop();
        assert!(committed > consistent_orders(&server, "bank"), "truncations count too: {committed}");
        eventually(|| server.sessions("bank").is_empty());
    }
}

#[test]
fn a_contradiction_in_the_shop_is_found() {
    let server = Server::start(15);
    server.create_database("bank", "");
    Writer::start(&server, "bank").stop();
    for damage in [
        "DELETE FROM busy.orders WHERE number = 1 AND shop = (SELECT min(shop) FROM busy.orders)",
        "UPDATE busy.accounts SET balance = balance + 1 WHERE id = 7",
        "INSERT INTO busy.board VALUES (-1, 1)",
        "SELECT setval('busy.transfers_id_seq', 1); INSERT INTO busy.transfers VALUES (1000000, 1, 2, 3)",
    ] {
        server.psql("postgres", "CREATE DATABASE damaged TEMPLATE bank");
        server.psql("damaged", damage);
        let check = std::panic::catch_unwind(|| consistent_orders(&server, "damaged"));
        assert!(check.is_err(), "not found: {damage}");
        server.psql("postgres", "DROP DATABASE damaged");
    }
}

#[test]
fn a_server_with_tls_is_trusted_by_its_own_certificate() {
    let server = Server::with(15, &["ssl=on", "work_mem=5MB"]);
    let authority = server.certificate();
    let options = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let address = format!("{}?{options}", server.uri("postgres"));
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(
        server.run("psql", "", &["-XAtq", "-d", &address, "-c", sql, "-c", "SHOW work_mem"]),
        "t\n5MB\n"
    );
}

#[test]
fn a_server_admits_whom_it_is_told_to() {
    let server = Server::start(16);
    server.psql("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'its password'");
    server.admit("host all clerk 127.0.0.1/32 scram-sha-256");
    let address = format!("postgres://clerk@127.0.0.1:{}/postgres", server.port());
    let answer = |password| {
        let mut psql = server.tool("psql", "postgres");
        psql.args(["-XAtqw", "-d", &address, "-c", "SELECT current_user"]).env("PGPASSWORD", password);
        String::from_utf8(psql.output().unwrap().stdout).unwrap()
    };
    eventually(|| answer("its password") == "clerk\n");
    assert_eq!(answer("another"), "");
}

#[test]
fn databases_with_odd_names_are_reached() {
    let server = Server::start(18);
    let name = "a=b 'c' \"d\" %20 /é?&@:#";
    server.create_database(name, "");
    assert_eq!(server.psql(name, "SELECT current_database()"), name);
    let answer =
        server.run("psql", "", &["-XAtq", "-d", &server.uri(name), "-c", "SELECT current_database()"]);
    assert_eq!(answer.trim_end_matches('\n'), name);
    assert!(server.has_database(name));
    assert_eq!(server.databases(), [name, "postgres"]);
}

#[test]
fn as_many_tables_are_made_as_asked_for() {
    let server = Server::start(15);
    server.create_database("many", "");
    create_tables(&server, "many", 1001);
    let count = server.psql("many", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    assert_eq!(count, "1001");
    assert_eq!(server.psql("many", "SELECT * FROM t1001"), "1001|of 1001");
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it did not come to be");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_dump_of_everything_restores_into_the_same_on_15() {
    survives_dump_and_restore(15, create_shape_of_everything, "TEMPLATE template0");
}

#[test]
fn a_dump_of_everything_restores_into_the_same_on_16() {
    survives_dump_and_restore(16, create_shape_of_everything, "TEMPLATE template0");
}

#[test]
fn a_dump_of_everything_restores_into_the_same_on_18() {
    survives_dump_and_restore(18, create_shape_of_everything, "TEMPLATE template0");
}

#[test]
fn a_dump_in_latin1_restores_into_the_same() {
    for major in MAJORS {
        survives_dump_and_restore(major, create_latin1, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    }
}

#[test]
fn of_a_configuration_table_the_marked_rows_are_dumped() {
    let server = survives_dump_and_restore(18, create_with_extension, "TEMPLATE template0");
    let rows = "SELECT name FROM settings ORDER BY name";
    for database in ["source", "restored"] {
        assert_eq!(server.psql(database, rows), "made by\nours");
    }
    assert!(!server.run("pg_dump", "source", &["--data-only"]).contains("made by"));
}

fn create_with_extension(server: &Server, database: &str) {
    server.create_database(database, "");
    server.psql(database, "CREATE TABLE beside_it (id integer)");
    create_configured_extension(server, database);
}

/// The stock tools as judges: what they restore, they dump as before.
fn survives_dump_and_restore(major: u32, create: fn(&Server, &str), options: &str) -> Server {
    let server = Server::start(major);
    create(&server, "source");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let file = file.to_str().unwrap();
    server.run("pg_dump", "source", &["-Fc", "-f", file]);
    server.create_database("restored", options);
    server.run("pg_restore", "restored", &["--exit-on-error", "-d", "restored", file]);
    let (source, restored) = (schema_dump(&server, "source"), schema_dump(&server, "restored"));
    assert!(source.contains("CREATE TABLE"), "{source}");
    assert_same_lines(&source, &restored);
    assert_same_lines(&sorted_data(&server, "source"), &sorted_data(&server, "restored"));
    server
}

fn sorted_data(server: &Server, database: &str) -> String {
    let dump = server.run("pg_dump", database, &["--data-only", "--load-via-partition-root"]);
    let mut lines: Vec<&str> = dump.lines().filter(|line| !line.starts_with(r"\")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[track_caller]
fn assert_same_lines(left: &str, right: &str) {
    let different = left.lines().zip(right.lines()).find(|(left, right)| left != right);
    assert_eq!(different, None);
    assert_eq!(left.len(), right.len());
}
