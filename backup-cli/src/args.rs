//! The command line.

mod guard;
mod keep;
mod look;
mod prove;
mod restore;
mod setup;
mod take;

use std::path::PathBuf;

use backup::config::parse_duration;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

pub(crate) use self::{
    guard::GuardArgs,
    keep::{MirrorArgs, PruneArgs},
    look::{CatArgs, CatFormat, ExtractArgs, IdArg, ListArgs, StatusArgs, TextFormat},
    prove::{DrillArgs, VerifyArgs},
    restore::RestoreArgs,
    setup::{CheckArgs, CompletionsArgs, DemoArgs, InitArgs},
    take::{AdoptArgs, EstimateArgs, RunArgs},
};

const EXAMPLES: &str = "\
Examples:
  backup init app.db                             write a backup.toml for this database, with comments
  backup check                                   everything a run would need, examined
  backup run                                     every job of backup.toml
  backup run app.db                              a proven backup of a live database, into ./backups
  backup run postgres://app@db1/shop             the same of a PostgreSQL database
  backup --store /var/backups run app.db         the same, into another store
  backup guard app.db -- ./migrate.sh            back up, migrate, and know the way back
  backup list                                    what there is
  backup restore latest --to sqlite:copy.db      bring the newest back, into a new file
  backup demo                                    see it work, in a temporary folder

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 looked, and it is bad,
4 no such artifact, job or object, 5 busy, 130 interrupted.";

/// Proven backups and safe restores of databases.
#[derive(Debug, Parser)]
#[command(name = "backup", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The configuration [default: $BACKUP_CONFIG, else the first of ./backup.toml,
    /// ~/.config/backup/backup.toml and /etc/backup/backup.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where backups live: a folder, or a store of the configuration
    /// [default: each job's own; without configuration $BACKUP_STORE, $BACKUP_DIR, else ./backups]
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// A store that holds copies, read where the store's own is lost or damaged; may be given more than once
    /// [default: $BACKUP_MIRRORS, separated by commas]
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) mirror: Vec<String>,
    /// One JSON document on stdout, failures included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell each step and how long it took
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Only errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How what happens is told on stderr: for people, or as JSON, one object a line
    #[arg(long, global = true, value_name = "FOR", default_value = "people", hide_default_value = true)]
    pub(crate) progress: Told,
    /// Folder for working copies [default: inside the store]
    #[arg(long, global = true, value_name = "DIR", env = "BACKUP_SCRATCH", hide_env_values = true)]
    pub(crate) scratch: Option<PathBuf>,
    /// File with the secret keys of encrypted backups; may be given more than once [default: $BACKUP_IDENTITY]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
}

/// Who reads stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Told {
    /// Lines and, on a terminal, progress bars
    People,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented backup.toml for a database
    Init(InitArgs),
    /// Examine configuration, tools, databases and stores; exit 3 when something fails
    Check(CheckArgs),
    /// Take a backup; prints its id
    Run(RunArgs),
    /// Run a command under the guard of a proven backup; exits with its code
    Guard(GuardArgs),
    /// Bring dumps that other scripts made into the store, verified
    Adopt(AdoptArgs),
    /// How large and how long the next backup will be
    Estimate(EstimateArgs),
    /// List backups, oldest first
    List(ListArgs),
    /// Show everything known of one backup
    Show(IdArg),
    /// Write the decoded payload to stdout
    Cat(CatArgs),
    /// Write one table as SQL or CSV that can be reviewed
    Extract(ExtractArgs),
    /// How sources stand; exit 3 when something is not as it should be
    Status(StatusArgs),
    /// Look at stored backups again; exit 3 when one is damaged
    Verify(VerifyArgs),
    /// Restore into a scratch place, check, measure, throw away
    Drill(DrillArgs),
    /// Bring a backup back
    Restore(RestoreArgs),
    /// Copy backups to the mirrors, or a mirror's back
    Mirror(MirrorArgs),
    /// Remove backups that a policy does not keep
    Prune(PruneArgs),
    /// See it work: a small shop with a live writer, in a temporary folder
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// An age as configurations have it; the parser prints one line, so the advice goes onto it.
fn age(text: &str) -> Result<SignedDuration, String> {
    parse_duration(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{error}. {hint}"),
        None => error.to_string(),
    })
}
