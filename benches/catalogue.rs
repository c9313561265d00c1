//! Looking at a vault of many backups: `list` and `status` over `BENCH_BACKUPS` (5000) of them.
//!
//! Each has a manifest of 30 tables, a payload of some bytes, and two proofs, none of them a drill. The cases:
//!
//! 1. whole processes on a local folder, bound 0.3 s;
//! 2. whole processes on `BENCH_STORE`, where that names another store with the same objects (a server that shows the
//!    folder this bench prints as a bucket will do), with an empty cache and with a full one, bound 2 s;
//! 3. the same calls in this process on a store that answers every call a millisecond late, bound 2 s.
//!
//! Medians of `BENCH_ROUNDS` (5); nothing is asserted. It keeps its vault in `BENCH_DIR` and measures `BENCH_BACKUP` or
//! what `cargo build --release` has made:
//!
//! ```sh
//! cargo build --release && cargo bench --bench catalogue
//! ```
#![allow(clippy::print_stdout, reason = "the table is what a bench is for")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use backup::{
    BackupId, Content, Context, Manifest, Objectives, SourceName, cache::Cache, operation, store::Store,
    vault::Vault,
};
use backup_core::{
    manifest::{Payload, SourceFacts, TableFacts},
    testing::FarStore,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const TABLES: u64 = 30;
const LOCAL_BOUND: f64 = 0.3;
const FAR_BOUND: f64 = 2.0;

fn main() -> Result<()> {
    let bench = Bench::from_env()?;
    bench.make_vault()?;
    println!("{} backups in {}", bench.backups, bench.store().display());
    println!("{:<42} {:>8} {:>8}", "case", "s", "bound");
    let local = bench.store().display().to_string();
    for command in ["list", "status"] {
        let seconds = bench.median(|| bench.process(&local, command))?;
        print_case(&format!("{command}, local folder"), seconds, LOCAL_BOUND);
    }
    if let Ok(far) = env::var("BENCH_STORE") {
        for command in ["list", "status"] {
            bench.forget()?;
            print_case(&format!("{command}, {far}, empty cache"), bench.process(&far, command)?, FAR_BOUND);
            let seconds = bench.median(|| bench.process(&far, command))?;
            print_case(&format!("{command}, {far}, full cache"), seconds, FAR_BOUND);
        }
    }
    bench.late_cases()
}

fn print_case(name: &str, seconds: f64, bound: f64) {
    println!("{name:<42} {seconds:>8.3} {bound:>8.1}");
}

fn number(name: &str, default: u64) -> Result<u64> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

struct Bench {
    backup: PathBuf,
    dir: PathBuf,
    rounds: u64,
    backups: u64,
}

impl Bench {
    fn from_env() -> Result<Self> {
        let beside = env::current_exe()?.ancestors().nth(2).ok_or("no target folder")?.join("backup");
        let backup = env::var_os("BENCH_BACKUP").map_or(beside, PathBuf::from);
        let dir =
            env::var_os("BENCH_DIR").map_or(env::temp_dir().join("backup-bench-catalogue"), PathBuf::from);
        fs::create_dir_all(&dir)?;
        let (rounds, backups) = (number("BENCH_ROUNDS", 5)?.max(1), number("BENCH_BACKUPS", 5000)?);
        Ok(Self { backup, dir, rounds, backups })
    }

    fn store(&self) -> PathBuf {
        self.dir.join(format!("vault-{}", self.backups))
    }

    fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    fn forget(&self) -> Result<()> {
        if self.cache().exists() {
            fs::remove_dir_all(self.cache())?;
        }
        Ok(())
    }

    /// Made on first use, by plain writes: what is measured only reads.
    fn make_vault(&self) -> Result<()> {
        if self.store().exists() {
            return Ok(());
        }
        let draft = self.dir.join("draft");
        if draft.exists() {
            fs::remove_dir_all(&draft)?;
        }
        fs::create_dir_all(draft.join("shop/full"))?;
        let last = Timestamp::now();
        for age in (0..self.backups).rev() {
            let hours = SignedDuration::from_hours(i64::try_from(age)?);
            make_backup(&draft, last.checked_sub(hours)?)?;
        }
        Ok(fs::rename(draft, self.store())?)
    }

    fn median(&self, measure: impl Fn() -> Result<f64>) -> Result<f64> {
        let mut times: Vec<f64> = (0..self.rounds).map(|_| measure()).collect::<Result<_>>()?;
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().ok_or_else(|| "no rounds".into())
    }

    /// In this process, on a store that answers a millisecond late.
    fn late_cases(&self) -> Result<()> {
        let local: Arc<dyn Store> = Arc::new(backup_storage::LocalStore::new(self.store())?);
        let late: Arc<dyn Store> = Arc::new(FarStore::new(local, Duration::from_millis(1)));
        let vault = Vault::new(late, SourceName::new("shop")?).with_cache(Some(Cache::new(self.cache())));
        let list = || vault.overview(None).map(|catalogue| catalogue.artifacts.len());
        let status =
            || operation::status(&vault, &Objectives::default(), &Context::default()).map(|s| s.good);
        let cases: [(&str, &dyn Fn() -> backup::Result<usize>); 2] = [("list", &list), ("status", &status)];
        for (name, call) in cases {
            self.forget()?;
            for cache in ["empty", "full"] {
                let clock = Instant::now();
                let found = call()?;
                let seconds = clock.elapsed().as_secs_f64();
                if found as u64 != self.backups {
                    return Err(format!("{name} found {found} backups").into());
                }
                print_case(&format!("{name}, a millisecond away, {cache} cache"), seconds, FAR_BOUND);
            }
        }
        Ok(())
    }

    fn process(&self, store: &str, command: &str) -> Result<f64> {
        let mut process = Command::new(&self.backup);
        process.env("XDG_CACHE_HOME", self.cache()).stdout(Stdio::null());
        let clock = Instant::now();
        let status = process.args(["--store", store, command]).status()?;
        let seconds = clock.elapsed().as_secs_f64();
        if status.success() { Ok(seconds) } else { Err(format!("{command} ended with {status}").into()) }
    }
}

fn make_backup(store: &Path, started: Timestamp) -> Result<()> {
    let id = BackupId::new(&SourceName::new("shop")?, Content::Full, started, 1);
    let folder = store.join("shop/full");
    let bytes = id.to_string();
    let payload = Payload {
        name: format!("{id}.dump.zst"),
        bytes: bytes.len() as u64,
        blake3: hash(&bytes),
        encoding: vec!["zstd".to_owned()],
        plain_bytes: 1_000_000_000,
        plain_blake3: hash("plain"),
    };
    fs::write(folder.join(&payload.name), &bytes)?;
    fs::write(folder.join(format!("{id}.json")), manifest(&id, started, payload)?.to_json()?)?;
    let proofs = store.join(format!("shop/proofs/{id}"));
    fs::create_dir_all(&proofs)?;
    for (level, minutes) in [("structure", 1), ("checksum", 30)] {
        let instant = started.checked_add(SignedDuration::from_mins(minutes))?;
        let name = format!("{}-{level}.json", backup_core::id::compact_instant(instant));
        let proof = json!({
            "format": 1, "id": id, "level": level, "started_at": instant, "seconds": 12.5, "ok": true,
            "findings": [], "payload_blake3": hash(&bytes), "host": "db1", "tools": { "backup": "0.1.0" },
        });
        fs::write(proofs.join(name), serde_json::to_vec_pretty(&proof)?)?;
    }
    Ok(())
}

fn manifest(id: &BackupId, started: Timestamp, payload: Payload) -> Result<Manifest> {
    let mut source = SourceFacts::new("shop", "postgres", "shop");
    source.host = Some("db1.example.org".to_owned());
    source.server_version = Some("15.18".to_owned());
    source.system_id = Some("7434980158103742463".to_owned());
    let mut manifest = Manifest::new(id.clone(), source, started, payload);
    manifest.tables = (0..TABLES)
        .map(|number| TableFacts {
            name: format!("stocks_research.prices_daily_{number}"),
            rows: number * 1_000_003,
            digest: hash(&number.to_string()).get(..32).map(str::to_owned),
        })
        .collect();
    manifest.rows = Some(manifest.tables.iter().map(|table| table.rows).sum());
    manifest.high_water_rows = manifest.rows;
    manifest.tools.insert("pg_dump".to_owned(), "15.18".to_owned());
    manifest.options.insert("compression".to_owned(), json!("zstd"));
    manifest.facts.insert("snapshot".to_owned(), json!("00000003-0000001B-1"));
    manifest.companions.push(format!("{id}.globals.sql.zst"));
    Ok(manifest)
}

/// Any hash will do: nothing here reads payloads.
fn hash(text: &str) -> String {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut hex = String::new();
    for round in 0..4_u8 {
        for byte in text.bytes().chain([round]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hex.push_str(&format!("{state:016x}"));
    }
    hex
}
