//! One blocking control connection to a server.

mod certificate;
mod explain;
mod startup;
mod tls;

use std::{fmt, time::Duration};

use backup_core::Result;
use postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::conninfo::{Host, Resolved};

pub use explain::explain;

/// An open connection.
///
/// Dropping it closes it, which ends its transaction and gives back its locks and snapshots.
pub struct Session {
    client: Client,
    facts: ServerFacts,
    host: Host,
    is_encrypted: bool,
    cancel: CancelHandle,
}

/// What a server says of itself right after connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ServerFacts {
    backend_pid: i32,
    version: i32,
    in_recovery: bool,
    read_only: bool,
}

impl Session {
    /// Connects to the first server that answers and is of the wanted kind.
    ///
    /// `application_name` is what `pg_stat_activity` shows unless the user chose a name. `settings` become
    /// `-c name=value` start-up options, which beat those of `ALTER DATABASE` and `ALTER ROLE` and the user's own.
    ///
    /// # Errors
    /// `Denied` for a wrong password or no permission, `NotFound` for no such database or certificate file,
    /// `Unavailable` or `Busy` when no server answers or has a free place, `Unsupported` for a connection pooler that
    /// refuses start-up options or an authentication method this program does not know, `Failed` for a certificate
    /// that is not trusted.
    pub fn connect(resolved: &Resolved, application_name: &str, settings: &[(&str, &str)]) -> Result<Self> {
        startup::connect(resolved, application_name, settings)
    }

    /// The driver's client.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The server's version as `server_version_num` gives it, e.g. 150018.
    pub fn server_version(&self) -> i32 {
        self.facts.version
    }

    /// The process id of the server process behind this connection.
    pub fn backend_pid(&self) -> i32 {
        self.facts.backend_pid
    }

    /// Whether the server was in hot standby when the connection was made.
    pub fn is_in_recovery(&self) -> bool {
        self.facts.in_recovery
    }

    /// The server that answered.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether what is said goes through TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// A handle that ends the running query from another thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("host", &self.host).field("facts", &self.facts).finish()
    }
}

/// Ends the query a session is running; the session itself stays open.
#[derive(Clone)]
pub struct CancelHandle {
    token: CancelToken,
    tls: MakeRustlsConnect,
    timeout: Option<Duration>,
    server: String,
}

impl CancelHandle {
    /// Asks the server to end the running query, over a connection of its own with the same TLS.
    ///
    /// The query, if one is still running, then fails with SQLSTATE 57014.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached.
    pub fn cancel(&self) -> Result<()> {
        let (token, tls) = (self.token.clone(), self.tls.clone());
        let what = format!("could not cancel a query on {}", self.server);
        startup::within(self.timeout, &what, move || token.cancel_query(tls))?
            .map_err(|e| explain::in_words(e, &what))
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").field("server", &self.server).finish_non_exhaustive()
    }
}
