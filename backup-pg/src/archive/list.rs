//! The table of contents as `pg_restore --list` prints it.

use super::{Archive, toc::Entry};

/// Entries that set up a session or create the database: pg_restore does them without being asked, or only with
/// `--create`, and never lists them.
const UNLISTED: &[&str] = &["ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES"];

/// Entries that belong to the database itself when their tag says so, and are then treated as it is.
const OF_ANYTHING: &[&str] = &["ACL", "COMMENT", "SECURITY LABEL"];

/// One line per entry, as `pg_restore --list` prints and `--use-list` takes them: `id; catalogue object kind schema
/// name owner`. The comment lines above are left out.
pub fn list(archive: &Archive) -> Vec<String> {
    archive.entries.iter().filter(|entry| is_listed(entry)).map(line).collect()
}

fn is_listed(entry: &Entry) -> bool {
    let has_content = entry.has_data || !entry.definition.is_empty();
    let is_of_database = OF_ANYTHING.contains(&entry.desc.as_str()) && entry.tag.starts_with("DATABASE ");
    has_content && !is_of_database && !UNLISTED.contains(&entry.desc.as_str())
}

fn line(entry: &Entry) -> String {
    let Entry { dump_id, table_oid, oid, desc, .. } = entry;
    let schema = if entry.namespace.is_empty() { "-".to_owned() } else { one_line(&entry.namespace) };
    let (tag, owner) = (one_line(&entry.tag), one_line(&entry.owner));
    format!("{dump_id}; {table_oid} {oid} {desc} {schema} {tag} {owner}")
}

/// A name with a line feed in it must not become a line of its own.
fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}
