//! The server that a restore goes to, and the ways into it.

use std::process::Command;

use backup_core::{Error, ErrorKind, Result, context::Context};

use crate::{
    conninfo::{Conninfo, Environment, Host, Resolved, TargetSessionAttrs},
    session::{Session, explain},
    tap::Tap,
};

/// Databases that every cluster has, from which others are created, renamed and dropped. A session on `template1`
/// keeps other people from creating databases, so it is the second choice.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// A server, and the database on it that is to be restored.
#[derive(Clone, Debug)]
pub(super) struct TargetServer {
    conninfo: Conninfo,
    resolved: Resolved,
    /// From which databases are created, renamed and dropped.
    pub(super) maintenance: String,
    /// As `server_version_num` says.
    pub(super) version: i32,
}

impl TargetServer {
    /// Connects to the server itself; that the database exists is not needed.
    pub(super) fn open(conninfo: &Conninfo, cx: &Context) -> Result<(Self, Session)> {
        let resolved = conninfo.resolve(&Environment::of_process())?;
        resolved.warnings.iter().for_each(|warning| cx.warn(warning.clone()));
        let mut server =
            Self { conninfo: conninfo.clone(), resolved, maintenance: String::new(), version: 0 };
        let mut refused = None;
        for database in MAINTENANCE.iter().filter(|name| **name != server.resolved.database) {
            match server.session(database, "backup control", &[]) {
                Ok(session) => {
                    server.maintenance = (*database).to_owned();
                    server.version = session.server_version();
                    server.stay_with(&session);
                    return Ok((server, session));
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::failed("no database to connect to was found")))
    }

    /// Of several servers, all sessions of a restore must reach the one that answered first.
    fn stay_with(&mut self, session: &Session) {
        if self.resolved.hosts.len() < 2 {
            return;
        }
        let host = session.host().clone();
        let conninfo = self.conninfo.clone().with("host", &host.host).with("port", &host.port.to_string());
        self.conninfo = conninfo.with("hostaddr", host.hostaddr.as_deref().unwrap_or_default());
        self.resolved.hosts = vec![host];
    }

    /// The same server by way of a tap on it, for sessions of our own.
    pub(super) fn through(&self, tap: &Tap) -> Self {
        let mut server = self.clone();
        server.resolved.hosts = vec![tap.host().clone()];
        server.resolved.target_session_attrs = TargetSessionAttrs::Any;
        server
    }

    /// Whether it shares this machine's processors.
    pub(super) fn is_local(&self) -> bool {
        self.resolved.hosts.iter().all(Host::is_local)
    }

    /// The name of the database that is restored.
    pub(super) fn database(&self) -> &str {
        &self.resolved.database
    }

    /// The major version.
    pub(super) fn major(&self) -> u32 {
        u32::try_from(self.version / 10_000).unwrap_or_default()
    }

    /// A database on this server, for people.
    pub(super) fn display(&self, database: &str) -> String {
        self.conninfo.with_database(database).display()
    }

    /// How a line that is pasted into any shell connects to a database here, without its password: what only our
    /// environment says is written out.
    pub(super) fn conninfo_of(&self, database: &str) -> String {
        let environment = Environment::of_process();
        let mut conninfo = self.conninfo.with_database(database);
        for (keyword, variable) in PLACES {
            let is_open = conninfo.get(keyword).is_none() && conninfo.get("service").is_none();
            let value = environment.variable(variable).filter(|value| is_open && !value.is_empty());
            conninfo = value.map_or(conninfo.clone(), |value| conninfo.with(keyword, value));
        }
        conninfo.for_child()
    }

    /// A session that no limit of the server's or the database's ends.
    pub(super) fn session(&self, database: &str, name: &str, settings: &[(&str, &str)]) -> Result<Session> {
        let mut resolved = self.resolved.clone();
        // The password was found for the database that was named; the file of passwords may know no other.
        database.clone_into(&mut resolved.database);
        let mut session = Session::connect(&resolved, name, &[&LIMITS, settings].concat())?;
        let newer = newer_limits(session.server_version());
        if !newer.is_empty() {
            session.client().batch_execute(&newer).map_err(|e| explain(e, "set up a session"))?;
        }
        Ok(session)
    }

    /// Leads a client program to a database; what is secret goes through its environment.
    pub(super) fn lead(&self, command: &mut Command, database: &str, name: &str, settings: &[(&str, &str)]) {
        let mut options = self.resolved.options.clone().unwrap_or_default();
        for (setting, value) in LIMITS.iter().chain(settings) {
            options.push_str(&format!(" -c {setting}={value}"));
        }
        for (since, setting) in NEWER_LIMITS {
            if self.version >= since {
                options.push_str(&format!(" -c {setting}=0"));
            }
        }
        let conninfo = self.conninfo.with_database(database);
        let conninfo = conninfo.with("application_name", name).with("options", options.trim());
        command.arg("--no-password").arg(format!("--dbname={}", conninfo.for_child()));
        if let Some(password) = self.resolved.hosts.iter().find_map(|host| host.password.as_ref()) {
            command.env("PGPASSWORD", password.reveal());
        }
    }
}

/// What leads to a server, and the variables that say it. A service says all of it.
const PLACES: [(&str, &str); 5] = [
    ("service", "PGSERVICE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
];

/// Limits are for applications; a restore also must be able to write, and to write constants as SQL has them.
const LIMITS: [(&str, &str); 5] = [
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_read_only", "off"),
    ("standard_conforming_strings", "on"),
];

/// Limits that not every version knows.
const NEWER_LIMITS: [(i32, &str); 2] = [(140_000, "idle_session_timeout"), (170_000, "transaction_timeout")];

fn newer_limits(version: i32) -> String {
    let known = NEWER_LIMITS.iter().filter(|(since, _)| version >= *since);
    known.map(|(_, setting)| format!("SET {setting} = 0;")).collect()
}
