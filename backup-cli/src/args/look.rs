//! Looking at what there is.

use std::path::PathBuf;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::age;

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only of this job or database
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) source: Option<String>,
    /// The name of its vault [default: as in `backup run`]
    #[arg(long, value_name = "NAME", requires = "source")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdArg {
    /// An id, the beginning of one, latest, latest:CONTENT, SOURCE/latest, or a path to an artifact file
    pub(crate) id: String,
    /// Only of this job or database
    #[arg(long, value_name = "JOB|SOURCE")]
    pub(crate) of: Option<String>,
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
  backup status                       every job by its own objectives; without configuration every source of the store
  backup status app --rpo 24h         exit 3 when the newest good backup is older than a day")]
pub(crate) struct StatusArgs {
    /// Only this job or database
    #[arg(value_name = "JOB|SOURCE")]
    pub(crate) source: Option<String>,
    /// The newest good backup is at most so old, e.g. 24h
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) rpo: Option<SignedDuration>,
    /// The last drill took at most so long, e.g. 30m
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) rto: Option<SignedDuration>,
    /// The last successful proof is at most so old, e.g. 8d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) proof: Option<SignedDuration>,
}
