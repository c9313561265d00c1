//! What a database has already, when single tables are restored into it.

use std::collections::HashSet;

use backup_core::{Error, Result};

use super::{closure::Closure, objects, tables::Moved};
use crate::{
    archive::{Archive, Entry, qualified},
    session::{Session, explain},
};

/// Kinds of which every entry is created anew, as they belong to the restored tables.
const ALWAYS_CREATED: [&str; 16] = [
    "TABLE DATA",
    "DEFAULT",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "FK CONSTRAINT",
    "INDEX",
    "STATISTICS",
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "SEQUENCE OWNED BY",
    "TABLE ATTACH",
    "INDEX ATTACH",
    "ENCODING",
    "STDSTRINGS",
];

/// The tables of these names, with their partitions and their statistics objects.
///
/// # Errors
/// `Invalid` when one of them is a partition of a table that stays.
pub(super) fn in_the_way(session: &mut Session, names: &[(String, String)]) -> Result<Vec<Moved>> {
    let sql = "WITH RECURSIVE named AS (
                 SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 JOIN unnest($1::text[], $2::text[]) AS wanted(schema, name) ON wanted.schema = n.nspname AND wanted.name = c.relname
                 UNION SELECT i.inhrelid FROM named JOIN pg_inherits AS i ON i.inhparent = named.oid
                   JOIN pg_class AS p ON p.oid = i.inhparent WHERE p.relkind = 'p')
               SELECT n.nspname::text, c.relname::text, false,
                 c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid AND i.inhparent IN (SELECT oid FROM named))
               FROM named JOIN pg_class AS c ON c.oid = named.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
               UNION ALL SELECT n.nspname::text, s.stxname::text, true, false FROM named
                 JOIN pg_statistic_ext AS s ON s.stxrelid = named.oid JOIN pg_namespace AS n ON n.oid = s.stxnamespace";
    let schemas: Vec<&str> = names.iter().map(|(schema, _)| schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
    let rows = session.client().query(sql, &[&schemas, &tables]);
    let rows = rows.map_err(|e| explain(e, "look for tables of the same names"))?;
    let mut moved = Vec::new();
    for row in &rows {
        let table = Moved { schema: row.get(0), name: row.get(1), is_statistics: row.get(2) };
        if row.get::<_, bool>(3) {
            let name = qualified(&table.schema, &table.name);
            return Err(Error::invalid(format!("the table {name} is a partition of a table that stays"))
                .with_hint("Restore the partitioned table itself, or restore into another database with --to and copy the rows."));
        }
        moved.push(table);
    }
    Ok(moved)
}

/// Nothing that stays may hang on what is moved: it would go on using the old tables.
///
/// # Errors
/// `Failed`, naming what depends.
pub(super) fn require_free(session: &mut Session, moved: &[Moved]) -> Result<()> {
    let sql = "WITH moved AS (
                 SELECT c.oid, c.reltype FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 JOIN unnest($1::text[], $2::text[]) AS wanted(schema, name) ON wanted.schema = n.nspname AND wanted.name = c.relname),
               types AS (SELECT reltype AS oid FROM moved UNION SELECT typarray FROM pg_type WHERE oid IN (SELECT reltype FROM moved))
               SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend AS d
               WHERE d.deptype = 'n' AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM moved))
                   OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM types)))
                 AND d.classid <> 'pg_publication_rel'::regclass
                 AND NOT (d.classid = 'pg_class'::regclass AND (d.objid IN (SELECT oid FROM moved)
                   OR EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid AND indrelid IN (SELECT oid FROM moved))))
                 AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND conrelid IN (SELECT oid FROM moved)))
                 AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS (SELECT FROM pg_rewrite WHERE oid = d.objid AND ev_class IN (SELECT oid FROM moved)))
                 AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgrelid IN (SELECT oid FROM moved)))
                 AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polrelid IN (SELECT oid FROM moved)))
                 AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef WHERE oid = d.objid AND adrelid IN (SELECT oid FROM moved)))
               ORDER BY 1";
    let tables = || moved.iter().filter(|table| !table.is_statistics);
    let schemas: Vec<&str> = tables().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables().map(|table| table.name.as_str()).collect();
    let rows = session.client().query(sql, &[&schemas, &names]);
    let rows = rows.map_err(|e| explain(e, "look for what depends on the present tables"))?;
    let dependents: Vec<String> = rows.iter().take(5).map(|row| row.get(0)).collect();
    if dependents.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = tables().map(|table| qualified(&table.schema, &table.name)).collect();
    Err(Error::failed(format!("{} depends on the present {}", dependents.join(", "), named.join(", "))).with_hint(
        "Nothing was changed. Choose the tables that refer to it too, drop views and functions first, or restore into another database with --to.",
    ))
}

/// What a database has.
pub(super) struct Existing {
    present: HashSet<(String, String, String)>,
    functions: HashSet<String>,
}

impl Existing {
    pub(super) fn of(session: &mut Session) -> Result<Self> {
        let present = objects::present(session)?;
        let sql = "SELECT p.oid::regprocedure::text FROM pg_proc AS p";
        session.client().batch_execute("SET search_path = ''").map_err(|e| explain(e, "set up a session"))?;
        let rows = session.client().query(sql, &[]).map_err(|e| explain(e, "list the functions"))?;
        // Arguments are written with and without blanks.
        let functions = rows.iter().map(|row| squeezed(row.get(0))).collect();
        Ok(Self { present, functions })
    }

    pub(super) fn has_relation(&self, table: &Entry) -> bool {
        self.present.contains(&("relation".to_owned(), table.namespace.clone(), table.tag.clone()))
    }

    /// The chosen entries that must be created: what belongs to the tables, and what is not there yet.
    pub(super) fn without(&self, archive: &Archive, chosen: &Closure) -> Result<HashSet<i32>> {
        let mut wanted: HashSet<i32> = HashSet::new();
        let owned = owned_sequences(archive, chosen);
        let entries = || archive.entries.iter().filter(|entry| chosen.entries.contains(&entry.dump_id));
        for entry in entries() {
            let is_created = match entry.desc.as_str() {
                desc if ALWAYS_CREATED.contains(&desc) => true,
                "TABLE" | "FOREIGN TABLE" => chosen.tables.contains(&entry.dump_id) || !self.has(entry),
                "SEQUENCE" => owned.contains(&entry.dump_id) || !self.has(entry),
                "COMMENT" | "ACL" | "SEQUENCE SET" => false,
                _ => !self.has(entry),
            };
            if is_created {
                wanted.insert(entry.dump_id);
            }
        }
        for entry in
            entries().filter(|entry| matches!(entry.desc.as_str(), "COMMENT" | "ACL" | "SEQUENCE SET"))
        {
            if entry.dependencies.iter().any(|id| wanted.contains(id)) {
                wanted.insert(entry.dump_id);
            }
        }
        Ok(wanted)
    }

    /// Kinds that cannot be looked up are taken to be there: what is missing then fails, and nothing has happened.
    fn has(&self, entry: &Entry) -> bool {
        match entry.desc.as_str() {
            "FUNCTION" | "PROCEDURE" | "AGGREGATE" => self.functions.contains(&squeezed(&format!(
                "{}.{}",
                crate::archive::identifier(&entry.namespace),
                entry.tag
            ))),
            desc => objects::kind(desc).is_none_or(|kind| {
                let schema = if objects::is_global(kind) { "" } else { entry.namespace.as_str() };
                self.present.contains(&(kind.to_owned(), schema.to_owned(), entry.tag.clone()))
            }),
        }
    }
}

fn squeezed(text: &str) -> String {
    text.replace(' ', "")
}

/// Sequences that move and come back with their tables.
fn owned_sequences(archive: &Archive, chosen: &Closure) -> HashSet<i32> {
    let owned_by = archive
        .entries
        .iter()
        .filter(|entry| entry.desc == "SEQUENCE OWNED BY" && chosen.entries.contains(&entry.dump_id));
    let of_tables = owned_by.flat_map(|entry| entry.dependencies.iter().copied());
    let identities = archive
        .entries
        .iter()
        .filter(|entry| entry.desc == "SEQUENCE" && entry.definition.trim_start().starts_with("ALTER TABLE"));
    of_tables.chain(identities.map(|entry| entry.dump_id)).collect()
}
