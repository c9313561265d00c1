//! What stands in the place where a restore goes.

use backup_core::Result;

use super::server::TargetServer;
use crate::session::{Session, explain};

/// What people made in a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UserObjects {
    tables: i64,
    others: i64,
}

impl std::fmt::Display for UserObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.tables, self.others) {
            (0, others) => write!(f, "{others} definitions"),
            (1, _) => f.write_str("a table"),
            (tables, _) => write!(f, "{tables} tables"),
        }
    }
}

/// Counts what is neither the system's nor an extension's.
pub(super) fn user_objects(session: &mut Session) -> Result<UserObjects> {
    let sql = "WITH own AS (SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'),
                 extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
               SELECT (SELECT count(*) FROM pg_class AS c WHERE relnamespace IN (SELECT oid FROM own) AND relkind IN ('r', 'p', 'f', 'm')
                         AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM extensions)),
                      (SELECT count(*) FROM pg_class AS c WHERE relnamespace IN (SELECT oid FROM own) AND relkind IN ('v', 'S')
                         AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM extensions))
                      + (SELECT count(*) FROM pg_proc AS p WHERE pronamespace IN (SELECT oid FROM own)
                         AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extensions))
                      + (SELECT count(*) FROM pg_largeobject_metadata)";
    let row =
        session.client().query_one(sql, &[]).map_err(|e| explain(e, "look at what the database holds"))?;
    Ok(UserObjects { tables: row.get(0), others: row.get(1) })
}

/// What the target database holds; `None` when there is none.
pub(super) fn present_objects(server: &TargetServer, control: &mut Session) -> Result<Option<UserObjects>> {
    let sql = "SELECT datallowconn FROM pg_database WHERE datname = $1";
    let row = control.client().query_opt(sql, &[&server.database()]);
    match row.map_err(|e| explain(e, "look for the database"))?.map(|row| row.get::<_, bool>(0)) {
        None => Ok(None),
        // It cannot be looked into, so it must be taken for precious.
        Some(false) => Ok(Some(UserObjects { tables: 0, others: 1 })),
        Some(true) => {
            let mut session = server.session(server.database(), "backup control", &[])?;
            user_objects(&mut session).map(Some)
        }
    }
}

/// Whether a relation has one of the names, as people write them.
pub(super) fn has_tables(server: &TargetServer, names: &[String]) -> Result<bool> {
    let sql = "SELECT count(*) > 0 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND (c.relname::text = ANY ($1) OR quote_ident(c.relname) = ANY ($1)
                 OR n.nspname || '.' || c.relname = ANY ($1) OR format('%I.%I', n.nspname, c.relname) = ANY ($1))";
    let mut session = server.session(server.database(), "backup control", &[])?;
    let row = session.client().query_one(sql, &[&names]);
    Ok(row.map_err(|e| explain(e, "look for tables of the same names"))?.get(0))
}
