//! What of an archive belongs to chosen tables: what they need, and what hangs on them.

use std::collections::{BTreeSet, HashMap, HashSet};

use backup_core::{Error, ErrorKind, Result};

use crate::archive::{Archive, Entry};

/// What hangs on a table and comes back with it.
const BELONGING: [&str; 11] = [
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
];

/// Kinds that may name more than one table; they belong to the one their own name begins with.
const NAMED_AFTER_TABLE: [&str; 3] = ["FK CONSTRAINT", "TRIGGER", "RULE"];

/// The part of an archive that brings some tables back.
#[derive(Clone, Debug, Default)]
pub(super) struct Closure {
    /// The chosen tables and their partitions.
    pub(super) tables: BTreeSet<i32>,
    /// Everything that is restored, the tables included.
    pub(super) entries: HashSet<i32>,
    /// Foreign keys to tables that were not chosen: the key's entry and the other tables.
    pub(super) references: Vec<(i32, Vec<i32>)>,
}

/// An archive's entries, found by what they depend on.
struct Index<'a> {
    archive: &'a Archive,
    by_id: HashMap<i32, &'a Entry>,
    dependents: HashMap<i32, Vec<&'a Entry>>,
}

/// Finds the tables and what belongs to them.
///
/// # Errors
/// `NotFound` for a table that is not in the archive, naming those that are alike; `Invalid` for a name that several
/// schemas have.
pub(super) fn closure(archive: &Archive, names: &[String]) -> Result<Closure> {
    let index = Index::of(archive);
    let mut closure = Closure::default();
    for name in names {
        closure.tables.insert(find(archive, name)?.dump_id);
    }
    index.add_partitions(&mut closure);
    let mut open: Vec<i32> = closure.tables.iter().copied().collect();
    while let Some(id) = open.pop() {
        if !closure.entries.insert(id) {
            continue;
        }
        open.extend(index.needs(id));
        open.extend(index.belongings(id, &closure.tables));
    }
    index.add_attachments(&mut closure);
    index.add_references(&mut closure);
    Ok(closure)
}

impl<'a> Index<'a> {
    fn of(archive: &'a Archive) -> Self {
        let by_id = archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
        let mut dependents: HashMap<i32, Vec<&Entry>> = HashMap::new();
        for entry in &archive.entries {
            entry.dependencies.iter().for_each(|id| dependents.entry(*id).or_default().push(entry));
        }
        Self { archive, by_id, dependents }
    }

    /// What must be there before it, its schema included.
    fn needs(&self, id: i32) -> Vec<i32> {
        let Some(entry) = self.by_id.get(&id) else { return Vec::new() };
        let schema =
            self.archive.entries.iter().find(|other| other.desc == "SCHEMA" && other.tag == entry.namespace);
        let known = entry
            .dependencies
            .iter()
            .filter(|id| self.by_id.get(id).is_some_and(|needed| is_needed(entry, needed)));
        known
            .copied()
            .chain(schema.filter(|_| !entry.namespace.is_empty()).map(|schema| schema.dump_id))
            .collect()
    }

    fn belongings(&self, id: i32, tables: &BTreeSet<i32>) -> Vec<i32> {
        let Some(owner) = self.by_id.get(&id) else { return Vec::new() };
        let dependents = self.dependents.get(&id).into_iter().flatten();
        let belongs = |entry: &&&Entry| match entry.desc.as_str() {
            "COMMENT" | "ACL" => true,
            "SEQUENCE SET" => owner.desc == "SEQUENCE",
            "FK CONSTRAINT" => false,
            // It names the owner in words only; the sequence itself needs the owner's table.
            "SEQUENCE OWNED BY" => owner.dependencies.iter().any(|table| tables.contains(table)),
            // A sequence that belongs to a table is made by altering the table.
            "SEQUENCE" => tables.contains(&id) && entry.definition.trim_start().starts_with("ALTER TABLE"),
            desc if NAMED_AFTER_TABLE.contains(&desc) => tables.contains(&id) && is_named_after(entry, owner),
            desc => tables.contains(&id) && BELONGING.contains(&desc),
        };
        dependents.filter(belongs).map(|entry| entry.dump_id).collect()
    }

    /// The partitions of a chosen table are a part of it.
    fn add_partitions(&self, closure: &mut Closure) {
        let mut open: Vec<i32> = closure.tables.iter().copied().collect();
        while let Some(parent) = open.pop() {
            for attach in self
                .dependents
                .get(&parent)
                .into_iter()
                .flatten()
                .filter(|entry| entry.desc == "TABLE ATTACH")
            {
                let child = self.attached(attach);
                open.extend(child.filter(|child| *child != parent && closure.tables.insert(*child)));
            }
        }
    }

    /// The partition that an entry attaches.
    fn attached(&self, attach: &Entry) -> Option<i32> {
        let is_child = |entry: &&&Entry| {
            is_table(entry) && entry.tag == attach.tag && entry.namespace == attach.namespace
        };
        let tables = attach.dependencies.iter().filter_map(|id| self.by_id.get(id));
        tables.into_iter().find(is_child).map(|entry| entry.dump_id)
    }

    /// Partitions and their indexes are attached where both sides come back.
    fn add_attachments(&self, closure: &mut Closure) {
        let is_attach = |entry: &&Entry| matches!(entry.desc.as_str(), "TABLE ATTACH" | "INDEX ATTACH");
        for entry in self.archive.entries.iter().filter(is_attach) {
            let known = entry.dependencies.iter().filter(|id| self.by_id.contains_key(id));
            if known.into_iter().all(|id| closure.entries.contains(id)) {
                closure.entries.insert(entry.dump_id);
            }
        }
    }

    /// Foreign keys among the chosen tables come back; those to others depend on where they are restored.
    fn add_references(&self, closure: &mut Closure) {
        for key in self.archive.entries.iter().filter(|entry| entry.desc == "FK CONSTRAINT") {
            let tables = self.tables_of(key);
            let own =
                tables.iter().find(|id| self.by_id.get(id).is_some_and(|table| is_named_after(key, table)));
            let Some(own) = own.filter(|own| closure.tables.contains(own)) else { continue };
            let others: Vec<i32> =
                tables.iter().filter(|id| *id != own && !closure.tables.contains(id)).copied().collect();
            if others.is_empty() {
                closure.entries.insert(key.dump_id);
            } else {
                closure.references.push((key.dump_id, others));
            }
        }
    }

    /// The tables that a foreign key names, directly or by a key or index of theirs.
    fn tables_of(&self, key: &Entry) -> BTreeSet<i32> {
        let needed = key.dependencies.iter().filter_map(|id| self.by_id.get(id));
        let owners = |entry: &&Entry| match is_table(entry) {
            true => vec![entry.dump_id],
            false => entry
                .dependencies
                .iter()
                .filter(|id| self.by_id.get(id).is_some_and(|e| is_table(e)))
                .copied()
                .collect(),
        };
        needed.flat_map(owners).collect()
    }
}

/// A rule or trigger may name other tables, which are there or not; it does not bring them.
fn is_needed(entry: &Entry, needed: &Entry) -> bool {
    let is_data =
        needed.has_data || matches!(needed.desc.as_str(), "FK CONSTRAINT" | "TABLE ATTACH" | "INDEX ATTACH");
    let is_other_table =
        is_table(needed) && matches!(entry.desc.as_str(), "RULE" | "TRIGGER" | "POLICY" | "TABLE DATA");
    !is_data && (!is_other_table || is_named_after(entry, needed))
}

fn is_table(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "TABLE" | "FOREIGN TABLE")
}

/// `orders customer` is a constraint, trigger or rule `customer` of the table `orders`.
fn is_named_after(entry: &Entry, table: &Entry) -> bool {
    entry.namespace == table.namespace
        && entry.tag.strip_prefix(table.tag.as_str()).is_some_and(|rest| rest.starts_with(' '))
}

/// The table of a name as people write it: with or without its schema, with or without quotes.
fn find<'a>(archive: &'a Archive, name: &str) -> Result<&'a Entry> {
    let tables = || archive.entries.iter().filter(|entry| is_table(entry));
    let is_full =
        |entry: &&Entry| entry.name() == name || format!("{}.{}", entry.namespace, entry.tag) == name;
    if let Some(found) = tables().find(is_full) {
        return Ok(found);
    }
    let is_bare = |entry: &&Entry| entry.tag == name || crate::archive::identifier(&entry.tag) == name;
    let found: Vec<&Entry> = tables().filter(is_bare).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(name, tables())),
        several => {
            let names: Vec<String> = several.iter().map(|entry| entry.name()).collect();
            Err(Error::invalid(format!("several schemas have a table \"{name}\""))
                .with_hint(format!("Name one of {}.", names.join(", "))))
        }
    }
}

fn unknown<'a>(name: &str, tables: impl Iterator<Item = &'a Entry>) -> Error {
    let bare = name.rsplit('.').next().unwrap_or(name).trim_matches('"').to_lowercase();
    let is_alike = |tag: &str| {
        let tag = tag.to_lowercase();
        tag.contains(&bare)
            || bare.contains(&tag)
            || tag.get(..3).is_some_and(|start| bare.starts_with(start))
    };
    let names: Vec<(bool, String)> = tables.map(|entry| (is_alike(&entry.tag), entry.name())).collect();
    let alike: Vec<&str> =
        names.iter().filter(|(alike, _)| *alike).take(5).map(|(_, name)| name.as_str()).collect();
    let shown =
        if alike.is_empty() { names.iter().take(5).map(|(_, name)| name.as_str()).collect() } else { alike };
    let hint = match shown.as_slice() {
        [] => "It holds no tables.".to_owned(),
        shown => format!("It has {}.", shown.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("the backup has no table \"{name}\"")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dump_id: i32, desc: &str, tag: &str, dependencies: &[i32]) -> Entry {
        let mut entry = Entry { dump_id, ..Entry::default() };
        (entry.desc, entry.tag, entry.namespace) = (desc.to_owned(), tag.to_owned(), "s".to_owned());
        entry.has_data = desc == "TABLE DATA";
        entry.dependencies = dependencies.to_vec();
        entry
    }

    fn shop() -> Archive {
        let mut schema = entry(1, "SCHEMA", "s", &[]);
        schema.namespace.clear();
        let entries = vec![
            schema,
            entry(2, "TYPE", "mood", &[1]),
            entry(3, "TABLE", "goods", &[2, 1]),
            entry(4, "TABLE", "orders", &[1]),
            entry(5, "SEQUENCE", "orders_id_seq", &[4]),
            entry(6, "SEQUENCE OWNED BY", "orders_id_seq", &[5]),
            entry(7, "DEFAULT", "orders id", &[5, 4]),
            entry(8, "TABLE DATA", "goods", &[3]),
            entry(9, "TABLE DATA", "orders", &[4]),
            entry(10, "SEQUENCE SET", "orders_id_seq", &[5]),
            entry(11, "CONSTRAINT", "goods goods_pkey", &[3]),
            entry(12, "FK CONSTRAINT", "orders good", &[3, 4, 11]),
            entry(13, "VIEW", "dear", &[3]),
            entry(14, "FUNCTION", "f()", &[1]),
            entry(15, "TRIGGER", "orders t", &[4, 14]),
            entry(16, "COMMENT", "TYPE mood", &[2]),
            entry(17, "TABLE", "sales", &[1]),
            entry(18, "TABLE", "sales_1", &[1]),
            entry(19, "TABLE ATTACH", "sales_1", &[17, 18]),
            entry(20, "TABLE DATA", "sales_1", &[18]),
        ];
        Archive { entries, ..Archive::default() }
    }

    fn chosen(names: &[&str]) -> (Vec<i32>, Closure) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let closure = closure(&shop(), &names).unwrap();
        let mut ids: Vec<i32> = closure.entries.iter().copied().collect();
        ids.sort_unstable();
        (ids, closure)
    }

    #[test]
    fn a_table_comes_with_what_it_needs_and_what_hangs_on_it() {
        assert_eq!(chosen(&["goods"]).0, [1, 2, 3, 8, 11, 16]);
        let (ids, closure) = chosen(&["s.orders"]);
        assert_eq!(ids, [1, 4, 5, 6, 7, 9, 10, 14, 15]);
        assert_eq!(closure.references, [(12, vec![3])]);
        assert_eq!(chosen(&["goods", "orders"]).0.len(), 15);
    }

    #[test]
    fn partitions_come_with_their_root() {
        assert_eq!(chosen(&["sales"]).0, [1, 17, 18, 19, 20]);
        assert_eq!(chosen(&["sales_1"]).0, [1, 18, 20]);
    }

    #[test]
    fn an_unknown_table_is_told_with_those_alike() {
        let error = closure(&shop(), &["order".to_owned()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint(), Some("It has s.orders."));
    }
}
