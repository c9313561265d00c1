//! Preparing, and getting to know.

use std::path::PathBuf;

/// Write a commented backup.toml for a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup init app.db
  backup init postgres://app@db1/shop --output /etc/backup/backup.toml
  backup --store /mnt/backups init app.db      into this store

A password is never written: the file says which variable holds it.")]
pub(crate) struct InitArgs {
    /// The database: a path, sqlite:PATH, postgres://… or postgres: [default: $DATABASE_URL, also from .env]
    pub(crate) source: Option<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "backup.toml")]
    pub(crate) output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Examine configuration, tools, databases and stores; exit 3 when something fails
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup check
  backup check stocks
  backup --config /etc/backup/backup.toml check --json

Each store gets a small object that is read back and deleted; nothing else is written, and nothing is left behind.")]
pub(crate) struct CheckArgs {
    /// Only this job
    pub(crate) job: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Leave the folder with the shop and its backups
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
