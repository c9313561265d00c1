//! What a dump can be seen to lack: made with `--schema-only`, `--data-only` or `--exclude-table-data`, or of some
//! tables only.
//!
//! A whole dump has an entry for the rows of each of its tables, however empty they are. What cannot be seen is a table
//! that was left out and that nothing in the dump refers to.

use std::collections::HashSet;

use crate::archive::{Archive, Entry};

/// The rows of its tables, or of some of them.
const ROWS: &str = "rows";
/// The definitions of what it has rows of.
const DEFINITIONS: &str = "definitions";
/// Tables or schemas that what is there refers to.
const OBJECTS: &str = "objects";
/// The databases of the cluster: it holds roles and tablespaces.
const DATABASES: &str = "databases";

/// Kinds of entries that a dump without definitions has, too.
const NO_DEFINITIONS: [&str; 12] = [
    "TABLE DATA",
    "MATERIALIZED VIEW DATA",
    "SEQUENCE SET",
    "STATISTICS DATA",
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "DATABASE",
    "DATABASE PROPERTIES",
    "COMMENT",
    "ACL",
    "SECURITY LABEL",
];

/// What an archive lacks; nothing for a whole one.
pub(crate) fn of_archive(archive: &Archive) -> Vec<&'static str> {
    let mut outline = Outline::default();
    archive.entries.iter().for_each(|entry| outline.add_entry(entry));
    outline.left_out()
}

/// The tables of a dump, those with rows, and what they refer to. Names have no quotes, so that they compare whichever
/// version of pg_dump quoted them.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    tables: HashSet<String>,
    /// Tables that hold no rows of their own.
    partitioned: HashSet<String>,
    with_rows: HashSet<String>,
    /// Sections of rows, whether COPY or INSERT.
    row_sections: usize,
    has_definitions: bool,
    has_extensions: bool,
    /// Schemas that are defined, and those that tables lie in.
    schemas: HashSet<String>,
    used_schemas: HashSet<String>,
    referenced: HashSet<String>,
    /// The table whose definition passes by, in plain text.
    open: Option<String>,
}

impl Outline {
    fn add_entry(&mut self, entry: &Entry) {
        let (schema, tag) = (unquoted(&entry.namespace), unquoted(&entry.tag));
        let is_partitioned = entry.relkind == Some('p') || entry.definition.contains("\nPARTITION BY ");
        if entry.desc == "TABLE" && is_partitioned {
            self.partitioned.insert(joined(&schema, &tag));
        }
        if entry.desc == "FK CONSTRAINT" {
            self.referenced.extend(referenced(&entry.definition));
        }
        self.add(&entry.desc, &schema, &tag);
    }

    /// A line of plain text outside of rows. Each entry has its heading, `-- Name: orders; Type: TABLE; …`.
    pub(crate) fn add_line(&mut self, line: &str) {
        if let Some((kind, schema, tag)) = heading(line) {
            let (schema, tag) = (unquoted(schema), unquoted(tag));
            self.open = (kind == "TABLE").then(|| joined(&schema, &tag));
            self.add(kind, &schema, &tag);
        } else if line.starts_with("PARTITION BY ") {
            self.partitioned.extend(self.open.take());
        } else if line.starts_with("    ADD CONSTRAINT ") && line.contains(" FOREIGN KEY ") {
            self.referenced.extend(referenced(line));
        }
    }

    fn add(&mut self, kind: &str, schema: &str, tag: &str) {
        self.has_definitions |= !NO_DEFINITIONS.contains(&kind) && !kind.starts_with("BLOB");
        match kind {
            "TABLE" => {
                self.tables.insert(joined(schema, tag));
                self.used_schemas.insert(schema.to_owned());
            }
            "TABLE DATA" => {
                self.with_rows.insert(joined(schema, tag));
                self.row_sections += 1;
            }
            "SCHEMA" => {
                self.schemas.insert(tag.to_owned());
            }
            "EXTENSION" => self.has_extensions = true,
            _ => {}
        }
    }

    /// How many tables have rows, however these are written.
    pub(crate) fn row_sections(&self) -> usize {
        self.row_sections
    }

    /// What a dump of one database lacks.
    pub(crate) fn left_out(&self) -> Vec<&'static str> {
        if !self.has_definitions {
            return if self.with_rows.is_empty() { Vec::new() } else { vec![DEFINITIONS] };
        }
        let has_rows = |table: &String| self.with_rows.contains(table) || self.partitioned.contains(table);
        // What an extension made is not defined by itself.
        let is_there = |table: &String| self.has_extensions || self.tables.contains(table);
        let is_defined = |schema: &String| {
            self.has_extensions || schema.is_empty() || schema == "public" || self.schemas.contains(schema)
        };
        let lacks_rows = !self.tables.iter().all(has_rows);
        let lacks_objects =
            !self.referenced.iter().all(is_there) || !self.used_schemas.iter().all(is_defined);
        [(ROWS, lacks_rows), (OBJECTS, lacks_objects)]
            .into_iter()
            .filter_map(|(what, is_lacking)| is_lacking.then_some(what))
            .collect()
    }

    /// The same of a whole cluster. The tables of its databases may have the same names, so only what lacks in all of
    /// them is told.
    pub(crate) fn left_out_of_cluster(&self) -> Vec<&'static str> {
        match (self.has_definitions, self.with_rows.is_empty()) {
            (false, true) => vec![DATABASES],
            (false, false) => vec![DEFINITIONS],
            (true, true) if self.tables.iter().any(|table| !self.partitioned.contains(table)) => vec![ROWS],
            (true, _) => Vec::new(),
        }
    }
}

fn joined(schema: &str, tag: &str) -> String {
    format!("{schema}.{tag}")
}

fn unquoted(name: &str) -> String {
    name.replace('"', "")
}

/// The table that a foreign key refers to. Before 2018 pg_dump wrote it without its schema: then it is not known.
fn referenced(definition: &str) -> Option<String> {
    let (_, rest) = definition.rsplit_once(" REFERENCES ")?;
    let (table, _) = rest.split_once('(')?;
    table.contains('.').then(|| unquoted(table))
}

/// Kind, schema and name in the comment before an entry of a plain dump; `-` is no schema.
fn heading(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.strip_prefix("-- Data for Name: ").or_else(|| line.strip_prefix("-- Name: "))?;
    let (rest, _owner) = line.rsplit_once("; Owner: ")?;
    let (rest, schema) = rest.rsplit_once("; Schema: ")?;
    let (tag, kind) = rest.rsplit_once("; Type: ")?;
    Some((kind, if schema == "-" { "" } else { schema }, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(lines: &[&str]) -> Outline {
        let mut outline = Outline::default();
        lines.iter().for_each(|line| outline.add_line(line));
        outline
    }

    const TABLE: &str = "-- Name: orders; Type: TABLE; Schema: public; Owner: app";
    const ROWS_OF_IT: &str = "-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: app";

    #[test]
    fn a_dump_is_whole_when_each_of_its_tables_has_rows_however_few() {
        assert!(outline(&[TABLE, ROWS_OF_IT]).left_out().is_empty());
        assert!(outline(&[]).left_out().is_empty(), "an empty database is whole");
        let function = "-- Name: total(); Type: FUNCTION; Schema: public; Owner: -";
        assert!(outline(&[function]).left_out().is_empty());
        let partitioned = [TABLE, "CREATE TABLE public.orders (", ")", "PARTITION BY RANGE (placed);"];
        assert!(outline(&partitioned).left_out().is_empty());
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(outline(&[TABLE]).left_out(), [ROWS]);
        assert_eq!(outline(&[ROWS_OF_IT]).left_out(), [DEFINITIONS]);
        let key = "    ADD CONSTRAINT k FOREIGN KEY (who) REFERENCES public.\"Customers\"(id);";
        assert_eq!(outline(&[TABLE, ROWS_OF_IT, key]).left_out(), [OBJECTS]);
        let customers = ["TABLE", "TABLE DATA"]
            .map(|kind| format!("-- Name: Customers; Type: {kind}; Schema: public; Owner: app"));
        assert!(outline(&[TABLE, ROWS_OF_IT, key, &customers[0], &customers[1]]).left_out().is_empty());
        let elsewhere =
            [TABLE, ROWS_OF_IT].map(|line| line.replace("Schema: public", "Schema: stocks_research"));
        assert_eq!(outline(&[&elsewhere[0], &elsewhere[1]]).left_out(), [OBJECTS]);
        let schema = "-- Name: stocks_research; Type: SCHEMA; Schema: -; Owner: app";
        assert!(outline(&[schema, &elsewhere[0], &elsewhere[1]]).left_out().is_empty());
    }

    #[test]
    fn a_cluster_without_databases_is_no_backup_of_one() {
        assert_eq!(outline(&["-- Roles"]).left_out_of_cluster(), [DATABASES]);
        assert_eq!(outline(&[TABLE]).left_out_of_cluster(), [ROWS]);
        assert!(outline(&[TABLE, ROWS_OF_IT]).left_out_of_cluster().is_empty());
    }
}
