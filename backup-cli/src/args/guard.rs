//! Guarding work.

use std::{ffi::OsString, path::PathBuf};

use backup::Level;
use jiff::SignedDuration;

use super::age;

/// Run a command under the guard of a proven backup; exits with its code
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup guard app.db -- ./migrate.sh              back up, migrate; if it fails, print the line that restores
  backup guard app.db --restore-on-failure -- python ingest.py
                                                   ... and restore by itself
  backup guard postgres://app@db1/shop --fresh 1h -- psql -d shop -v ON_ERROR_STOP=1 -f change.sql
                                                   a proven backup of the last hour is enough

The command runs without a shell (`-- sh -c '…'` for one), with our stdin, stdout and stderr, and with
BACKUP_GUARD_ID in its environment. Until it ends nobody else can back up this source into this store.

Exit codes: the command's own, 128 and the number of the signal that ended it, 127 when it is not found and
126 when it cannot be executed; ours, with \"was not started\" on stderr, when there is no good backup.
stdout is the command's: with --json the one document is the last line of stderr.")]
pub(crate) struct GuardArgs {
    /// A job of the configuration, or a database: a path, sqlite:PATH, postgres://… or postgres:
    /// [default: the only job; without configuration $DATABASE_URL, also from .env]
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) source: Option<String>,
    /// The name of its vault [default: as in `backup run`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Restore the database when the command fails; what the command left is kept beside
    #[arg(long)]
    pub(crate) restore_on_failure: bool,
    /// A proven backup of at most this age is enough, e.g. 1h [default: take one now]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) fresh: Option<SignedDuration>,
    /// How deep the backup is verified before the command starts: checksum, structure or restore
    #[arg(long, default_value = "structure", value_name = "LEVEL")]
    pub(crate) verify: Level,
    /// Warn when the command succeeds and a table lost more than this share of its rows; 1 is never
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub(crate) max_loss: f64,
    /// Do not count every table before and after
    #[arg(long)]
    pub(crate) no_census: bool,
    /// Also write the report, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Do not ask, on a terminal, before a command that may be followed by a restore
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The work is done by whoever holds our stdin, for programs: see the manual
    #[arg(long, conflicts_with = "command")]
    pub(crate) attached: bool,
    /// What the work is called in the journal, with --attached
    #[arg(long, value_name = "WORD", requires = "attached")]
    pub(crate) work: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "attached", value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
