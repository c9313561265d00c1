//! Back up and restore a PostgreSQL database, side by side with the tools it would otherwise be done with.
//!
//! The cases, on a stock history whose dump has about `BENCH_MIB` (1080, which makes 1.15 GB) MiB of text:
//!
//! 1. `run --verify checksum` against `pg_dump -Fc -Z0`, `zstd -3 -T2` and `sync`;
//! 2. the same against `pg_dump --format=custom --compress=9`, which runs once;
//! 3. `restore latest --jobs 2` with its proofs against `createdb` and `pg_restore -j2` of a file on disk, one of
//!    `pg_dump -Fc -Z0`, which costs nothing to read, and one of `pg_dump -Fc`;
//! 4. what of the restore was loading and what was checking, as `-v` tells.
//!
//! The user CPU of both sides shows what counting the rows that stream by costs; a peak is that of the largest
//! process. Both sides run in turn, `BENCH_ROUNDS` (3) times; medians and their ratios are printed and nothing is
//! asserted. It starts a PostgreSQL 15 of its own (`BENCH_PG_BIN`, /usr/lib/postgresql/15/bin), as the user
//! `postgres` if it is root, with its data in `BENCH_DIR`, which that user must reach. It needs `bash`, `zstd` and
//! GNU `/usr/bin/time`, and measures `BENCH_BACKUP` or what `cargo build --release` has made; with
//! `BENCH_BACKUP=none` the peers alone:
//!
//! ```sh
//! cargo build --release && cargo bench --bench postgres
//! ```
#![allow(clippy::print_stdout, reason = "the table is what a bench is for")]

use std::error::Error;
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const DATABASE: &str = "stocks_research";
const RESTORED: &str = "restored";

fn main() -> Result<()> {
    let bench = Bench::from_env()?;
    let server = bench.server(number("BENCH_MIB", 1080)?)?;
    println!(
        "{:<24} {:>8} {:>8} {:>6} {:>15} {:>15}  bytes ours/peer",
        "case", "ours s", "peer s", "ratio", "user CPU s", "peak MiB"
    );
    bench.run_cases(&server)?;
    bench.restore_case(&server)
}

fn number(name: &str, default: i64) -> Result<i64> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

struct Bench {
    /// The command, unless only the peers are measured.
    backup: Option<PathBuf>,
    dir: PathBuf,
    rounds: i64,
}

/// What one command took, and its peak memory.
struct Measured {
    seconds: f64,
    user_seconds: f64,
    peak_mib: f64,
    messages: String,
}

impl Bench {
    fn from_env() -> Result<Self> {
        let beside = env::current_exe()?.ancestors().nth(2).ok_or("no target folder")?.join("backup");
        let backup = env::var_os("BENCH_BACKUP").map_or(beside, PathBuf::from);
        let dir = env::var_os("BENCH_DIR").map_or(env::temp_dir().join("backup-bench"), PathBuf::from);
        fs::create_dir_all(&dir)?;
        let backup = (backup != Path::new("none")).then_some(backup);
        Ok(Self { backup, dir, rounds: number("BENCH_ROUNDS", 3)?.max(1) })
    }

    /// A server with the database of that size, made on first use.
    fn server(&self, mib: i64) -> Result<Server> {
        let data = self.path(&format!("stocks-{mib}"));
        if !data.exists() {
            let draft = self.fresh("stocks-draft")?;
            Server::create(&draft)?;
            let server = Server::start(&draft)?;
            create_stocks(&server, mib)?;
            drop(server);
            fs::rename(&draft, &data)?;
        }
        Server::start(&data)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A path with nothing at it.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }

    fn run_cases(&self, server: &Server) -> Result<()> {
        let (mut ours, mut zstd) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            ours.extend(self.run(server)?);
            zstd.push(self.dump_and_zstd(server)?);
        }
        let gzip = vec![self.dump_compressed(server)?];
        let stored = self.backup.as_ref().map(|_| largest_file(&self.path("store-stocks"))).transpose()?;
        let size = |name| -> Result<(Option<u64>, u64)> { Ok((stored, self.path(name).metadata()?.len())) };
        print_case("run, pg_dump|zstd -3", &ours, &zstd, Some(size("peer.dump.zst")?));
        print_case("run, pg_dump -Z9", &ours, &gzip, Some(size("peer.dump")?));
        Ok(())
    }

    fn restore_case(&self, server: &Server) -> Result<()> {
        let (plain, packed) = (self.fresh("peer.dump")?, self.fresh("peer-default.dump")?);
        server.measure(r#"pg_dump -Fc -Z0 -f "$1" "$2""#, &[plain.as_os_str(), DATABASE.as_ref()])?;
        server.measure(r#"pg_dump -Fc -f "$1" "$2""#, &[packed.as_os_str(), DATABASE.as_ref()])?;
        let (mut ours, mut from_plain, mut from_packed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            ours.extend(self.restore(server)?);
            from_plain.push(self.create_and_restore(server, &plain)?);
            from_packed.push(self.create_and_restore(server, &packed)?);
        }
        server.drop_restored()?;
        print_case("restore, pg_restore -Z0", &ours, &from_plain, None);
        print_case("restore, pg_restore -Fc", &ours, &from_packed, None);
        let steps = ours.iter().flat_map(|measured| measured.messages.lines());
        for step in steps.filter(|line| line.contains("loading:") || line.contains("checking:")) {
            println!("  {step}");
        }
        Ok(())
    }

    fn run(&self, server: &Server) -> Result<Option<Measured>> {
        let Some(backup) = &self.backup else { return Ok(None) };
        let (store, source) = (self.fresh("store-stocks")?, server.uri(DATABASE));
        let script = r#""$1" --store "$2" run "$3" --verify checksum"#;
        server.measure(script, &[backup.as_os_str(), store.as_os_str(), source.as_ref()]).map(Some)
    }

    fn restore(&self, server: &Server) -> Result<Option<Measured>> {
        let Some(backup) = &self.backup else { return Ok(None) };
        server.drop_restored()?;
        let (store, target) = (self.path("store-stocks"), server.uri(RESTORED));
        let script = r#""$1" --store "$2" restore latest --to "$3" --jobs 2 --yes -v"#;
        server.measure(script, &[backup.as_os_str(), store.as_os_str(), target.as_ref()]).map(Some)
    }

    fn dump_and_zstd(&self, server: &Server) -> Result<Measured> {
        let packed = self.fresh("peer.dump.zst")?;
        let script = r#"pg_dump -Fc -Z0 "$1" | zstd -3 -T2 -q > "$2" && sync "$2""#;
        server.measure(script, &[DATABASE.as_ref(), packed.as_os_str()])
    }

    fn dump_compressed(&self, server: &Server) -> Result<Measured> {
        let file = self.fresh("peer.dump")?;
        let script = r#"pg_dump --format=custom --compress=9 -f "$2" "$1" && sync "$2""#;
        server.measure(script, &[DATABASE.as_ref(), file.as_os_str()])
    }

    fn create_and_restore(&self, server: &Server, file: &Path) -> Result<Measured> {
        server.drop_restored()?;
        let script = r#"createdb -T template0 "$1" && pg_restore -j2 --exit-on-error -d "$1" "$2""#;
        server.measure(script, &[RESTORED.as_ref(), file.as_os_str()])
    }
}

fn print_case(case: &str, ours: &[Measured], peer: &[Measured], bytes: Option<(Option<u64>, u64)>) {
    let of = |side: &[Measured], value: fn(&Measured) -> f64| median(side.iter().map(value).collect());
    let seconds = (of(ours, |m| m.seconds), of(peer, |m| m.seconds));
    let user = (of(ours, |m| m.user_seconds), of(peer, |m| m.user_seconds));
    let peak = (of(ours, |m| m.peak_mib), of(peer, |m| m.peak_mib));
    let bytes = match bytes {
        None => String::new(),
        Some((None, theirs)) => format!("-/{theirs}"),
        Some((Some(ours), theirs)) => format!("{ours}/{theirs} = {:.3}", ours as f64 / theirs as f64),
    };
    println!(
        "{case:<24} {:>8.2} {:>8.2} {:>6.3} {:>7.2}/{:<7.2} {:>7.1}/{:<7.1}  {bytes}",
        seconds.0,
        seconds.1,
        seconds.0 / seconds.1,
        user.0,
        user.1,
        peak.0,
        peak.1
    );
}

/// Not a number, when there is nothing to take it of.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The size of the largest file below a folder: the payload of the one backup in a store.
fn largest_file(folder: &Path) -> Result<u64> {
    let mut largest = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_folder = entry.file_type()?.is_dir();
        largest = largest.max(if is_folder { largest_file(&entry.path())? } else { entry.metadata()?.len() });
    }
    Ok(largest)
}

/// A server with default settings but for its shared memory, stopped on drop.
struct Server {
    data: PathBuf,
    port: u16,
}

impl Server {
    fn create(data: &Path) -> Result<()> {
        fs::create_dir(data)?;
        if is_root()? {
            succeed(Command::new("chown").arg("postgres").arg(data))?;
        }
        let mut initdb = as_server_user("initdb")?;
        initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(data);
        succeed(&mut initdb)
    }

    fn start(data: &Path) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let server = Self { data: data.to_owned(), port };
        // A killed bench has left its server behind.
        if data.join("postmaster.pid").exists() {
            server.stop()?;
        }
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c shared_buffers=1GB"
        );
        let mut start = server.control()?;
        start.args(["start", "-w", "-s", "-o", &settings, "-l"]).arg(data.join("bench.log"));
        // The server would keep a pipe open.
        let status = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("{start:?}: {status}: see {}", data.join("bench.log").display()).into());
        }
        Ok(server)
    }

    fn stop(&self) -> Result<()> {
        succeed(self.control()?.args(["stop", "-m", "fast", "-s"]))
    }

    fn control(&self) -> Result<Command> {
        let mut control = as_server_user("pg_ctl")?;
        control.arg("-D").arg(&self.data);
        Ok(control)
    }

    fn uri(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A command whose client programs are the server's and find it.
    fn client(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        let path = env::join_paths(
            [bin()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        );
        command.env("PATH", path?).env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env_remove("PGDATABASE");
        Ok(command)
    }

    fn psql(&self, database: &str, sql: &str) -> Result<()> {
        succeed(self.client("psql")?.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]))
    }

    /// Makes room for the next restore, and lets it begin with nothing left to be written.
    fn drop_restored(&self) -> Result<()> {
        self.psql("postgres", &format!("DROP DATABASE IF EXISTS {RESTORED}"))?;
        self.psql("postgres", "CHECKPOINT")
    }

    /// Runs a script under GNU time, which writes its peak memory in KiB and its user CPU to a file.
    fn measure(&self, script: &str, arguments: &[&std::ffi::OsStr]) -> Result<Measured> {
        let figures = self.data.with_extension("time");
        let mut command = self.client("/usr/bin/time")?;
        command
            .args(["-q", "-f", "%M %U", "-o"])
            .arg(&figures)
            .args(["bash", "-o", "pipefail", "-c", script, "bash"]);
        command.args(arguments).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output()?;
        let seconds = start.elapsed().as_secs_f64();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(format!("{command:?}: {}\n{messages}", output.status).into());
        }
        let figures = fs::read_to_string(&figures)?;
        let (peak, user) = figures.trim().split_once(' ').ok_or("time wrote something else")?;
        Ok(Measured {
            seconds,
            user_seconds: user.parse()?,
            peak_mib: peak.parse::<f64>()? / 1024.0,
            messages,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            println!("{error}");
        }
    }
}

fn bin() -> PathBuf {
    env::var_os("BENCH_PG_BIN").map_or("/usr/lib/postgresql/15/bin".into(), PathBuf::from)
}

/// PostgreSQL refuses to run as root.
fn as_server_user(program: &str) -> Result<Command> {
    let program = bin().join(program);
    let mut command = if is_root()? {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    Ok(command)
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout == b"0\n")
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(
            format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(())
}

const TABLES: &str = "
CREATE TYPE action_kind AS ENUM ('dividend', 'split', 'merger', 'spin-off', 'delisting');
CREATE TABLE securities (id integer GENERATED BY DEFAULT AS IDENTITY, symbol text NOT NULL, name text NOT NULL,
  exchange text NOT NULL, isin char(12), listed date, is_active boolean NOT NULL DEFAULT true, details jsonb);
CREATE TABLE prices_daily (security_id integer NOT NULL, day date NOT NULL, open numeric(18,6) NOT NULL,
  high numeric(18,6) NOT NULL, low numeric(18,6) NOT NULL, close numeric(18,6) NOT NULL, adjusted numeric(18,6),
  volume bigint NOT NULL CHECK (volume >= 0));
CREATE TABLE corporate_actions (id bigserial, security_id integer NOT NULL, kind action_kind NOT NULL,
  day date NOT NULL, ratio numeric, amount numeric(12,4), announced timestamptz, note text);
CREATE TABLE news (id bigserial, security_id integer NOT NULL, published timestamptz NOT NULL, source text,
  url text NOT NULL, title text NOT NULL, body text);
CREATE TABLE fundamentals (security_id integer NOT NULL, quarter date NOT NULL, figures jsonb NOT NULL)";

/// The indexes come after the rows, as a load would make them.
const INDEXES: &str = "
ALTER TABLE securities ADD PRIMARY KEY (id);
ALTER TABLE prices_daily ADD PRIMARY KEY (security_id, day), ADD FOREIGN KEY (security_id) REFERENCES securities;
CREATE INDEX ON prices_daily (day);
ALTER TABLE corporate_actions ADD PRIMARY KEY (id), ADD FOREIGN KEY (security_id) REFERENCES securities;
CREATE INDEX ON corporate_actions (security_id, day);
ALTER TABLE news ADD PRIMARY KEY (id), ADD UNIQUE (url), ADD FOREIGN KEY (security_id) REFERENCES securities;
CREATE INDEX ON news (security_id, published DESC);
ALTER TABLE fundamentals ADD PRIMARY KEY (security_id, quarter), ADD FOREIGN KEY (security_id) REFERENCES securities;
CREATE VIEW latest_prices AS SELECT DISTINCT ON (security_id) * FROM prices_daily ORDER BY security_id, day DESC";

/// Days with a price per security.
const DAYS: i64 = 1090;
/// Quarters with figures per security.
const QUARTERS: i64 = 64;

fn create_stocks(server: &Server, mib: i64) -> Result<()> {
    server.psql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    server.psql(DATABASE, TABLES)?;
    let (securities, words) = (mib * 5, &mut Words::new());
    fill(server, "securities", securities, words, security)?;
    fill(server, "prices_daily", securities * DAYS, words, price)?;
    fill(server, "corporate_actions", mib * 180, words, |id, w| corporate_action(id, securities, w))?;
    fill(server, "news", mib * 500, words, |id, w| news(id, securities, w))?;
    fill(server, "fundamentals", securities * QUARTERS, words, figures)?;
    server.psql(DATABASE, INDEXES)?;
    server.psql(DATABASE, "VACUUM ANALYZE")
}

/// Loads so many rows, each a line in the text format of `COPY`.
fn fill(
    server: &Server,
    table: &str,
    rows: i64,
    words: &mut Words,
    mut row: impl FnMut(i64, &mut Words) -> String,
) -> Result<()> {
    let mut psql = server.client("psql")?;
    psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", DATABASE, "-c", &format!("COPY {table} FROM STDIN")]);
    let mut child = psql.stdin(Stdio::piped()).spawn()?;
    let mut input = BufWriter::with_capacity(1 << 20, child.stdin.take().ok_or("no standard input")?);
    for id in 1..=rows {
        writeln!(input, "{}", row(id, words))?;
    }
    input.flush()?;
    drop(input);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{psql:?}: {status}").into()) }
}

fn security(id: i64, w: &mut Words) -> String {
    let exchange = ["XNYS", "XNAS", "XLON", "XETR", "XTKS"][w.skewed(5) as usize];
    let employees = w.skewed(200_000);
    let details = format!(r#"{{"sector": "{}", "employees": {employees}}}"#, w.word());
    let (symbol, name) = (w.word().to_uppercase(), w.text(24));
    format!(
        "{id}\t{symbol}{id}\t{name}\t{exchange}\tUS{:010}\t{}\tt\t{details}",
        w.below(9_999_999_999),
        date(w.below(9000))
    )
}

/// The next day of a random walk.
fn price(row: i64, w: &mut Words) -> String {
    let (security, day) = (1 + (row - 1) / DAYS, (row - 1) % DAYS);
    if day == 0 {
        w.price = 2.0 + 300.0 * w.unit() * w.unit();
    }
    let open = w.price;
    let close = (open * (1.0 + 0.04 * (w.unit() - 0.5))).max(0.01);
    let (high, low) = (open.max(close) * (1.0 + 0.01 * w.unit()), open.min(close) * (1.0 - 0.01 * w.unit()));
    w.price = close;
    let volume = 100 * w.skewed(1_000_000);
    let day = date(9000 + day * 7 / 5);
    format!("{security}\t{day}\t{open:.4}\t{high:.4}\t{low:.4}\t{close:.4}\t{:.6}\t{volume}", close * 0.987)
}

fn corporate_action(id: i64, securities: i64, w: &mut Words) -> String {
    let kind = ["dividend", "split", "merger", "spin-off", "delisting"][w.skewed(5) as usize];
    let (security, day) = (1 + w.below(securities), w.below(10_000));
    let note = if w.below(3) == 0 { w.text(40) } else { r"\N".to_owned() };
    let (amount, announced) = (w.unit() * 4.0, date(day));
    format!(
        "{id}\t{security}\t{kind}\t{}\t\\N\t{amount:.4}\t{announced} 07:{:02}:00+00\t{note}",
        date(day + 14),
        w.below(60)
    )
}

fn news(id: i64, securities: i64, w: &mut Words) -> String {
    let (security, second, length) = (1 + w.below(securities), w.below(60), 220 + w.skewed(4000));
    let (published, source, link) = (date(9000 + w.below(1500)), w.word().to_owned(), w.next());
    let (title, body) = (w.text(60), w.text(length));
    format!(
        "{id}\t{security}\t{published} 16:30:{second:02}+00\t{source}\thttps://{source}.example/{link:016x}\t{title}\t{body}"
    )
}

fn figures(row: i64, w: &mut Words) -> String {
    let (security, quarter) = (1 + (row - 1) / QUARTERS, (row - 1) % QUARTERS);
    let names = [
        "revenue",
        "cost_of_revenue",
        "gross_profit",
        "operating_income",
        "net_income",
        "total_assets",
        "total_liabilities",
        "shareholders_equity",
        "cash_and_equivalents",
        "long_term_debt",
        "free_cash_flow",
        "capital_expenditure",
        "shares_outstanding",
        "earnings_per_share",
        "dividends_paid",
        "research_and_development",
    ];
    let figures: Vec<String> =
        names.iter().map(|name| format!(r#""{name}": {:.2}"#, 1e9 * w.unit() * w.unit())).collect();
    let filing =
        format!(r#""filing": {{"form": "10-Q", "accession": "{:016x}", "amended": false}}"#, w.next());
    format!("{security}\t{}\t{{{}, {filing}}}", date(4000 + quarter * 91), figures.join(", "))
}

/// A date so many days after 1997-01-01.
fn date(days: i64) -> String {
    let (mut year, mut rest) = (1997, days);
    let is_leap = |year: i64| year % 4 == 0;
    while rest >= 365 + i64::from(is_leap(year)) {
        rest -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", rest + 1)
}

/// The same numbers and words on every run: splitmix64, and a vocabulary used about as unevenly as a language.
struct Words {
    state: u64,
    vocabulary: Vec<String>,
    /// Of the security at hand, on the day before.
    price: f64,
}

impl Words {
    fn new() -> Self {
        let mut words = Self { state: 42, vocabulary: Vec::new(), price: 0.0 };
        words.vocabulary = (0..60_000).map(|rank| words.invented(2 + i64::min(rank / 40, 2))).collect();
        words
    }

    fn invented(&mut self, shortest: i64) -> String {
        let sets = [b"tnsrhldcmfpgwybvkxjqz".as_slice(), b"eeaioutnrsy"];
        let length = shortest + self.below(6);
        let pick = |at| sets[at as usize % 2][self.skewed(sets[at as usize % 2].len() as i64) as usize];
        (0..length).map(pick).map(char::from).collect()
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: i64) -> i64 {
        (self.unit() * end as f64) as i64
    }

    /// Zipf-like: each number about as often as the inverse of its rank.
    fn skewed(&mut self, end: i64) -> i64 {
        (((end as f64 + 1.0).ln() * self.unit()).exp() as i64 - 1).min(end - 1)
    }

    fn word(&mut self) -> &str {
        let end = self.vocabulary.len() as i64;
        let rank = if self.below(2) == 0 { self.below(end) } else { self.skewed(end) };
        &self.vocabulary[rank as usize]
    }

    fn text(&mut self, length: i64) -> String {
        let mut text = String::new();
        while (text.len() as i64) < length {
            let gap = if self.below(9) == 0 { ". " } else { " " };
            text.push_str(self.word());
            text.push_str(gap);
        }
        text
    }
}
