//! One place a server may listen.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
};

use super::Password;

/// A server to try: a host name, an address or a socket folder, with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A host name, an IP address, or the folder of a Unix-domain socket; empty when only `hostaddr` was given.
    pub host: String,
    /// The IP address to connect to in place of looking `host` up.
    pub hostaddr: Option<String>,
    /// The port, also part of a socket's name.
    pub port: u16,
    /// The password for this server, if one was found anywhere.
    pub password: Option<Password>,
}

impl Host {
    /// Whether it is the folder of a Unix-domain socket (or, with `@`, a socket in the abstract namespace).
    pub fn is_socket(&self) -> bool {
        self.hostaddr.is_none() && is_socket_path(&self.host)
    }

    /// Whether it is this machine: a socket, or an address that leads nowhere else.
    pub(crate) fn is_local(&self) -> bool {
        self.is_socket() || self.loopback().is_some()
    }

    /// Its address, if that leads nowhere else.
    pub(crate) fn loopback(&self) -> Option<SocketAddr> {
        let name = self.hostaddr.as_deref().unwrap_or(&self.host);
        let address = (name, self.port).to_socket_addrs().ok()?.next()?;
        address.ip().is_loopback().then_some(address)
    }
}

/// libpq's rule: an absolute path or a leading `@`.
pub(crate) fn is_socket_path(host: &str) -> bool {
    host.starts_with(['/', '@']) || (cfg!(windows) && std::path::Path::new(host).is_absolute())
}

/// `db1:5433`, `[::1]:5432` or `/var/run/postgresql/.s.PGSQL.5432`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        match &self.hostaddr {
            None if self.is_socket() => write!(f, "{host}/.s.PGSQL.{port}"),
            None if host.contains(':') => write!(f, "[{host}]:{port}"),
            None => write!(f, "{host}:{port}"),
            Some(address) if host.is_empty() || host == address => write!(f, "{address} port {port}"),
            Some(address) => write!(f, "{host}:{port} ({address})"),
        }
    }
}
