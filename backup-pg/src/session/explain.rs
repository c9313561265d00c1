//! Driver errors in the user's words.

use std::io;

use backup_core::{Error, ErrorKind};
use postgres::error::{DbError, ErrorPosition};

use crate::conninfo::{Host, Resolved};

/// A query of the server's own that is longer than this is not repeated in a message.
const SHORT_QUERY: usize = 200;

/// Explains a failed call; `action` is what could not be done, e.g. `measure database "stocks"`.
///
/// The kind follows the SQLSTATE. The server's message, detail and hint are kept as the cause.
pub fn explain(error: postgres::Error, action: &str) -> Error {
    in_words(error, &format!("could not {action}"))
}

/// Explains a failed call under a message of the caller's.
pub(super) fn in_words(error: postgres::Error, what: &str) -> Error {
    match error.as_db_error() {
        Some(answer) => {
            let (kind, hint) = by_state(answer);
            let hint = hint.map(str::to_owned).or_else(|| answer.hint().map(sentence));
            advise(Error::new(kind, what).with_source(in_full(answer)), hint.as_deref())
        }
        None => {
            let (kind, why, hint) = by_driver(&error);
            advise(Error::new(kind, what).with_source(why), hint)
        }
    }
}

/// Explains a failed connection attempt.
pub(super) fn explain_connect(error: postgres::Error, resolved: &Resolved, host: &Host, what: &str) -> Error {
    match error.as_db_error() {
        Some(answer) if answer.code().code() == "3D000" => {
            let message = format!("there is no database \"{}\" on {host}", resolved.database);
            Error::new(ErrorKind::NotFound, message)
                .with_source(in_full(answer))
                .with_hint("`psql -l` lists the databases of a server.")
        }
        _ => in_words(error, what),
    }
}

/// Whether the TLS handshake failed, or there was none although it was required.
pub(super) fn is_tls(error: &postgres::Error) -> bool {
    error.as_db_error().is_none() && error.to_string() == "error performing TLS handshake"
}

fn advise(error: Error, hint: Option<&str>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A hint of the server's as our hints are written.
fn sentence(hint: &str) -> String {
    if hint.ends_with(['.', '?', '!', ':']) { hint.to_owned() } else { format!("{hint}.") }
}

/// All the server said: `FATAL: message (SQLSTATE 28P01); detail: …`.
fn in_full(answer: &DbError) -> String {
    let mut text = format!("{}: {} (SQLSTATE {})", answer.severity(), answer.message(), answer.code().code());
    let mut add = |name: &str, part: Option<&str>| {
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            text.push_str(&format!("; {name}: {}", part.replace('\n', " ")));
        }
    };
    add("detail", answer.detail());
    add("hint", answer.hint());
    add("context", answer.where_());
    if let Some(ErrorPosition::Internal { query, .. }) = answer.position() {
        add("query", Some(query.as_str()).filter(|query| query.len() <= SHORT_QUERY));
    }
    text
}

/// What a caller can do, by SQLSTATE. Source: manual, "PostgreSQL Error Codes".
fn by_state(answer: &DbError) -> (ErrorKind, Option<&'static str>) {
    match answer.code().code() {
        "28P01" => (
            ErrorKind::Denied,
            Some("Check the password in the URI, in PGPASSWORD or in ~/.pgpass, and the user's name."),
        ),
        "28000" => (
            ErrorKind::Denied,
            Some(
                "The server's pg_hba.conf does not let this user in from here, or wants TLS or a certificate; \
                 passwords come from PGPASSWORD or ~/.pgpass.",
            ),
        ),
        "42501" => (
            ErrorKind::Denied,
            Some("Connect as the owner or a superuser, or grant the role pg_read_all_data for backups."),
        ),
        "3D000" | "42P01" | "42704" | "3F000" => (ErrorKind::NotFound, None),
        "42P04" | "42P07" | "42710" => (ErrorKind::AlreadyExists, None),
        "53100" => (ErrorKind::NoSpace, Some("The server's disk is full; free some room there.")),
        "53200" => (
            ErrorKind::Failed,
            Some("With very many tables, raise max_locks_per_transaction on the server and restart it."),
        ),
        "53300" => (
            ErrorKind::Busy,
            Some("All connections of the server, database or role are in use; raise the limit or try later."),
        ),
        "55P03" | "55006" | "40001" | "40P01" => {
            (ErrorKind::Busy, Some("Another session holds it; try again when its transaction has ended."))
        }
        "57P03" => {
            (ErrorKind::Unavailable, Some("The server is starting up or shutting down; try again soon."))
        }
        "57P01" | "57P02" | "57P05" => (ErrorKind::Unavailable, Some("The server closed the connection.")),
        "08P01" if answer.message().contains("startup parameter") => (
            ErrorKind::Unsupported,
            Some("A connection pooler such as PgBouncer is in between; connect to the server directly."),
        ),
        "0A000" => (ErrorKind::Unsupported, None),
        "XX001" | "XX002" => {
            (ErrorKind::Corrupt, Some("The server's own files are damaged; keep the last good backup."))
        }
        state if state.starts_with("08") => (ErrorKind::Unavailable, None),
        _ => (ErrorKind::Failed, None),
    }
}

/// What failed on our side of the connection. The driver tells it in words only.
fn by_driver(error: &postgres::Error) -> (ErrorKind, String, Option<&'static str>) {
    let cause = std::error::Error::source(error);
    let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_closed() || is_end_of_stream(cause) {
        return (ErrorKind::Unavailable, "the server closed the connection".to_owned(), None);
    }
    match error.to_string().as_str() {
        "error connecting to server" | "error communicating with the server"
            if why.contains("ertificate") =>
        {
            (ErrorKind::Denied, why, Some("Name a certificate the server accepts in sslcert and sslkey."))
        }
        "error connecting to server" => (
            ErrorKind::Unavailable,
            why,
            Some("Check that the server runs and listens there, and that no firewall is in between."),
        ),
        "error communicating with the server" | "timeout waiting for server" => {
            (ErrorKind::Unavailable, why, None)
        }
        "error performing TLS handshake" => explain_tls(why),
        "invalid configuration" if why == "password missing" => (
            ErrorKind::Denied,
            "the server asks for a password and none was found".to_owned(),
            Some("Put it into ~/.pgpass (mode 0600) or PGPASSWORD."),
        ),
        "authentication error" if why.contains("unsupported") => (
            ErrorKind::Unsupported,
            why,
            Some("Have pg_hba.conf ask this user for scram-sha-256, md5, a password or a certificate."),
        ),
        "authentication error" if why.contains("channel binding") => (
            ErrorKind::Failed,
            why,
            Some("Use TLS (sslmode=require or stronger), or channel_binding=prefer."),
        ),
        "authentication error" => (
            ErrorKind::Denied,
            why,
            Some("Check the password, and that the server at this address is the one you trust."),
        ),
        other => (ErrorKind::Failed, if cause.is_some() { format!("{other}: {why}") } else { why }, None),
    }
}

fn explain_tls(why: String) -> (ErrorKind, String, Option<&'static str>) {
    if why.contains("does not support TLS") {
        let hint = "Turn ssl on at the server, or use sslmode=prefer where the network is trusted.";
        return (ErrorKind::Unsupported, "the server does not support TLS".to_owned(), Some(hint));
    }
    let hint = if why.contains("not valid for name") {
        "Use the name or address the certificate was made for; sslmode=verify-ca leaves the name unchecked."
    } else if why.contains("UnsupportedCertVersion") {
        "The server's certificate is of X.509 version 1; make one with a subjectAltName, or use sslmode=require \
         without a root certificate."
    } else if why.contains("invalid peer certificate") {
        "Put the authority that signed the server's certificate into sslrootcert (default ~/.postgresql/root.crt)."
    } else {
        "Check the server's TLS settings; TLS 1.2 or later is needed."
    };
    (ErrorKind::Failed, why, Some(hint))
}

fn is_end_of_stream(cause: Option<&(dyn std::error::Error + 'static)>) -> bool {
    let ended = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ];
    cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|error| ended.contains(&error.kind()))
}
