//! Indexes of large tables, built by sessions of our own.
//!
//! pg_restore keeps the building of a primary key apart from all other work on its table, for the constraint locks the
//! table alone: of a table that is larger than all others, one index after another is built. Here a key's index is a
//! unique index like any other, of which a table may get several at the same time; at last, which takes no time, it is
//! made the constraint's. Everything that is not of the simplest form is left to pg_restore.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use backup_core::{Result, context::Context, manifest::TableFacts};

use super::{names::literal, parallel::in_sessions, temporary::Place};
use crate::{
    archive::{Archive, Entry},
    session::{CancelHandle, Session, explain},
};

/// Tables with less data than this have indexes in no time.
const LARGE_BYTES: u64 = 1 << 20;

/// How long an interrupted build may go on.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// As pg_restore's sessions have it. A lock that an automatic vacuum holds is given up after that time.
const SETTINGS: [(&str, &str); 5] = [
    ("row_security", "off"),
    ("synchronous_commit", "off"),
    ("client_min_messages", "warning"),
    ("jit", "off"),
    ("deadlock_timeout", "50ms"),
];

/// An index to build.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Build {
    dump_id: i32,
    /// Of its table.
    rows: u64,
    tablespace: String,
    create: String,
    /// What makes it a constraint's.
    adopt: Option<String>,
}

/// Builds what it can of an archive whose rows are in the database, by several sessions; the entries that need no more.
/// The facts say how many rows there are.
///
/// The role must be a superuser.
///
/// # Errors
/// What a server says against an index, as of rows that are not unique.
pub(super) fn build(
    place: &Place,
    archive: &Archive,
    facts: &[TableFacts],
    jobs: usize,
    cx: &Context,
) -> Result<HashSet<i32>> {
    let builds = builds(archive, facts);
    if builds.len() < 2 {
        return Ok(HashSet::new());
    }
    let handles = Mutex::new(Vec::new());
    // With sessions enough for all its processors, a server's helpers of one index are in the way of another.
    let helpers = if place.server.is_local() && jobs >= cx.jobs() {
        "SET max_parallel_maintenance_workers = 0"
    } else {
        ""
    };
    let open = || {
        let mut session = session(place)?;
        session.client().batch_execute(helpers).map_err(|e| explain(e, "set up a session"))?;
        handles.lock().unwrap_or_else(PoisonError::into_inner).push(session.cancel_handle());
        Ok(session)
    };
    let create = |session: &mut Session, build: &Build| {
        let sql = format!("SET default_tablespace = {}; {}", literal(&build.tablespace), build.create);
        run(session, &sql, &build.create)
    };
    until_cancelled(&handles, cx, || in_sessions(jobs, &builds, &open, &create, cx))?;
    let mut session = open()?;
    for adopt in builds.iter().filter_map(|build| build.adopt.as_ref()) {
        run(&mut session, adopt, adopt)?;
    }
    Ok(builds.iter().map(|build| build.dump_id).collect())
}

fn session(place: &Place) -> Result<Session> {
    let mut session = place.session("backup restore", &SETTINGS)?;
    session.client().batch_execute("SET search_path = ''").map_err(|e| explain(e, "set up a session"))?;
    Ok(session)
}

fn run(session: &mut Session, sql: &str, said: &str) -> Result<()> {
    session.client().batch_execute(sql).map_err(|e| explain(e, &format!("run \"{}\"", said.trim_end())))
}

/// Works while somebody else ends the sessions' queries if the user wants that.
fn until_cancelled<T>(
    handles: &Mutex<Vec<CancelHandle>>,
    cx: &Context,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if cx.cancel().is_cancelled() {
                    // A query that cannot be ended ends by itself.
                    let handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
                    handles.iter().for_each(|handle| _ = handle.cancel());
                }
                thread::sleep(CANCEL_INTERVAL);
            }
        });
        let outcome = work();
        is_over.store(true, Ordering::Relaxed);
        outcome
    });
    cx.cancel().check()?;
    outcome
}

/// What takes longest first, so that no session is left alone with it at the end: that depends on how many rows there
/// are, not on how long they are.
fn builds(archive: &Archive, facts: &[TableFacts]) -> Vec<Build> {
    // Of partitioned tables one index belongs to another.
    if archive.entries.iter().any(|entry| entry.desc == "INDEX ATTACH") || !archive.is_utf8() {
        return Vec::new();
    }
    let sizes = archive.sizes_of_tables();
    let rows: HashMap<&str, u64> = facts.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    let tables = archive.entries.iter().filter(|entry| entry.desc == "TABLE");
    let rows: HashMap<i32, u64> =
        tables.filter_map(|entry| Some((entry.dump_id, *rows.get(entry.name().as_str())?))).collect();
    let build = |entry: &Entry| {
        let table = entry.dependencies.iter().max_by_key(|id| sizes.get(id))?;
        sizes.get(table).filter(|bytes| **bytes >= LARGE_BYTES)?;
        let rows = rows.get(table).copied().unwrap_or_default();
        let (create, adopt) = match entry.desc.as_str() {
            "INDEX" if is_only_create(&entry.definition) => (entry.definition.clone(), None),
            "CONSTRAINT" => unique(&entry.definition).map(|(create, adopt)| (create, Some(adopt)))?,
            _ => return None,
        };
        let tablespace = entry.tablespace.clone();
        Some(Build { dump_id: entry.dump_id, rows, tablespace, create, adopt })
    };
    let mut builds: Vec<Build> = archive.entries.iter().filter_map(build).collect();
    builds.sort_by_key(|build| std::cmp::Reverse(build.rows));
    builds
}

/// Statistics targets, clustering and replica identities follow in the same definition, and lock more.
fn is_only_create(definition: &str) -> bool {
    let is_create = ["CREATE INDEX ", "CREATE UNIQUE INDEX "].iter().any(|verb| definition.starts_with(verb));
    is_create && !definition.contains(";\n\n") && !definition.contains("\nALTER ")
}

/// The unique index of a key, and what makes it the key's:
/// `ALTER TABLE ONLY t\n    ADD CONSTRAINT c PRIMARY KEY (a, b);`.
fn unique(definition: &str) -> Option<(String, String)> {
    let statement = definition.trim_end().strip_prefix("ALTER TABLE ONLY ")?.strip_suffix(");")?;
    let (table, rest) = statement.split_once("\n    ADD CONSTRAINT ")?;
    let name = identifier_at_start(rest)?;
    let rest = &rest[name.len()..];
    let (kind, columns) = [" PRIMARY KEY (", " UNIQUE ("]
        .iter()
        .find_map(|kind| Some((kind.strip_suffix(" (")?, rest.strip_prefix(kind)?)))?;
    let has_more = columns.split('"').step_by(2).any(|outside| {
        outside.contains(['(', ')', ';']) || outside.split(',').any(|column| column.trim().contains(' '))
    });
    if has_more || table.contains('\n') {
        return None;
    }
    Some((
        format!("CREATE UNIQUE INDEX {name} ON {table} USING btree ({columns})"),
        format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {name}{kind} USING INDEX {name}"),
    ))
}

/// An identifier as SQL writes it, in quotes or not.
fn identifier_at_start(text: &str) -> Option<&str> {
    let Some(quoted) = text.strip_prefix('"') else { return text.get(..text.find(' ')?) };
    let mut rest = quoted;
    loop {
        rest = &rest[rest.find('"')? + 1..];
        match rest.strip_prefix('"') {
            Some(doubled) => rest = doubled,
            None => return text.get(..text.len() - rest.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::TableData;

    #[test]
    fn a_key_is_a_unique_index_that_is_made_its_own() {
        let found = unique("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a, b);\n");
        let (create, adopt) = found.unwrap();
        assert_eq!(create, "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (a, b)");
        assert_eq!(adopt, "ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey");
        let odd = "ALTER TABLE ONLY \"S\".\"t\"\n    ADD CONSTRAINT \"a \"\"b\" UNIQUE (\"x (y)\");";
        let (create, adopt) = unique(odd).unwrap();
        assert_eq!(create, "CREATE UNIQUE INDEX \"a \"\"b\" ON \"S\".\"t\" USING btree (\"x (y)\")");
        assert!(adopt.ends_with(" ADD CONSTRAINT \"a \"\"b\" UNIQUE USING INDEX \"a \"\"b\""));
    }

    #[test]
    fn indexes_of_many_rows_are_built_before_those_of_long_rows() {
        let entry = |dump_id, desc: &str, tag: &str, definition: &str, dependencies: &[i32]| Entry {
            dump_id,
            desc: desc.into(),
            tag: tag.into(),
            definition: definition.into(),
            dependencies: dependencies.to_vec(),
            ..Entry::default()
        };
        let entries = vec![
            entry(1, "ENCODING", "", "SET client_encoding = 'UTF8';", &[]),
            entry(10, "TABLE", "long", "", &[]),
            entry(11, "TABLE", "many", "", &[]),
            entry(12, "TABLE", "small", "", &[]),
            entry(20, "TABLE DATA", "long", "", &[10]),
            entry(21, "TABLE DATA", "many", "", &[11]),
            entry(22, "TABLE DATA", "small", "", &[12]),
            entry(30, "INDEX", "a", "CREATE INDEX a ON long USING btree (x);\n", &[10, 10]),
            entry(31, "INDEX", "b", "CREATE INDEX b ON many USING btree (x);\n", &[11]),
            entry(32, "INDEX", "c", "CREATE INDEX c ON small USING btree (x);\n", &[12]),
        ];
        let data = |dump_id, bytes| TableData { dump_id, name: String::new(), facts: None, bytes };
        let tables = vec![data(20, LARGE_BYTES * 9), data(21, LARGE_BYTES), data(22, LARGE_BYTES - 1)];
        let archive = Archive { entries, tables, ..Archive::default() };
        let facts = |name: &str, rows| TableFacts { name: name.into(), rows, digest: None };
        let facts = [facts("long", 5), facts("many", 500), facts("small", 5000)];
        let order = builds(&archive, &facts).into_iter().map(|build| build.dump_id);
        assert_eq!(order.collect::<Vec<_>>(), [31, 30]);
    }

    #[test]
    fn other_constraints_are_left_to_pg_restore() {
        for rest in [
            "c UNIQUE NULLS NOT DISTINCT (a);",
            "c PRIMARY KEY (a) INCLUDE (b);",
            "c PRIMARY KEY (a) WITH (fillfactor='70');",
            "c PRIMARY KEY (a) DEFERRABLE;",
            "c EXCLUDE USING gist (a WITH &&);",
            "c CHECK ((a > 0)) NOT VALID;",
            "c PRIMARY KEY (a);\n\nALTER TABLE ONLY public.t REPLICA IDENTITY USING INDEX c;",
            "c PRIMARY KEY (a);\n\nALTER TABLE public.t CLUSTER ON c;",
            "c PRIMARY KEY (a, b WITHOUT OVERLAPS);",
            "\"c PRIMARY KEY (a);",
        ] {
            let definition = format!("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT {rest}\n");
            assert_eq!(unique(&definition), None, "{rest}");
        }
    }

    #[test]
    fn an_index_with_more_than_its_creation_is_left_to_pg_restore() {
        assert!(is_only_create("CREATE INDEX i ON public.t USING btree (a);\n"));
        for more in
            ["ALTER INDEX public.i ALTER COLUMN 1 SET STATISTICS 10;", "ALTER TABLE public.t CLUSTER ON i;"]
        {
            assert!(!is_only_create(&format!("CREATE INDEX i ON public.t USING btree (a);\n\n{more}\n")));
            assert!(!is_only_create(&format!("CREATE INDEX i ON public.t USING btree (a);\n{more}\n")));
        }
    }
}
