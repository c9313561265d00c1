//! A database that is being restored: new, marked as ours, dropped unless it takes its place.

use backup_core::{Error, ErrorKind, Result, context::Context, manifest::Manifest};
use serde_json::Value;

use super::{
    names::{self, RESTORING, literal},
    server::TargetServer,
};
use crate::{
    archive::{Archive, identifier},
    session::{Session, explain},
    tap::Tap,
};

/// What the comment of every database that is being restored begins with.
const MARK: &str = "backup: being restored from ";

/// The first key of the advisory locks by which a living restore holds its database; any number that nobody else
/// would choose.
const LOCK_CLASS: i32 = 0x6261_6b75;

/// Names that are tried before giving up.
const MAX_TRIES: u32 = 50;

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) server: TargetServer,
    /// The database's name.
    pub(super) name: String,
}

impl Place {
    /// The same place by way of a tap on its server.
    pub(super) fn through(&self, tap: &Tap) -> Self {
        Self { server: self.server.through(tap), name: self.name.clone() }
    }

    /// A session in it.
    pub(super) fn session(&self, name: &str, settings: &[(&str, &str)]) -> Result<Session> {
        self.server.session(&self.name, name, settings)
    }
}

/// A database that exists only for a restore. Dropped, it is dropped on the server too.
pub(super) struct TemporaryDatabase {
    pub(super) place: Place,
    /// Holds the advisory lock that tells a living restore from a dead one.
    holder: Session,
    /// It exists and has not taken its place.
    must_drop: bool,
}

impl TemporaryDatabase {
    /// Creates an empty database with the encoding and locale that the dumped one had.
    pub(super) fn create(
        server: &TargetServer,
        holder: Session,
        manifest: &Manifest,
        archive: Option<&Archive>,
        cx: &Context,
    ) -> Result<Self> {
        let options = creation_options(manifest, archive, server.version)?;
        let mut database =
            Self { place: Place { server: server.clone(), name: String::new() }, holder, must_drop: false };
        let now = cx.now();
        for number in 1..=MAX_TRIES {
            database.place.name = names::derived(server.database(), RESTORING, now, number);
            if !database.hold()? {
                continue;
            }
            let sql =
                format!("CREATE DATABASE {} TEMPLATE template0 {options}", identifier(&database.place.name));
            match database.holder.client().batch_execute(&sql) {
                Ok(()) => {
                    database.must_drop = true;
                    backup_core::crash::point("load.created");
                    database.mark(manifest)?;
                    return Ok(database);
                }
                Err(error) if error.code().is_some_and(|code| code.code() == "42P04") => {}
                Err(error) => return Err(not_created(error, &database.place.name, &options)),
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("no free name for a restored \"{}\" was found", server.database()),
        ))
    }

    fn hold(&mut self) -> Result<bool> {
        let sql = "SELECT pg_try_advisory_lock($1, hashtext($2))";
        let row = self.holder.client().query_one(sql, &[&LOCK_CLASS, &self.place.name]);
        Ok(row.map_err(|e| explain(e, &format!("lock the name \"{}\"", self.place.name)))?.get(0))
    }

    fn mark(&mut self, manifest: &Manifest) -> Result<()> {
        let comment = literal(&format!("{MARK}{}", manifest.id));
        let sql = format!("COMMENT ON DATABASE {} IS {comment}", identifier(&self.place.name));
        let marked = self.holder.client().batch_execute(&sql);
        marked.map_err(|e| explain(e, &format!("mark the database \"{}\"", self.place.name)))
    }

    /// The session that holds it, in a database of its own.
    pub(super) fn control(&mut self) -> &mut Session {
        &mut self.holder
    }

    /// It has another name now and stays.
    pub(super) fn is_in_place(&mut self) {
        self.must_drop = false;
    }
}

impl Drop for TemporaryDatabase {
    fn drop(&mut self) {
        if !self.must_drop {
            return;
        }
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(&self.place.name));
        if self.holder.client().batch_execute(&sql).is_ok() {
            return;
        }
        // What stays is marked, and the next restore or backup of this server sweeps it.
        if let Ok(mut session) =
            self.place.server.session(&self.place.server.maintenance, "backup control", &[])
        {
            let _ = session.client().batch_execute(&sql);
        }
    }
}

impl std::fmt::Debug for TemporaryDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemporaryDatabase").field("name", &self.place.name).finish_non_exhaustive()
    }
}

/// The rest of `CREATE DATABASE`: as the manifest says, else as the archive does.
fn creation_options(manifest: &Manifest, archive: Option<&Archive>, version: i32) -> Result<String> {
    if let Some(Value::Object(facts)) = manifest.facts.get("database") {
        return options_of(&|key| facts.get(key).and_then(Value::as_str), version);
    }
    let entries = archive.iter().flat_map(|archive| &archive.entries);
    let stated = entries.filter(|entry| entry.desc == "DATABASE").find_map(|entry| {
        let (_, options) = entry.definition.split_once("TEMPLATE = template0")?;
        Some(options.trim_end().trim_end_matches(';').to_owned())
    });
    Ok(stated.map(|options| without_tablespace(&options)).unwrap_or_default())
}

fn without_tablespace(options: &str) -> String {
    options.split_once(" TABLESPACE = ").map_or(options, |(before, _)| before).to_owned()
}

fn options_of<'a>(fact: &dyn Fn(&str) -> Option<&'a str>, version: i32) -> Result<String> {
    let mut options = String::new();
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            options.push_str(&format!(" {name} = {}", literal(value)));
        }
    };
    add("ENCODING", fact("encoding"));
    let (collate, ctype) = (fact("collate"), fact("ctype"));
    add("LC_COLLATE", collate);
    add("LC_CTYPE", ctype);
    let locale = fact("locale").or_else(|| fact("iculocale"));
    match fact("locprovider") {
        Some("i") if version >= 150_000 => {
            add("LOCALE_PROVIDER", Some("icu"));
            add("ICU_LOCALE", locale);
            add("ICU_RULES", fact("icurules"));
        }
        Some("b") if version >= 170_000 => {
            add("LOCALE_PROVIDER", Some("builtin"));
            add("BUILTIN_LOCALE", locale);
        }
        Some(provider @ ("i" | "b")) => {
            let (name, since) = if provider == "i" { ("ICU", 15) } else { ("builtin", 17) };
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the database has a locale of the provider {name}, which servers have since PostgreSQL {since}"),
            )
            .with_hint(format!("Restore onto PostgreSQL {since} or later.")));
        }
        // Before 17 there was no other default; later clusters may be made with one.
        _ if version >= 150_000 => add("LOCALE_PROVIDER", Some("libc")),
        _ => {}
    }
    Ok(options)
}

fn not_created(error: postgres::Error, name: &str, options: &str) -> Error {
    let message = error.as_db_error().map(|answer| answer.message().to_owned()).unwrap_or_default();
    let explained = explain(error, &format!("create the database \"{name}\""));
    if message.contains("locale") || message.contains("ICU") {
        return Error::new(ErrorKind::Unsupported, format!("the server lacks the database's locale: {message}"))
            .with_source(explained)
            .with_hint(format!(
                "Install that locale on the server's host (Debian: locale-gen), or create the database yourself and \
                 load it by pg_restore; it needs{options}."
            ));
    }
    explained
}

/// Drops what killed restores left on a server: databases that have our kind of name and our comment, and that no
/// living restore holds.
pub(super) fn sweep(server: &TargetServer, session: &mut Session, cx: &Context) -> Result<()> {
    let sql = "SELECT d.datname, shobj_description(d.oid, 'pg_database') FROM pg_database AS d
               WHERE d.datname LIKE '%\\_\\_restoring\\_%' AND pg_has_role(d.datdba, 'MEMBER') AND NOT EXISTS (
                 SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1 AND objsubid = 2
                 AND objid::bigint = (hashtext(d.datname)::bigint & 4294967295))";
    let rows = session.client().query(sql, &[&i64::from(LOCK_CLASS)]);
    for row in rows.map_err(|e| explain(e, "look for what earlier restores left"))? {
        let (name, comment): (String, Option<String>) = (row.get(0), row.get(1));
        let is_ours = match &comment {
            Some(comment) => comment.starts_with(MARK),
            // Killed between creating and marking it.
            None => is_empty(server, &name).unwrap_or(false),
        };
        if names::is_restoring(&name) && is_ours {
            drop_abandoned(session, &name, cx)?;
        }
    }
    Ok(())
}

fn is_empty(server: &TargetServer, database: &str) -> Result<bool> {
    let mut session = server.session(database, "backup control", &[])?;
    Ok(super::present::user_objects(&mut session)? == super::present::UserObjects::default())
}

/// Another restore may have begun between looking and dropping; it would hold the lock that is taken here.
fn drop_abandoned(session: &mut Session, name: &str, cx: &Context) -> Result<()> {
    let what = format!("drop what an earlier restore left, \"{name}\"");
    let mut ask = |sql: &str| {
        let row = session.client().query_one(sql, &[&LOCK_CLASS, &name]);
        row.map(|row| row.get::<_, bool>(0)).map_err(|e| explain(e, &what))
    };
    if !ask("SELECT pg_try_advisory_lock($1, hashtext($2))")? {
        return Ok(());
    }
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
    let dropped = session.client().batch_execute(&sql).map_err(|e| explain(e, &what));
    let unlock = "SELECT pg_advisory_unlock($1, hashtext($2))";
    let _ = session.client().query_one(unlock, &[&LOCK_CLASS, &name]);
    dropped?;
    cx.warn(format!("dropped \"{name}\", which an interrupted restore had left"));
    Ok(())
}
