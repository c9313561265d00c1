//! From what was written to what a connection is made with.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use backup_core::{Error, ErrorKind, Result};

use super::{
    ChannelBinding, Environment, Host, Keepalives, Password, SslMode, SslNegotiation, TargetSessionAttrs,
    host::is_socket_path, keyword, passfile, service,
};

/// PostgreSQL's port.
const DEFAULT_PORT: u16 = 5432;

/// How long one connection attempt may take; libpq would wait for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// When a silent connection is probed; the system's two hours are longer than most firewalls remember it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// A connection with every parameter decided. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The servers to try, in order; never empty.
    pub hosts: Vec<Host>,
    /// The PostgreSQL user.
    pub user: String,
    /// The database; by default named as the user.
    pub database: String,
    /// How much TLS is wanted; by default `prefer`.
    pub sslmode: SslMode,
    /// How TLS begins.
    pub sslnegotiation: SslNegotiation,
    /// The file of trusted certificates, there or not; the word `system` for those of the operating system.
    pub sslrootcert: Option<PathBuf>,
    /// The client's certificate, there or not.
    pub sslcert: Option<PathBuf>,
    /// The client certificate's private key, there or not.
    pub sslkey: Option<PathBuf>,
    /// The file of revoked certificates, there or not.
    pub sslcrl: Option<PathBuf>,
    /// A folder of files of revoked certificates.
    pub sslcrldir: Option<PathBuf>,
    /// Whether the host's name is told to the server before the connection is encrypted.
    pub sslsni: bool,
    /// The lowest TLS version, as 12 or 13.
    pub ssl_min_protocol_version: u8,
    /// The highest TLS version, as 12 or 13.
    pub ssl_max_protocol_version: u8,
    /// Whether the password exchange is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// How long one attempt may take, 30 s by default; `None` waits for ever (`connect_timeout=0`).
    pub connect_timeout: Option<Duration>,
    /// TCP keepalives, on by default; `None` turns them off.
    pub keepalives: Option<Keepalives>,
    /// How long sent data may stay unacknowledged; the system's default when absent.
    pub tcp_user_timeout: Option<Duration>,
    /// Command-line options for the server, such as `-c geqo=off`.
    pub options: Option<String>,
    /// The name to show in `pg_stat_activity`, if the user chose one.
    pub application_name: Option<String>,
    /// What kind of server will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// Whether the servers are tried in random order.
    pub load_balance_hosts: bool,
    /// What the user should know, such as a password file that was not used.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// The servers for a message: `db1:5432, db2:5432`.
    pub fn servers(&self) -> String {
        self.hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Resolves written parameters.
pub(crate) fn resolve(written: &BTreeMap<String, String>, environment: &Environment) -> Result<Resolved> {
    if let Some(name) = written.keys().find(|name| !keyword::is_known(name)) {
        return Err(keyword::unknown(name, "a PostgreSQL connection"));
    }
    let parameters = Parameters::gather(written, environment)?;
    parameters.refuse_what_is_missing_here()?;
    let user = user(&parameters, environment)?;
    let database = parameters.filled("dbname").unwrap_or(&user).to_owned();
    let mut warnings = Vec::new();
    let mut hosts = hosts(&parameters)?;
    find_passwords(&mut hosts, &parameters, environment, (&database, &user), &mut warnings);
    let (sslmode, sslnegotiation) = parameters.ssl()?;
    let certificate = |name: &str, file: &str| parameters.certificate(name, file, environment);
    Ok(Resolved {
        hosts,
        user,
        database,
        sslmode,
        sslnegotiation,
        sslrootcert: certificate("sslrootcert", "root.crt"),
        sslcert: certificate("sslcert", "postgresql.crt")
            .filter(|_| parameters.get("sslcertmode") != Some("disable")),
        sslkey: certificate("sslkey", "postgresql.key"),
        sslcrl: certificate("sslcrl", "root.crl").filter(|_| parameters.filled("sslcrldir").is_none()),
        sslcrldir: parameters.filled("sslcrldir").map(PathBuf::from),
        sslsni: parameters.filled("sslsni").is_none_or(|value| value.starts_with('1')),
        ssl_min_protocol_version: parameters.tls_version("ssl_min_protocol_version", 12)?.max(12),
        ssl_max_protocol_version: parameters.tls_version("ssl_max_protocol_version", 13)?,
        channel_binding: parameters.choice("channel_binding", ChannelBinding::Prefer, &CHANNEL_BINDINGS)?,
        connect_timeout: parameters.connect_timeout()?,
        keepalives: parameters.keepalives()?,
        tcp_user_timeout: parameters.positive("tcp_user_timeout")?.map(Duration::from_millis),
        options: parameters.filled("options").map(str::to_owned),
        application_name: parameters.application_name(),
        target_session_attrs: parameters.choice("target_session_attrs", TargetSessionAttrs::Any, &TARGETS)?,
        load_balance_hosts: parameters.choice(
            "load_balance_hosts",
            false,
            &[("disable", false), ("random", true)],
        )?,
        warnings,
    })
}

const CHANNEL_BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const TARGETS: [(&str, TargetSessionAttrs); 6] = [
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

/// Parameters from every place, by libpq's precedence.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn gather(written: &BTreeMap<String, String>, environment: &Environment) -> Result<Self> {
        let mut values = written.clone();
        let named = written.get("service").map(String::as_str).or_else(|| environment.variable("PGSERVICE"));
        if let Some(name) = named {
            for (keyword, value) in service::look_up(name, environment)? {
                values.entry(keyword).or_insert(value);
            }
        }
        for keyword in keyword::KEYWORDS {
            if let Some(value) = keyword.variable.and_then(|variable| environment.variable(variable)) {
                values.entry(keyword.name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        // An old name for one value of sslmode.
        if environment.variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            values.entry("sslmode".to_owned()).or_insert_with(|| SslMode::Require.name().to_owned());
        }
        Ok(Self(values))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value that is not empty.
    fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Parameters that ask for a protection are refused rather than passed over.
    fn refuse_what_is_missing_here(&self) -> Result<()> {
        let refused = [
            ("gssencmode", self.get("gssencmode") == Some("require")),
            ("require_auth", self.filled("require_auth").is_some()),
            ("requirepeer", self.filled("requirepeer").is_some()),
            ("sslcertmode", self.get("sslcertmode") == Some("require")),
            ("scram_client_key", self.filled("scram_client_key").is_some()),
            ("scram_server_key", self.filled("scram_server_key").is_some()),
        ];
        let Some((name, _)) = refused.iter().find(|(_, asked)| *asked) else { return Ok(()) };
        let value = if keyword::is_secret(name) { "…" } else { self.get(name).unwrap_or_default() };
        let message = format!("the connection parameter \"{name}={value}\" cannot be honoured");
        Err(Error::new(ErrorKind::Unsupported, message).with_hint(
            "Leave it out for backups; sslmode=verify-full with channel_binding=require protects the connection.",
        ))
    }

    /// One of a parameter's allowed words.
    fn choice<T: Copy>(&self, name: &str, default: T, choices: &[(&str, T)]) -> Result<T> {
        let Some(written) = self.get(name) else { return Ok(default) };
        let chosen = choices.iter().find(|(word, _)| *word == written);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            Error::invalid(format!("\"{written}\" is not a value of \"{name}\""))
                .with_hint(format!("Use one of: {}.", words.join(", ")))
        })
    }

    /// A whole number in C's spelling.
    fn number(&self, name: &str) -> Result<Option<i32>> {
        self.get(name).map(|written| parse_number(written, name)).transpose()
    }

    /// A number above zero; anything else means the default.
    fn positive(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.number(name)?.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0))
    }

    fn ssl(&self) -> Result<(SslMode, SslNegotiation)> {
        let system = self.get("sslrootcert") == Some("system");
        let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = self.choice("sslmode", default, &SslMode::ALL.map(|mode| (mode.name(), mode)))?;
        if system && mode < SslMode::VerifyFull {
            let message = format!("sslmode \"{}\" is too weak for sslrootcert=system", mode.name());
            return Err(
                Error::invalid(message).with_hint("Use sslmode=verify-full, or name a certificate file.")
            );
        }
        let negotiations = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let negotiation = self.choice("sslnegotiation", SslNegotiation::Postgres, &negotiations)?;
        if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
            let message = format!("sslmode \"{}\" is too weak for sslnegotiation=direct", mode.name());
            return Err(Error::invalid(message).with_hint("Use sslmode=require or a stronger one."));
        }
        Ok((mode, negotiation))
    }

    /// A file that was named, or the one libpq looks for in the user's folder.
    fn certificate(&self, name: &str, default: &str, environment: &Environment) -> Option<PathBuf> {
        let named = self.filled(name).map(PathBuf::from);
        named.or_else(|| environment.certificates().map(|folder| folder.join(default)))
    }

    /// TLS 1.2 as 12; versions below it are allowed as a lower bound and never used.
    fn tls_version(&self, name: &str, default: u8) -> Result<u8> {
        let Some(written) = self.filled(name) else { return Ok(default) };
        let versions = [("TLSv1", 10), ("TLSv1.1", 11), ("TLSv1.2", 12), ("TLSv1.3", 13)];
        let version = versions.iter().find(|(word, _)| word.eq_ignore_ascii_case(written));
        let &(_, version) = version.ok_or_else(|| {
            Error::invalid(format!("\"{written}\" is not a value of \"{name}\""))
                .with_hint("Use TLSv1.2 or TLSv1.3.")
        })?;
        if name == "ssl_max_protocol_version" && version < 12 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{written} is too old to protect anything"),
            )
            .with_hint("Have the server offer TLS 1.2 or later."));
        }
        Ok(version)
    }

    fn application_name(&self) -> Option<String> {
        let chosen = self.filled("application_name").or_else(|| self.filled("fallback_application_name"));
        chosen.map(str::to_owned)
    }

    fn connect_timeout(&self) -> Result<Option<Duration>> {
        let Some(seconds) = self.number("connect_timeout")? else { return Ok(Some(CONNECT_TIMEOUT)) };
        // As in libpq, one second counts as two, because it may be cut short by nearly one.
        Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(|s| Duration::from_secs(s.max(2))))
    }

    fn keepalives(&self) -> Result<Option<Keepalives>> {
        if self.filled("keepalives").is_some() && self.number("keepalives")? == Some(0) {
            return Ok(None);
        }
        Ok(Some(Keepalives {
            idle: self.positive("keepalives_idle")?.map_or(KEEPALIVE_IDLE, Duration::from_secs),
            interval: self.positive("keepalives_interval")?.map(Duration::from_secs),
            count: self.positive("keepalives_count")?.and_then(|count| u32::try_from(count).ok()),
        }))
    }
}

fn parse_number(written: &str, name: &str) -> Result<i32> {
    written
        .trim_ascii()
        .parse()
        .map_err(|_| Error::invalid(format!("\"{written}\" is not a number for \"{name}\"")))
}

fn user(parameters: &Parameters, environment: &Environment) -> Result<String> {
    let user = parameters.get("user").or(environment.user.as_deref()).unwrap_or_default();
    if user.is_empty() {
        return Err(Error::invalid("the connection names no PostgreSQL user")
            .with_hint("Write it as in postgres://user@host/database, or set PGUSER."));
    }
    Ok(user.to_owned())
}

/// Pairs host names, addresses and ports; lists of different lengths are refused.
fn hosts(parameters: &Parameters) -> Result<Vec<Host>> {
    let list = |name: &str| -> Vec<&str> {
        parameters.filled(name).map(|value| value.split(',').collect()).unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = if addresses.is_empty() { names.len().max(1) } else { addresses.len() };
    if !addresses.is_empty() && !names.is_empty() && names.len() != count {
        return Err(Error::invalid(format!("{} hosts do not pair with {count} addresses", names.len()))
            .with_hint("Give as many values in \"host\" as in \"hostaddr\"."));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(Error::invalid(format!("{} ports do not pair with {count} hosts", ports.len()))
            .with_hint("Give one port for all hosts, or one for each."));
    }
    let one = |index: usize| {
        let hostaddr = addresses.get(index).copied().filter(|a| !a.is_empty()).map(str::to_owned);
        let name = names.get(index).copied().unwrap_or_default();
        let host = if name.is_empty() && hostaddr.is_none() { default_host() } else { name.to_owned() };
        let port = if ports.len() == 1 { ports.first() } else { ports.get(index) };
        Ok(Host { host, hostaddr, port: parse_port(port.copied().unwrap_or_default())?, password: None })
    };
    (0..count).map(one).collect()
}

fn parse_port(written: &str) -> Result<u16> {
    if written.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    let number = parse_number(written, "port")?;
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| {
        Error::invalid(format!("\"{written}\" is not a port")).with_hint("Ports are 1 to 65535.")
    })
}

/// Debian's libpq looks for the socket in the first of these folders, PostgreSQL's own in the second.
fn default_host() -> String {
    let folders = ["/var/run/postgresql", "/tmp"];
    let found = folders.into_iter().find(|folder| cfg!(unix) && Path::new(folder).is_dir());
    found.unwrap_or("localhost").to_owned()
}

/// Gives each host its password: the one that was set, or the password file's.
fn find_passwords(
    hosts: &mut [Host],
    parameters: &Parameters,
    environment: &Environment,
    (database, user): (&str, &str),
    warnings: &mut Vec<String>,
) {
    if let Some(password) = parameters.filled("password") {
        hosts.iter_mut().for_each(|host| host.password = Some(Password::new(password)));
        return;
    }
    let path = parameters.filled("passfile").map(PathBuf::from).or_else(|| environment.default_passfile());
    let Some(text) = path.and_then(|path| passfile::read(&path, warnings)) else { return };
    for host in hosts {
        let name =
            if host.host.is_empty() { host.hostaddr.as_deref().unwrap_or_default() } else { &host.host };
        // The file calls the server at the usual socket "localhost".
        let name = if is_socket_path(name) && name == default_host() { "localhost" } else { name };
        host.password = passfile::find(&text, name, host.port, database, user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, variables: &[(&str, &str)]) -> Result<Resolved> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment =
            Environment { variables: variables.collect(), home: None, user: Some("me".to_owned()) };
        crate::conninfo::Conninfo::parse(text)?.resolve(&environment)
    }

    fn places(text: &str) -> Vec<String> {
        resolved(text, &[]).unwrap().hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_written_means_the_defaults() {
        let all = resolved("postgres:", &[]).unwrap();
        assert_eq!((all.user.as_str(), all.database.as_str(), all.sslmode), ("me", "me", SslMode::Prefer));
        assert_eq!(
            all.hosts.iter().map(|host| (host.host.clone(), host.port)).collect::<Vec<_>>(),
            [(default_host(), DEFAULT_PORT)]
        );
        assert_eq!(all.connect_timeout, Some(CONNECT_TIMEOUT));
        assert_eq!(all.keepalives, Some(Keepalives { idle: KEEPALIVE_IDLE, interval: None, count: None }));
        assert!(all.warnings.is_empty());
    }

    #[test]
    fn hosts_addresses_and_ports_are_paired() {
        assert_eq!(places("host=a,b,::1 port=1,,3"), ["a:1", "b:5432", "[::1]:3"]);
        assert_eq!(places("host=a,b port=7"), ["a:7", "b:7"]);
        assert_eq!(places("host=a,/run hostaddr=10.0.0.1,"), ["a:5432 (10.0.0.1)", "/run/.s.PGSQL.5432"]);
        assert_eq!(places("hostaddr=::1"), ["::1 port 5432"]);
    }

    #[test]
    fn times_are_read_as_libpq_reads_them() {
        let timeout = |text: &str| resolved(text, &[]).unwrap().connect_timeout;
        assert_eq!(timeout("connect_timeout=0"), None);
        assert_eq!(timeout("connect_timeout=-1"), None);
        assert_eq!(timeout("connect_timeout=1"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("connect_timeout=' 9 '"), Some(Duration::from_secs(9)));
        assert_eq!(resolved("keepalives=0", &[]).unwrap().keepalives, None);
        let keepalives = resolved("keepalives_idle=7 keepalives_interval=2 keepalives_count=3", &[]).unwrap();
        let expected = Keepalives {
            idle: Duration::from_secs(7),
            interval: Some(Duration::from_secs(2)),
            count: Some(3),
        };
        assert_eq!(keepalives.keepalives, Some(expected));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_not_passed_over() {
        for (text, kind) in [
            ("require_auth=scram-sha-256", ErrorKind::Unsupported),
            ("gssencmode=require", ErrorKind::Unsupported),
            ("sslcertmode=require", ErrorKind::Unsupported),
            ("scram_client_key=hidden", ErrorKind::Unsupported),
            ("ssl_max_protocol_version=TLSv1.1", ErrorKind::Unsupported),
            ("sslrootcert=system sslmode=require", ErrorKind::Invalid),
            ("sslnegotiation=direct", ErrorKind::Invalid),
            ("sslmode=''", ErrorKind::Invalid),
            ("port=0", ErrorKind::Invalid),
        ] {
            let error = resolved(text, &[]).unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        }
        assert_eq!(resolved("sslrootcert=system", &[]).unwrap().sslmode, SslMode::VerifyFull);
        let written = crate::conninfo::Conninfo::parse("host=a").unwrap().with("hots", "b");
        assert_eq!(written.resolve(&Environment::default()).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn variables_fill_in_and_an_empty_one_means_the_default() {
        let variables = [("PGPORT", "7"), ("PGUSER", "you"), ("PGAPPNAME", "x"), ("PGDATABASE", "")];
        let filled = resolved("host=a", &variables).unwrap();
        assert_eq!((filled.user.as_str(), filled.database.as_str()), ("you", "you"));
        assert_eq!(filled.application_name.as_deref(), Some("x"));
        assert_eq!(resolved("host=a port=''", &variables).unwrap().servers(), "a:5432");
    }
}
