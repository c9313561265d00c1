//! The values connection parameters can take.

use std::time::Duration;

/// How much TLS is wanted. Source: manual, "Protection Provided in Different Modes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only when the server refuses a plain connection.
    Allow,
    /// Unless the server cannot; libpq's default.
    Prefer,
    /// Always; the certificate is checked only when there is a root certificate file.
    Require,
    /// Always, and the certificate must come from a trusted authority.
    VerifyCa,
    /// Always, and the certificate must also be this host's.
    VerifyFull,
}

impl SslMode {
    /// The word in connection strings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Every mode, weakest first.
    pub(crate) const ALL: [Self; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslNegotiation {
    /// The server is asked first; the default.
    Postgres,
    /// At once, which needs a server of version 17 or later.
    Direct,
}

/// Whether the password exchange is bound to the TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// When both sides can; the default.
    Prefer,
    /// Always, or the connection fails.
    Require,
}

/// What kind of server will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// Any; the default.
    Any,
    /// One that lets this session write.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in hot standby.
    Primary,
    /// One that is.
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

/// TCP keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalives {
    /// How long a connection is idle before a probe is sent.
    pub idle: Duration,
    /// The time between probes; the system's default when absent.
    pub interval: Option<Duration>,
    /// How many unanswered probes end the connection; the system's default when absent.
    pub count: Option<u32>,
}
