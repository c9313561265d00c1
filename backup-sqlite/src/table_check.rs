//! One table's check, in parts that several threads share.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use backup_core::{Error, Result, context::CancelToken, verify::Finding};
use rusqlite::Connection;

use crate::{
    agreement::Tally,
    doubt::{Plainly, is_plain},
    findings::{damage_or_error, integrity},
    indexed_table::IndexedTable,
    schema,
};

/// A table's tree and rows, its indexes against them, and the number of its rows against the manifest.
pub(crate) struct TableCheck {
    name: String,
    expected: Option<u64>,
    /// `None` where it has no index, or one that only SQLite understands.
    indexed: Option<IndexedTable>,
    outcome: Mutex<Outcome>,
}

/// A piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it, by `PRAGMA integrity_check(TABLE)`.
    Whole,
    /// All but what its indexes say, by `PRAGMA quick_check(TABLE)`.
    Structure,
    /// What its rows call for in its indexes.
    Rows,
    /// What one of its indexes holds.
    Entries(usize),
}

impl Part {
    /// What a row costs in it, about, on a table with so many indexes.
    pub(crate) fn cost(self, indexes: usize) -> u64 {
        let indexes = indexes as u64;
        match self {
            Self::Whole => 1 + 10 * indexes,
            Self::Structure | Self::Rows => 1 + indexes,
            Self::Entries(_) => 1,
        }
    }
}

/// What the parts have found so far.
struct Outcome {
    left: usize,
    is_plain: bool,
    called_for: Vec<Tally>,
    present: Vec<Tally>,
}

impl TableCheck {
    pub(crate) fn new(name: &str, expected: Option<u64>, indexed: Option<IndexedTable>) -> Self {
        let indexes = indexed.as_ref().map_or(0, |indexed| indexed.indexes.len());
        let tallies = vec![Tally::default(); indexes];
        let outcome =
            Outcome { left: 2 + indexes, is_plain: true, called_for: tallies.clone(), present: tallies };
        Self { name: name.to_owned(), expected, indexed, outcome: Mutex::new(outcome) }
    }

    /// Its pieces; all must be run, each once.
    pub(crate) fn parts(&self) -> Vec<Part> {
        match &self.indexed {
            None => vec![Part::Whole],
            Some(indexed) => {
                let entries = (0..indexed.indexes.len()).map(Part::Entries);
                [Part::Structure, Part::Rows].into_iter().chain(entries).collect()
            }
        }
    }

    /// Runs a piece. What is wrong with the table is told by the piece that ends last, in SQLite's words.
    pub(crate) fn run(
        &self,
        part: Part,
        connection: &Connection,
        path: &Path,
        cancel: &CancelToken,
    ) -> Result<Vec<Finding>> {
        let is_plain = match (part, &self.indexed) {
            (Part::Structure, _) => self.ask("quick_check", connection, path)?.is_empty(),
            (Part::Rows, Some(indexed)) => {
                let called_for = look(path, |file| indexed.called_for(file, cancel))?;
                self.note(called_for, |outcome, called_for| outcome.called_for = called_for)
            }
            (Part::Entries(index), Some(indexed)) => {
                let present = look(path, |file| indexed.indexes[index].present(file, cancel))?;
                self.note(present, |outcome, present| outcome.present[index] = present)
            }
            (Part::Whole | Part::Rows | Part::Entries(_), _) => return self.judge(false, connection, path),
        };
        match self.end_part(is_plain) {
            Some(is_plain) => self.judge(is_plain, connection, path),
            None => Ok(Vec::new()),
        }
    }

    /// Keeps what a piece has seen; whether it was plain.
    fn note<T>(&self, seen: Option<T>, keep: impl FnOnce(&mut Outcome, T)) -> bool {
        let Some(seen) = seen else { return false };
        keep(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner), seen);
        true
    }

    /// After the last piece: whether the table is plainly sound.
    fn end_part(&self, is_plain: bool) -> Option<bool> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.left -= 1;
        outcome.is_plain &= is_plain;
        (outcome.left == 0).then(|| outcome.is_plain && outcome.called_for == outcome.present)
    }

    fn judge(&self, is_plain: bool, connection: &Connection, path: &Path) -> Result<Vec<Finding>> {
        let mut findings = if is_plain { Vec::new() } else { self.ask("integrity_check", connection, path)? };
        if let (Some(expected), true) = (self.expected, findings.is_empty()) {
            findings.extend(count(connection, &self.name, expected, path)?);
        }
        Ok(findings)
    }

    fn ask(&self, check: &str, connection: &Connection, path: &Path) -> Result<Vec<Finding>> {
        integrity(connection, &format!("PRAGMA {check}({})", schema::quoted(&self.name)), &self.name, path)
    }
}

fn look<T>(path: &Path, look: impl FnOnce(File) -> Plainly<T>) -> Result<Option<T>> {
    let seen: io::Result<Option<T>> = File::open(path).and_then(|file| is_plain(look(file)));
    seen.map_err(|e| Error::io("read", path, e))
}

fn count(connection: &Connection, table: &str, expected: u64, path: &Path) -> Result<Vec<Finding>> {
    let sql = format!("SELECT count(*) FROM {}", schema::quoted(table));
    match connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
        Ok(rows) if u64::try_from(rows) == Ok(expected) => Ok(Vec::new()),
        Ok(rows) => {
            let what = format!("has {rows} rows, the manifest says {expected}");
            Ok(vec![Finding::content("rows", schema::identifier(table), what)])
        }
        Err(error) => damage_or_error(error, "rows", table, path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{connection::open_for_check, indexed_table::indexed_table};

    /// Every kind of table and index that is understood, with every kind of value; pages so small that entries spill.
    const SHOP: &str = "
        PRAGMA page_size = 1024;
        CREATE TABLE goods (
            id INTEGER PRIMARY KEY, sku TEXT UNIQUE, price REAL, stock NUMERIC, title TEXT COLLATE NOCASE,
            note TEXT, twice AS (stock * 2) VIRTUAL, label AS (title || '!') STORED, late ANY);
        CREATE INDEX by_price ON goods (price DESC, id);
        CREATE INDEX by_title ON goods (title, note COLLATE RTRIM);
        CREATE INDEX by_label ON goods (label);
        CREATE UNIQUE INDEX by_late ON goods (late, stock);
        CREATE TABLE days (day INT, place TEXT, sold INT, body BLOB, PRIMARY KEY (place, day DESC)) WITHOUT ROWID;
        CREATE INDEX by_sold ON days (sold, place);
        CREATE TABLE plain (body BLOB);
        WITH RECURSIVE n (i) AS (SELECT -60 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
        INSERT INTO goods (id, sku, price, stock, title, note, late)
            SELECT i * i * i * 977, CASE WHEN i % 9 THEN printf('sku-%d', i) END,
                CASE i % 3 WHEN 0 THEN i ELSE i / 7.0 END, i * 1e17, printf('%.*c%d', i % 50, 'Ab', i % 7),
                CASE i % 4 WHEN 0 THEN 'end   ' WHEN 1 THEN printf('%.*c', 200 + i * 9, 'n') END,
                CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN i * 0.5 WHEN 3 THEN zeroblob(i + 60) ELSE 't' || i END
            FROM n;
        INSERT INTO days SELECT id % 50, coalesce(sku, 'none') || id, stock, zeroblob(abs(id) % 3000) FROM goods;
        INSERT INTO plain SELECT zeroblob(500) FROM goods;
        ALTER TABLE goods ADD COLUMN later TEXT;
        CREATE INDEX by_later ON goods (later, sku);
        UPDATE goods SET later = 'x' WHERE stock > 0;";

    fn make(folder: &Path, sql: &str) -> std::path::PathBuf {
        let path = folder.join("shop.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    }

    /// What our parts say of every table, and what SQLite says.
    fn verdicts(path: &Path) -> (Vec<Finding>, Vec<Finding>) {
        let cancel = CancelToken::default();
        // Damage of the definitions themselves is found before any table is looked at.
        let Ok(connection) = open_for_check(path, &cancel) else { return (Vec::new(), Vec::new()) };
        let Ok(definitions) = schema::read(&connection) else { return (Vec::new(), Vec::new()) };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for table in definitions.iter().filter(|d| d.kind == "table") {
            let indexed = indexed_table(&connection, &definitions, table).unwrap_or_default();
            let check = TableCheck::new(&table.name, None, indexed);
            for part in check.parts() {
                ours.extend(check.run(part, &connection, path, &cancel).unwrap());
            }
            let whole = TableCheck::new(&table.name, None, None);
            theirs.extend(whole.run(Part::Whole, &connection, path, &cancel).unwrap());
        }
        (ours, theirs)
    }

    /// Whether every indexed table is understood and found sound without asking for `integrity_check`.
    fn is_plainly_sound(path: &Path) -> bool {
        let cancel = CancelToken::default();
        let connection = open_for_check(path, &cancel).unwrap();
        let definitions = schema::read(&connection).unwrap();
        definitions.iter().filter(|d| d.kind == "table" && d.name != "plain").all(|table| {
            let Some(indexed) = indexed_table(&connection, &definitions, table).unwrap() else {
                return false;
            };
            let file = || File::open(path).unwrap();
            let Ok(called_for) = indexed.called_for(file(), &cancel) else { return false };
            indexed.indexes.iter().zip(called_for).all(|(index, called_for)| {
                index.present(file(), &cancel).is_ok_and(|present| present == called_for)
            })
        })
    }

    #[test]
    fn a_sound_table_of_every_kind_needs_no_look_ups() {
        let folder = tempfile::tempdir().unwrap();
        let path = make(folder.path(), SHOP);
        assert_eq!(verdicts(&path), (Vec::new(), Vec::new()));
        assert!(is_plainly_sound(&path));
    }

    #[test]
    fn what_is_not_understood_is_left_to_sqlite() {
        for (what, sql) in [
            ("a partial index", "CREATE TABLE t (a); CREATE INDEX i ON t (a) WHERE a > 3;"),
            ("an expression", "CREATE TABLE t (a); CREATE INDEX i ON t (a + 1);"),
            ("a virtual column", "CREATE TABLE t (a, b AS (a + 1)); CREATE INDEX i ON t (b);"),
            ("UTF-16", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a); CREATE INDEX i ON t (a);"),
            (
                "a default of rows older than their column",
                "CREATE TABLE t (a); INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN b DEFAULT 7;
                 CREATE INDEX i ON t (b);",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = make(folder.path(), sql);
            assert!(!is_plainly_sound(&path), "{what}");
            assert_eq!(verdicts(&path), (Vec::new(), Vec::new()), "{what}");
        }
    }

    /// Two definitions whose trees are exchanged behind SQLite's back: every page is sound, and every entry wrong.
    #[test]
    fn an_index_of_other_rows_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = make(
            folder.path(),
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);
             CREATE INDEX i ON t (a); CREATE INDEX j ON t (b);
             INSERT INTO t VALUES (1, 'one', 'uno'), (2, 'two', 'due');
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = 7 - rootpage WHERE type = 'index';",
        );
        let (ours, theirs) = verdicts(&path);
        assert_eq!(ours, theirs);
        assert!(ours.iter().any(|finding| finding.what.contains("missing from index i")), "{ours:?}");
    }

    /// A definition that is made unique behind SQLite's back.
    #[test]
    fn a_key_that_comes_twice_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = make(
            folder.path(),
            "CREATE TABLE t (a TEXT, b TEXT); CREATE INDEX i ON t (a);
             INSERT INTO t VALUES ('one', 1), ('one', 2);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX i ON t (a)' WHERE name = 'i';",
        );
        let (ours, theirs) = verdicts(&path);
        assert_eq!(ours, theirs);
        assert!(ours.iter().any(|finding| finding.what.contains("non-unique entry")), "{ours:?}");
    }

    /// A definition that is turned around behind SQLite's back: the same entries, in another order.
    #[test]
    fn entries_out_of_order_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = make(
            folder.path(),
            "CREATE TABLE t (a TEXT); CREATE INDEX i ON t (a);
             INSERT INTO t VALUES ('one'), ('two'), ('three');
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (a DESC)' WHERE name = 'i';",
        );
        let (ours, theirs) = verdicts(&path);
        assert_eq!(ours, theirs);
        assert!(!ours.is_empty());
    }

    proptest! {
        #[test]
        fn damage_anywhere_is_judged_as_sqlite_judges_it(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        ) {
            static SOUND: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let folder = tempfile::tempdir().unwrap();
            let sound = SOUND.get_or_init(|| std::fs::read(make(folder.path(), SHOP)).unwrap());
            let mut bytes = sound.clone();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let path = folder.path().join("damaged.db");
            std::fs::write(&path, bytes).unwrap();
            let (ours, theirs) = verdicts(&path);
            prop_assert_eq!(ours, theirs);
        }
    }
}
