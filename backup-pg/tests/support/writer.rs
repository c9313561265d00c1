//! A bank and a shop that are busy while they are backed up.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::Server;

const WORK: &str = "CALL busy.work(); SELECT 'done';";
const WIPE: &str = "CALL busy.wipe(); SELECT pg_sleep(0.05); SELECT 'done';";

/// What is wrong in the bank and the shop, a line each; nothing, at every commit.
///
/// The board may be empty: to a snapshot from before a `TRUNCATE` it is.
const FAULTS: &str = "
SELECT 'the balances are ' || sum(balance) FROM busy.accounts HAVING sum(balance) <> 200000 OR count(*) <> 200;
SELECT 'shop ' || s.id || ' counts ' || s.orders || ' orders and has ' || count(o.number)
    FROM busy.shops s LEFT JOIN busy.orders o ON o.shop = s.id GROUP BY s.id
    HAVING s.orders <> count(o.number) OR s.orders <> coalesce(max(o.number), 0) OR s.cents <> coalesce(sum(o.cents), 0);
SELECT 'the board has ' || count(*) || ' rows of ' || count(DISTINCT generation) FROM busy.board
    HAVING count(*) NOT IN (0, 10) OR count(DISTINCT generation) > 1;
SELECT 'the next transfer is ' || last_value FROM busy.transfers_id_seq
    WHERE last_value < (SELECT max(id) FROM busy.transfers);";

/// Sessions that insert, update, delete and truncate in the schema `busy` of a database, until they are stopped.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Result<(), String>>>,
}

impl Writer {
    /// Opens the bank and the shop, unless the database has them, and begins to work in them, by two sessions and
    /// by one that truncates. Returns once the first transactions are committed.
    #[track_caller]
    pub(crate) fn start(server: &Server, database: &str) -> Self {
        if server.psql(database, "SELECT to_regnamespace('busy')").is_empty() {
            server.psql(database, include_str!("busy.sql"));
        }
        let (stop, committed) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let mut writer = Self { stop, committed, workers: Vec::new() };
        for statement in [WORK, WORK, WIPE] {
            writer.employ(server, database, statement);
        }
        let begun = Instant::now();
        while writer.committed() < 10 && begun.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(writer.committed() >= 10, "the writer does not get to work");
        writer
    }

    /// How many transactions the server has confirmed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Lets each session end its transaction, and returns how many transactions there were. None may have failed.
    #[track_caller]
    pub(crate) fn stop(mut self) -> u64 {
        let results = self.join();
        assert!(results.iter().all(Result::is_ok), "the writer failed: {results:?}");
        self.committed()
    }

    /// How many transactions were confirmed before the server went away.
    pub(crate) fn stop_after_crash(mut self) -> u64 {
        self.join();
        self.committed()
    }

    fn join(&mut self) -> Vec<Result<(), String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.drain(..).map(|worker| worker.join().expect("a worker does not panic")).collect()
    }

    fn employ(&mut self, server: &Server, database: &str, statement: &'static str) {
        let mut psql = server.tool("psql", database);
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).env("PGAPPNAME", "writer");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = psql.spawn().unwrap();
        let (stop, committed) = (Arc::clone(&self.stop), Arc::clone(&self.committed));
        self.workers.push(thread::spawn(move || work(child, statement, &stop, &committed)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.join();
    }
}

/// Has a session repeat a statement until it is told to stop, or returns what went wrong.
fn work(mut psql: Child, statement: &str, stop: &AtomicBool, committed: &AtomicU64) -> Result<(), String> {
    let mut input = psql.stdin.take().ok_or("no input")?;
    let mut answers = BufReader::new(psql.stdout.take().ok_or("no output")?).lines();
    while !stop.load(Ordering::Relaxed) && writeln!(input, "{statement}").is_ok() {
        // The answers of other statements are not the last one's.
        if answers.find(|line| !matches!(line, Ok(line) if line != "done")).is_none_or(|line| line.is_err()) {
            break;
        }
        committed.fetch_add(1, Ordering::Relaxed);
    }
    drop(input);
    let mut errors = String::new();
    psql.stderr.take().ok_or("no errors")?.read_to_string(&mut errors).map_err(|error| error.to_string())?;
    let status = psql.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(errors) }
}

/// Checks that the bank and the shop of a database are consistent with themselves, and returns how many orders
/// there are.
#[track_caller]
pub(crate) fn consistent_orders(server: &Server, database: &str) -> u64 {
    let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {FAULTS} COMMIT");
    assert_eq!(server.psql(database, &sql), "", "the bank and the shop contradict themselves");
    server.psql(database, "SELECT count(*) FROM busy.orders").parse().unwrap()
}
