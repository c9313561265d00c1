//! What a live database holds: rows per table and a fingerprint of its definitions, and how two such counts differ.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::manifest::TableFacts;

/// What a live source held at one instant, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Census {
    /// When it was taken, by this host's clock.
    pub taken_at: Timestamp,
    /// The exact number of rows of each table, by the table's name as manifests write it.
    pub tables: BTreeMap<String, u64>,
    /// A hash of all definitions. Two censuses of one engine compare by it; it is not the one that manifests hold.
    pub schema_fingerprint: String,
}

impl Census {
    /// A census.
    pub fn new(
        taken_at: Timestamp,
        tables: BTreeMap<String, u64>,
        schema_fingerprint: impl Into<String>,
    ) -> Self {
        Self { taken_at, tables, schema_fingerprint: schema_fingerprint.into() }
    }

    /// What became different between this census and a later one.
    pub fn compare(&self, after: &Self) -> Difference {
        let names: BTreeSet<&String> = self.tables.keys().chain(after.tables.keys()).collect();
        let changes = names.into_iter().map(|name| TableChange {
            name: name.clone(),
            before: self.tables.get(name).copied(),
            after: after.tables.get(name).copied(),
        });
        Difference {
            tables: changes.filter(|change| change.before != change.after).collect(),
            schema_changed: self.schema_fingerprint != after.schema_fingerprint,
        }
    }

    /// The tables whose rows are not those that a backup states, as far as both know them.
    pub fn changes_since(&self, backup: &[TableFacts]) -> Vec<TableChange> {
        let change = |facts: &TableFacts| {
            let now = *self.tables.get(&facts.name)?;
            (now != facts.rows).then(|| TableChange {
                name: facts.name.clone(),
                before: Some(facts.rows),
                after: Some(now),
            })
        };
        backup.iter().filter_map(change).collect()
    }
}

/// What became different between two censuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The tables whose number of rows changed, that came, or that went; by name.
    pub tables: Vec<TableChange>,
    /// Whether any definition changed.
    pub schema_changed: bool,
}

/// One table in two censuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableChange {
    /// The table.
    pub name: String,
    /// Its rows before; `None` where it was not there.
    pub before: Option<u64>,
    /// Its rows after; `None` where it is gone.
    pub after: Option<u64>,
}

impl Difference {
    /// Whether no count and no definition changed. (Rows may have been changed all the same: only their number counts.)
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && !self.schema_changed
    }

    /// What looks like an accident: tables that are gone, and those that lost more than `max_loss` of their rows, a
    /// share from 0 to 1; `None` leaves the rows out.
    pub fn suspicions(&self, max_loss: Option<f64>) -> Vec<String> {
        self.tables.iter().filter_map(|change| change.suspicion(max_loss)).collect()
    }

    /// One line per change, for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tables.iter().map(TableChange::to_string).collect();
        if self.schema_changed {
            lines.push("definitions changed".to_owned());
        }
        lines
    }
}

impl TableChange {
    fn suspicion(&self, max_loss: Option<f64>) -> Option<String> {
        match (self.before, self.after) {
            (Some(before), None) => Some(format!("table {} is gone, with its {before} rows", self.name)),
            (Some(before), Some(after)) if after < before => {
                let lost = (before - after) as f64 / before as f64;
                max_loss.filter(|allowed| lost > *allowed).map(|_| {
                    format!(
                        "table {} lost {:.0} % of its rows: {before}, then {after}",
                        self.name,
                        lost * 100.0
                    )
                })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for TableChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, before, after } = self;
        match (before, after) {
            (None, after) => write!(f, "{name}: new, {} rows", after.unwrap_or_default()),
            (Some(before), None) => write!(f, "{name}: gone, had {before} rows"),
            (Some(before), Some(after)) => {
                let change = i128::from(*after) - i128::from(*before);
                write!(f, "{name}: {before} rows, then {after} ({change:+})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn census(tables: &[(&str, u64)], fingerprint: &str) -> Census {
        let tables = tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        Census::new(Timestamp::UNIX_EPOCH, tables, fingerprint)
    }

    #[test]
    fn rows_tables_and_definitions_that_changed_are_told() {
        let before = census(&[("customers", 600), ("orders", 40), ("old", 7)], "a");
        let after = census(&[("customers", 601), ("orders", 40), ("new", 3)], "b");
        let lines = before.compare(&after).lines();
        assert_eq!(
            lines,
            [
                "customers: 600 rows, then 601 (+1)",
                "new: new, 3 rows",
                "old: gone, had 7 rows",
                "definitions changed"
            ]
        );
        assert!(before.compare(&before).is_empty());
    }

    #[test]
    fn a_table_that_is_gone_or_lost_more_than_allowed_is_suspicious() {
        let before = census(&[("a", 100), ("b", 100), ("c", 1), ("d", 0)], "");
        let after = census(&[("a", 50), ("b", 49), ("d", 0)], "");
        let told = before.compare(&after).suspicions(Some(0.5));
        assert_eq!(told, ["table b lost 51 % of its rows: 100, then 49", "table c is gone, with its 1 rows"]);
        assert_eq!(before.compare(&after).suspicions(None).len(), 1);
    }

    proptest! {
        #[test]
        fn a_difference_names_each_changed_table_once_and_no_other(
            before in prop::collection::btree_map("[a-d]", 0u64..4, 0..4),
            after in prop::collection::btree_map("[a-d]", 0u64..4, 0..4),
        ) {
            let one = Census::new(Timestamp::UNIX_EPOCH, before.clone(), "");
            let other = Census::new(Timestamp::UNIX_EPOCH, after.clone(), "");
            let told: Vec<String> = one.compare(&other).tables.into_iter().map(|change| change.name).collect();
            let expected: BTreeSet<&String> =
                before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
            prop_assert!(told.iter().eq(expected));
            prop_assert_eq!(one.compare(&other).is_empty(), before == after);
        }
    }
}
