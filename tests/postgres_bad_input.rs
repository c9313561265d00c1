//! Whatever is wrong with a server, a role or a connection string, the command says so and what to do, keeps secrets,
//! and leaves nothing behind.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use postgres::Server;
use postgres_shop::{PgShop, outcome};
use support::{Outcome, names_in};

/// Of a kind that no other text has, with what URIs, shells and connection strings treat specially.
const PASSWORD: &str = "kept s3cr3t: 'é@/?%\\\"";
const PASSWORD_IN_URI: &str = "kept%20s3cr3t%3A%20%27%C3%A9%40%2F%3F%25%5C%22";
/// What is left of it wherever it is written, however quoted.
const PART_OF_PASSWORD: &str = "s3cr3t";

/// Checks that a command refuses, names the thing and says what to do, to people and to programs.
#[track_caller]
fn refuses(
    shop: &PgShop,
    command: impl Fn(&[&str]) -> Command,
    code: i32,
    kind: &str,
    names: &str,
    hint: &str,
) {
    let told = run(command(&[])).exits(code);
    assert_eq!(told.stdout, "", "{told:#?}");
    assert!(told.stderr.contains("error: ") && told.stderr.contains(names), "{names}: {told:#?}");
    let advice = told.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    assert!(advice.is_some_and(|advice| advice.contains(hint)), "{hint}: {told:#?}");
    let told = run(command(&["--json"])).exits(code);
    let error = &told.json()["error"];
    assert_eq!(error["kind"], kind, "{told:#?}");
    assert!(format!("{} {}", error["message"], error["causes"]).contains(names), "{told:#?}");
    assert!(error["hint"].as_str().is_some_and(|advice| advice.contains(hint)), "{told:#?}");
    shop.folder.has_no_litter();
    shop.has_no_sessions();
    assert_eq!(shop.folder.listed(), Vec::<String>::new());
}

fn run(mut command: Command) -> Outcome {
    outcome(command.output().unwrap(), &["run"])
}

/// A run of an address that is refused.
#[track_caller]
fn refuses_to_run(shop: &PgShop, arguments: &[&str], code: i32, kind: &str, names: &str, hint: &str) {
    let command = |more: &[&str]| shop.command(&[&["run"], arguments, more].concat());
    refuses(shop, command, code, kind, names, hint);
}

/// A shop whose clerk must give a password.
fn shop_with_a_password(major: u32) -> PgShop {
    let shop = PgShop::open(major);
    let password = PASSWORD.replace('\'', "''");
    shop.execute(&format!("CREATE ROLE clerk LOGIN PASSWORD '{password}'; GRANT pg_read_all_data TO clerk"));
    shop.server.admit("host all postgres 127.0.0.1/32 trust\nhost all clerk 127.0.0.1/32 scram-sha-256");
    let address = clerk(&shop.server, "");
    shop.eventually("the server asks for passwords", || {
        let mut psql = shop.server.tool("psql", "shop");
        !psql.args(["-Xw", "-d", &address, "-c", "SELECT 1"]).output().unwrap().status.success()
    });
    shop
}

fn clerk(server: &Server, password: &str) -> String {
    format!("postgres://clerk{password}@127.0.0.1:{}/shop", server.port())
}

#[test]
fn a_wrong_password_and_none() {
    let shop = shop_with_a_password(16);
    let address = clerk(&shop.server, "");
    refuses_to_run(&shop, &[&address], 1, "denied", "password", "PGPASSWORD");
    let wrong = |more: &[&str]| {
        let mut command = shop.command(&[&["run", &address], more].concat());
        command.env("PGPASSWORD", "s3cr3t but wrong");
        command
    };
    refuses(&shop, wrong, 1, "denied", "clerk", "PGPASSWORD");
    let told = run(wrong(&["-vv"]));
    assert!(!format!("{told:?}").contains(PART_OF_PASSWORD), "{told:#?}");
}

#[test]
fn a_database_a_server_and_a_role_that_are_not_there() {
    let shop = PgShop::open(18);
    refuses_to_run(&shop, &[&shop.server.uri("shpo")], 4, "not-found", "shpo", "psql -l");
    let nobody = shop.uri().replace("postgres@", "nobody@");
    refuses_to_run(&shop, &[&nobody], 1, "denied", "nobody", "pg_hba.conf");
    shop.server.fast_stop();
    let command = |more: &[&str]| shop.command(&[&["run", &shop.uri()], more].concat());
    let told = run(command(&[])).exits(1);
    assert!(
        told.stderr.contains(&shop.server.port().to_string()) && told.stderr.contains("hint: "),
        "{told:#?}"
    );
    assert_eq!(run(command(&["--json"])).exits(1).json()["error"]["kind"], "unavailable");
}

#[test]
fn tables_the_role_may_not_read_or_not_wholly() {
    let shop = PgShop::open(15);
    shop.execute("CREATE ROLE clerk LOGIN; GRANT SELECT ON orders, customers_id_seq, orders_id_seq TO clerk");
    let address = clerk(&shop.server, "");
    refuses_to_run(&shop, &[&address], 1, "denied", "customers", "pg_read_all_data");
    shop.backup(&["run", &address, "--exclude-table", "customers", "--name", "orders"]).exits(0);
    fs::remove_dir_all(shop.folder.store()).unwrap();

    shop.execute(
        "GRANT SELECT ON customers TO clerk; ALTER TABLE customers ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY first ON customers USING (id < 10)",
    );
    refuses_to_run(&shop, &[&address], 1, "denied", "customers", "BYPASSRLS");
    shop.execute("ALTER ROLE clerk BYPASSRLS");
    shop.backup(&["run", &address]).exits(0);
}

#[test]
fn client_programs_older_than_the_server() {
    let shop = PgShop::open(18);
    let older = shop.server.bin().join("../../15/bin");
    let command = |more: &[&str]| {
        let mut command = shop.command(&[&["run", &shop.uri()], more].concat());
        command.env("BACKUP_PG_BIN", &older).env("PATH", "/nonexistent");
        command
    };
    refuses(&shop, command, 2, "unsupported", "PostgreSQL 18", "BACKUP_PG_BIN");
    let told = run(command(&[]));
    assert!(told.stderr.contains("found: 15."), "{told:#?}");
}

#[test]
fn patterns_that_nothing_matches() {
    let shop = PgShop::open(16);
    let uri = shop.uri();
    refuses_to_run(&shop, &[&uri, "--table", "custmers"], 4, "not-found", "no matching tables", "--table");
    refuses_to_run(&shop, &[&uri, "--schema", "attic"], 4, "not-found", "no matching schemas", "--schema");
}

#[test]
fn connection_strings_nobody_understands() {
    let shop = PgShop::open(15);
    let uri = shop.uri();
    for (address, names, hint) in [
        (format!("{uri}?aplication_name=x"), "aplication_name", "application_name"),
        (format!("{uri}?sslmode=maybe"), "maybe", "require"),
        (uri.replace(&shop.server.port().to_string(), "99999"), "99999", "65535"),
    ] {
        refuses_to_run(&shop, &[&address], 2, "invalid", names, hint);
    }
}

#[test]
fn what_only_postgresql_can_is_refused_for_sqlite() {
    let shop = PgShop::on(Server::start(15));
    for arguments in [
        &["shop.db", "--format", "plain"][..],
        &["shop.db", "--table", "customers"],
        &["shop.db", "--cross-check"],
        &["shop.db", "--compression", "pg:gzip:6"],
    ] {
        let told = shop.backup(&[&["run"], arguments].concat());
        assert_eq!(told.code, Some(2), "{told:#?}");
        assert!(told.stderr.starts_with("error: ") && told.stderr.contains("hint: "), "{told:#?}");
        assert_eq!(shop.folder.listed(), Vec::<String>::new());
    }
    let refused = shop.backup(&["run", &shop.uri(), "--format", "tar"]);
    refused.exits(2).says("tar");
}

/// The command lines of all processes but those of the command itself, which shows what it was called with.
fn command_lines() -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_ours = line.split(' ').next().is_some_and(|program| program.ends_with("/backup"));
        (!is_ours).then_some(line)
    })
}

/// Runs a command and returns what any process showed of the password in the meantime.
fn watched(command: &mut Command) -> (Outcome, Vec<String>) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut shown = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                shown.extend(command_lines().filter(|line| line.contains(PART_OF_PASSWORD)));
            }
            shown
        });
        let outcome = outcome(command.output().unwrap(), &["run"]);
        ended.store(true, Ordering::Relaxed);
        (outcome, watcher.join().unwrap())
    })
}

/// All files below a folder whose bytes have the password in them, as they lie there or as `zstd` decodes them.
fn files_with_the_password(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            found.extend(files_with_the_password(&path));
            continue;
        }
        let decoded = Command::new("zstd").args(["-dcf"]).arg(&path).output().unwrap().stdout;
        let bytes = [fs::read(&path).unwrap(), decoded].concat();
        let has_it =
            bytes.windows(PART_OF_PASSWORD.len()).any(|window| window == PART_OF_PASSWORD.as_bytes());
        found.extend(has_it.then_some(name));
    }
    found
}

#[test]
fn a_password_stays_secret() {
    let shop = shop_with_a_password(15);
    let plain = clerk(&shop.server, "");
    let uri = clerk(&shop.server, &format!(":{PASSWORD_IN_URI}"));
    fs::create_dir(shop.path("home")).unwrap();
    let file = shop.path("home/.pgpass");
    let line = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    fs::write(&file, format!("127.0.0.1:*:shop:clerk:{line}\n")).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let in_file: [(&str, &str); 1] = [("DATABASE_URL", &plain)];
    let in_environment: [(&str, &str); 2] = [("DATABASE_URL", &plain), ("PGPASSWORD", PASSWORD)];
    let ways: [&[(&str, &str)]; 3] = [&in_file, &in_environment, &[("DATABASE_URL", &uri)]];
    for way in ways {
        let arguments = ["run", "-vv", "--cross-check", "--compression", "none"];
        let mut command = shop.command(&arguments);
        command.envs(way.iter().copied());
        keeps_its_password(&mut command, 0);
        if way == in_file {
            fs::remove_file(&file).unwrap();
        }
    }
    // What fails is told with more words than what succeeds.
    let mut command = shop.command(&["run", "-vv", "--json"]);
    command.env("DATABASE_URL", uri.replace("/shop", "/shpo"));
    keeps_its_password(&mut command, 4);
    assert_eq!(files_with_the_password(&shop.folder.store()), Vec::<String>::new());
}

/// A restore hands the password on to more programs than a dump, and prints a line that connects again.
#[test]
fn a_password_stays_secret_when_it_is_restored_with() {
    let shop = shop_with_a_password(16);
    shop.execute("ALTER ROLE clerk CREATEDB");
    let id = shop.back_up();
    let copy = |password, name| clerk(&shop.server, password).replace("/shop", name);
    let ours = ["--no-owner", "--no-privileges", "-vv"];
    let mut command = shop.command(&[&["restore", &id, "--to", &copy("", "/copy")], &ours[..]].concat());
    keeps_its_password(command.env("PGPASSWORD", PASSWORD), 0);
    let password = format!(":{PASSWORD_IN_URI}");
    for target in [copy(&password, "/other"), copy(&password, "/other") + "?application_name=again"] {
        let arguments = ["restore", &id, "--to", &target, "--replace", "--yes"];
        keeps_its_password(&mut shop.command(&[&arguments[..], &ours].concat()), 0);
    }
    let mut command = shop.command(&["drill", &id, "--on", &copy(&password, "/shop"), "-vv"]);
    let (_, shown) = watched(&mut command);
    assert_eq!(shown, Vec::<String>::new());
    assert_eq!(files_with_the_password(&shop.folder.store()), Vec::<String>::new());
}

/// Checks that neither the command's words nor any other process's command line show the password.
#[track_caller]
fn keeps_its_password(command: &mut Command, code: i32) {
    let (told, shown) = watched(command);
    assert_eq!(shown, Vec::<String>::new(), "a process shows the password");
    assert!(!format!("{:?} {:?}", told.stdout, told.stderr).contains(PART_OF_PASSWORD), "{told:#?}");
    told.exits(code);
}
