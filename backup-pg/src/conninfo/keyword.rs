//! The parameters libpq knows.

use backup_core::Error;

/// A connection parameter and the environment variable that stands in for it.
pub(crate) struct Keyword {
    /// The name in connection strings and service files.
    pub(crate) name: &'static str,
    /// The variable, where there is one.
    pub(crate) variable: Option<&'static str>,
}

/// Every parameter of libpq up to PostgreSQL 18. Source: manual, "Parameter Key Words" and "Environment Variables".
pub(crate) const KEYWORDS: &[Keyword] = &[
    keyword("service", "PGSERVICE"),
    keyword("host", "PGHOST"),
    keyword("hostaddr", "PGHOSTADDR"),
    keyword("port", "PGPORT"),
    keyword("dbname", "PGDATABASE"),
    keyword("user", "PGUSER"),
    keyword("password", "PGPASSWORD"),
    keyword("passfile", "PGPASSFILE"),
    keyword("require_auth", "PGREQUIREAUTH"),
    keyword("channel_binding", "PGCHANNELBINDING"),
    keyword("connect_timeout", "PGCONNECT_TIMEOUT"),
    keyword("client_encoding", "PGCLIENTENCODING"),
    keyword("options", "PGOPTIONS"),
    keyword("application_name", "PGAPPNAME"),
    bare("fallback_application_name"),
    bare("keepalives"),
    bare("keepalives_idle"),
    bare("keepalives_interval"),
    bare("keepalives_count"),
    bare("tcp_user_timeout"),
    bare("replication"),
    keyword("gssencmode", "PGGSSENCMODE"),
    keyword("sslmode", "PGSSLMODE"),
    keyword("sslnegotiation", "PGSSLNEGOTIATION"),
    keyword("sslcompression", "PGSSLCOMPRESSION"),
    keyword("sslcert", "PGSSLCERT"),
    keyword("sslkey", "PGSSLKEY"),
    bare("sslpassword"),
    keyword("sslcertmode", "PGSSLCERTMODE"),
    keyword("sslrootcert", "PGSSLROOTCERT"),
    keyword("sslcrl", "PGSSLCRL"),
    keyword("sslcrldir", "PGSSLCRLDIR"),
    keyword("sslsni", "PGSSLSNI"),
    keyword("requirepeer", "PGREQUIREPEER"),
    keyword("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    keyword("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    keyword("min_protocol_version", "PGMINPROTOCOLVERSION"),
    keyword("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    keyword("krbsrvname", "PGKRBSRVNAME"),
    keyword("gsslib", "PGGSSLIB"),
    keyword("gssdelegation", "PGGSSDELEGATION"),
    bare("scram_client_key"),
    bare("scram_server_key"),
    keyword("target_session_attrs", "PGTARGETSESSIONATTRS"),
    keyword("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    bare("oauth_issuer"),
    bare("oauth_client_id"),
    bare("oauth_client_secret"),
    bare("oauth_scope"),
    bare("sslkeylogfile"),
];

const fn keyword(name: &'static str, variable: &'static str) -> Keyword {
    Keyword { name, variable: Some(variable) }
}

const fn bare(name: &'static str) -> Keyword {
    Keyword { name, variable: None }
}

/// Whether libpq knows the parameter.
pub(crate) fn is_known(name: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.name == name)
}

/// Whether a parameter's value must never be shown or stand on a command line.
pub(crate) fn is_secret(name: &str) -> bool {
    matches!(
        name,
        "password" | "sslpassword" | "scram_client_key" | "scram_server_key" | "oauth_client_secret"
    )
}

/// The refusal of a parameter libpq does not know, with the one that was probably meant.
pub(crate) fn unknown(name: &str, place: &str) -> Error {
    let error = Error::invalid(format!("{place} has no parameter \"{name}\""));
    match nearest(name) {
        Some(known) => error.with_hint(format!("Did you mean \"{known}\"?")),
        None => error.with_hint(
            "The PostgreSQL manual lists them under \"Parameter Key Words\", e.g. host, port, dbname.",
        ),
    }
}

/// The known parameter that a misspelled one most resembles.
fn nearest(name: &str) -> Option<&'static str> {
    // The names other drivers use for the same things.
    let alias = match name {
        "database" | "db" => Some("dbname"),
        "username" => Some("user"),
        "pass" | "pwd" => Some("password"),
        "hostname" | "server" => Some("host"),
        "ssl" | "tls" => Some("sslmode"),
        "timeout" => Some("connect_timeout"),
        _ => None,
    };
    let close = || {
        let distances = KEYWORDS.iter().map(|keyword| (distance(name, keyword.name), keyword.name));
        distances.min().filter(|(distance, known)| *distance <= 2.min(known.len() / 3 + 1)).map(|(_, n)| n)
    };
    alias.or_else(close)
}

/// How many letters have to be put in, taken out or changed to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.chars().take(64).enumerate() {
        let mut current = vec![row + 1];
        for ((other, above), diagonal) in right.iter().zip(previous.iter().skip(1)).zip(&previous) {
            let beside = current.last().copied().unwrap_or_default();
            current.push((diagonal + usize::from(letter != *other)).min(above + 1).min(beside + 1));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_parameter_is_answered_with_the_one_that_was_meant() {
        for (written, meant) in [
            ("dbnam", "dbname"),
            ("hots", "host"),
            ("database", "dbname"),
            ("ssl_mode", "sslmode"),
            ("connecttimeout", "connect_timeout"),
        ] {
            assert_eq!(nearest(written), Some(meant), "{written}");
        }
        assert_eq!(nearest("statement_cache_size"), None);
    }
}
