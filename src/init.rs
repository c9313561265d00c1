//! The first configuration of a database that is looked at.

use std::path::Path;

use backup_core::{Error, ErrorKind, Result, context::Context, file};
use jiff::tz::TimeZone;

use crate::{
    config::{
        about,
        starter::{Facts, text},
    },
    source::Source,
};

/// A commented `backup.toml` that was not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Starter {
    /// The name of its only job.
    pub job: String,
    /// Its text; holds no password.
    pub text: String,
    /// Whether the source had a password, which was left out.
    pub left_password_out: bool,
}

/// Looks at a database and composes a configuration for it: one store, one job, the rest as comments.
///
/// `store` is a path or an address; a relative path is meant from the working folder.
///
/// # Errors
/// `Invalid` when the source or store cannot be right; what looking at the database reports.
pub fn starter(source: &Source, store: &str, cx: &Context) -> Result<Starter> {
    let report = source.engine()?.inspect(cx)?;
    let tables = source.tables_by_size(cx)?;
    let (written, left_password_out) = source.without_password()?;
    let job = source.default_name().to_string();
    let is_postgres = matches!(source, Source::Postgres(_));
    let variable: String =
        job.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let variable = format!("{}_PASSWORD", variable.trim_start_matches(|c: char| c.is_ascii_digit()));
    let engine = if is_postgres { "PostgreSQL" } else { "SQLite" };
    let seen = format!(
        "{engine} {}, {}, {} tables; seen on {}.",
        report.facts.server_version.as_deref().unwrap_or_default(),
        report.plain_bytes.map_or("size unknown".to_owned(), about),
        tables.len(),
        cx.now().to_zoned(TimeZone::UTC).date(),
    );
    let facts = Facts {
        job: &job,
        source: &written,
        store: &absolute(store)?,
        // A server may call its version anything; a comment is one line.
        seen: &seen.replace(char::is_control, " "),
        password: is_postgres.then_some(variable.as_str()),
        largest: tables.first().map(String::as_str),
        is_postgres,
    };
    Ok(Starter { text: text(&facts), job, left_password_out })
}

impl Starter {
    /// Writes the file, readable by its owner only; folders above it are made.
    ///
    /// # Errors
    /// `AlreadyExists` when it is there and `force` is not set; what writing reports.
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        if !force && path.symlink_metadata().is_ok() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("\"{}\" is there already", path.display()),
            )
            .with_hint("Write another file with --output FILE, or replace this one with --force."));
        }
        file::create_private_folder(file::folder_of(path))?;
        if !force {
            return file::write_private(path, self.text.as_bytes());
        }
        // A configuration that cannot be written whole must not take the old one's place.
        let fresh = path.with_extension(format!("toml.new-{}", std::process::id()));
        let written =
            file::write_private(&fresh, self.text.as_bytes()).and_then(|()| file::rename(&fresh, path));
        written.inspect_err(|_| drop(file::remove_if_present(&fresh)))
    }
}

/// A path that means the same from wherever the configuration lies.
fn absolute(store: &str) -> Result<String> {
    let is_path = !store.contains("://") && !store.starts_with("dropbox:") && !store.starts_with("file:");
    if !is_path {
        return Ok(store.to_owned());
    }
    let path = std::path::absolute(store).map_err(|e| Error::io("resolve", Path::new(store), e))?;
    Ok(path.display().to_string())
}
