//! Proving backups.

use backup::Level;

/// Look at stored backups again; exit 3 when one is damaged
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup verify                        the newest, to its last byte and with the full integrity check
  backup verify --all --level checksum every backup's stored bytes
  backup --mirror /mnt/usb verify --all --heal
                                       what is damaged is mended from the mirror's good copy
  backup verify --identity key.txt     the newest, which is encrypted

With --all, encrypted backups that no identity opens are checked to the level checksum, and it says so.")]
pub(crate) struct VerifyArgs {
    /// The backup [default: latest]
    #[arg(conflicts_with = "all")]
    pub(crate) id: Option<String>,
    /// Only of this job or database
    #[arg(long, value_name = "JOB|SOURCE")]
    pub(crate) of: Option<String>,
    /// Every backup of the store
    #[arg(long)]
    pub(crate) all: bool,
    /// checksum, structure or restore
    #[arg(long, default_value = "structure", value_name = "L")]
    pub(crate) level: Level,
    /// Replace what is damaged or missing by a mirror's good copy, then look again
    #[arg(long)]
    pub(crate) heal: bool,
}

/// Restore into a scratch place, check, measure, throw away
#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    /// The backup, or a job or source whose newest is meant [default: latest]
    pub(crate) id: Option<String>,
    /// Only of this job or database
    #[arg(long, value_name = "JOB|SOURCE")]
    pub(crate) of: Option<String>,
    /// A query the restored database must answer, beside the job's own; may be given more than once
    #[arg(long, value_name = "SQL")]
    pub(crate) smoke: Vec<String>,
    /// The PostgreSQL server on which the scratch database is made [default: the one it was taken from]
    #[arg(long, value_name = "SERVER")]
    pub(crate) on: Option<String>,
}
