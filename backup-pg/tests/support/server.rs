//! A PostgreSQL server with data of its own, gone with the test that started it, however that test ends.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::installation::{
    as_server_user, bin, forget_surroundings, give_to_server_user, root, succeed, text_of,
};

/// The longest path of a socket's folder: a socket address has 108 bytes, of which the socket's name takes 15.
const LONGEST_SOCKET_FOLDER: usize = 90;
/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops the server and removes its folder as soon as standard input ends, that is when the test lets go or dies.
/// What a killed postmaster has left behind is found by its working folder, which is the data folder.
const WATCHDOG: &str = r#"
folder="$1"; shift
cat >/dev/null
"$@" >/dev/null 2>&1
for process in /proc/[0-9]*; do
    if [ "$process/cwd" -ef "$folder/data" ]; then kill -9 "${process#/proc/}"; fi
done
# A copy that is still under way may add to it.
rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"#;

/// A running server: trusts everybody on 127.0.0.1 and on its socket, and syncs nothing.
///
/// Its superuser is `postgres`, its databases are UTF8 with the locale `C.UTF-8`.
pub(crate) struct Server {
    major: u32,
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    watchdog: Child,
    leash: Option<ChildStdin>,
}

/// A session of somebody else, as `pg_stat_activity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) pid: i32,
    pub(crate) application_name: String,
    pub(crate) state: String,
}

impl Server {
    /// Starts a server of that major.
    pub(crate) fn start(major: u32) -> Self {
        Self::with(major, &[])
    }

    /// Starts a server with more settings, each `name=value`.
    ///
    /// With `ssl=on` it has a certificate for `localhost` and 127.0.0.1, signed by itself: see
    /// [`Self::certificate`]. Only the build of major 15 can do that.
    pub(crate) fn with(major: u32, settings: &[&str]) -> Self {
        super::installation::name_the_programs();
        let folder = server_folder();
        let data = folder.join("data");
        let mut watchdog = Command::new("sh");
        // A process group of its own: what kills the test's group lets it do its work.
        watchdog.args(["-c", WATCHDOG, "watchdog"]).arg(&folder).process_group(0);
        let stop = pg_ctl(major, &data, &["stop", "-m", "immediate", "-t", "30"]);
        watchdog.arg(stop.get_program()).args(stop.get_args()).current_dir("/");
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watchdog = watchdog.spawn().unwrap();
        let leash = watchdog.stdin.take();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { major, port: 0, folder, settings, watchdog, leash };
        copy_template(major, &server.folder);
        if server.settings.iter().any(|setting| setting == "ssl=on") {
            server.make_certificate();
        }
        server.start_on_free_port();
        server
    }

    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of this major's programs.
    pub(crate) fn bin(&self) -> PathBuf {
        bin(self.major)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the Unix socket.
    pub(crate) fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The address of a database over TCP.
    pub(crate) fn uri(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, percent_encoded(database))
    }

    /// The address of a database over the Unix socket.
    pub(crate) fn socket_uri(&self, database: &str) -> String {
        let folder = percent_encoded(&self.folder.to_string_lossy());
        format!("postgres://postgres@/{}?host={folder}&port={}", percent_encoded(database), self.port)
    }

    /// The certificate of a server with `ssl=on`, which is its own authority.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// One of this major's client programs, led to a database by its environment.
    pub(crate) fn tool(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(self.bin().join(name));
        forget_surroundings(&mut command);
        command.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        // Not an argument, since a tool takes one with "=" in it for a connection string.
        command.env("PGDATABASE", database).env("PGCLIENTENCODING", "UTF8").stdin(Stdio::null());
        command
    }

    /// Runs a client program, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, database: &str, arguments: &[&str]) -> String {
        succeed(self.tool(name, database).args(arguments))
    }

    /// What the statements answer: a line per row, columns separated by `|`, no last line feed.
    #[track_caller]
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let mut command = self.psql_command(database);
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            // A psql that stops at an error leaves the rest unread.
            scope.spawn(move || drop(input.write_all(sql.as_bytes())));
            child.wait_with_output().unwrap()
        });
        psql = command.arg("…");
        text_of(&output, psql).trim_end_matches('\n').to_owned()
    }

    /// Runs a file of statements.
    #[track_caller]
    pub(crate) fn psql_file(&self, database: &str, path: &Path) -> String {
        succeed(self.psql_command(database).arg("-f").arg(path))
    }

    fn psql_command(&self, database: &str) -> Command {
        let mut command = self.tool("psql", database);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// Creates a database, with the rest of `CREATE DATABASE` as it stands.
    #[track_caller]
    pub(crate) fn create_database(&self, name: &str, options: &str) {
        self.psql("postgres", &format!("CREATE DATABASE {} {options}", quoted(name)));
    }

    /// Whether there is such a database.
    pub(crate) fn has_database(&self, name: &str) -> bool {
        self.databases().iter().any(|database| database == name)
    }

    /// All databases but the templates, sorted.
    pub(crate) fn databases(&self) -> Vec<String> {
        let sql = "SELECT json_agg(datname ORDER BY datname COLLATE \"C\") FROM pg_database WHERE NOT datistemplate";
        serde_json::from_str(&self.psql("postgres", sql)).unwrap()
    }

    /// The sessions on a database, but for the one that asks.
    pub(crate) fn sessions(&self, database: &str) -> Vec<Session> {
        let sql = format!(
            "SELECT pid, state, application_name FROM pg_stat_activity WHERE datname = '{}' \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid",
            database.replace('\'', "''")
        );
        let session = |line: &str| {
            let mut columns = line.splitn(3, '|').map(str::to_owned);
            let pid = columns.next().unwrap().parse().unwrap();
            Session { pid, state: columns.next().unwrap(), application_name: columns.next().unwrap() }
        };
        self.psql("postgres", &sql).lines().map(session).collect()
    }

    /// Replaces who may connect and how, in lines of `pg_hba.conf`; what is not named is refused, but for the
    /// superuser on the socket, by whom the kit itself connects.
    pub(crate) fn admit(&self, lines: &str) {
        let lines = format!("local all postgres trust\n{lines}\n");
        fs::write(self.data().join("pg_hba.conf"), lines).unwrap();
        succeed(&mut pg_ctl(self.major, &self.data(), &["reload"]));
    }

    /// What the server has logged since it was made.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Kills the postmaster with SIGKILL; its backends notice and follow.
    pub(crate) fn kill_postmaster(&self) {
        let postmaster = self.postmaster();
        kill_process(postmaster, Signal::KILL).unwrap();
        let begun = Instant::now();
        while is_alive(postmaster) {
            assert!(begun.elapsed() < PATIENCE, "the postmaster survives SIGKILL");
            thread::sleep(Duration::from_millis(5));
        }
        // PostgreSQL takes the owner of this file for alive as long as nobody has waited for the dead process.
        fs::remove_file(self.data().join("postmaster.pid")).unwrap();
    }

    /// The process id of the postmaster.
    pub(crate) fn postmaster(&self) -> Pid {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap()).unwrap()
    }

    /// Stops the server as an administrator does: sessions are told and ended.
    pub(crate) fn fast_stop(&self) {
        succeed(&mut pg_ctl(self.major, &self.data(), &["stop", "-m", "fast"]));
    }

    /// Starts the server again on the same port, after it was stopped or killed or while it runs.
    pub(crate) fn restart(&self) {
        if pg_ctl(self.major, &self.data(), &["status"]).output().unwrap().status.success() {
            self.fast_stop();
        }
        let begun = Instant::now();
        // After a kill the last backends hold the shared memory for a moment.
        while let Err(log) = self.try_start() {
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL {} does not start again: {log}", self.major);
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn start_on_free_port(&mut self) {
        for attempt in 1.. {
            // Free at this moment; whoever takes it before the server does makes for another attempt.
            self.port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            self.write_settings();
            let Err(log) = self.try_start() else { return };
            let taken = log.contains("Address already in use");
            assert!(taken && attempt < 10, "PostgreSQL {} does not start: {log}", self.major);
        }
    }

    /// Starts the server, or returns what it has logged about why not.
    fn try_start(&self) -> Result<(), String> {
        let log = self.folder.join("log");
        let begin = fs::metadata(&log).map_or(0, |metadata| metadata.len() as usize);
        let mut start = pg_ctl(self.major, &self.data(), &["start", "-w", "-s", "-l"]);
        start.arg(&log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if start.status().unwrap().success() {
            return Ok(());
        }
        Err(self.log().get(begin..).unwrap_or_default().to_owned())
    }

    fn write_settings(&self) {
        let socket = self.folder.display();
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{socket}'\nfsync = off\n\
             shared_buffers = '32MB'\nmax_connections = 100\nlog_destination = stderr\nlogging_collector = off\n",
            self.port
        );
        if self.certificate().exists() {
            lines +=
                &format!("ssl_cert_file = '{socket}/server.crt'\nssl_key_file = '{socket}/server.key'\n");
        }
        for setting in &self.settings {
            let (name, value) = setting.split_once('=').expect("a setting is name=value");
            lines += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        // This file is read last, and the server's owner keeps it.
        fs::write(self.data().join("postgresql.auto.conf"), lines).unwrap();
    }

    fn make_certificate(&self) {
        let mut openssl = as_server_user(Path::new("openssl"));
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=localhost",
        ]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out"]);
        succeed(openssl.arg(self.certificate()).arg("-keyout").arg(self.folder.join("server.key")));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.leash.take());
        drop(self.watchdog.wait());
    }
}

/// Whether a process runs; one that is dead but not yet waited for does not.
pub(crate) fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    // The name of the program is in parentheses and may hold anything.
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
}

fn pg_ctl(major: u32, data: &Path, arguments: &[&str]) -> Command {
    let mut command = as_server_user(&bin(major).join("pg_ctl"));
    command.arg("-D").arg(data).args(arguments);
    command
}

/// A new folder of the servers' user, which the watchdog will remove.
fn server_folder() -> PathBuf {
    let all = root().join("servers");
    fs::create_dir_all(&all).unwrap();
    let folder = tempfile::Builder::new().prefix("").tempdir_in(&all).unwrap().keep();
    let length = folder.as_os_str().len();
    assert!(
        length <= LONGEST_SOCKET_FOLDER,
        "\"{}\" is too long for a socket: set BACKUP_POSTGRES",
        folder.display()
    );
    give_to_server_user(&folder);
    folder
}

/// Fills the data folder from a cluster that `initdb` has made once for this version.
fn copy_template(major: u32, folder: &Path) {
    let template = template(major);
    succeed(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(folder.join("data")));
}

fn template(major: u32) -> PathBuf {
    let version = succeed(Command::new(bin(major).join("postgres")).arg("--version"));
    let version = version.split_whitespace().nth(2).expect("postgres (PostgreSQL) 15.18 …");
    let template = root().join(format!("template-{version}"));
    let lock = File::create(root().join(format!("template-{major}.lock"))).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        let draft: TempDir = tempfile::Builder::new().prefix("draft").tempdir_in(root()).unwrap();
        give_to_server_user(draft.path());
        let made = draft.path().join("data");
        let mut initdb = as_server_user(&bin(major).join("initdb"));
        initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        succeed(initdb.arg(&made));
        fs::rename(&made, &template).unwrap();
    }
    template
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encoded).collect()
}
