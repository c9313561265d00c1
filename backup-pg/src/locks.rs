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
            if !is_passing || begun.elapsed() >= wait {
                return Err(held(failed, is_passing));
            }
        }
    }

    /// Holds them until the answer is used: until pg_dump has given its first byte.
    ///
    /// Where somebody queues for one of them, pg_dump waits for that one, and that one for us. Then they are let go,
    /// and what is dumped may be missing rows.
    pub(crate) fn until_dumped(self, dump: String) -> Result<Release> {
        let (released, waiting) = bounded::<()>(1);
        let watch = move || {
            let mut session = self.session;
            loop {
                match waiting.recv_timeout(LOOK_INTERVAL) {
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return true,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                let row = session.client().query_one(IN_BETWEEN, &[&dump]);
                if row.map_or(true, |row| row.get(0)) {
                    return false;
                }
            }
        };
        let watcher = thread::Builder::new().name("backup-locks".to_owned()).spawn(watch);
        let watcher = watcher.map_err(|e| Error::from_io("could not start a thread", e))?;
        Ok(Release { released: Some(released), watcher: Some(watcher), held: None })
    }
}

/// Lets go of tables, and knows whether they were held until then.
#[derive(Debug)]
pub(crate) struct Release {
    released: Option<Sender<()>>,
    watcher: Option<JoinHandle<bool>>,
    held: Option<bool>,
}

impl Release {
    /// pg_dump holds the tables itself now.
    pub(crate) fn now(&mut self) {
        self.released = None;
        if let Some(watcher) = self.watcher.take() {
            self.held = Some(watcher.join().unwrap_or(false));
        }
    }

    /// Whether nobody could empty a table meanwhile.
    pub(crate) fn were_held(&self) -> bool {
        self.held == Some(true)
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

fn held(error: postgres::Error, is_passing: bool) -> Error {
    let explained = explain(error, "could not lock the tables for the dump");
    if !is_passing {
        return explained;
    }
    let cause = explained.causes().join(": ");
    Error::new(ErrorKind::Busy, "a table is held by another session, as a migration does").with_source(cause).with_hint(
        "Try again when it has ended, or wait longer with --lock-wait; pg_locks and pg_stat_activity tell who holds it.",
    )
}
