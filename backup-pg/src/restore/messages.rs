//! What pg_restore, psql and the server behind them say, in the user's words.

use backup_core::{Error, ErrorKind, Result, context::Context};

use crate::{
    child::Ended,
    messages::{self, Known, plain},
};

/// What is told where nothing better is known.
const NOTHING_LOST: &str = "Nothing was put in place, and what was loaded is dropped.";

/// What a server says of the session that it ends where two wait for each other.
const DEADLOCK: &str = "deadlock detected";

/// The first that occurs anywhere in what a failed program said counts.
const KNOWN: &[Known] = &[
    (
        DEADLOCK,
        ErrorKind::Busy,
        "Something else locks objects of the new database. Try again, or with --jobs 1. Nothing was put in place, and what was loaded is dropped.",
    ),
    (
        "No space left on device",
        ErrorKind::NoSpace,
        "The server's disk is full: free some room there. Nothing was put in place, and what was loaded is dropped.",
    ),
    (
        "could not extend file",
        ErrorKind::NoSpace,
        "The server's disk is full: free some room there. Nothing was put in place, and what was loaded is dropped.",
    ),
    (
        "could not open extension control file",
        ErrorKind::Unsupported,
        "Install the extension's package on the server's host.",
    ),
    ("is not available", ErrorKind::Unsupported, "Install the extension's package on the server's host."),
    (
        "could not access file \"$libdir",
        ErrorKind::Unsupported,
        "Install the library's package on the server's host.",
    ),
    ("could not load library", ErrorKind::Unsupported, "Install the library's package on the server's host."),
    (
        "must be able to SET ROLE",
        ErrorKind::Denied,
        "Restore as a superuser or a member of the owners' roles, or with --no-owner --no-privileges.",
    ),
    (
        "must be member of role",
        ErrorKind::Denied,
        "Restore as a superuser or a member of the owners' roles, or with --no-owner --no-privileges.",
    ),
    ("must be superuser", ErrorKind::Denied, "Restore as a superuser."),
    ("must be owner", ErrorKind::Denied, "Restore as a superuser, or with --no-owner --no-privileges."),
    ("permission denied", ErrorKind::Denied, "Restore as a superuser, or with --no-owner --no-privileges."),
    (
        "role \"",
        ErrorKind::NotFound,
        "Create the roles on this server (`backup cat` gives those stored beside the backup), or restore with --no-owner --no-privileges.",
    ),
    (
        "unsupported version (",
        ErrorKind::Unsupported,
        "A newer pg_dump made it: install the client programs of that version, or name their folder in BACKUP_PG_BIN.",
    ),
    (
        "invalid command \\restrict",
        ErrorKind::Unsupported,
        "Install the present minor version of psql: dumps use \\restrict since August 2025.",
    ),
    (
        "unrecognized configuration parameter",
        ErrorKind::Unsupported,
        "The server is older than the dump, or an extension that defines the setting is not loaded.",
    ),
    (
        "has no equivalent in encoding",
        ErrorKind::Unsupported,
        "The new database's encoding cannot hold these characters: give it the encoding of the dumped one.",
    ),
    (
        "invalid byte sequence for encoding",
        ErrorKind::Failed,
        "The rows are not what their encoding says, in the source as well.",
    ),
    ("tablespace \"", ErrorKind::NotFound, "Create the tablespace on this server first."),
    (
        "violates",
        ErrorKind::Failed,
        "The rows break a rule of their own schema, or a function behind it works differently here.",
    ),
    (
        "could not create unique index",
        ErrorKind::Failed,
        "Rows that were different in the source are equal here: compare the locale and its version.",
    ),
    (
        "does not exist",
        ErrorKind::Failed,
        "Definitions use names without their schema, which a restore does not find; or the backup is of a part that needs another.",
    ),
];

/// What pg_restore says by itself that loses nothing.
const HARMLESS: &[&str] = &[
    "restoring tables WITH OIDS is not supported anymore",
    "archive was made on a machine with larger integers",
    "line ignored: ",
];

/// Passes on what is worth knowing, and makes an error of a load that failed or said something that nobody knows.
pub(super) fn require_loaded(program: &str, ended: &Ended, cx: &Context) -> Result<()> {
    if !ended.status.success() {
        return Err(explain(program, &ended.stderr, &format!("it failed ({})", ended.status)));
    }
    let mut warnings: Vec<String> = Vec::new();
    for line in ended.stderr.iter().map(|line| plain(program, line)).filter(|line| !line.is_empty()) {
        match sort(line) {
            Sort::Silent => {}
            Sort::Warning => warnings.push(line.to_owned()),
            Sort::Continued => {
                if let Some(last) = warnings.last_mut() {
                    last.push_str(&format!("; {line}"));
                }
            }
            Sort::Unknown => return Err(explain(program, &ended.stderr, line)),
        }
    }
    warnings.into_iter().for_each(|warning| cx.warn(format!("while loading: {warning}")));
    Ok(())
}

/// Whether sessions of a load have waited for each other.
pub(super) fn is_deadlock(error: &Error) -> bool {
    error.to_string().contains(DEADLOCK)
}

/// What a line of a program that succeeded is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Silent,
    /// For people; what it warns of is proven or refused afterwards.
    Warning,
    /// Goes on with the line before.
    Continued,
    /// Not to be trusted.
    Unknown,
}

fn sort(line: &str) -> Sort {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| line.starts_with(prefix));
    if starts(&["NOTICE:", "INFO:", "LOG:", "DEBUG", "detail: ", "hint: "]) {
        Sort::Silent
    } else if starts(&["WARNING:"]) || HARMLESS.iter().any(|known| line.contains(known)) {
        Sort::Warning
    } else if starts(&[
        "DETAIL:",
        "HINT:",
        "CONTEXT:",
        "LINE ",
        "QUERY:",
        "while ",
        "from TOC entry",
        "Command was:",
        " ",
        "\t",
        "PL/pgSQL",
        "SQL ",
    ]) {
        Sort::Continued
    } else {
        Sort::Unknown
    }
}

/// An error of the lines that a program left behind.
pub(super) fn explain(program: &str, lines: &[String], otherwise: &str) -> Error {
    let error = messages::explain(program, lines, otherwise, KNOWN);
    if error.hint().is_some() { error } else { error.with_hint(NOTHING_LOST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_kinds_that_say_what_to_do() {
        for (line, kind) in [
            (
                "pg_restore: error: could not execute query: ERROR:  role \"app\" does not exist",
                ErrorKind::NotFound,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  extension \"postgis\" is not available",
                ErrorKind::Unsupported,
            ),
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  could not extend file \"base/1/2\": No space left on device",
                ErrorKind::NoSpace,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  must be member of role \"app\"",
                ErrorKind::Denied,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  must be able to SET ROLE \"app\"",
                ErrorKind::Denied,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  permission denied for schema public",
                ErrorKind::Denied,
            ),
            ("pg_restore: error: unsupported version (1.16) in file header", ErrorKind::Unsupported),
            ("psql:<stdin>:6: error: invalid command \\restrict", ErrorKind::Unsupported),
            (
                "pg_restore: error: connection to server failed: FATAL:  sorry, too many clients already",
                ErrorKind::Busy,
            ),
            (
                "pg_restore: error: could not execute query: server closed the connection unexpectedly",
                ErrorKind::Unavailable,
            ),
            (
                "psql:<stdin>:60: ERROR:  duplicate key value violates unique constraint \"k\"",
                ErrorKind::Failed,
            ),
            ("pg_restore: error: something new", ErrorKind::Failed),
        ] {
            let program = line.split(':').next().unwrap();
            let error = explain(program, &[line.to_owned(), "DETAIL:  more".to_owned()], "it failed");
            assert_eq!(error.kind(), kind, "{line}");
            assert!(error.hint().is_some() && !error.to_string().contains("psql:<stdin>"), "{error}");
        }
    }

    #[test]
    fn only_what_is_known_passes_after_a_success() {
        for (line, expected) in [
            ("pg_restore: WARNING:  wal_level is insufficient to publish logical changes", Sort::Warning),
            ("HINT:  Set \"wal_level\" to \"logical\" before creating subscriptions.", Sort::Continued),
            ("psql:<stdin>:30: NOTICE:  table \"t\" does not exist, skipping", Sort::Silent),
            ("pg_restore: warning: errors ignored on restore: 2", Sort::Unknown),
            (
                "pg_restore: warning: requested compression not available in this installation -- no data will be available",
                Sort::Unknown,
            ),
            ("pg_restore: error: could not execute query: ERROR:  x", Sort::Unknown),
        ] {
            assert_eq!(sort(plain("pg_restore", line)), expected, "{line}");
        }
    }
}
