//! Making a connection: which server, with or without TLS, within which time.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::Duration,
};

use backup_core::{Error, ErrorKind, Result};
use postgres::{Client, Config, SimpleQueryMessage, config::SslMode as Encryption};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CancelHandle, ServerFacts, Session, explain::explain_connect, tls};
use crate::conninfo::{ChannelBinding, Host, Resolved, SslMode, SslNegotiation, TargetSessionAttrs};

/// Asked once of every server; schema-qualified, as the search path is the user's.
const INTRODUCTION: &str = "select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num'), \
     pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";

/// Why one server did not do.
struct Refusal {
    error: Error,
    /// The server spoke and said no: libpq then asks no other.
    is_final: bool,
    /// Another attempt with or without TLS may be answered differently.
    depends_on_tls: bool,
}

/// Tries the servers in turn.
pub(super) fn connect(
    resolved: &Resolved,
    application_name: &str,
    settings: &[(&str, &str)],
) -> Result<Session> {
    let config = configure(resolved, application_name, settings);
    let mut reasons: Vec<(String, Error)> = Vec::new();
    for target in passes(resolved.target_session_attrs) {
        for host in ordered(resolved) {
            match connect_host(&config, resolved, host) {
                Ok(session) => match mismatch(&session.facts, target) {
                    None => return Ok(session),
                    Some(why) => reasons.push((host.to_string(), Error::new(ErrorKind::Unavailable, why))),
                },
                Err(refusal) if refusal.is_final => return Err(refusal.error),
                Err(refusal) => reasons.push((host.to_string(), refusal.error)),
            }
        }
    }
    Err(none_of(resolved, reasons))
}

/// One error for all servers.
fn none_of(resolved: &Resolved, mut reasons: Vec<(String, Error)>) -> Error {
    if reasons.len() == 1
        && let Some((_, error)) = reasons.pop()
    {
        return error;
    }
    let kind = match reasons.first().map(|(_, error)| error.kind()) {
        Some(first) if reasons.iter().all(|(_, error)| error.kind() == first) => first,
        _ => ErrorKind::Unavailable,
    };
    let hint = reasons.iter().find_map(|(_, error)| error.hint()).map(str::to_owned);
    let lines: Vec<String> = reasons
        .into_iter()
        .map(|(host, error)| {
            let causes = error.causes();
            let why = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
            format!("{host}: {why}")
        })
        .collect();
    let message = format!("could not connect to database \"{}\" on any server", resolved.database);
    let error = Error::new(kind, message).with_source(lines.join("; "));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A standby is preferred by asking everybody for one first.
fn passes(target: TargetSessionAttrs) -> Vec<TargetSessionAttrs> {
    match target {
        TargetSessionAttrs::PreferStandby => vec![TargetSessionAttrs::Standby, TargetSessionAttrs::Any],
        other => vec![other],
    }
}

fn mismatch(facts: &ServerFacts, target: TargetSessionAttrs) -> Option<&'static str> {
    match target {
        TargetSessionAttrs::ReadWrite if facts.read_only => Some("the session is read-only"),
        TargetSessionAttrs::ReadOnly if !facts.read_only => Some("the session is not read-only"),
        TargetSessionAttrs::Primary if facts.in_recovery => Some("the server is in hot standby"),
        TargetSessionAttrs::Standby if !facts.in_recovery => Some("the server is not in hot standby"),
        _ => None,
    }
}

fn ordered(resolved: &Resolved) -> Vec<&Host> {
    let mut hosts: Vec<(usize, &Host)> = resolved.hosts.iter().enumerate().collect();
    if resolved.load_balance_hosts {
        // The standard library's hash seed is as random as a choice among servers has to be.
        let seed = RandomState::new();
        hosts.sort_by_key(|(index, _)| seed.hash_one(index));
    }
    hosts.into_iter().map(|(_, host)| host).collect()
}

/// Everything about a connection but the server.
fn configure(resolved: &Resolved, application_name: &str, settings: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    config
        .user(&resolved.user)
        .dbname(&resolved.database)
        .application_name(resolved.application_name.as_deref().unwrap_or(application_name))
        .channel_binding(match resolved.channel_binding {
            ChannelBinding::Disable => postgres::config::ChannelBinding::Disable,
            ChannelBinding::Prefer => postgres::config::ChannelBinding::Prefer,
            ChannelBinding::Require => postgres::config::ChannelBinding::Require,
        })
        .keepalives(resolved.keepalives.is_some())
        .notice_callback(|_| ());
    let own =
        settings.iter().map(|(name, value)| format!("-c {}", escape_option(&format!("{name}={value}"))));
    let options: Vec<String> = resolved.options.iter().cloned().chain(own).collect();
    if !options.is_empty() {
        config.options(&options.join(" "));
    }
    if let Some(keepalives) = resolved.keepalives {
        config.keepalives_idle(keepalives.idle);
        keepalives.interval.iter().for_each(|interval| _ = config.keepalives_interval(*interval));
        keepalives.count.iter().for_each(|count| _ = config.keepalives_retries(*count));
    }
    resolved.tcp_user_timeout.iter().for_each(|timeout| _ = config.tcp_user_timeout(*timeout));
    resolved.connect_timeout.iter().for_each(|timeout| _ = config.connect_timeout(*timeout));
    config
}

/// Blanks separate options, so blanks inside one take a backslash. Source: manual, "options" parameter.
fn escape_option(option: &str) -> String {
    let escape = |c: char| c.is_ascii_whitespace() || matches!(c, '\\' | '\x0b');
    option.chars().flat_map(|c| escape(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Tries every address of a host.
fn connect_host(config: &Config, resolved: &Resolved, host: &Host) -> Result<Session, Refusal> {
    let mut last = None;
    for address in addresses(host)? {
        let mut config = config.clone();
        config.port(host.port);
        match address {
            Some(address) => {
                let named = if host.host.is_empty() { address.to_string() } else { host.host.clone() };
                config.host(&named).hostaddr(address)
            }
            None => config.host(&host.host),
        };
        host.password.iter().for_each(|password| _ = config.password(password.reveal()));
        match connect_address(&config, resolved, host) {
            Err(refusal) if !refusal.is_final => last = Some(refusal),
            answer => return answer,
        }
    }
    Err(last.unwrap_or_else(|| unreachable(host, "the name has no address")))
}

/// The addresses of a host; `None` stands for a socket's folder.
fn addresses(host: &Host) -> Result<Vec<Option<IpAddr>>, Refusal> {
    if let Some(address) = &host.hostaddr {
        return match address.parse() {
            Ok(address) => Ok(vec![Some(address)]),
            Err(_) => Err(Refusal {
                error: Error::invalid(format!("hostaddr \"{address}\" is not an IP address")),
                is_final: true,
                depends_on_tls: false,
            }),
        };
    }
    if host.host.starts_with('@') {
        return Err(Refusal {
            error: Error::new(ErrorKind::Unsupported, format!("socket \"{}\" has no file", host.host))
                .with_hint("Name the folder of the server's socket, or its host and port."),
            is_final: false,
            depends_on_tls: false,
        });
    }
    if host.is_socket() {
        return Ok(vec![None]);
    }
    let found = (host.host.as_str(), host.port).to_socket_addrs();
    let found = found.map_err(|error| unreachable(host, &error.to_string()))?;
    Ok(found.map(|address| Some(address.ip())).collect())
}

fn unreachable(host: &Host, why: &str) -> Refusal {
    let error =
        Error::new(ErrorKind::Unavailable, format!("could not find PostgreSQL server \"{}\"", host.host))
            .with_source(why.to_owned())
            .with_hint("Check the host's name and this machine's network.");
    Refusal { error, is_final: false, depends_on_tls: false }
}

/// Tries one address with and without TLS, as the mode says.
fn connect_address(config: &Config, resolved: &Resolved, host: &Host) -> Result<Session, Refusal> {
    let mut first = None;
    for encryption in encryptions(resolved.sslmode, host) {
        match connect_once(config, resolved, host, *encryption) {
            Err(refusal) if refusal.depends_on_tls => first = first.or(Some(refusal)),
            Err(refusal) => return Err(first.unwrap_or(refusal)),
            Ok(session) => return Ok(session),
        }
    }
    Err(first.unwrap_or_else(|| unreachable(host, "no way to connect is left")))
}

/// Sockets have no TLS; for the others the manual's "SSL Mode Descriptions".
fn encryptions(mode: SslMode, host: &Host) -> &'static [Encryption] {
    match mode {
        _ if host.is_socket() => &[Encryption::Disable],
        SslMode::Disable => &[Encryption::Disable],
        SslMode::Allow => &[Encryption::Disable, Encryption::Require],
        SslMode::Prefer => &[Encryption::Prefer, Encryption::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Require],
    }
}

fn connect_once(
    config: &Config,
    resolved: &Resolved,
    host: &Host,
    encryption: Encryption,
) -> Result<Session, Refusal> {
    let tls = if encryption == Encryption::Disable { tls::unused() } else { tls::connector(resolved, host) };
    let tls = tls.map_err(|error| Refusal { error, is_final: false, depends_on_tls: true })?;
    let mut config = config.clone();
    config.ssl_mode(encryption);
    if resolved.sslnegotiation == SslNegotiation::Direct && encryption == Encryption::Require {
        config.ssl_negotiation(postgres::config::SslNegotiation::Direct);
    }
    let what =
        format!("could not connect to database \"{}\" on {host} as \"{}\"", resolved.database, resolved.user);
    let silent = |error| Refusal { error, is_final: false, depends_on_tls: false };
    let connector = tls.tls.clone();
    let answer =
        within(resolved.connect_timeout, &what, move || greet(&config, connector)).map_err(silent)?;
    let (client, facts) = answer.map_err(|error| refusal(error, resolved, host, &what))?;
    let cancel = CancelHandle {
        token: client.cancel_token(),
        tls: tls.tls.clone(),
        timeout: resolved.connect_timeout,
        server: host.to_string(),
    };
    Ok(Session { client, facts, host: host.clone(), is_encrypted: tls.was_used(), cancel })
}

/// Connects and asks who answered.
fn greet(config: &Config, tls: MakeRustlsConnect) -> Result<(Client, ServerFacts), postgres::Error> {
    let mut client = config.connect(tls)?;
    let answer = client.simple_query(INTRODUCTION)?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |column: usize| row.and_then(|row| row.try_get(column).ok().flatten()).unwrap_or_default();
    let facts = ServerFacts {
        backend_pid: text(0).parse().unwrap_or_default(),
        version: text(1).parse().unwrap_or_default(),
        in_recovery: text(2) == "t",
        read_only: text(3) == "on",
    };
    Ok((client, facts))
}

/// What a failed attempt means for the next one.
fn refusal(error: postgres::Error, resolved: &Resolved, host: &Host, what: &str) -> Refusal {
    let state = error.code().map(|code| code.code().to_owned());
    let is_tls = super::explain::is_tls(&error);
    Refusal {
        error: explain_connect(error, resolved, host, what),
        // A server that is starting up or shutting down (57P03) leaves the others to be asked.
        is_final: state.as_deref().is_some_and(|state| state != "57P03"),
        depends_on_tls: is_tls || state.is_some_and(|state| state.starts_with("28")),
    }
}

/// Runs something that may wait for a silent server, for so long at most.
///
/// After that the thread is left behind; it ends when the operating system gives up on the connection.
pub(super) fn within<T: Send + 'static>(
    timeout: Option<Duration>,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("backup-pg-connect".to_owned())
        .spawn(move || sender.send(work()))
        .map_err(|error| Error::from_io("could not start a thread", error))?;
    let answer = match timeout {
        Some(timeout) => receiver.recv_timeout(timeout).ok(),
        None => receiver.recv().ok(),
    };
    answer.ok_or_else(|| {
        let cause = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        Error::new(ErrorKind::Unavailable, what).with_source(cause).with_hint(
            "Check that the server runs and is reachable; connect_timeout sets the patience in seconds.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_with_blanks_stays_one_option() {
        assert_eq!(escape_option(r"search_path=a, b\c"), r"search_path=a,\ b\\c");
    }
}
