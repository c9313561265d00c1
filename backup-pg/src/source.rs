//! What a database looks like before it is dumped: is it reachable, what is it, how large, may we read it.

use backup_core::{Error, ErrorKind, Result, context::Context, engine::SourceReport, manifest::SourceFacts};
use serde_json::{Value, json};

use crate::{
    ENGINE,
    conninfo::{Conninfo, Environment, Resolved},
    session::{Session, explain},
    tap::Tap,
    tools::Tools,
};

/// The oldest server whose dumps this program is tested to understand.
const OLDEST_MAJOR: u32 = 13;

/// Settings that make the same rows the same text, whoever asks and whatever the database's own settings are.
/// pg_dump sets all others that matter (`setup_connection` in `pg_dump.c`).
pub(crate) const CANONICAL: [(&str, &str); 2] = [("timezone", "UTC"), ("bytea_output", "hex")];

/// Settings that keep a long session alive: the server's time limits are for applications.
pub(crate) const UNLIMITED: [(&str, &str); 3] =
    [("statement_timeout", "0"), ("lock_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];

/// A database as people named it, and what the environment makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) conninfo: Conninfo,
    pub(crate) resolved: Resolved,
}

impl Source {
    pub(crate) fn resolve(conninfo: &Conninfo, cx: &Context) -> Result<Self> {
        let resolved = conninfo.resolve(&Environment::of_process())?;
        resolved.warnings.iter().for_each(|warning| cx.warn(warning.clone()));
        Ok(Self { conninfo: conninfo.clone(), resolved })
    }

    /// The same database by way of a tap on its server.
    pub(crate) fn through(&self, tap: &Tap) -> Self {
        let (host, mut resolved) = (tap.host().clone(), self.resolved.clone());
        let mut conninfo = self.conninfo.clone().with("host", &host.host).with("hostaddr", "");
        conninfo = conninfo.with("port", &host.port.to_string());
        // A password that libpq would find by the server's name.
        if let Some(password) = &host.password {
            conninfo = conninfo.with("password", password.reveal());
        }
        resolved.hosts = vec![host];
        Self { conninfo, resolved }
    }

    /// A control connection that no time limit of the server's ends.
    pub(crate) fn connect(&self, application_name: &str) -> Result<Session> {
        Session::connect(&self.resolved, application_name, &UNLIMITED)
    }

    /// Looks at the database.
    pub(crate) fn inspect(&self) -> Result<SourceReport> {
        let mut session = self.connect("backup inspect")?;
        require_direct(&mut session)?;
        let major = major_of(&session)?;
        if major < OLDEST_MAJOR {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the server is PostgreSQL {major}; {OLDEST_MAJOR} and later can be backed up"),
            ));
        }
        Tools::for_server(major)?;
        let facts = self.facts(&mut session)?;
        Ok(SourceReport::new(facts, table_bytes(&mut session)?))
    }

    fn facts(&self, session: &mut Session) -> Result<SourceFacts> {
        let row = session
            .client()
            .query_one("SELECT current_database(), current_setting('server_version'), system_identifier::text FROM pg_control_system()", &[])
            .map_err(|e| explain(e, "ask the server who it is"))?;
        let mut facts = SourceFacts::new("", ENGINE, row.get::<_, String>(0));
        facts.server_version = Some(row.get(1));
        facts.system_id = Some(row.get(2));
        facts.host = Some(self.host());
        Ok(facts)
    }

    /// The server, for people.
    pub(crate) fn host(&self) -> String {
        self.resolved.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// The server's major version.
pub(crate) fn major_of(session: &Session) -> Result<u32> {
    u32::try_from(session.server_version() / 10_000).map_err(|_| Error::failed("the server named no version"))
}

/// A pooler in transaction mode gives every transaction another session, in which a snapshot means nothing.
fn require_direct(session: &mut Session) -> Result<()> {
    let mut pid = || {
        let row = session.client().query_one("SELECT pg_backend_pid()", &[]);
        row.map(|row| row.get::<_, i32>(0)).map_err(|e| explain(e, "ask the server for its session"))
    };
    let (first, second) = (pid()?, pid()?);
    if first == second {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "between us and the server stands a pooler in transaction mode")
        .with_hint("Name the server itself, not the pooler: a dump needs one session with one snapshot."))
}

/// The bytes of all tables without their indexes, as the last VACUUM or ANALYZE saw them: about what a dump of them
/// takes. (`pg_table_size` would wait for the locks that a migration holds.)
fn table_bytes(session: &mut Session) -> Result<Option<u64>> {
    let sql = "SELECT coalesce(sum(relpages::bigint), 0)::bigint * current_setting('block_size')::bigint FROM pg_class
               WHERE relkind IN ('r', 'm', 't')
               AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND oid >= 16384";
    match session.client().query_one(sql, &[]) {
        Ok(row) => Ok(u64::try_from(row.get::<_, i64>(0)).ok().filter(|bytes| *bytes > 0)),
        // A table may be dropped while it is measured.
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(explain(error, "measure the database")),
    }
}

/// What a restore needs to know of the database itself, as `pg_database` and its neighbours say.
pub(crate) fn describe_database(session: &mut Session) -> Result<Vec<(&'static str, Value)>> {
    let sql = "SELECT (to_jsonb(d) - '{oid,datdba,dattablespace,datfrozenxid,datminmxid,datacl}'::text[]
                 || jsonb_build_object('encoding', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba)))::text
               FROM pg_database AS d WHERE datname = current_database()";
    let database = json_of(session, sql)?;
    let extensions = json_of(
        session,
        "SELECT coalesce(jsonb_agg(jsonb_build_object('name', extname, 'version', extversion) ORDER BY extname), '[]')::text FROM pg_extension",
    )?;
    let roles = json_of(
        session,
        "SELECT coalesce(jsonb_agg(DISTINCT pg_get_userbyid(o.refobjid)), '[]')::text FROM pg_shdepend AS o
         JOIN pg_database AS d ON d.oid = o.dbid
         WHERE d.datname = current_database() AND o.refclassid = 'pg_authid'::regclass AND o.deptype IN ('o', 'a')",
    )?;
    Ok(vec![("database", plain_names(&database)), ("extensions", extensions), ("roles", roles)])
}

/// `datcollate` → `collate`, as the words of `CREATE DATABASE`.
fn plain_names(database: &Value) -> Value {
    let pairs = database.as_object().into_iter().flatten();
    let named = pairs.map(|(key, value)| (key.strip_prefix("dat").unwrap_or(key).to_owned(), value.clone()));
    json!(named.collect::<serde_json::Map<_, _>>())
}

fn json_of(session: &mut Session, sql: &str) -> Result<Value> {
    let row = session.client().query_one(sql, &[]).map_err(|e| explain(e, "describe the database"))?;
    serde_json::from_str(row.get(0))
        .map_err(|e| Error::failed("the server's description is no JSON").with_source(e))
}
