//! Whether a restored database has everything that the archive's table of contents names.

use std::collections::{HashMap, HashSet};

use backup_core::{Result, verify::Finding};

use crate::{
    archive::{Archive, Entry},
    session::{Session, explain},
};

/// What there is: its catalogue's kind, its schema, and its name as the table of contents writes it.
const PRESENT: &str = "
  SELECT 'relation', n.nspname::text, c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  UNION ALL SELECT 'type', n.nspname, t.typname FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
  UNION ALL SELECT 'constraint', n.nspname, coalesce(c.relname, t.typname) || ' ' || k.conname
    FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace
    LEFT JOIN pg_class AS c ON c.oid = k.conrelid LEFT JOIN pg_type AS t ON t.oid = k.contypid
  UNION ALL SELECT 'default', n.nspname, c.relname || ' ' || a.attname FROM pg_attrdef AS d JOIN pg_class AS c ON c.oid = d.adrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.adnum
  UNION ALL SELECT 'trigger', n.nspname, c.relname || ' ' || g.tgname FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
  UNION ALL SELECT 'rule', n.nspname, c.relname || ' ' || r.rulename FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
  UNION ALL SELECT 'policy', n.nspname, c.relname || ' ' || p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
  UNION ALL SELECT 'statistics', n.nspname, s.stxname FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
  UNION ALL SELECT 'collation', n.nspname, c.collname FROM pg_collation AS c JOIN pg_namespace AS n ON n.oid = c.collnamespace
  UNION ALL SELECT 'configuration', n.nspname, c.cfgname FROM pg_ts_config AS c JOIN pg_namespace AS n ON n.oid = c.cfgnamespace
  UNION ALL SELECT 'schema', '', nspname FROM pg_namespace
  UNION ALL SELECT 'extension', '', extname FROM pg_extension
  UNION ALL SELECT 'event trigger', '', evtname FROM pg_event_trigger
  UNION ALL SELECT 'publication', '', pubname FROM pg_publication
  UNION ALL SELECT 'server', '', srvname FROM pg_foreign_server
  UNION ALL SELECT 'wrapper', '', fdwname FROM pg_foreign_data_wrapper";

/// Functions by name: their signatures are written in more than one way.
const FUNCTIONS: &str = "SELECT n.nspname::text, p.proname::text, count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' GROUP BY 1, 2";

/// The kind of [`PRESENT`] that an entry of the table of contents must be found under.
pub(super) fn kind(desc: &str) -> Option<&'static str> {
    Some(match desc {
        "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "SEQUENCE" | "FOREIGN TABLE" | "INDEX" => "relation",
        "TYPE" | "DOMAIN" | "SHELL TYPE" => "type",
        "CONSTRAINT" | "FK CONSTRAINT" | "CHECK CONSTRAINT" => "constraint",
        "DEFAULT" => "default",
        "TRIGGER" => "trigger",
        "RULE" => "rule",
        "POLICY" => "policy",
        "STATISTICS" => "statistics",
        "COLLATION" => "collation",
        "TEXT SEARCH CONFIGURATION" => "configuration",
        "SCHEMA" => "schema",
        "EXTENSION" => "extension",
        "EVENT TRIGGER" => "event trigger",
        "PUBLICATION" => "publication",
        "SERVER" => "server",
        "FOREIGN DATA WRAPPER" => "wrapper",
        _ => return None,
    })
}

/// Whether things of a kind are in no schema; what the archive says there does not count.
pub(super) fn is_global(kind: &str) -> bool {
    matches!(kind, "schema" | "extension" | "event trigger" | "publication" | "server" | "wrapper")
}

/// All that there is: kind, schema and name.
pub(super) fn present(session: &mut Session) -> Result<HashSet<(String, String, String)>> {
    let rows = session.client().query(PRESENT, &[]).map_err(|e| explain(e, "list what there is"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// Compares what there is with the entries of the table of contents that were restored.
pub(super) fn compare(
    session: &mut Session,
    archive: &Archive,
    is_restored: &dyn Fn(&Entry) -> bool,
) -> Result<Vec<Finding>> {
    let restored: Vec<&Entry> =
        archive.entries.iter().filter(|entry| is_restored(entry) && is_readable(entry)).collect();
    let mut findings = missing(session, &restored)?;
    findings.extend(missing_functions(session, &restored)?);
    findings.extend(broken(session, &restored)?);
    findings.extend(sequences(session, &restored)?);
    Ok(findings)
}

/// Names in another encoding than UTF-8 cannot be compared.
fn is_readable(entry: &Entry) -> bool {
    !entry.tag.contains('\u{fffd}') && !entry.namespace.contains('\u{fffd}')
}

fn missing(session: &mut Session, restored: &[&Entry]) -> Result<Vec<Finding>> {
    let present = present(session)?;
    let is_missing = |entry: &&&Entry| {
        let Some(kind) = kind(&entry.desc) else { return false };
        let schema = if is_global(kind) { "" } else { entry.namespace.as_str() };
        !present.contains(&(kind.to_owned(), schema.to_owned(), entry.tag.clone()))
    };
    Ok(restored.iter().filter(is_missing).map(|entry| absent(entry)).collect())
}

fn absent(entry: &Entry) -> Finding {
    Finding::content("objects", entry.name(), format!("the {} is missing", entry.desc.to_lowercase()))
}

fn missing_functions(session: &mut Session, restored: &[&Entry]) -> Result<Vec<Finding>> {
    let rows = session.client().query(FUNCTIONS, &[]).map_err(|e| explain(e, "count the functions"))?;
    let present: HashMap<(&str, &str), i64> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    let mut named: HashMap<(&str, &str), (i64, &Entry)> = HashMap::new();
    for entry in
        restored.iter().filter(|entry| matches!(entry.desc.as_str(), "FUNCTION" | "PROCEDURE" | "AGGREGATE"))
    {
        // `add_tax(numeric, numeric)`: a name may have a parenthesis too, so then it is left out.
        let Some((name, rest)) = entry.tag.split_once('(') else { continue };
        if rest.contains('(') && name.starts_with('"') {
            continue;
        }
        let name = name.trim_matches('"');
        named.entry((entry.namespace.as_str(), name)).or_insert((0, entry)).0 += 1;
    }
    let is_missing = |(key, (count, _)): &(&(&str, &str), &(i64, &Entry))| {
        present.get(*key).copied().unwrap_or(0) < *count
    };
    Ok(named.iter().filter(is_missing).map(|(_, (_, entry))| absent(entry)).collect())
}

/// Indexes that answer no query, and constraints that were checked in the source and are not here.
fn broken(session: &mut Session, restored: &[&Entry]) -> Result<Vec<Finding>> {
    let sql = "SELECT 'index', n.nspname::text, c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                 JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready)
               UNION ALL SELECT 'constraint', n.nspname, c.relname || ' ' || k.conname FROM pg_constraint AS k
                 JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = k.connamespace WHERE NOT k.convalidated";
    let rows = session
        .client()
        .query(sql, &[])
        .map_err(|e| explain(e, "look for broken indexes and constraints"))?;
    let mut findings = Vec::new();
    for row in &rows {
        let (what, schema, name): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let entry = restored.iter().find(|entry| entry.namespace == schema && entry.tag == name);
        let was_valid = entry.is_some_and(|entry| {
            what == "index"
                || !(entry.definition.contains("NOT VALID") || entry.definition.contains("NOT ENFORCED"))
        });
        if let (Some(entry), true) = (entry, was_valid) {
            findings.push(Finding::content("objects", entry.name(), format!("the {what} is not valid")));
        }
    }
    Ok(findings)
}

/// A sequence that lags behind its table would give out numbers that are taken.
fn sequences(session: &mut Session, restored: &[&Entry]) -> Result<Vec<Finding>> {
    let sql = "SELECT n.nspname::text, c.relname::text, pg_sequence_last_value(c.oid), s.seqincrement > 0
               FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace";
    let rows = session.client().query(sql, &[]).map_err(|e| explain(e, "read the sequences"))?;
    let present: HashMap<(&str, &str), (Option<i64>, bool)> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    let mut findings = Vec::new();
    for entry in restored.iter().filter(|entry| entry.desc == "SEQUENCE SET") {
        let Some(expected) = last_value(&entry.definition) else { continue };
        let found = present.get(&(entry.namespace.as_str(), entry.tag.as_str()));
        let is_behind = match found {
            Some((Some(found), ascends)) => {
                if *ascends {
                    *found < expected
                } else {
                    *found > expected
                }
            }
            _ => true,
        };
        if is_behind {
            findings.push(Finding::content("sequences", entry.name(), format!("has not come to {expected}")));
        }
    }
    Ok(findings)
}

/// `SELECT pg_catalog.setval('s', 19, true);` → 19; a sequence that gave out nothing yet has no last value.
fn last_value(definition: &str) -> Option<i64> {
    let rest = definition.trim_end().strip_suffix(", true);")?;
    rest.rsplit_once(", ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_used_sequence_is_read() {
        for (definition, expected) in [
            ("SELECT pg_catalog.setval('shop.used', 19, true);\n", Some(19)),
            ("SELECT pg_catalog.setval('shop.\"a, 3, true\"', -7, true);\n", Some(-7)),
            ("SELECT pg_catalog.setval('shop.untouched', 1, false);\n", None),
            ("", None),
        ] {
            assert_eq!(last_value(definition), expected, "{definition}");
        }
    }
}
