//! Putting a restored database in the target's place: one transaction that renames both, so that a crash leaves the
//! old one whole or the new one whole, under the target's name and open to everybody.
//!
//! A database can only be renamed while nobody is connected to it. `ALTER DATABASE … RENAME` takes a lock that keeps
//! new sessions waiting, and then waits a few seconds for those that are there to go; meanwhile a second session ends
//! them. So nobody slips in between, and no setting of the old database is changed for it.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::Duration,
};

use backup_core::{Error, ErrorKind, Result, context::Context, crash, engine::Swapped};

use super::{
    names::{self, BEFORE, literal, shell_word},
    properties,
    server::TargetServer,
    temporary::{Place, TemporaryDatabase},
};
use crate::{
    archive::identifier,
    session::{Session, explain},
};

/// Renames that are tried before the swap is given up; the server waits five seconds in each.
const MAX_TRIES: u32 = 2;

/// How often sessions that came in are ended.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// Renames the restored database to the target's name, keeping what stood there.
pub(super) fn swap(database: &mut TemporaryDatabase, cx: &Context) -> Result<Swapped> {
    let (server, name) = (database.place.server.clone(), database.place.server.database().to_owned());
    let mut swapped = Swapped::default();
    swapped.target = server.display(&name);
    if exists(database.control(), &name)? {
        let kept = free_name(database.control(), &name, cx)?;
        warn_of_what_stays(&server, database.control(), &name, &kept, cx);
        crash::point("swap.locked");
        exchange(database, &name, &kept, cx)?;
        swapped.undo = Some(undo_line(&server, &name, Some(&kept), cx));
        swapped.kept.push(format!("database \"{kept}\""));
    } else {
        place(database, &name)?;
        swapped.undo = Some(undo_line(&server, &name, None, cx));
    }
    database.is_in_place();
    Ok(swapped)
}

pub(super) fn exists(session: &mut Session, name: &str) -> Result<bool> {
    let row = session.client().query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]);
    Ok(row.map_err(|e| explain(e, &format!("look for the database \"{name}\"")))?.is_some())
}

/// `<name>__before_<instant>`, with a number where that is taken.
fn free_name(session: &mut Session, name: &str, cx: &Context) -> Result<String> {
    for number in 1.. {
        let kept = names::derived(name, BEFORE, cx.now(), number);
        if !exists(session, &kept)? {
            return Ok(kept);
        }
    }
    Err(Error::failed(format!("no free name to keep \"{name}\" under was found")))
}

/// Nothing stands there: a rename is enough.
fn place(database: &mut TemporaryDatabase, name: &str) -> Result<()> {
    let restored = identifier(&database.place.name);
    let target = identifier(name);
    let what = format!("rename the restored database to \"{name}\"");
    let sql = format!("ALTER DATABASE {restored} RENAME TO {target}");
    let mut transaction = database.control().client().transaction().map_err(|e| explain(e, &what))?;
    let unmark = format!("COMMENT ON DATABASE {target} IS NULL");
    let marked = "SELECT shobj_description(oid, 'pg_database') LIKE 'backup: being restored from %' FROM pg_database WHERE datname = $1";
    transaction.batch_execute(&sql).map_err(|e| explain(e, &what))?;
    let row = transaction.query_one(marked, &[&name]).map_err(|e| explain(e, &what))?;
    if row.get::<_, Option<bool>>(0) == Some(true) {
        transaction.batch_execute(&unmark).map_err(|e| explain(e, &what))?;
    }
    crash::point("swap.renamed");
    transaction.commit().map_err(|e| explain(e, &what))
}

/// Both renames, and what the restored database inherits, in one transaction.
fn exchange(database: &mut TemporaryDatabase, name: &str, kept: &str, cx: &Context) -> Result<()> {
    let Place { server, name: restored } = database.place.clone();
    let inherited = properties::inherit(database.control(), name, &restored)?;
    let ender = server.session(&server.maintenance, "backup control", &[])?;
    let phase = AtomicU8::new(BEGINNING);
    thread::scope(|scope| {
        scope.spawn(|| end_sessions(ender, name, &phase));
        let mut outcome = Ok(());
        for _ in 0..MAX_TRIES {
            let exchanging =
                Exchange { name, restored: &restored, kept, inherited: &inherited, phase: &phase };
            outcome = cx.cancel().check().and_then(|()| exchanging.attempt(database.control()));
            if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::Busy) {
                break;
            }
        }
        phase.store(OVER, Ordering::Relaxed);
        outcome
    })
}

/// The exchange has not locked anybody out yet: a session that was ended would come back at once.
const BEGINNING: u8 = 0;
/// New sessions wait for the lock.
const LOCKING: u8 = 1;
const OVER: u8 = 2;

struct Exchange<'a> {
    name: &'a str,
    restored: &'a str,
    kept: &'a str,
    inherited: &'a [String],
    phase: &'a AtomicU8,
}

impl Exchange<'_> {
    fn attempt(&self, session: &mut Session) -> Result<()> {
        let what = format!("put the restored database in the place of \"{}\"", self.name);
        let failed = |e| in_use(e, &what, self.name);
        let mut transaction = session.client().transaction().map_err(failed)?;
        self.phase.store(LOCKING, Ordering::Relaxed);
        transaction.batch_execute(&rename(self.name, self.kept)).map_err(failed)?;
        crash::point("swap.old-kept");
        for statement in self.inherited {
            transaction.batch_execute(statement).map_err(failed)?;
        }
        transaction.batch_execute(&rename(self.restored, self.name)).map_err(failed)?;
        crash::point("swap.renamed");
        transaction.commit().map_err(failed)
    }
}

fn rename(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to))
}

fn in_use(error: postgres::Error, what: &str, name: &str) -> Error {
    let is_used = error.as_db_error().is_some_and(|answer| answer.code().code() == "55006");
    let explained = explain(error, what);
    if !is_used {
        return explained;
    }
    explained.with_hint(format!(
        "Sessions in \"{name}\" could not be ended: stop the application, end prepared transactions (pg_prepared_xacts), \
         or connect as a superuser. The old database is as it was."
    ))
}

/// Ends the sessions of a database until told to stop. Sessions that may not be ended by this role stay, and the
/// rename then says so.
fn end_sessions(mut session: Session, name: &str, phase: &AtomicU8) {
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
    let list = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
    loop {
        thread::sleep(END_INTERVAL);
        match phase.load(Ordering::Relaxed) {
            BEGINNING => continue,
            OVER => return,
            _ => {}
        }
        // One session that may not be ended must not save the others.
        if session.client().query_one(all, &[&name]).is_err()
            && let Ok(rows) = session.client().query(list, &[&name])
        {
            let one = "SELECT pg_terminate_backend($1)";
            rows.iter().for_each(|row| drop(session.client().query_one(one, &[&row.get::<_, i32>(0)])));
        }
    }
}

/// Replication hangs on the old database itself, whatever it is called.
fn warn_of_what_stays(server: &TargetServer, control: &mut Session, name: &str, kept: &str, cx: &Context) {
    let count = |session: &mut Session, sql: &str, parameters: &[&(dyn postgres::types::ToSql + Sync)]| {
        session.client().query_one(sql, parameters).map(|row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    let slots = count(control, "SELECT count(*) FROM pg_replication_slots WHERE database = $1", &[&name]);
    if slots > 0 {
        cx.warn(format!("{slots} logical replication slots stay with the old database, now \"{kept}\""));
    }
    if let Ok(mut session) = server.session(name, "backup control", &[]) {
        let subscriptions = "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
        if count(&mut session, subscriptions, &[]) > 0 {
            cx.warn(format!("the subscriptions stay with the old database, now \"{kept}\", and go on there"));
        }
    }
}

/// A line for a shell that brings the old database back, or drops the new one where there was none.
fn undo_line(server: &TargetServer, name: &str, kept: Option<&str>, cx: &Context) -> String {
    let target = identifier(name);
    let psql =
        format!("psql -X -q -v ON_ERROR_STOP=1 -d {}", shell_word(&server.conninfo_of(&server.maintenance)));
    let Some(kept) = kept else {
        return format!("{psql} -c {}", shell_word(&format!("DROP DATABASE {target}")));
    };
    let undone = identifier(&names::derived(name, "undone", cx.now(), 1));
    let steps = [
        format!("ALTER DATABASE {target} ALLOW_CONNECTIONS false"),
        format!(
            "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}; END $$",
            literal(name)
        ),
        format!(
            "BEGIN; ALTER DATABASE {target} RENAME TO {undone}; ALTER DATABASE {} RENAME TO {target}; \
             ALTER DATABASE {undone} ALLOW_CONNECTIONS true; COMMIT",
            identifier(kept)
        ),
    ];
    steps.iter().fold(psql, |line, step| format!("{line} -c {}", shell_word(step)))
}
