//! The tables of a database kept from being emptied between a snapshot and the moment pg_dump holds them itself.
//!
//! TRUNCATE is not MVCC-safe: a snapshot that is older sees such a table without rows. pg_dump locks every table it
//! dumps, but only after the snapshot was taken. So a session of ours locks them before, and lets go once pg_dump has
//! them, which its first byte tells. (PostgreSQL manual, "Caveats" of concurrency control; LOCK.)

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use backup_core::{Error, ErrorKind, Result, context::Context};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use postgres::error::SqlState;

use crate::{
    session::{Session, explain},
    source::Source,
};

/// How long one try waits for a lock: whoever queues behind us waits as long, and so does a server whose client was
/// killed.
const TRY: Duration = Duration::from_secs(1);

/// How often it is looked whether somebody stands between us and pg_dump.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

const TABLES: &str = "SELECT format('ONLY %I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY c.oid";

/// Somebody who waits for us and for whom pg_dump waits.
const IN_BETWEEN: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_activity AS dump, unnest(pg_blocking_pids(dump.pid)) AS between
    WHERE dump.application_name = $1 AND pg_backend_pid() = ANY (pg_blocking_pids(between)))";

/// Who holds a table so that not even reading it is allowed.
const HOLDERS: &str = "SELECT DISTINCT relation::regclass::text, pid FROM pg_locks
    WHERE granted AND mode = 'AccessExclusiveLock' AND relation >= 16384 AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Tables locked in ACCESS SHARE mode, which only their being dropped, emptied or rewritten waits for.
#[derive(Debug)]
pub(crate) struct HeldTables {
    session: Session,
}

impl HeldTables {
    /// Locks every table, waiting at most `wait` for those that somebody holds.
    ///
    /// # Errors
    /// `Busy`, naming what is held.
    pub(crate) fn take(source: &Source, name: &str, wait: Duration, cx: &Context) -> Result<Self> {
        let mut session = source.connect(name)?;
        let begun = Instant::now();
        loop {
            cx.cancel().check()?;
            let failed = match lock(&mut session) {
                Ok(()) => return Ok(Self { session }),
                Err(error) => error,
            };
            // A table may also be dropped between being listed and being locked.
            let may_pass =
                [SqlState::LOCK_NOT_AVAILABLE, SqlState::UNDEFINED_TABLE, SqlState::T_R_DEADLOCK_DETECTED];
            let is_passing = failed.code().is_some_and(|code| may_pass.contains(code));
            if !is_passing {
                return Err(explain(failed, "lock the tables for the dump"));
            }
            if begun.elapsed() >= wait {
                return Err(held(&mut session, failed));
            }
        }
    }

    /// Holds them until the answer is used: until pg_dump has given its first byte.
    ///
    /// Where somebody queues for one of them, pg_dump waits for that one, and that one for us. Then they are let go,
    /// and what is dumped may be missing rows. With `keep` they stay locked until the answer is dropped.
    pub(crate) fn until_dumped(self, dump: String, keep: bool) -> Result<Release> {
        let (released, waiting) = bounded::<()>(1);
        let watch = move || {
            let mut session = self.session;
            loop {
                match waiting.recv_timeout(LOOK_INTERVAL) {
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Some(session),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                let row = session.client().query_one(IN_BETWEEN, &[&dump]);
                if row.map_or(true, |row| row.get(0)) {
                    return None;
                }
            }
        };
        let watcher = thread::Builder::new().name("backup-locks".to_owned()).spawn(watch);
        let watcher = watcher.map_err(|e| Error::from_io("could not start a thread", e))?;
        Ok(Release {
            released: Some(released),
            watcher: Some(watcher),
            were_held: false,
            keep,
            session: None,
        })
    }
}

/// Lets go of tables, and knows whether they were held until then.
#[derive(Debug)]
pub(crate) struct Release {
    released: Option<Sender<()>>,
    watcher: Option<JoinHandle<Option<Session>>>,
    were_held: bool,
    keep: bool,
    session: Option<Session>,
}

impl Release {
    /// pg_dump holds the tables itself now.
    pub(crate) fn now(&mut self) {
        self.released = None;
        if let Some(watcher) = self.watcher.take() {
            let session = watcher.join().unwrap_or_default();
            self.were_held = session.is_some();
            self.session = session.filter(|_| self.keep);
        }
    }

    /// Whether nobody could empty a table meanwhile.
    pub(crate) fn were_held(&self) -> bool {
        self.were_held
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        self.now();
    }
}

fn lock(session: &mut Session) -> std::result::Result<(), postgres::Error> {
    let client = session.client();
    let _ = client.batch_execute("ROLLBACK");
    let tables: Vec<String> = client.query(TABLES, &[])?.iter().map(|row| row.get(0)).collect();
    client.batch_execute(&format!("BEGIN READ ONLY; SET LOCAL lock_timeout = {}", TRY.as_millis()))?;
    if tables.is_empty() {
        return Ok(());
    }
    client.batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", ")))
}

fn held(session: &mut Session, error: postgres::Error) -> Error {
    let _ = session.client().batch_execute("ROLLBACK");
    let holders = session.client().query(HOLDERS, &[]).unwrap_or_default();
    let holders: Vec<String> = holders
        .iter()
        .map(|row| format!("\"{}\" by process {}", row.get::<_, String>(0), row.get::<_, i32>(1)))
        .collect();
    let what = if holders.is_empty() { "a table".to_owned() } else { holders.join(", ") };
    let cause = explain(error, "lock the tables").causes().join(": ");
    Error::new(ErrorKind::Busy, format!("a dump has to wait for a lock that another session holds: {what}"))
        .with_source(cause)
        .with_hint(
            "Try again when it has ended, or wait longer with --lock-wait; pg_stat_activity tells what it does.",
        )
}
