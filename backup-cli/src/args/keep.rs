//! Keeping copies, and not for ever.

use jiff::SignedDuration;

use super::age;

/// Copy backups to the mirrors, or a mirror's back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup mirror --to /mnt/usb/backups             what that folder lacks
  backup mirror --to dropbox:~/Dropbox/backups    the same into a synced folder
  backup --mirror /mnt/usb --mirror dropbox:/home/me/Dropbox/b mirror
  backup --store /new/disk mirror --from /mnt/usb rebuild a lost store from a copy

Every copy is hashed while it is read and again where it arrived. What is there already is not sent again.
Exit code 1 when something could not be copied.")]
pub(crate) struct MirrorArgs {
    /// Where to copy from, into the store [default: from the store, into its mirrors]
    #[arg(long, value_name = "STORE")]
    pub(crate) from: Option<String>,
    /// Where to copy to, instead; may be given more than once
    #[arg(long, value_name = "STORE")]
    pub(crate) to: Vec<String>,
    /// Only backups of this job or database
    #[arg(long, value_name = "JOB|SOURCE")]
    pub(crate) of: Option<String>,
}

/// Remove backups that a policy does not keep
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup prune --keep daily=30,weekly=12,monthly=12 --dry-run   what would go, and why
  backup prune shop --keep migrations --rpo 24h   nothing goes while the newest is a day old
  backup prune --keep rollouts,max_bytes=50GB     a preset, and one rule more
  backup prune --keep daily=7,tag:hot=2d,tag:release=forever,zone=Europe/Berlin

Rules: last=N, hourly=N, daily=N, weekly=N, monthly=N, yearly=N, within=AGE, max_bytes=SIZE,
tag:NAME=AGE, tag:NAME=forever, zone=ZONE. What any rule keeps stays.
Presets: everything, rollouts, migrations, compliance, staging, development.
The newest good backup, the newest proven one and the newest that a drill restored always stay.
There is no undo.")]
pub(crate) struct PruneArgs {
    /// Only of this job or database
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) source: Option<String>,
    /// What to keep: rules joined by commas, or a preset
    #[arg(long, value_name = "POLICY")]
    pub(crate) keep: Option<String>,
    /// Only say what would go, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove nothing while the newest good backup is older than this, e.g. 24h
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) rpo: Option<SignedDuration>,
}
