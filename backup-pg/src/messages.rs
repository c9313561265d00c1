//! What pg_dump, pg_restore and psql say, in the user's words.

use backup_core::{Error, ErrorKind, Result, context::Context};

use crate::child::Ended;

/// A phrase, what a caller can do about it, and what to tell.
pub(crate) type Known = (&'static str, ErrorKind, &'static str);

/// What every program may say of its connection; a program's own phrases come first.
const CONNECTION: &[Known] = &[
    ("password authentication failed", ErrorKind::Denied, "Check the password in PGPASSWORD or .pgpass."),
    ("no password supplied", ErrorKind::Denied, "Give the password in PGPASSWORD or .pgpass."),
    (
        "no pg_hba.conf entry",
        ErrorKind::Denied,
        "Allow this host, user and database in the server's pg_hba.conf; a restore needs a new database and \"postgres\" or \"template1\".",
    ),
    (
        "out of shared memory",
        ErrorKind::Failed,
        "Raise the server's max_locks_per_transaction and restart it: a dump locks every table.",
    ),
    (
        "too many clients",
        ErrorKind::Busy,
        "All connections of the server are taken; try again, with fewer --jobs, or raise max_connections.",
    ),
    (
        "remaining connection slots",
        ErrorKind::Busy,
        "All connections of the server are taken; try again, with fewer --jobs, or raise max_connections.",
    ),
    ("too many connections", ErrorKind::Busy, "A connection limit was reached; try again with fewer --jobs."),
    ("closed the connection", ErrorKind::Unavailable, "Look into the server's log, then try again."),
    (
        "terminating connection",
        ErrorKind::Unavailable,
        "The server is stopping or somebody ended the session; try again.",
    ),
    ("Connection refused", ErrorKind::Unavailable, "Check host and port, and whether the server runs."),
    ("could not connect", ErrorKind::Unavailable, "Check host and port, and whether the server runs."),
];

/// What pg_dump and pg_dumpall say.
const DUMPING: &[Known] = &[
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
        "canceling statement due to conflict with recovery",
        ErrorKind::Unavailable,
        "Dump from the primary, or raise max_standby_streaming_delay on this standby.",
    ),
];

/// Passes warnings on, and makes an error of a failed dump.
pub(crate) fn require_dumped(program: &str, ended: &Ended, cx: &Context) -> Result<()> {
    if ended.status.success() {
        ended
            .stderr
            .iter()
            .filter_map(|line| line.split_once("warning: "))
            .for_each(|(_, text)| cx.warn(text));
        return Ok(());
    }
    Err(explain(program, &ended.stderr, &format!("it failed ({})", ended.status), DUMPING))
}

/// Makes an error of a text that was not written whole.
pub(crate) fn require_written(ended: &Ended) -> Result<()> {
    if ended.status.success() {
        Ok(())
    } else {
        Err(explain("pg_restore", &ended.stderr, &format!("it failed ({})", ended.status), &[]))
    }
}

/// An error of the lines that a program left behind, by its own phrases and by those of all.
pub(crate) fn explain(program: &str, lines: &[String], otherwise: &str, own: &[Known]) -> Error {
    let told: Vec<&str> =
        lines.iter().map(|line| plain(program, line)).filter(|line| !line.is_empty()).collect();
    let is_failure =
        |line: &&&str| ["ERROR:", "FATAL:", "error: ", "failed: "].iter().any(|mark| line.contains(mark));
    let first = told.iter().find(is_failure).or_else(|| told.iter().find(|line| !is_aside(line)));
    let first = first.copied().unwrap_or(otherwise);
    let is_told = |(phrase, ..): &&Known| told.iter().any(|line| line.contains(phrase));
    let known = own.iter().chain(CONNECTION).find(is_told);
    let (kind, hint) = known.map_or((ErrorKind::Failed, None), |(_, kind, hint)| (*kind, Some(*hint)));
    let mut error = Error::new(kind, format!("{program}: {}", first.trim_start_matches("error: ")));
    let rest: Vec<&str> = told.iter().copied().filter(|line| *line != first).take(8).collect();
    if !rest.is_empty() {
        error = error.with_source(rest.join("; "));
    }
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// What explains another line and is no failure by itself.
fn is_aside(line: &str) -> bool {
    let asides = ["warning", "detail", "hint", "notice", "context", "info", "log:", "debug"];
    asides.iter().any(|aside| line.to_ascii_lowercase().starts_with(aside))
}

/// `pg_restore: error: …` and `psql:<stdin>:12: ERROR: …` without what comes first.
pub(crate) fn plain<'a>(program: &str, line: &'a str) -> &'a str {
    let line = line.strip_prefix(program).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(line);
    let line = match line.strip_prefix("psql:").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => line,
    };
    line.strip_prefix("warning: ").unwrap_or(line).trim_end()
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
            let error = explain("pg_dump", &[line.to_owned()], "it failed", DUMPING);
            assert_eq!(error.kind(), kind, "{line}");
            assert!(kind == ErrorKind::Failed || error.hint().is_some());
        }
    }
}
