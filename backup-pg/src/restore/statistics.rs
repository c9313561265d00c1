//! The planner's statistics, which dumps do not hold: without them the first queries are slow.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use backup_core::{Result, context::Context};

use super::{parallel::in_sessions, temporary::Place};
use crate::{
    archive::{Archive, qualified},
    session::{Session, explain},
};

/// Gathers them on all tables except those that have them already.
pub(super) fn gather(place: &Place, done: &HashSet<String>, jobs: usize, cx: &Context) -> Result<()> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'm', 'p') AND c.relispopulated AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
               ORDER BY c.relpages DESC";
    let open = || session(place);
    let mut session = open()?;
    let rows = session.client().query(sql, &[]).map_err(|e| explain(e, "list the restored tables"))?;
    drop(session);
    let tables = rows.iter().map(|row| qualified(row.get(0), row.get(1)));
    let tables: Vec<String> = tables.filter(|table| !done.contains(table)).collect();
    if tables.is_empty() {
        return Ok(());
    }
    let analyze = |session: &mut Session, table: &String| {
        analyze(session, table, cx);
        Ok(())
    };
    in_sessions(jobs, &tables, &open, &analyze, cx).map(|_| ())
}

/// Gathers them on one table after another while something else is done, and no longer; the tables that have them then.
pub(super) fn gather_beside<T>(
    place: &Place,
    tables: &[String],
    cx: &Context,
    work: impl FnOnce() -> T,
) -> (T, HashSet<String>) {
    if tables.is_empty() {
        return (work(), HashSet::new());
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let gathering = scope.spawn(|| {
            // Whatever is in the way is met again, and told, when they are gathered on the other tables.
            let Ok(mut session) = session(place) else { return HashSet::new() };
            let left = tables.iter().take_while(|_| !is_over.load(Ordering::Relaxed));
            left.inspect(|table| analyze(&mut session, table, cx)).cloned().collect()
        });
        let outcome = work();
        is_over.store(true, Ordering::Relaxed);
        (outcome, gathering.join().unwrap_or_default())
    })
}

/// The tables of an archive on which they can be gathered before the rest of it is there, the largest first: with rows,
/// and with all that statistics are also gathered on, as the expressions of indexes.
pub(super) fn complete(archive: &Archive, done: &HashSet<i32>) -> Vec<String> {
    if !archive.is_utf8() {
        return Vec::new();
    }
    let is_gathered_on = |desc: &str| matches!(desc, "INDEX" | "CONSTRAINT" | "STATISTICS");
    let awaited = archive.entries.iter().filter(|entry| is_gathered_on(&entry.desc));
    let awaited: HashSet<i32> = awaited
        .filter(|entry| !done.contains(&entry.dump_id))
        .flat_map(|entry| entry.dependencies.iter().copied())
        .collect();
    let sizes = archive.sizes_of_tables();
    let mut tables: Vec<_> = archive
        .entries
        .iter()
        .filter(|entry| entry.desc == "TABLE" && !awaited.contains(&entry.dump_id))
        .filter_map(|entry| Some((*sizes.get(&entry.dump_id)?, entry.name())))
        .collect();
    tables.sort_by(|a, b| b.cmp(a));
    tables.into_iter().map(|(_, name)| name).collect()
}

fn session(place: &Place) -> Result<Session> {
    place.session("backup analyze", &[("vacuum_cost_delay", "0"), ("synchronous_commit", "off")])
}

fn analyze(session: &mut Session, table: &str, cx: &Context) {
    if let Err(error) = session.client().batch_execute(&format!("ANALYZE {table}")) {
        // An expression of an index may fail outside of its application; the rows are there.
        cx.warn(format!("{:?}", explain(error, &format!("gather statistics on {table}"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Entry, TableData};

    fn entry(dump_id: i32, desc: &str, tag: &str, dependencies: &[i32]) -> Entry {
        let dependencies = dependencies.to_vec();
        Entry { dump_id, desc: desc.into(), tag: tag.into(), dependencies, ..Entry::default() }
    }

    #[test]
    fn statistics_wait_for_the_indexes_of_their_table_and_not_for_its_foreign_keys() {
        let encoding =
            Entry { definition: "SET client_encoding = 'UTF8';".into(), ..entry(1, "ENCODING", "", &[]) };
        let tables = [(10, "small"), (11, "large"), (12, "indexed"), (13, "keyed"), (14, "empty")];
        let mut entries = vec![encoding];
        entries.extend(tables.iter().map(|(id, name)| entry(*id, "TABLE", name, &[])));
        entries.extend(tables.iter().map(|(id, name)| entry(*id + 10, "TABLE DATA", name, &[*id])));
        entries.push(entry(30, "INDEX", "i", &[12]));
        entries.push(entry(31, "CONSTRAINT", "k", &[13]));
        entries.push(entry(32, "FK CONSTRAINT", "f", &[11, 13, 31]));
        let data =
            |(dump_id, bytes): (i32, u64)| TableData { dump_id, name: String::new(), facts: None, bytes };
        let tables = [(20, 5), (21, 50), (22, 500), (23, 500)].map(data).to_vec();
        let mut archive = Archive { entries, tables, ..Archive::default() };
        assert_eq!(complete(&archive, &HashSet::from([31])), ["keyed", "large", "small"]);
        assert_eq!(complete(&archive, &HashSet::from([30, 31])), ["keyed", "indexed", "large", "small"]);
        archive.entries.remove(0);
        assert!(complete(&archive, &HashSet::new()).is_empty());
    }
}
