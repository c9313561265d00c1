//! Counts the rows of a live database, table by table, and hashes its definitions, in one snapshot.

use std::{collections::BTreeMap, thread, time::Duration};

use backup_core::{Result, census::Census, context::Context};
use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::{
    session::{Session, explain},
    source::Source,
};

/// How often a count looks whether somebody cancelled.
const TICK: Duration = Duration::from_millis(200);

/// No limit of the application's ends the count, and a table that a migration left locked does not hold it up for ever.
const SETTINGS: [(&str, &str); 3] =
    [("statement_timeout", "0"), ("lock_timeout", "60s"), ("idle_in_transaction_session_timeout", "0")];

/// One state for all tables, names written in full, and no policy that hides rows.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = ''; SET LOCAL row_security = off";

/// Tables with rows of their own, partitions one by one; not what belongs to an extension.
const TABLES: &str = "SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1";

/// One line per definition, whatever its number. Sequences' values and statistics are no definitions.
const DEFINITIONS: &str = include_str!("census/definitions.sql");

/// What the database holds now.
pub(crate) fn take(source: &Source, cx: &Context) -> Result<Census> {
    let mut session = Session::connect(&source.resolved, "backup census", &SETTINGS)?;
    let counted = while_wanted(&mut session, cx, count);
    cx.cancel().check()?;
    let (tables, fingerprint) = counted?;
    Ok(Census::new(cx.now(), tables, fingerprint))
}

fn count(session: &mut Session) -> Result<(BTreeMap<String, u64>, String)> {
    let client = session.client();
    client.batch_execute(BEGIN).map_err(|e| explain(e, "begin counting"))?;
    let names = client.query(TABLES, &[]).map_err(|e| explain(e, "list the tables"))?;
    let mut tables = BTreeMap::new();
    for name in names.iter().map(|row| row.get::<_, String>(0)) {
        let row = client.query_one(&format!("SELECT count(*) FROM ONLY {name}"), &[]);
        let rows: i64 = row.map_err(|e| explain(e, &format!("count \"{name}\"")))?.get(0);
        tables.insert(name, u64::try_from(rows).unwrap_or_default());
    }
    let rows = client.query(DEFINITIONS, &[]).map_err(|e| explain(e, "read the definitions"))?;
    let definitions = rows.iter().map(|row| row.get(0)).collect();
    client.batch_execute("COMMIT").map_err(|e| explain(e, "end counting"))?;
    Ok((tables, fingerprint(definitions)))
}

/// A hash of all definitions, whatever their order.
fn fingerprint(mut definitions: Vec<String>) -> String {
    definitions.sort_unstable();
    let mut hash = blake3::Hasher::new();
    for text in definitions {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// Asks a session questions until somebody cancels, which ends the running one on the server.
fn while_wanted<T>(
    session: &mut Session,
    cx: &Context,
    work: impl FnOnce(&mut Session) -> Result<T>,
) -> Result<T> {
    let (handle, cancel) = (session.cancel_handle(), cx.cancel());
    thread::scope(|scope| {
        let (done, waiting) = bounded::<()>(0);
        scope.spawn(move || {
            while waiting.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if cancel.is_cancelled() {
                    // A server that does not hear it ends the query when the connection closes.
                    let _ = handle.cancel();
                }
            }
        });
        let outcome = work(session);
        drop(done);
        outcome
    })
}
