//! Restoring single tables into a database that is in use: one transaction, the old rows kept beside.

use std::path::Path;

use backup_core::{
    Error, ErrorKind, Result,
    context::Context,
    engine::{RestorePlan, Staged, Swapped},
    id::compact_instant,
    verify::Finding,
};
use jiff::Timestamp;
use rusqlite::{Connection, config::DbConfig};

use crate::{
    connection::{explain, open_live, stop_on_cancel, uri},
    extract::{find_table, stored_columns},
    restore::StagedFile,
    schema::{self, Definition, quoted},
};

/// Adds to a plan what restoring its tables would do.
pub(crate) fn plan(target: &Path, plan: &mut RestorePlan) -> Result<()> {
    if !plan.replaces {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no database \"{}\" to restore tables into", target.display()),
        )
        .with_hint("Restore everything into a new file, or name the database with --to."));
    }
    plan.steps.push(format!("decode the backup beside \"{}\" and check it", target.display()));
    for table in &plan.request.tables {
        plan.steps.push(format!("in one transaction: keep the rows of {table} as \"{table}__before_<instant>\", put the backed-up rows in"));
    }
    Ok(())
}

/// A whole database beside the target, of which only some tables are wanted.
#[derive(Debug)]
pub(crate) struct StagedTables {
    staged: StagedFile,
    tables: Vec<String>,
}

impl StagedTables {
    pub(crate) fn new(staged: StagedFile, tables: Vec<String>) -> Self {
        Self { staged, tables }
    }
}

impl Staged for StagedTables {
    fn prove(&mut self, cx: &Context) -> Result<Vec<Finding>> {
        self.staged.prove(cx)
    }

    fn query(&mut self, sql: &str) -> Result<Option<String>> {
        self.staged.query(sql)
    }

    fn swap(self: Box<Self>, cx: &Context) -> Result<Swapped> {
        let target = &self.staged.target;
        let mut connection = open_live(target)?;
        stop_on_cancel(&mut connection, cx.cancel())?;
        let outcome =
            prepare(&connection, &self.staged.path).and_then(|()| exchange(&connection, &self.tables));
        match outcome {
            Ok(undo) => {
                let mut swapped = Swapped::default();
                swapped.target = target.display().to_string();
                swapped.kept =
                    undo.iter().filter(|kept| kept.existed).map(|kept| kept.table.clone()).collect();
                swapped.undo = undo_line(target, &undo);
                Ok(swapped)
            }
            Err(error) => Err(error.into_error(target)),
        }
    }
}

/// Refusals of ours travel beside SQLite's errors until the transaction is rolled back.
enum ExchangeError {
    Refused(Error),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for ExchangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl ExchangeError {
    fn into_error(self, target: &Path) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => explain(error, "restore tables into", target),
        }
    }
}

/// A table whose old rows were kept, or that was not there.
struct Kept {
    name: String,
    table: String,
    columns: String,
    existed: bool,
}

/// Triggers must not fire for rows that are put back, and references are compared afterwards as a whole.
fn prepare(connection: &Connection, copy: &Path) -> std::result::Result<(), ExchangeError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.execute_batch("PRAGMA foreign_keys=OFF")?;
    connection.execute("ATTACH DATABASE ?1 AS backup", [uri(copy, "immutable=1")])?;
    Ok(())
}

fn exchange(connection: &Connection, tables: &[String]) -> std::result::Result<Vec<Kept>, ExchangeError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let outcome = exchange_all(connection, tables);
    connection.execute_batch(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    outcome
}

fn exchange_all(connection: &Connection, tables: &[String]) -> std::result::Result<Vec<Kept>, ExchangeError> {
    let present = schema::read(connection)?;
    let backed_up = definitions_of_backup(connection)?;
    let broken_before = broken_references(connection)?;
    let suffix = format!("__before_{}", compact_instant(Timestamp::now()));
    let mut kept = Vec::new();
    for table in tables {
        let wanted = find_table(&backed_up, table).map_err(ExchangeError::Refused)?;
        kept.push(exchange_one(connection, wanted, &present, &backed_up, &suffix)?);
    }
    let broken_after = broken_references(connection)?;
    if broken_after > broken_before {
        let message = format!(
            "restoring {} would leave {} rows that refer to nothing",
            tables.join(", "),
            broken_after - broken_before
        );
        return Err(ExchangeError::Refused(
            Error::failed(message)
                .with_hint("Nothing was changed. Restore the tables they refer to as well, or all of them."),
        ));
    }
    Ok(kept)
}

fn exchange_one(
    connection: &Connection,
    wanted: &Definition,
    present: &[Definition],
    backed_up: &[Definition],
    suffix: &str,
) -> std::result::Result<Kept, ExchangeError> {
    let (name, kept) = (&wanted.name, format!("{}{suffix}", wanted.name));
    let stored = |connection| -> rusqlite::Result<Vec<String>> {
        Ok(stored_columns(connection, name)?.iter().map(|column| quoted(column)).collect())
    };
    let existing = present.iter().find(|d| d.kind == "table" && d.name == *name);
    match existing {
        Some(existing) if existing.sql != wanted.sql => {
            let message = format!("the table {name} is defined differently in the backup");
            return Err(ExchangeError::Refused(Error::failed(message).with_hint(
                "Nothing was changed. `backup extract` writes its rows as SQL to review and adapt.",
            )));
        }
        Some(_) => connection.execute_batch(&format!(
            "CREATE TABLE {0} AS SELECT {2} FROM main.{1}; DELETE FROM main.{1}",
            quoted(&kept),
            quoted(name),
            stored(connection)?.join(",")
        ))?,
        None => connection.execute_batch(wanted.sql.as_deref().unwrap_or_default())?,
    }
    let mut columns = stored(connection)?;
    let kept_columns = columns.join(",");
    if has_rowid(connection, name)? && !columns.iter().any(|c| c.eq_ignore_ascii_case("\"rowid\"")) {
        columns.insert(0, "rowid".to_owned());
    }
    let columns = columns.join(",");
    connection.execute_batch(&format!(
        "INSERT INTO main.{0}({columns}) SELECT {columns} FROM backup.{0}",
        quoted(name)
    ))?;
    if existing.is_none() {
        for dependent in backed_up.iter().filter(|d| d.table == *name && d.kind != "table") {
            connection.execute_batch(dependent.sql.as_deref().unwrap_or_default())?;
        }
    }
    require_equal_counts(connection, name)?;
    Ok(Kept { name: name.clone(), table: kept, columns: kept_columns, existed: existing.is_some() })
}

fn require_equal_counts(connection: &Connection, name: &str) -> std::result::Result<(), ExchangeError> {
    let count = |schema: &str| {
        connection.query_row(&format!("SELECT count(*) FROM {schema}.{}", quoted(name)), [], |row| {
            row.get::<_, i64>(0)
        })
    };
    let (restored, expected) = (count("main")?, count("backup")?);
    if restored == expected {
        return Ok(());
    }
    let message = format!("the table {name} came out with {restored} rows instead of {expected}");
    Err(ExchangeError::Refused(Error::failed(message).with_hint("Nothing was changed.")))
}

fn has_rowid(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT wr = 0 AND type = 'table' FROM pragma_table_list WHERE schema = 'main' AND name = ?1";
    connection.query_row(sql, [name], |row| row.get(0))
}

fn definitions_of_backup(connection: &Connection) -> rusqlite::Result<Vec<Definition>> {
    let mut query =
        connection.prepare("SELECT type, name, tbl_name, sql FROM backup.sqlite_schema ORDER BY rowid")?;
    let rows = query.query_map([], |row| {
        Ok(Definition { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, root: 1, sql: row.get(3)? })
    })?;
    rows.collect()
}

fn broken_references(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
}

/// Statements that put the old rows back, as one line for the `sqlite3` shell.
fn undo_line(target: &Path, kept: &[Kept]) -> Option<String> {
    let statements: Vec<String> = kept
        .iter()
        .map(|kept| match kept.existed {
            true => {
                let (name, old, columns) = (quoted(&kept.name), quoted(&kept.table), &kept.columns);
                format!("DELETE FROM {name}; INSERT INTO {name}({columns}) SELECT {columns} FROM {old}; DROP TABLE {old};")
            }
            false => format!("DROP TABLE {};", quoted(&kept.name)),
        })
        .collect();
    let script = format!("BEGIN; {} COMMIT;", statements.join(" "));
    Some(format!("sqlite3 '{}' '{}'", target.display(), script.replace('\'', "'\\''")))
}
