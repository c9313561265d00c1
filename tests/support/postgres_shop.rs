//! A shop whose database lies on a PostgreSQL server of its own, and the command that backs it up.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    postgres::{Server, is_alive},
    support::{Outcome, Shop, names_in},
};

/// How long something may take that is to happen by itself within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Customers with odd values, orders that refer to them, and what belongs to a table.
const TABLES: &str = r#"
CREATE TABLE customers (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, note text, photo bytea);
INSERT INTO customers (name, note, photo) SELECT 'customer ' || n, md5(n::text), decode(md5(n::text), 'hex')
    FROM generate_series(1, 600) n;
INSERT INTO customers (name, note) VALUES ('O''Neil \ Söhne', E'two\nlines,\ta tab and a "quote"'), ('', NULL), ('\N', '');
CREATE TABLE orders (id serial PRIMARY KEY, customer integer NOT NULL REFERENCES customers, cents bigint, placed timestamptz);
INSERT INTO orders (customer, cents, placed) SELECT 1 + n % 600, n * 7, '2024-02-29 12:00Z'::timestamptz + n * interval '1 hour'
    FROM generate_series(1, 400) n;
CREATE INDEX orders_by_customer ON orders (customer);
CREATE VIEW sums AS SELECT customer, sum(cents) AS cents FROM orders GROUP BY customer;"#;

/// Every row of every table that people made, as a count and a hash per table, whatever the order of the rows.
const DIGESTS: &str = r#"
SET datestyle = ISO; SET timezone = UTC; SET extra_float_digits = 3; SET bytea_output = hex; SET search_path = '';
CREATE FUNCTION pg_temp.digest(name regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE digest text;
BEGIN
    EXECUTE format($sql$SELECT count(*) || ' ' || coalesce(md5(string_agg(row, '' ORDER BY row)), '')
        FROM (SELECT md5(t::text) AS row FROM ONLY %s AS t) AS rows$sql$, name) INTO digest;
    RETURN digest;
END $$;
SELECT coalesce(json_object_agg(format('%I.%I', nspname, relname), pg_temp.digest(c.oid)), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't' AND nspname NOT IN ('pg_catalog', 'information_schema')"#;

/// A folder with the backups of the database `shop` of a server.
pub(crate) struct PgShop {
    pub(crate) folder: Shop,
    pub(crate) server: Server,
}

impl PgShop {
    /// A shop with customers and orders, on a new server of that major.
    pub(crate) fn open(major: u32) -> Self {
        Self::with_tables_on(Server::start(major))
    }

    /// The same on a server with settings of its own.
    pub(crate) fn with_tables_on(server: Server) -> Self {
        let shop = Self::on(server);
        shop.server.create_database("shop", "");
        shop.execute(TABLES);
        shop
    }

    /// The same with so many notes of 3,200 bytes each, little on the server's disk and much in a dump.
    pub(crate) fn with_notes(major: u32, count: u32) -> Self {
        let shop = Self::open(major);
        shop.execute(&format!(
            "CREATE TABLE notes (id integer PRIMARY KEY, note text);
             INSERT INTO notes SELECT n, repeat(md5(n::text), 100) FROM generate_series(1, {count}) n"
        ));
        shop
    }

    /// A shop whose database is still to be created.
    pub(crate) fn on(server: Server) -> Self {
        Self { folder: Shop::open(), server }
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.server.psql("shop", sql);
    }

    /// The address of the shop's database.
    pub(crate) fn uri(&self) -> String {
        self.server.uri("shop")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// The command, with the client programs of the server's major, led nowhere by its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.surround(self.folder.command(arguments))
    }

    /// The same with no argument, not even the store.
    pub(crate) fn bare_command(&self) -> Command {
        self.surround(self.folder.bare_command())
    }

    /// Another program in the same surroundings.
    pub(crate) fn bare_command_in(&self, program: &str) -> Command {
        self.surround(self.folder.bare_command_of(Path::new(program)))
    }

    fn surround(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("BACKUP_PG_BIN", self.server.bin()).env("HOME", self.path("home"));
        command
    }

    pub(crate) fn backup(&self, arguments: &[&str]) -> Outcome {
        self.begin(arguments).wait()
    }

    /// Takes a backup of the shop and returns its id.
    #[track_caller]
    pub(crate) fn back_up(&self) -> String {
        self.back_up_with(&[])
    }

    #[track_caller]
    pub(crate) fn back_up_with(&self, options: &[&str]) -> String {
        let run = self.backup(&[&["run", &self.uri()], options].concat()).exits(0);
        run.stdout.trim().to_owned()
    }

    /// Restores a backup into a new database of the same server.
    #[track_caller]
    pub(crate) fn restore(&self, id: &str, database: &str) -> Outcome {
        self.backup(&["restore", id, "--to", &self.server.uri(database)]).exits(0)
    }

    #[track_caller]
    pub(crate) fn manifest(&self, id: &str) -> Value {
        self.backup(&["show", id, "--json"]).exits(0).json()["manifest"].clone()
    }

    /// A stored file of a backup: its payload ends with `.dump`, `.sql` or `.tar` and what its encoding adds.
    #[track_caller]
    pub(crate) fn stored(&self, id: &str, extension: &str) -> PathBuf {
        let folder = self.folder.store().join("shop/full");
        let start = format!("{id}.{extension}");
        let name = names_in(&folder).into_iter().find(|name| name.starts_with(&start));
        folder.join(name.unwrap_or_else(|| panic!("no {start} in {:?}", names_in(&folder))))
    }

    /// The stored bytes of a backup in the custom format.
    #[track_caller]
    pub(crate) fn payload(&self, id: &str) -> PathBuf {
        self.stored(id, "dump")
    }

    /// The payload of a backup as `zstd` decodes it, as a file of its own.
    #[track_caller]
    pub(crate) fn decoded(&self, id: &str, extension: &str) -> PathBuf {
        let path = self.path(&format!("{id}.decoded"));
        let mut zstd = Command::new("zstd");
        zstd.arg("-dc").arg(self.stored(id, extension)).stdout(File::create(&path).unwrap());
        assert!(zstd.status().unwrap().success());
        path
    }

    /// Each table's row count and hash, by its name.
    #[track_caller]
    pub(crate) fn digests(&self, database: &str) -> Value {
        serde_json::from_str(&self.server.psql(database, DIGESTS)).unwrap()
    }

    /// The rows of each table that a database has, by its name.
    #[track_caller]
    pub(crate) fn counts(&self, database: &str) -> Vec<(String, u64)> {
        let digests = self.digests(database);
        let count = |text: &Value| text.as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        digests.as_object().unwrap().iter().map(|(name, text)| (name.clone(), count(text))).collect()
    }

    /// Starts the command and leaves it to itself.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Underway {
        // Beside one that is halted another may run.
        let folder = tempfile::tempdir_in(self.path("")).unwrap().keep();
        let (out, err) = (folder.join("stdout"), folder.join("stderr"));
        let mut command = self.command(arguments);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        // A Ctrl-C is for the command, not for the test.
        let child = command.process_group(0).stdin(Stdio::null()).spawn().unwrap();
        Underway { child, command: arguments.join(" "), out, err }
    }

    /// Starts a run and halts it in the middle of the notes' rows: pipes fill up, pg_dump and its session wait.
    pub(crate) fn begin_and_halt_among_the_notes(&self) -> Underway {
        let run = self.begin(&["run", &self.uri()]);
        self.eventually("pg_dump copies the notes", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup dump%' \
                       AND state = 'active' AND query LIKE 'COPY public.notes%'";
            self.server.psql("postgres", sql) == "1"
        });
        run.signal(Signal::STOP);
        assert!(run.is_running(), "the run was to be under way: {}", fs::read_to_string(&run.err).unwrap());
        run
    }

    /// Checks that within seconds no session of ours is left on the server.
    #[track_caller]
    pub(crate) fn has_no_sessions(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup%'";
        self.eventually("our sessions are gone", || self.server.psql("postgres", sql) == "0");
    }

    /// Checks that the server has these databases and no others, beside `postgres`.
    #[track_caller]
    pub(crate) fn has_only_databases(&self, names: &[&str]) {
        let mut expected = [names, &["postgres"]].concat();
        expected.sort_unstable();
        assert_eq!(self.server.databases(), expected);
    }

    /// Checks that a run that failed left nothing behind, and that the next one succeeds.
    #[track_caller]
    pub(crate) fn recovers(&self, listed: &[String]) -> String {
        self.has_no_sessions();
        self.has_only_databases(&["shop"]);
        assert_eq!(self.folder.listed(), listed);
        let next = self.back_up();
        self.folder.has_no_litter();
        self.backup(&["verify", "--all"]).exits(0).says(&next);
        next
    }

    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < PATIENCE, "it did not come to be that {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A command that is still at work.
pub(crate) struct Underway {
    child: Child,
    command: String,
    out: PathBuf,
    err: PathBuf,
}

impl Underway {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn is_running(&self) -> bool {
        is_alive(self.pid())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The process of a program that it has started.
    #[track_caller]
    pub(crate) fn process_of(&self, program: &str) -> Pid {
        let found = children_of(self.pid()).into_iter().find(|(_, name)| name == program);
        found.unwrap_or_else(|| panic!("no {program} is running")).0
    }

    /// What it did in the end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Outcome {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "{} does not end", self.command);
            thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Outcome {
            command: self.command.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.out),
            stderr: read(&self.err),
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        // After a test that failed half way; a halted process cannot end otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that a process has started, with the names of their programs.
pub(crate) fn children_of(parent: Pid) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let child = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let is_child = rest.split(' ').nth(1)?.parse() == Ok(parent.as_raw_nonzero().get());
        is_child.then(|| (pid, name.to_owned()))
    };
    processes.filter_map(child).collect()
}

pub(crate) fn outcome(output: Output, arguments: &[&str]) -> Outcome {
    Outcome {
        command: arguments.join(" "),
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The rows that a manifest states of each table.
pub(crate) fn stated(manifest: &Value) -> Vec<(String, u64)> {
    let tables = manifest["tables"].as_array().unwrap().iter();
    let mut stated: Vec<(String, u64)> = tables
        .map(|table| (table["name"].as_str().unwrap().to_owned(), table["rows"].as_u64().unwrap()))
        .collect();
    stated.sort();
    stated
}
