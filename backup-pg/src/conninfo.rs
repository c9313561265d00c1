//! PostgreSQL connection strings, read as libpq reads them.
//!
//! Source of every rule: the PostgreSQL manual, "Database Connection Control Functions", with its chapters on
//! environment variables, the password file and the connection service file.

mod environment;
mod host;
mod keyvalue;
mod keyword;
mod options;
mod passfile;
mod password;
mod resolve;
mod service;
mod uri;

use std::{collections::BTreeMap, fmt};

use backup_core::{Error, Result};

pub use environment::Environment;
pub use host::Host;
pub use options::{ChannelBinding, Keepalives, SslMode, SslNegotiation, TargetSessionAttrs};
pub use password::Password;
pub use resolve::Resolved;

/// A PostgreSQL database as people name it.
///
/// It keeps what was written and looks nothing up; [`Conninfo::resolve`] does that. `Display` and `Debug` show no
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    /// Connection parameters by keyword; the last one written of each.
    values: BTreeMap<String, String>,
}

impl Conninfo {
    /// Reads `postgres:` (everything from the environment), a connection URI (`postgres://…`, `postgresql://…`) or a
    /// keyword/value string (`host=… dbname=…`).
    ///
    /// # Errors
    /// `Invalid` for anything else, for a malformed string, and for a parameter libpq does not know.
    pub fn parse(text: &str) -> Result<Self> {
        let values = match text {
            "postgres:" | "postgresql:" => BTreeMap::new(),
            _ if uri::is_uri(text) => uri::parse(text)?,
            _ if text.starts_with("postgres:") || text.starts_with("postgresql:") => {
                return Err(not_a_uri(text));
            }
            _ if text.contains('=') => keyvalue::parse(text)?,
            _ => return Err(not_a_connection(text)),
        };
        Ok(Self { values })
    }

    /// The same with one more parameter, or with another value for it; an empty value means "not from the
    /// environment but the default", as in libpq.
    #[must_use]
    pub fn with(mut self, keyword: &str, value: &str) -> Self {
        self.values.insert(keyword.to_owned(), value.to_owned());
        self
    }

    /// The same server and user, another database. The name is taken as it is, also if it looks like a connection
    /// string.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        self.clone().with("dbname", database)
    }

    /// The value that was written for a keyword, secrets included.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.values.get(keyword).map(String::as_str)
    }

    /// The password that was written in the text itself, for a child's `PGPASSWORD`. One from the environment, the
    /// service file or the password file is not here: libpq finds those itself.
    pub fn password(&self) -> Option<Password> {
        self.get("password").filter(|value| !value.is_empty()).map(Password::new)
    }

    /// Fills in what was not written, as libpq does: the service file's section, then the `PG*` variables, then the
    /// defaults; at last the password file.
    ///
    /// # Errors
    /// `Invalid` for a value that is not allowed, `NotFound` for a service or service file that is not there,
    /// `Unsupported` for what libpq can do and this program cannot.
    pub fn resolve(&self, environment: &Environment) -> Result<Resolved> {
        resolve::resolve(&self.values, environment)
    }

    /// A keyword/value string for a child process: everything that was written except secrets, so that libpq
    /// decides as it always does.
    ///
    /// It is never empty, and always one that libpq takes for a connection string and not for a database name.
    /// Where a password was written ([`Conninfo::password`]), the child needs it in `PGPASSWORD`.
    pub fn for_child(&self) -> String {
        let public = self.values.iter().filter(|(keyword, _)| !keyword::is_secret(keyword));
        let text = keyvalue::write(public);
        // An empty string would be a database name; this parameter is the one that changes nothing, as every tool
        // of PostgreSQL's sets it after reading the string.
        if text.is_empty() { "fallback_application_name=backup".to_owned() } else { text }
    }

    /// The database for people: a short URI without secrets, such as `postgres://backup@db1:5433/stocks`, or
    /// `postgres:` when all comes from the environment.
    pub fn display(&self) -> String {
        uri::write(&self.values)
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().map(|(keyword, value)| {
            (keyword, if keyword::is_secret(keyword) { "…" } else { value.as_str() })
        });
        f.debug_map().entries(shown).finish()
    }
}

/// The text is repeated only where it cannot hold a password.
fn not_a_connection(text: &str) -> Error {
    let message = if text.contains([':', '@']) {
        "the text is not a PostgreSQL connection string".to_owned()
    } else {
        format!("\"{text}\" is not a PostgreSQL connection string")
    };
    Error::invalid(message).with_hint("Write a URI as in postgres://user@host/database, or host=… dbname=….")
}

/// `postgres:stocks` could mean a host as well as a database.
fn not_a_uri(text: &str) -> Error {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches('/');
    let error = Error::invalid("a PostgreSQL source is \"postgres:\" alone or goes on with \"//\"");
    if rest.is_empty() || rest.contains(['@', ':', '=', '?']) {
        return error.with_hint("Write postgres://user@host/database.");
    }
    error.with_hint(format!("For a database on this machine write postgres:///{rest}."))
}
