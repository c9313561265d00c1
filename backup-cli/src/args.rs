//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use backup::{Content, DumpFormat, Level, pipeline::Compression};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

const EXAMPLES: &str = "\
Examples:
  backup run app.db                              a proven backup of a live database, into ./backups
  backup run postgres://app@db1/shop             the same of a PostgreSQL database
  backup --store /var/backups run app.db         the same, into another store
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
    /// Where backups live: a folder [default: $BACKUP_STORE, $BACKUP_DIR, else ./backups]
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// One JSON document on stdout, failures included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell each step and how long it took
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Only errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Folder for working copies [default: inside the store]
    #[arg(long, global = true, value_name = "DIR", env = "BACKUP_SCRATCH", hide_env_values = true)]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a backup; prints its id
    Run(RunArgs),
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
    /// See it work: a small shop with a live writer, in a temporary folder
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Take a backup; prints its id
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup run app.db
  backup run app.db --tag pre-migration
  backup run sqlite:/srv/app.db --content schema
  backup run postgres://app@db1/shop      password from PGPASSWORD or .pgpass, as psql takes it
  backup run postgres:                    PGHOST, PGDATABASE, PGUSER … say which
  backup run postgres://db1/shop --compression pg:gzip:9   a plain .dump file, as pg_dump -Fc -Z9 makes it
  backup run app.db --verify checksum     faster: without the full integrity check")]
pub(crate) struct RunArgs {
    /// The database: a path, sqlite:PATH, postgres://… or postgres: [default: $DATABASE_URL, also from .env]
    pub(crate) source: Option<String>,
    /// The name of its vault [default: the file's name without extension, or the database's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What it shall hold: full, schema or data
    #[arg(long, default_value = "full", value_name = "CONTENT")]
    pub(crate) content: Content,
    /// Why it is taken; may be given more than once
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Only tables that match this pattern, as in psql; may be given more than once (PostgreSQL)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) table: Vec<String>,
    /// No tables that match this pattern (PostgreSQL)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_table: Vec<String>,
    /// No rows of tables that match this pattern, only their definitions (PostgreSQL)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_table_data: Vec<String>,
    /// Only schemas that match this pattern (PostgreSQL)
    #[arg(long, value_name = "PATTERN")]
    pub(crate) schema: Vec<String>,
    /// custom, plain or directory [default: custom] (PostgreSQL)
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<DumpFormat>,
    /// Also count every table on the server, in the same snapshot (PostgreSQL)
    #[arg(long)]
    pub(crate) cross_check: bool,
    /// Leave owners and privileges out; they can also be left out at restore (PostgreSQL)
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Seconds a lock on a table is waited for (PostgreSQL)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lock_wait: Option<u64>,
    /// zstd, zstd:LEVEL, gzip:LEVEL, none, or pg:gzip:LEVEL, pg:zstd:LEVEL, pg:lz4 for pg_dump's own
    #[arg(long, value_name = "C")]
    pub(crate) compression: Option<Compression>,
    /// How deep it is verified before it counts: none, checksum, structure or restore
    #[arg(long, default_value = "structure", value_name = "LEVEL")]
    pub(crate) verify: Level,
    /// Fewer rows than this make it suspect
    #[arg(long, value_name = "ROWS")]
    pub(crate) min_rows: Option<u64>,
    /// Take it as good even if it has far fewer rows than those before
    #[arg(long)]
    pub(crate) accept: bool,
    /// Worker threads [default: one per core, at most 6]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// Bring dumps that other scripts made into the store, verified
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup adopt backups/full_*.dump              each under the name of its database, with its own date
  backup adopt nightly.sql.gz --name shop
  backup adopt old/app-2026-01-22.db --name app --move

Known are SQLite databases and what pg_dump makes (custom, plain, a directory), each file also in gzip or zstd.")]
pub(crate) struct AdoptArgs {
    /// The dumps
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The name of their vault [default: their database's, else what the file's name begins with]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Why they were taken; may be given more than once
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// When their state was current, e.g. 2026-01-22T15:18:00+01:00 [default: what the dump, its name or its file says]
    #[arg(long, value_name = "INSTANT")]
    pub(crate) at: Option<jiff::Timestamp>,
    /// Remove each file once it is in the store
    #[arg(long)]
    pub(crate) r#move: bool,
}

/// How large and how long the next backup will be
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup estimate app.db
  backup estimate postgres://app@db1/shop --json")]
pub(crate) struct EstimateArgs {
    /// The database [default: $DATABASE_URL, also from .env]
    pub(crate) source: Option<String>,
    /// The name of its vault [default: as in `backup run`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only this source's
    pub(crate) source: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdArg {
    /// An id, the beginning of one, latest, latest:CONTENT, SOURCE/latest, or a path to an artifact file
    pub(crate) id: String,
}

/// Write the decoded payload to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup cat latest > shop.dump
  backup cat shop/latest --format sql | sed 's/old_owner/new_owner/' | psql -v ON_ERROR_STOP=1 -d copy")]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) backup: IdArg,
    /// As it is, or as the SQL text that psql reads
    #[arg(long, default_value = "payload")]
    pub(crate) format: CatFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatFormat {
    Payload,
    Sql,
}

/// Write one table as SQL or CSV that can be reviewed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup extract latest --table customers > customers.sql
  backup extract latest --table orders --format csv --output orders.csv")]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) backup: IdArg,
    /// The table
    #[arg(long, value_name = "T")]
    pub(crate) table: String,
    /// How to write it
    #[arg(long, default_value = "sql")]
    pub(crate) format: TextFormat,
    /// A file to create instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TextFormat {
    Sql,
    Csv,
}

/// How sources stand; exit 3 when something is not as it should be
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup status                       every source of the store
  backup status app --rpo 24h         exit 3 when the newest good backup is older than a day")]
pub(crate) struct StatusArgs {
    /// Only this source
    pub(crate) source: Option<String>,
    /// The newest good backup is at most so old, e.g. 24h
    #[arg(long, value_name = "AGE")]
    pub(crate) rpo: Option<SignedDuration>,
    /// The last drill took at most so long, e.g. 30m
    #[arg(long, value_name = "TIME")]
    pub(crate) rto: Option<SignedDuration>,
    /// The last successful proof is at most so old, e.g. 168h
    #[arg(long, value_name = "AGE")]
    pub(crate) proof: Option<SignedDuration>,
}

/// Look at stored backups again; exit 3 when one is damaged
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup verify                        the newest, to its last byte and with the full integrity check
  backup verify --all --level checksum every backup's stored bytes")]
pub(crate) struct VerifyArgs {
    /// The backup [default: latest]
    #[arg(conflicts_with = "all")]
    pub(crate) id: Option<String>,
    /// Every backup of the store
    #[arg(long)]
    pub(crate) all: bool,
    /// checksum, structure or restore
    #[arg(long, default_value = "structure", value_name = "L")]
    pub(crate) level: Level,
}

/// Restore into a scratch place, check, measure, throw away
#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    /// The backup, or a source whose newest is meant [default: latest]
    pub(crate) id: Option<String>,
    /// A query the restored database must answer; may be given more than once
    #[arg(long, value_name = "SQL")]
    pub(crate) smoke: Vec<String>,
    /// The PostgreSQL server on which the scratch database is made [default: the one it was taken from]
    #[arg(long, value_name = "SERVER")]
    pub(crate) on: Option<String>,
}

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
