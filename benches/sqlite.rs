//! Back up and restore a live SQLite database, side by side with the tools it would otherwise be done with.
//!
//! The cases, on a shop database of about `BENCH_MIB` (1020, which makes 993 MB) MiB in WAL mode:
//!
//! 1. `run --verify checksum` against `zstd -3 -T0` and `sync`;
//! 2. `run` with its default verification against `.backup`, `PRAGMA integrity_check` and `gzip`;
//! 3. `restore latest` against `zstd -d`, `sync` and a full integrity check on two threads;
//! 4. peak memory of `run` and `restore` at 100 MiB, at `BENCH_MIB` and (with `BENCH_HUGE=1`) at 10 GiB.
//!
//! Both sides run in turn, `BENCH_ROUNDS` (3) times; the ratios of the medians are printed beside their bounds and
//! nothing is asserted. It needs `zstd`, `sqlite3`, `gzip` and GNU `/usr/bin/time`, keeps its databases in
//! `BENCH_DIR`, and measures `BENCH_BACKUP` or what `cargo build --release` has made:
//!
//! ```sh
//! cargo build --release && cargo bench --bench sqlite
//! ```
#![allow(clippy::print_stdout, reason = "the table is what a bench is for")]

mod shop;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;
use std::{env, fs};

use rusqlite::{Connection, OpenFlags};
use shop::create_shop;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The argument by which the bench calls itself for the integrity check of case 3.
const CHECK: &str = "--check-database";
const MEMORY_BOUND_MIB: f64 = 200.0;

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    if args.next().as_deref() == Some(CHECK) {
        return check_database(Path::new(&args.next().ok_or("no database to check")?));
    }
    let bench = Bench::from_env()?;
    let database = bench.database(number("BENCH_MIB", 1020)?)?;
    println!("{:<22} {:>9} {:>9} {:>7} {:>7}  bytes ours/peer", "case", "ours s", "peer s", "ratio", "bound");
    bench.checksum_case(&database)?;
    bench.verified_case(&database)?;
    bench.restore_case()?;
    bench.memory_cases()
}

fn number(name: &str, default: i64) -> Result<i64> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

struct Bench {
    backup: PathBuf,
    dir: PathBuf,
    rounds: i64,
}

/// What one command took, and its peak memory.
struct Measured {
    seconds: f64,
    peak_mib: f64,
}

impl Bench {
    fn from_env() -> Result<Self> {
        let beside = env::current_exe()?.ancestors().nth(2).ok_or("no target folder")?.join("backup");
        let backup = env::var_os("BENCH_BACKUP").map_or(beside, PathBuf::from);
        let dir = env::var_os("BENCH_DIR").map_or(env::temp_dir().join("backup-bench"), PathBuf::from);
        fs::create_dir_all(&dir)?;
        Ok(Self { backup, dir, rounds: number("BENCH_ROUNDS", 3)?.max(1) })
    }

    /// The database of that size, made on first use.
    fn database(&self, mib: i64) -> Result<PathBuf> {
        let path = self.path(&format!("shop-{mib}.db"));
        if !path.exists() {
            let draft = self.fresh("draft.db")?;
            create_shop(&draft, mib)?;
            fs::rename(&draft, &path)?;
        }
        Ok(path)
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

    /// The size of the one payload in a store.
    fn payload(&self, store: &str, database: &Path) -> Result<u64> {
        let folder = self.path(store).join(database.file_stem().ok_or("no file stem")?).join("full");
        let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let payload = files.find(|path| path.to_string_lossy().ends_with(".db.zst")).ok_or("no payload")?;
        Ok(payload.metadata()?.len())
    }

    fn checksum_case(&self, database: &Path) -> Result<()> {
        let ours = || self.run(database, "store-checksum", &["--verify", "checksum"]);
        let times = in_turn(self.rounds, self.rounds, ours, || self.zstd(database))?;
        let bytes = (self.payload("store-checksum", database)?, self.path("peer.zst").metadata()?.len());
        print_case("run, checksum", times, 0.95, Some(bytes))
    }

    fn verified_case(&self, database: &Path) -> Result<()> {
        let times = in_turn(self.rounds, 1, || self.run(database, "store", &[]), || self.runbook(database))?;
        let bytes = (self.payload("store", database)?, self.path("copy.db.gz").metadata()?.len());
        print_case("run, verified", times, 1.0 / 7.0, Some(bytes))
    }

    /// Restores what the cases before have backed up.
    fn restore_case(&self) -> Result<()> {
        print_case(
            "restore",
            in_turn(self.rounds, self.rounds, || self.restore("store"), || self.unpack())?,
            1.3,
            None,
        )
    }

    fn memory_cases(&self) -> Result<()> {
        println!("\n{:<22} {:>9} {:>9} {:>7}  (peak, MiB)", "database", "run", "restore", "bound");
        let mut sizes = vec![100, number("BENCH_MIB", 1020)?];
        if env::var("BENCH_HUGE").is_ok_and(|huge| huge == "1") {
            sizes.push(10 * 1024);
        }
        for mib in sizes {
            let run = self.run(&self.database(mib)?, "store-memory", &[])?.peak_mib;
            let restore = self.restore("store-memory")?.peak_mib;
            println!("{:<22} {run:>9.1} {restore:>9.1} {MEMORY_BOUND_MIB:>7.0}", format!("{mib} MiB"));
        }
        self.fresh("store-memory").map(drop)
    }

    fn run(&self, database: &Path, store: &str, options: &[&str]) -> Result<Measured> {
        let store = self.fresh(store)?;
        let source = format!("sqlite:{}", database.display());
        self.ours(|command| command.arg("--store").arg(store).args(["run", &source]).args(options))
    }

    fn restore(&self, store: &str) -> Result<Measured> {
        let target = format!("sqlite:{}", self.fresh("restored.db")?.display());
        let store = self.path(store);
        self.ours(|command| {
            command.arg("--store").arg(store).args(["restore", "latest", "--to", &target, "--yes"])
        })
    }

    /// Runs the command under GNU time, which writes its peak memory in KiB to a file.
    fn ours(&self, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<Measured> {
        let peak = self.fresh("peak")?;
        let mut command = Command::new("/usr/bin/time");
        command.args(["-q", "-f", "%M", "-o"]).arg(&peak).arg(&self.backup);
        let seconds = timed(arguments(&mut command))?;
        Ok(Measured { seconds, peak_mib: fs::read_to_string(&peak)?.trim().parse::<f64>()? / 1024.0 })
    }

    fn zstd(&self, database: &Path) -> Result<f64> {
        let packed = self.fresh("peer.zst")?;
        shell(r#"zstd -3 -T0 -q < "$1" > "$2" && sync "$2""#, &[database, &packed])
    }

    fn runbook(&self, database: &Path) -> Result<f64> {
        let copy = self.fresh("copy.db")?;
        self.fresh("copy.db.gz")?;
        let script = r#"sqlite3 "$1" ".backup '$2'" && sqlite3 "$2" "PRAGMA integrity_check;" && gzip "$2""#;
        shell(script, &[database, &copy])
    }

    fn unpack(&self) -> Result<f64> {
        let (packed, restored) = (self.path("peer.zst"), self.fresh("unpacked.db")?);
        let script = format!(r#"zstd -dcq "$1" > "$2" && sync "$2" && "$3" {CHECK} "$2""#);
        shell(&script, &[&packed, &restored, &env::current_exe()?])
    }
}

/// The medians of both sides, each run in turn with the other.
fn in_turn(
    our_rounds: i64,
    peer_rounds: i64,
    ours: impl Fn() -> Result<Measured>,
    peer: impl Fn() -> Result<f64>,
) -> Result<(f64, f64)> {
    let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
    for round in 0..our_rounds {
        our_times.push(ours()?.seconds);
        if round < peer_rounds {
            peer_times.push(peer()?);
        }
    }
    Ok((median(our_times), median(peer_times)))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn print_case(case: &str, (ours, peer): (f64, f64), bound: f64, bytes: Option<(u64, u64)>) -> Result<()> {
    let bytes = bytes.map_or_else(String::new, |(a, b)| format!("{a}/{b} = {:.3}", a as f64 / b as f64));
    println!("{case:<22} {ours:>9.2} {peer:>9.2} {:>7.3} {bound:>7.3}  {bytes}", ours / peer);
    Ok(())
}

fn shell(script: &str, arguments: &[&Path]) -> Result<f64> {
    timed(Command::new("sh").args(["-c", script, "sh"]).args(arguments))
}

fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let output = command.output()?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(
            format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(seconds)
}

/// The full strength of `PRAGMA integrity_check` on two threads: the whole file's structure by `quick_check`, and
/// every table against its indexes, the largest first.
///
/// The connections can write, since SQLite leaves CHECK constraints out of a read-only schema; and the file is out
/// of WAL mode for as long as it is checked, so that it is read without locks.
fn check_database(path: &Path) -> Result<()> {
    Connection::open(path)?.pragma_update(None, "journal_mode", "delete")?;
    let mut checks = table_checks(&open_scratch(path, 2)?)?;
    checks.push("PRAGMA quick_check".to_owned());
    let queue = Mutex::new(checks);
    let next = || queue.lock().expect("no check panics").pop();
    let work = || -> Result<()> {
        let connection = open_scratch(path, 64)?;
        while let Some(check) = next() {
            let answer: String = connection.query_row(&check, [], |row| row.get(0))?;
            if answer != "ok" {
                return Err(format!("{check}: {answer}").into());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let other = scope.spawn(work);
        work()?;
        other.join().map_err(|_| "a check panicked")?
    })?;
    Ok(Connection::open(path)?.pragma_update(None, "journal_mode", "wal")?)
}

fn open_scratch(path: &Path, cache_mib: u32) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{}?nolock=1", path.display()), flags)?;
    connection.execute_batch(&format!("PRAGMA query_only = 1; PRAGMA cache_size = -{}", cache_mib * 1000))?;
    Ok(connection)
}

/// A check of each table that has an index, the most expensive one last.
fn table_checks(connection: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name, (SELECT count(*) FROM pragma_index_list(t.name)) FROM sqlite_schema t WHERE type = 'table'";
    let tables = connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.replace('"', "\"\""), row.get::<_, i64>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut checks = Vec::new();
    for (name, indexes) in tables.into_iter().filter(|(_, indexes)| *indexes > 0) {
        let rows: i64 =
            connection.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0))?;
        checks.push((rows * indexes, format!("PRAGMA integrity_check(\"{name}\")")));
    }
    checks.sort();
    Ok(checks.into_iter().map(|(_, check)| check).collect())
}
