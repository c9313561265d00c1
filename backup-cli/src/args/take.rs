//! Taking backups.

use std::{num::NonZeroUsize, path::PathBuf};

use backup::{Content, DumpFormat, Level, pipeline::Compression};

/// Take a backup; prints its id
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup run app.db
  backup run                              every job of backup.toml, one after another
  backup run stocks app                   these jobs
  backup run app.db --tag pre-migration
  backup run sqlite:/srv/app.db --content schema
  backup run postgres://app@db1/shop      password from PGPASSWORD or .pgpass, as psql takes it
  backup run postgres:                    PGHOST, PGDATABASE, PGUSER … say which
  backup run postgres://db1/shop --compression pg:gzip:9   a plain .dump file, as pg_dump -Fc -Z9 makes it
  backup run app.db --verify checksum     faster: without the full integrity check
  backup run app.db --recipient age1…     encrypted; only the holder of that key can read it")]
pub(crate) struct RunArgs {
    /// Jobs of the configuration, or a database: a path, sqlite:PATH, postgres://… or postgres:
    /// [default: every job; without configuration $DATABASE_URL, also from .env]
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) sources: Vec<String>,
    /// The name of its vault [default: the file's name without extension, or the database's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What it shall hold: full, schema or data [default: the job's, else full]
    #[arg(long, value_name = "CONTENT")]
    pub(crate) content: Option<Content>,
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
    /// Do not store the server's roles beside the backup, e.g. where it is published (PostgreSQL)
    #[arg(long)]
    pub(crate) no_roles: bool,
    /// Seconds a lock on a table is waited for (PostgreSQL)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lock_wait: Option<u64>,
    /// zstd, zstd:LEVEL, gzip:LEVEL, none, or pg:gzip:LEVEL, pg:zstd:LEVEL, pg:lz4 for pg_dump's own
    #[arg(long, value_name = "C")]
    pub(crate) compression: Option<Compression>,
    /// Encrypt it for this public key of age; may be given more than once, each can read it alone
    #[arg(long, value_name = "AGE")]
    pub(crate) recipient: Vec<String>,
    /// How deep it is verified before it counts: none, checksum, structure or restore [default: the job's, else structure]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) verify: Option<Level>,
    /// Fewer rows than this make it suspect
    #[arg(long, value_name = "ROWS")]
    pub(crate) min_rows: Option<u64>,
    /// Take it as good even if it has far fewer rows than those before
    #[arg(long)]
    pub(crate) accept: bool,
    /// Wait for another run of this source into this store to end, instead of exiting with 5
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
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
    /// Into the vault of this job or database, instead
    #[arg(long, value_name = "JOB|SOURCE", conflicts_with = "name")]
    pub(crate) of: Option<String>,
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
    /// A job or a database [default: the only job; without configuration $DATABASE_URL, also from .env]
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) source: Option<String>,
    /// The name of its vault [default: as in `backup run`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
