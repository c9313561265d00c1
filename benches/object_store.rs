//! A bucket as the store, side by side with a local folder: what the way through S3 costs.
//!
//! The S3 server runs on this machine in a process of its own, whose CPU seconds are printed beside ours; both stores
//! lie on one disk. The database is a shop of about `BENCH_MIB` (1020) MiB. Each case is run in turn for both stores,
//! `BENCH_ROUNDS` (3) times; the ratios of the medians are printed beside their bounds and nothing is asserted. The
//! server is one that costs little (`plain_s3`), or s3s-fs with `BENCH_SERVER=s3s-fs`. Cases:
//!
//! 1. `run` without verification: reading, compressing, hashing, storing;
//! 2. `run` that reads again what it stored;
//! 3. `cat` into a file, which is downloading;
//! 4. `verify --level checksum`, which is reading stored bytes alone;
//! 5. `restore`, with its proof.
//!
//! ```sh
//! cargo bench --bench object_store
//! ```
//!
//! `cargo bench --bench object_store -- --serve FOLDER` serves the folders in FOLDER as buckets until it is stopped,
//! e.g. for `BENCH_STORE` of the bench `catalogue`.
#![allow(clippy::print_stdout, reason = "the table is what a bench is for")]

#[path = "../backup-storage/tests/support/mod.rs"]
mod bucket;
mod plain_s3;
mod shop;

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use backup::{
    BackupId, Backups, BlockingJob, Context, Guardrails, Level, RestoreOptions, RunOptions, store::Store,
};
use backup_storage::{AccessKeys, LocalStore, ObjectOptions, ObjectStore};
use bucket::{KEY_ID, S3Server, SECRET};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SERVE: &str = "--serve";
/// The bucket is to reach this share of the local folder's speed.
const WANTED: f64 = 0.8;
/// Linux counts CPU time in hundredths of a second.
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == SERVE) {
        return serve(arguments.get(at + 1).ok_or("no folder to serve")?.as_ref());
    }
    let bench = Bench::start()?;
    println!(
        "{:<26} {:>8} {:>8} {:>6} {:>6} {:>12} {:>11}",
        "case", "local s", "bucket s", "speed", "wanted", "our CPU s", "server's"
    );
    bench.cases()
}

fn serve(folder: &Path) -> Result<()> {
    let is_file_server = env::var("BENCH_SERVER").is_ok_and(|name| name == "s3s-fs");
    let address = match is_file_server {
        true => S3Server::serving(folder).address(),
        false => plain_s3::serve(folder, KEY_ID, SECRET),
    };
    println!("{address}");
    eprintln_keys();
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

#[allow(clippy::print_stderr, reason = "stdout is the address")]
fn eprintln_keys() {
    eprintln!("AWS_ACCESS_KEY_ID={KEY_ID} AWS_SECRET_ACCESS_KEY={SECRET}");
}

fn number(name: &str, default: usize) -> Result<usize> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

struct Bench {
    folder: tempfile::TempDir,
    server: Child,
    address: String,
    rounds: usize,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What one call took.
#[derive(Clone, Copy, Debug)]
struct Took {
    seconds: f64,
    ours: f64,
    servers: f64,
}

impl Bench {
    fn start() -> Result<Self> {
        let dir = env::var_os("BENCH_DIR").map_or(env::temp_dir(), PathBuf::from);
        let folder = tempfile::tempdir_in(dir)?;
        fs::create_dir_all(folder.path().join("s3/backups"))?;
        let mut server = Command::new(env::current_exe()?);
        server.arg(SERVE).arg(folder.path().join("s3")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        let mib = i64::try_from(number("BENCH_MIB", 1020)?)?;
        shop::create_shop(&folder.path().join("shop.db"), mib)?;
        let address = address.trim().to_owned();
        Ok(Self { folder, server, address, rounds: number("BENCH_ROUNDS", 3)?.max(1) })
    }

    /// New ones for each round.
    fn stores(&self, round: usize) -> Result<[Arc<dyn Store>; 2]> {
        let options = ObjectOptions::default().with_access_keys(AccessKeys::new(KEY_ID, SECRET));
        let url = format!("s3://backups/db{round}?endpoint=http://{}", self.address);
        let local = LocalStore::new(self.folder.path().join(format!("local{round}")))?;
        Ok([Arc::new(local), Arc::new(ObjectStore::open(&url, &options)?)])
    }

    fn job(&self, store: Arc<dyn Store>) -> Result<BlockingJob> {
        let scratch = self.folder.path().join("scratch");
        fs::create_dir_all(&scratch)?;
        let source = format!("sqlite:{}", self.folder.path().join("shop.db").display());
        let context = Context::default().with_scratch(scratch);
        let backups =
            Backups::builder().opened_store(store).source("shop", source).context(context).build()?;
        Ok(backups.job("shop")?.blocking())
    }

    fn cases(&self) -> Result<()> {
        let mut took: [Vec<[Took; 5]>; 2] = Default::default();
        for round in 0..self.rounds {
            for (store, took) in self.stores(round)?.into_iter().zip(&mut took) {
                took.push(self.round(&self.job(store)?)?);
            }
        }
        let names = [
            "run --verify none",
            "run --verify checksum",
            "cat > file",
            "verify --level checksum",
            "restore",
        ];
        for (case, name) in names.into_iter().enumerate() {
            let [local, bucket] =
                [&took[0], &took[1]].map(|rounds| median(rounds.iter().map(|round| round[case])));
            println!(
                "{name:<26} {:>8.2} {:>8.2} {:>6.2} {WANTED:>6.1} {:>5.1} {:>6.1} {:>11.1}",
                local.seconds,
                bucket.seconds,
                local.seconds / bucket.seconds,
                local.ours,
                bucket.ours,
                bucket.servers
            );
        }
        Ok(())
    }

    fn round(&self, job: &BlockingJob) -> Result<[Took; 5]> {
        let run = |level| -> Result<BackupId> {
            let options = RunOptions::default().with_verify(level).with_guardrails(Guardrails::default());
            Ok(job.run(options)?.id().clone())
        };
        let (_, unverified) = self.measure(|| run(Level::None))?;
        let (id, verified) = self.measure(|| run(Level::Checksum))?;
        let copy = self.folder.path().join("copy.db");
        let (_, downloaded) = self.measure(|| Ok(job.cat(&id, &mut fs::File::create(&copy)?)?))?;
        fs::remove_file(&copy)?;
        let (_, read) = self.measure(|| Ok(job.verify(&id, Level::Checksum)?))?;
        let into = RestoreOptions::into(format!("sqlite:{}", copy.display()).as_str());
        let (_, restored) = self.measure(|| Ok(job.restore(&id, into)?))?;
        fs::remove_file(copy)?;
        Ok([unverified, verified, downloaded, read, restored])
    }

    fn measure<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Took)> {
        rustix::fs::sync();
        let (ours, servers) = (cpu_of("self")?, cpu_of(&self.server.id().to_string())?);
        let clock = Instant::now();
        let done = work()?;
        let seconds = clock.elapsed().as_secs_f64();
        let took = Took {
            seconds,
            ours: cpu_of("self")? - ours,
            servers: cpu_of(&self.server.id().to_string())? - servers,
        };
        Ok((done, took))
    }
}

/// CPU seconds of a process: fields 14 and 15 of `/proc/PID/stat`.
fn cpu_of(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("no name")?;
    let ticks: Vec<f64> =
        rest.split(' ').skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

fn median(took: impl Iterator<Item = Took>) -> Took {
    let mut took: Vec<Took> = took.collect();
    took.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    took[took.len() / 2]
}
