//! Bringing back.

use std::num::NonZeroUsize;

use super::IdArg;

/// Bring a backup back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup restore latest --to sqlite:copy.db             into a new file
  backup restore latest --replace                       in the place of the database it was taken from
  backup restore latest --table customers --yes         only one table, into the live database
  backup restore latest --replace --dry-run             what would happen
  backup restore shop/latest --to postgres://db1/copy   into a new PostgreSQL database
  backup restore latest --to postgres: --into-empty     at a container's first start; later it does nothing

What stood there before is kept beside it, and the line that undoes the restore is printed.")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) backup: IdArg,
    /// Where to: sqlite:PATH, a path, or postgres://…/DATABASE [default: where it was taken from]
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<String>,
    /// Only this table; may be given more than once
    #[arg(long, value_name = "T")]
    pub(crate) table: Vec<String>,
    /// Only definitions, no rows (PostgreSQL)
    #[arg(long, conflicts_with = "data_only")]
    pub(crate) schema_only: bool,
    /// Only rows, into a database with the same definitions and no rows (PostgreSQL)
    #[arg(long)]
    pub(crate) data_only: bool,
    /// Do nothing, and say so, where the database has tables already (PostgreSQL)
    #[arg(long, conflicts_with = "replace")]
    pub(crate) into_empty: bool,
    /// Everything belongs to the restoring user (PostgreSQL)
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Nobody is granted anything (PostgreSQL)
    #[arg(long)]
    pub(crate) no_privileges: bool,
    /// Take the place of what stands there, which is kept beside
    #[arg(long)]
    pub(crate) replace: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Worker threads [default: one per core, at most 6]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}
