//! What pg_dump says, in the user's words.

use backup_core::{Error, ErrorKind, Result, context::Context};

use crate::child::Ended;

/// A phrase of pg_dump's or the server's, what a caller can do about it, and what to tell.
const KNOWN: [(&str, ErrorKind, &str); 18] = [
    (
        "row-level security policy",
        ErrorKind::Denied,
        "Dump as the tables' owner, as a superuser, or as a role with BYPASSRLS: a policy would hide rows.",
    ),
    (
        "permission denied",
        ErrorKind::Denied,
        "Grant the role SELECT on it (for all: GRANT pg_read_all_data TO role), dump as its owner, or leave it out with --exclude-table.",
    ),
    ("password authentication failed", ErrorKind::Denied, "Check the password in PGPASSWORD or .pgpass."),
    ("no password supplied", ErrorKind::Denied, "Give the password in PGPASSWORD or .pgpass."),
    (
        "no pg_hba.conf entry",
        ErrorKind::Denied,
        "Allow this host, user and database in the server's pg_hba.conf.",
    ),
    (
        "server version mismatch",
        ErrorKind::Unsupported,
        "Install the client programs of the server's major version, or name their folder in BACKUP_PG_BIN.",
    ),
    (
        "no matching tables were found",
        ErrorKind::NotFound,
        "Patterns are psql's: name the schema too, as in --table app.orders.",
    ),
    ("no matching schemas were found", ErrorKind::NotFound, "Patterns are psql's: --schema app."),
    (
        // pg_dump limits its wait for a lock by the statement's time.
        "LOCK TABLE",
        ErrorKind::Busy,
        "A migration or another session holds a lock; try again when it has ended, or wait longer with --lock-wait.",
    ),
    (
        "due to lock timeout",
        ErrorKind::Busy,
        "A migration or another session holds a lock; try again when it has ended, or wait longer with --lock-wait.",
    ),
    (
        "could not obtain lock",
        ErrorKind::Busy,
        "A migration or another session holds a lock; try again when it has ended.",
    ),
    (
        "out of shared memory",
        ErrorKind::Failed,
        "Raise the server's max_locks_per_transaction: a dump locks every table.",
    ),
    (
        "too many clients",
        ErrorKind::Unavailable,
        "All connections of the server are taken; try again, or raise max_connections.",
    ),
    (
        "remaining connection slots",
        ErrorKind::Unavailable,
        "All connections of the server are taken; try again, or raise max_connections.",
    ),
    ("closed the connection", ErrorKind::Unavailable, "Look into the server's log, then try again."),
    (
        "terminating connection",
        ErrorKind::Unavailable,
        "The server is stopping or somebody ended the session; try again.",
    ),
    ("could not connect", ErrorKind::Unavailable, "Check host and port, and whether the server runs."),
    (
        "canceling statement due to conflict with recovery",
        ErrorKind::Unavailable,
        "Dump from the primary, or raise max_standby_streaming_delay on this standby.",
    ),
];

/// Passes warnings on, and makes an error of a failed dump.
pub(crate) fn require_dumped(ended: &Ended, cx: &Context) -> Result<()> {
    if ended.status.success() {
        ended
            .stderr
            .iter()
            .filter_map(|line| line.split_once("warning: "))
            .for_each(|(_, text)| cx.warn(text));
        return Ok(());
    }
    Err(explain(&ended.stderr, &format!("pg_dump failed ({})", ended.status)))
}

/// Makes an error of a text that was not written whole.
pub(crate) fn require_written(ended: &Ended) -> Result<()> {
    if ended.status.success() {
        Ok(())
    } else {
        Err(explain(&ended.stderr, &format!("pg_restore failed ({})", ended.status)))
    }
}

/// An error of the lines that a program left behind.
fn explain(lines: &[String], otherwise: &str) -> Error {
    let told: Vec<&str> = lines.iter().map(|line| plain(line)).filter(|line| !line.is_empty()).collect();
    let first =
        told.iter().find(|line| lines_speak_of_failure(line)).or(told.first()).copied().unwrap_or(otherwise);
    let known = KNOWN.iter().find(|(phrase, ..)| told.iter().any(|line| line.contains(phrase)));
    let (kind, hint) = known.map_or((ErrorKind::Failed, None), |(_, kind, hint)| (*kind, Some(*hint)));
    let mut error = Error::new(kind, format!("pg_dump: {first}"));
    let rest: Vec<&str> = told.iter().copied().filter(|line| *line != first).take(8).collect();
    if !rest.is_empty() {
        error = error.with_source(rest.join("; "));
    }
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn lines_speak_of_failure(line: &str) -> bool {
    !line.starts_with("warning") && !line.starts_with("detail") && !line.starts_with("hint")
}

/// `pg_dump: error: query failed: …` without its prefixes.
fn plain(line: &str) -> &str {
    let line =
        ["pg_dump: ", "pg_dumpall: "].iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line);
    line.strip_prefix("error: ").unwrap_or(line).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_kinds_that_say_what_to_do() {
        for (line, kind) in [
            ("pg_dump: error: query failed: ERROR:  permission denied for table secret", ErrorKind::Denied),
            (
                "pg_dump: error: query failed: ERROR:  query would be affected by row-level security policy for table \"t\"",
                ErrorKind::Denied,
            ),
            ("pg_dump: error: aborting because of server version mismatch", ErrorKind::Unsupported),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout",
                ErrorKind::Busy,
            ),
            ("pg_dump: error: no matching tables were found", ErrorKind::NotFound),
            (
                "pg_dump: error: query failed: server closed the connection unexpectedly",
                ErrorKind::Unavailable,
            ),
            ("pg_dump: error: something new", ErrorKind::Failed),
        ] {
            let error = explain(&[line.to_owned()], "it failed");
            assert_eq!(error.kind(), kind, "{line}");
            assert!(kind == ErrorKind::Failed || error.hint().is_some());
        }
    }
}
