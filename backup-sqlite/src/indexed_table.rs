//! What a table's definition says of its indexes: which columns of its rows they hold, in which order.
//!
//! Not understood here are partial indexes, expressions, virtual columns, collations of an application and UTF-16.

use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use crate::{
    record::{Collation, KeyOrder},
    schema::Definition,
};

/// A table whose indexes are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexedTable {
    pub(crate) root: u32,
    /// Whether its rows lie in an index of their own, the primary key.
    pub(crate) key: Option<Index>,
    /// The stored columns whose value in rows older than the column is NULL.
    pub(crate) absent_is_null: Vec<bool>,
    pub(crate) indexes: Vec<Index>,
}

/// An index that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) root: u32,
    pub(crate) columns: Vec<Source>,
    pub(crate) orders: Vec<KeyOrder>,
    /// The columns that must differ from entry to entry, if any.
    pub(crate) unique: Option<usize>,
}

/// Where an index finds a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The row's number.
    RowId,
    /// The stored column of the row's record.
    Column(usize),
}

/// What a table's definition says of its indexes; `None` without any, and where something is not understood.
pub(crate) fn indexed_table(
    connection: &Connection,
    definitions: &[Definition],
    table: &Definition,
) -> SqlResult<Option<IndexedTable>> {
    let encoding: String = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    let without_rowid: Option<bool> = connection
        .query_row("SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'", [&table.name], |row| {
            row.get(0)
        })
        .optional()?;
    let (Some(without_rowid), "UTF-8") = (without_rowid, encoding.as_str()) else { return Ok(None) };
    let listed = listed_indexes(connection, &table.name)?;
    let columns = columns(connection, &table.name)?;
    let key_name = listed.iter().find(|index| index.origin == "pk").map(|index| index.name.as_str());
    let key_columns = match (without_rowid, key_name) {
        (false, _) => None,
        (true, Some(key)) => Some(index_columns(connection, key)?),
        (true, None) => return Ok(None),
    };
    let places = Places { columns: &columns, key: key_columns.as_deref(), has_other_key: key_name.is_some() };
    let mut understood = IndexedTable {
        root: table.root,
        key: None,
        absent_is_null: places.absent_is_null(),
        indexes: Vec::new(),
    };
    for index in &listed {
        let is_key = without_rowid && index.origin == "pk";
        let root = match definitions.iter().find(|d| d.kind == "index" && d.name == index.name) {
            _ if is_key => table.root,
            Some(definition) => definition.root,
            None => return Ok(None),
        };
        let columns = index_columns(connection, &index.name)?;
        match places.index(root, index, &columns) {
            Some(mut index) if is_key => {
                // Beyond the key there are the rows' other columns.
                index.orders.truncate(index.unique.unwrap_or(index.orders.len()));
                understood.key = Some(index);
            }
            Some(index) => understood.indexes.push(index),
            None => return Ok(None),
        }
    }
    Ok((!listed.is_empty()).then_some(understood))
}

struct ListedIndex {
    name: String,
    unique: bool,
    origin: String,
    partial: bool,
}

fn listed_indexes(connection: &Connection, table: &str) -> SqlResult<Vec<ListedIndex>> {
    let sql = "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1)";
    let mut query = connection.prepare(sql)?;
    let rows = query.query_map([table], |row| {
        Ok(ListedIndex { name: row.get(0)?, unique: row.get(1)?, origin: row.get(2)?, partial: row.get(3)? })
    })?;
    rows.collect()
}

struct Column {
    is_virtual: bool,
    has_default: bool,
    is_key: bool,
}

fn columns(connection: &Connection, table: &str) -> SqlResult<Vec<Column>> {
    // Hidden 2 is a virtual generated column, which no record has.
    let sql = "SELECT hidden = 2, dflt_value IS NOT NULL OR hidden = 3, pk > 0 FROM pragma_table_xinfo(?1) ORDER BY cid";
    let mut query = connection.prepare(sql)?;
    let rows = query.query_map([table], |row| {
        Ok(Column { is_virtual: row.get(0)?, has_default: row.get(1)?, is_key: row.get(2)? })
    })?;
    rows.collect()
}

struct IndexColumn {
    /// The table's column, -1 for the row's number, -2 for an expression.
    column: i64,
    descending: bool,
    collation: Option<String>,
    is_key: bool,
}

fn index_columns(connection: &Connection, index: &str) -> SqlResult<Vec<IndexColumn>> {
    let sql = "SELECT cid, \"desc\", coll, \"key\" FROM pragma_index_xinfo(?1) ORDER BY seqno";
    let mut query = connection.prepare(sql)?;
    let rows = query.query_map([index], |row| {
        Ok(IndexColumn {
            column: row.get(0)?,
            descending: row.get(1)?,
            collation: row.get(2)?,
            is_key: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// Where a table's records have its columns.
struct Places<'t> {
    columns: &'t [Column],
    /// The primary key that holds the rows of a table WITHOUT ROWID.
    key: Option<&'t [IndexColumn]>,
    /// Whether the primary key, if there is one, is an index and no other name of the row's number.
    has_other_key: bool,
}

impl Places<'_> {
    fn index(&self, root: u32, listed: &ListedIndex, columns: &[IndexColumn]) -> Option<Index> {
        let sources = columns.iter().map(|column| self.source(column.column)).collect::<Option<_>>()?;
        let orders = columns.iter().map(key_order).collect::<Option<_>>()?;
        let keys = columns.iter().filter(|column| column.is_key).count();
        let index = Index { root, columns: sources, orders, unique: listed.unique.then_some(keys) };
        (!listed.partial).then_some(index)
    }

    fn source(&self, column: i64) -> Option<Source> {
        if column == -1 {
            return Some(Source::RowId);
        }
        let number = usize::try_from(column).ok()?;
        let definition = self.columns.get(number)?;
        let keys = self.columns.iter().filter(|column| column.is_key).count();
        match self.key {
            _ if definition.is_virtual => None,
            Some(key) => key.iter().position(|stored| stored.column == column).map(Source::Column),
            None if definition.is_key && keys == 1 && !self.has_other_key => Some(Source::RowId),
            None => Some(Source::Column(self.columns[..number].iter().filter(|c| !c.is_virtual).count())),
        }
    }

    fn absent_is_null(&self) -> Vec<bool> {
        match self.key {
            Some(key) => key
                .iter()
                .map(|stored| usize::try_from(stored.column).ok().and_then(|at| self.columns.get(at)))
                .map(|column| column.is_some_and(|column| !column.has_default))
                .collect(),
            None => self.columns.iter().filter(|c| !c.is_virtual).map(|column| !column.has_default).collect(),
        }
    }
}

fn key_order(column: &IndexColumn) -> Option<KeyOrder> {
    let collation = match column.collation.as_deref() {
        Some("BINARY") => Collation::Binary,
        Some("NOCASE") => Collation::NoCase,
        Some("RTRIM") => Collation::RTrim,
        _ => return None,
    };
    Some(KeyOrder { collation, descending: column.descending })
}
