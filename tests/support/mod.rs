//! A shop, its database, its backups and the command that makes them: what the tests of this folder share.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
};

use rusqlite::{Connection, config::DbConfig};
use serde_json::Value;
use tempfile::TempDir;

/// What SIGKILL is called in an exit status.
pub(crate) const SIGKILL: i32 = 9;

/// What would lead the command elsewhere.
const VARIABLES: [&str; 10] = [
    "BACKUP_CONFIG",
    "BACKUP_STORE",
    "BACKUP_DIR",
    "BACKUP_MIRRORS",
    "BACKUP_SCRATCH",
    "BACKUP_CRASH_AT",
    "BACKUP_IDENTITY",
    "BACKUP_PASSPHRASE",
    "BACKUP_PASSPHRASE_FILE",
    "DATABASE_URL",
];

/// A folder with the database of a shop and, once there are some, its backups.
pub(crate) struct Shop {
    folder: TempDir,
}

impl Shop {
    /// A shop with 600 customers, its database in rollback mode.
    pub(crate) fn open() -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        shop.execute("CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, note TEXT)");
        shop.welcome(600);
        shop
    }

    /// So many more customers, each with a note that no compressor can shorten much.
    pub(crate) fn welcome(&self, customers: u32) {
        self.execute(&new_customers(customers));
    }

    pub(crate) fn execute(&self, sql: &str) {
        Connection::open(self.database()).unwrap().execute_batch(sql).unwrap();
    }

    /// Turns WAL mode on and commits more customers than the database file knows of: they are only in the log.
    pub(crate) fn welcome_in_log_only(&self, customers: u32) {
        let connection = Connection::open(self.database()).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
        connection.execute_batch(&new_customers(customers)).unwrap();
        drop(connection);
        assert!(fs::metadata(self.path("shop.db-wal")).unwrap().len() > 0, "the log was to keep its commits");
    }

    /// Leaves the database as a stock shell does that dies inside a transaction: changed pages and a hot journal.
    pub(crate) fn die_in_transaction(&self) {
        let mut shell = Shell::open(&self.database());
        shell.run("PRAGMA cache_size=1;");
        shell.run(&format!("BEGIN; UPDATE customers SET name = 'nobody'; {}", new_customers(3000)));
        shell.kill();
        assert!(fs::metadata(self.path("shop.db-journal")).unwrap().len() > 0, "the journal was to be hot");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("shop.db")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("backups")
    }

    /// The stored bytes of a backup.
    pub(crate) fn payload(&self, id: &str) -> PathBuf {
        let names = names_in(&self.full());
        let payload = |name: &String| name.strip_prefix(id).is_some_and(|rest| rest.starts_with(".db"));
        self.full().join(names.into_iter().find(payload).unwrap_or_else(|| panic!("no payload of {id}")))
    }

    pub(crate) fn manifest(&self, id: &str) -> PathBuf {
        self.full().join(format!("{id}.json"))
    }

    fn full(&self) -> PathBuf {
        self.store().join("shop/full")
    }

    /// The command, in this shop's folder and on its store, with nobody at the keyboard.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_on(self.store().to_str().unwrap(), arguments)
    }

    /// The same on another store, as people name it.
    pub(crate) fn command_on(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = self.bare_command();
        command.arg("--store").arg(store).args(arguments);
        command
    }

    /// The command in this shop's folder, with no argument and no surroundings that could lead it elsewhere.
    pub(crate) fn bare_command(&self) -> Command {
        self.bare_command_of(&program())
    }

    /// Another program in the same surroundings.
    pub(crate) fn bare_command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_CONFIG_HOME", self.path("config"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn backup(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap(), arguments)
    }

    pub(crate) fn backup_on(&self, store: &str, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command_on(store, arguments).output().unwrap(), arguments)
    }

    pub(crate) fn backup_killed_at(&self, point: &str, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).env("BACKUP_CRASH_AT", point).output().unwrap(), arguments)
    }

    /// Takes a backup and returns its id.
    pub(crate) fn back_up(&self) -> String {
        self.back_up_with(&[])
    }

    pub(crate) fn back_up_with(&self, options: &[&str]) -> String {
        let run = self.backup(&[&["run", "shop.db"], options].concat()).exits(0);
        run.stdout.trim().to_owned()
    }

    /// The ids that `list` shows, oldest first.
    pub(crate) fn listed(&self) -> Vec<String> {
        let list = self.backup(&["list", "--json"]).exits(0).json();
        let backups = list["backups"].as_array().unwrap();
        backups.iter().map(|manifest| manifest["id"].as_str().unwrap().to_owned()).collect()
    }

    /// What must not be lost, whatever goes wrong.
    pub(crate) fn valuables(&self) -> Valuables {
        Valuables { ids: self.listed(), source: self.source_bytes(), objects: self.objects() }
    }

    /// Checks that older backups list, show and verify, that their bytes are the same, and the source's too.
    #[track_caller]
    pub(crate) fn has_lost_nothing(&self, before: &Valuables) {
        assert!(self.source_bytes() == before.source, "the source was changed");
        let (listed, objects) = (self.listed(), self.objects());
        for id in &before.ids {
            assert!(listed.contains(id), "{id} is no longer listed: {listed:?}");
            self.backup(&["show", id]).exits(0);
            self.backup(&["verify", id]).exits(0);
        }
        for (path, bytes) in &before.objects {
            assert!(objects.get(path) == Some(bytes), "{} was changed", path.display());
        }
    }

    /// Checks that there is no new backup and nothing half made.
    #[track_caller]
    pub(crate) fn has_gained_nothing(&self, before: &Valuables) {
        assert_eq!(self.listed(), before.ids);
        assert!(self.objects().keys().eq(before.objects.keys()), "something new lies in the store");
        self.has_no_litter();
    }

    /// Checks that no half-written object and no working copy is left in the store.
    #[track_caller]
    pub(crate) fn has_no_litter(&self) {
        let litter: Vec<PathBuf> =
            files_below(&self.store()).into_iter().filter(|path| is_litter(path)).collect();
        assert!(litter.is_empty(), "left behind: {litter:?}");
    }

    fn source_bytes(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let parts = ["shop.db", "shop.db-wal", "shop.db-journal"];
        parts.into_iter().filter_map(|part| Some((part, fs::read(self.path(part)).ok()?))).collect()
    }

    fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let is_object = |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("full"));
        let is_latest = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("latest.");
        let files = files_below(&self.store()).into_iter();
        let objects = files.filter(|path| is_object(path) && !is_latest(path) && !is_litter(path));
        objects.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

/// See [`Shop::valuables`].
pub(crate) struct Valuables {
    pub(crate) ids: Vec<String>,
    source: BTreeMap<&'static str, Vec<u8>>,
    objects: BTreeMap<PathBuf, Vec<u8>>,
}

fn new_customers(count: u32) -> String {
    format!(
        "INSERT INTO customers(name, note) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT 'customer ' || i, hex(randomblob(20)) FROM n;"
    )
}

fn is_litter(path: &Path) -> bool {
    let is_scratch = |part: &std::path::Component<'_>| part.as_os_str() == ".scratch";
    path.components().any(|part| is_scratch(&part))
        || path.file_name().unwrap().to_string_lossy().starts_with(".partial-")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// The names in a folder, in order.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The command of this workspace, built beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("backup");
    assert!(program.is_file(), "build it first: cargo build -p backup-cli");
    program
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: Output, arguments: &[&str]) -> Self {
        Self {
            command: arguments.join(" "),
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn dies_of(self, signal: i32) -> Self {
        assert_eq!(self.signal, Some(signal), "{self:#?}");
        self
    }

    /// Checks that people get to read this, on either stream.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "{text:?} is missing in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// Every customer of a database as rusqlite reads it; checks its integrity on the way.
#[track_caller]
pub(crate) fn customers(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{}", database.display());
    let mut query =
        connection.prepare("SELECT id || '|' || name || '|' || note FROM customers ORDER BY id").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The same as the stock `sqlite3` shell reads it.
#[track_caller]
pub(crate) fn customers_by_stock_shell(database: &Path) -> Vec<String> {
    assert_eq!(stock_shell(database, "PRAGMA integrity_check"), "ok\n", "{}", database.display());
    let rows = stock_shell(database, "SELECT id, name, note FROM customers ORDER BY id");
    rows.lines().map(str::to_owned).collect()
}

/// Compares customers without printing all of them.
#[track_caller]
pub(crate) fn are_the_same(found: &[String], expected: &[String], what: &str) {
    let differing = found.iter().zip(expected).find(|(found, expected)| found != expected);
    let counts = (found.len(), expected.len());
    assert!(
        found == expected,
        "{what}: customers found and expected: {counts:?}; first that differs: {differing:?}"
    );
}

/// What the stock `sqlite3` shell answers.
#[track_caller]
pub(crate) fn stock_shell(database: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .args(["-batch", "-init", "/dev/null"])
        .arg(database)
        .arg(sql)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A stock `sqlite3` shell that somebody keeps open.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    lines: BufReader<std::process::ChildStdout>,
}

impl Shell {
    pub(crate) fn open(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.args(["-batch", "-init", "/dev/null"]).arg(database);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, lines: BufReader::new(output) }
    }

    /// Runs statements to their end.
    pub(crate) fn run(&mut self, sql: &str) {
        // The shell keeps its own output back; a child of it does not.
        writeln!(self.input, "{sql}\n.shell echo done").unwrap();
        let mut line = String::new();
        while line != "done\n" {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the shell ended early");
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A small disk of its own, unmounted on drop.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts an empty one on a folder, which is made; `size` as `mount` writes it, e.g. `1m`.
    pub(crate) fn mount(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let disk = Self { folder: folder.to_owned() };
        mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"], folder);
        disk
    }

    pub(crate) fn make_read_only(&self) {
        mount(&["-o", "remount,ro"], &self.folder);
    }
}

fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status().unwrap();
    assert!(status.success(), "mounting needs root");
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
