//! Rules that make a fresh backup suspect: fewer rows than ever before, a sudden change of size.

use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, Suspicion};

/// The rules of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Guardrails {
    /// Fewer rows than this in all tables together make the backup suspect; `None` is off.
    pub min_rows: Option<u64>,
    /// Fewer rows than this share of the highest count ever seen make the backup suspect; 0 is off.
    pub ratchet: f64,
    /// A payload that differs by more than this share from the last good one's is worth a warning; 0 is off.
    pub size_change: f64,
    /// Free space wanted, as a multiple of what a run is expected to write; 0 is off.
    pub min_free: f64,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self { min_rows: None, ratchet: 0.9, size_change: 0.2, min_free: 1.2 }
    }
}

/// What the rules say of a fresh backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Breaches that make it suspect.
    pub suspect: Vec<Suspicion>,
    /// Changes worth a word.
    pub warnings: Vec<String>,
    /// The high-water mark it carries on.
    pub high_water_rows: Option<u64>,
}

impl Guardrails {
    /// Judges a fresh backup by those before it; with `accept`, breaches become warnings and the mark starts anew.
    pub fn judge(&self, fresh: &Manifest, before: &[Manifest], accept: bool) -> Judgement {
        let good: Vec<&Manifest> =
            before.iter().filter(|m| m.content == fresh.content && m.is_good()).collect();
        let last_good = good.iter().max_by_key(|m| m.started_at).copied();
        let mark = last_good.and_then(|m| m.high_water_rows.max(m.rows));

        let mut judgement = Judgement::default();
        judgement.suspect.extend(fresh.rows.and_then(|rows| self.too_few(rows)));
        judgement.suspect.extend(fresh.rows.zip(mark).and_then(|(rows, mark)| self.slipped_back(rows, mark)));
        judgement.warnings.extend(last_good.and_then(|last| self.size_jump(fresh, last)));
        judgement.warnings.extend(last_good.and_then(|last| vanished_tables(fresh, last)));

        let breached = !judgement.suspect.is_empty();
        judgement.high_water_rows = match (accept, breached) {
            (true, _) => fresh.rows,
            (false, true) => mark,
            (false, false) => fresh.rows.max(mark),
        };
        if accept {
            let accepted = judgement.suspect.drain(..);
            judgement
                .warnings
                .extend(accepted.map(|s| format!("accepted: {} where {}", s.found, s.expected)));
        }
        judgement
    }

    fn too_few(&self, rows: u64) -> Option<Suspicion> {
        let least = self.min_rows.filter(|least| rows < *least)?;
        Some(suspicion("min_rows", format!("{rows} rows"), format!("at least {least} are required")))
    }

    fn slipped_back(&self, rows: u64, mark: u64) -> Option<Suspicion> {
        let least = (mark as f64 * self.ratchet).ceil() as u64;
        (self.ratchet > 0.0 && rows < least).then(|| {
            let expected =
                format!("at least {least} are expected, {} of the {mark} seen before", self.ratchet);
            suspicion("ratchet", format!("{rows} rows"), expected)
        })
    }

    fn size_jump(&self, fresh: &Manifest, last: &Manifest) -> Option<String> {
        let (now, then) = (fresh.payload.plain_bytes as f64, last.payload.plain_bytes as f64);
        let change = if then > 0.0 { (now - then) / then } else { 0.0 };
        (self.size_change > 0.0 && change.abs() > self.size_change).then(|| {
            format!(
                "the database's size changed by {:+.0} % since \"{}\": {} bytes, then {}",
                change * 100.0,
                last.id,
                fresh.payload.plain_bytes,
                last.payload.plain_bytes
            )
        })
    }
}

fn vanished_tables(fresh: &Manifest, last: &Manifest) -> Option<String> {
    let is_gone = |name: &&str| !fresh.tables.iter().any(|table| table.name == **name);
    let gone: Vec<&str> = last.tables.iter().map(|table| table.name.as_str()).filter(is_gone).collect();
    (!gone.is_empty()).then(|| format!("tables that \"{}\" had are gone: {}", last.id, gone.join(", ")))
}

fn suspicion(rule: &str, found: String, expected: String) -> Suspicion {
    Suspicion { rule: rule.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        content::Content,
        id::{BackupId, SourceName},
        manifest::{Payload, SourceFacts, TableFacts},
    };

    fn backup(day: i64, rows: u64) -> Manifest {
        let started = Timestamp::from_second(day * 86_400).unwrap();
        let id = BackupId::new(&SourceName::new("shop").unwrap(), Content::Full, started, 1);
        let payload = Payload {
            name: format!("{id}.db"),
            bytes: rows * 10,
            blake3: String::new(),
            encoding: Vec::new(),
            plain_bytes: rows * 10,
            plain_blake3: String::new(),
        };
        let mut manifest =
            Manifest::new(id, SourceFacts::new("shop", "sqlite", "/shop.db"), started, payload);
        manifest.rows = Some(rows);
        manifest.tables = vec![TableFacts { name: "orders".into(), rows, digest: None }];
        manifest
    }

    #[test]
    fn a_table_that_lost_half_its_rows_makes_the_backup_suspect_and_keeps_the_mark() {
        let mut last = backup(1, 950);
        last.high_water_rows = Some(1000);
        let judged = Guardrails::default().judge(&backup(2, 500), &[last.clone()], false);
        assert_eq!(judged.suspect[0].rule, "ratchet");
        assert_eq!(judged.high_water_rows, Some(1000));

        let accepted = Guardrails::default().judge(&backup(2, 500), &[last], true);
        assert!(accepted.suspect.is_empty());
        assert_eq!(accepted.high_water_rows, Some(500));
    }

    #[test]
    fn a_slow_loss_is_measured_against_the_highest_count_not_the_last() {
        let (mut history, mut suspects) = (Vec::new(), 0);
        for (day, rows) in (1..=10).map(|day| (day, 1000 - 30 * day as u64)) {
            let mut fresh = backup(day, rows);
            let judged = Guardrails::default().judge(&fresh, &history, false);
            suspects += usize::from(!judged.suspect.is_empty());
            fresh.suspect = judged.suspect;
            fresh.high_water_rows = judged.high_water_rows;
            history.push(fresh);
        }
        assert!(suspects >= 6, "{suspects}");
    }

    #[test]
    fn the_first_backup_is_judged_by_min_rows_alone() {
        assert!(Guardrails::default().judge(&backup(1, 0), &[], false).suspect.is_empty());
        let rules = Guardrails { min_rows: Some(100), ..Guardrails::default() };
        assert_eq!(rules.judge(&backup(1, 99), &[], false).suspect[0].rule, "min_rows");
    }

    #[test]
    fn a_vanished_table_and_a_jump_in_size_are_told() {
        let mut fresh = backup(2, 2000);
        fresh.tables.clear();
        let judged = Guardrails::default().judge(&fresh, &[backup(1, 1000)], false);
        assert!(judged.suspect.is_empty());
        assert_eq!(judged.warnings.len(), 2, "{:?}", judged.warnings);
    }
}
