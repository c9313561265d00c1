//! See it work: a small shop whose tills never stop, backed up, proven, damaged and brought back.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
};

use backup::{Backups, Error, RestoreOptions, Result, RunOptions, engine::Target};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::{args::DemoArgs, command::Session, exit::ExitCode, output};

/// Customers the shop opens with; each has a few orders.
const CUSTOMERS: u32 = 20_000;

pub(crate) fn execute(session: &Session<'_>, args: &DemoArgs) -> Result<ExitCode> {
    let folder =
        TempDir::with_prefix("backup-demo-").map_err(|e| Error::from_io("could not make a folder", e))?;
    let outcome = tell(session, folder.path());
    if args.keep {
        let kept = folder.keep();
        session.output.tell(&format!("Kept for you to look at: {}", kept.display()));
    }
    let told = outcome?;
    session.output.data(
        || json!({ "lines": told }),
        || "Every step above was the real thing. Now yours: backup run YOUR.db".to_owned(),
    );
    Ok(ExitCode::SUCCESS)
}

/// The story, one line at a time.
fn tell(session: &Session<'_>, folder: &Path) -> Result<Vec<String>> {
    let mut story = Story { session, lines: Vec::new() };
    let database = folder.join("shop.db");
    let shop = |e: rusqlite::Error| Error::failed("the demonstration's shop had an accident").with_source(e);

    open_shop(&database).map_err(shop)?;
    story.line(format!(
        "A shop opens: {CUSTOMERS} customers and their orders in {} (WAL mode).",
        database.display()
    ));
    let till = Till::start(&database);
    while till.booked() < 1000 && !till.thread.is_finished() {
        thread::yield_now();
    }
    story.line("A till starts to book orders and does not stop for anything below.".to_owned());

    let backups = Backups::builder()
        .store(folder.join("backups").display().to_string())
        .source("shop", format!("sqlite:{}", database.display()))
        .context(session.context.clone())
        .build()?;
    let job = backups.job("shop")?.blocking();
    let before = till.booked();
    let taken = job.run(RunOptions::default().with_tag("demo"))?;
    let payload = &taken.manifest.payload;
    story.line(format!(
        "Backed up while it worked: {} into {}, {} rows; the till booked {} orders meanwhile.",
        output::size(payload.plain_bytes),
        output::size(payload.bytes),
        taken.manifest.rows.unwrap_or(0),
        till.booked() - before
    ));
    story.line(format!(
        "Its id is {}; it counts only because it was read back, decoded and checked.",
        taken.id()
    ));

    let drill =
        job.drill(taken.id(), &backup::DrillOptions::default().with_smoke(["SELECT count(*) FROM orders"]))?;
    let orders = drill.proof.smoke.first().and_then(|smoke| smoke.answer.clone()).unwrap_or_default();
    story.line(format!(
        "Drilled: restored into a scratch file in {:.2} s, every table compared, {orders} orders found.",
        drill.proof.restore_seconds.unwrap_or(0.0)
    ));

    let booked = till.stop().map_err(shop)?;
    story.line(format!("The till closes after {booked} orders. Nobody saw a lock."));
    damage(&database)?;
    story.line(format!("Disaster: garbage in the middle of the file. SQLite says: {}", complaint(&database)));

    let restored = job
        .restore(taken.id(), RestoreOptions::into(Target::SqliteFile(database.clone())).with_replace(true))?;
    story.line(format!(
        "Restored in {:.2} s: loaded beside, checked in full, then swapped. SQLite says: {}",
        restored.seconds,
        complaint(&database)
    ));
    let found = count(&database, "orders").map_err(shop)?;
    story.line(format!("The shop has its {found} orders again, exactly those of the backup."));
    story.line(format!("The damaged file was kept, not deleted: {}", restored.swapped.kept.join(", ")));
    story.line(format!("And this would undo it: {}", restored.swapped.undo.unwrap_or_default()));
    Ok(story.lines)
}

struct Story<'a> {
    session: &'a Session<'a>,
    lines: Vec<String>,
}

impl Story<'_> {
    fn line(&mut self, line: String) {
        self.session.output.tell(&format!("{:>2}. {line}", self.lines.len() + 1));
        self.lines.push(line);
    }
}

fn open_shop(database: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(database)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
         CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id),
                             cents INTEGER NOT NULL CHECK (cents > 0), note TEXT);
         CREATE INDEX orders_of_customer ON orders(customer);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {CUSTOMERS})
         INSERT INTO customers SELECT i, 'Customer ' || i, 'City ' || (i % 97) FROM n;
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {CUSTOMERS} * 4)
         INSERT INTO orders SELECT i, 1 + (i * 7919) % {CUSTOMERS}, 100 + i % 9900, 'leave at door ' || hex(i * 31) FROM n;"
    ))
}

/// Somebody who books orders until told to stop.
struct Till {
    stop: Arc<AtomicBool>,
    booked: Arc<AtomicI64>,
    thread: JoinHandle<rusqlite::Result<()>>,
}

impl Till {
    fn start(database: &Path) -> Self {
        let (stop, booked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (database, told, count): (PathBuf, _, _) =
            (database.to_owned(), Arc::clone(&stop), Arc::clone(&booked));
        let thread = thread::spawn(move || {
            let connection = Connection::open(database)?;
            connection.execute_batch("PRAGMA synchronous=NORMAL")?;
            let mut book =
                connection.prepare("INSERT INTO orders(customer, cents, note) VALUES(?1, 4200, 'live')")?;
            while !told.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed);
                book.execute([1 + number % i64::from(CUSTOMERS)])?;
            }
            Ok(())
        });
        Self { stop, booked, thread }
    }

    fn booked(&self) -> i64 {
        self.booked.load(Ordering::Relaxed)
    }

    fn stop(self) -> rusqlite::Result<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(Err(rusqlite::Error::InvalidQuery))?;
        Ok(self.booked.load(Ordering::Relaxed))
    }
}

/// Overwrites a stretch in the middle, as a failing disk would.
fn damage(database: &Path) -> Result<()> {
    let middle = std::fs::metadata(database).map_err(|e| Error::io("examine", database, e))?.len() / 2;
    let mut file = File::options().write(true).open(database).map_err(|e| Error::io("open", database, e))?;
    file.seek(SeekFrom::Start(middle))
        .and_then(|_| file.write_all(&[0xA5; 64 << 10]))
        .map_err(|e| Error::io("damage", database, e))
}

/// The first line of SQLite's own integrity check.
fn complaint(database: &Path) -> String {
    let answer = Connection::open(database).and_then(|connection| {
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0))
    });
    let answer = answer.unwrap_or_else(|error| error.to_string());
    answer.lines().last().unwrap_or_default().to_owned()
}

fn count(database: &Path, table: &str) -> rusqlite::Result<i64> {
    Connection::open(database)?.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
}
