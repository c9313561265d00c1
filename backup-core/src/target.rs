//! Where a restore goes, as people name it.

use std::{fmt, path::PathBuf};

/// Where a restore goes.
///
/// `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// An SQLite database file.
    SqliteFile(PathBuf),
    /// A PostgreSQL database, as a connection string without password.
    Postgres(String),
    /// A path whose meaning is the engine's: a database file, or a folder for physical restores.
    Path(PathBuf),
}

/// Reads a target as people write it: `sqlite:PATH`, `postgres://…/db`, or a path.
impl From<&str> for Target {
    fn from(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Self::SqliteFile(PathBuf::from(path.strip_prefix("//").unwrap_or(path)));
        }
        if is_connection_string(text) {
            Self::Postgres(text.to_owned())
        } else {
            Self::Path(PathBuf::from(text))
        }
    }
}

/// Whether a text names a PostgreSQL database: a URI, or pairs such as `host=db1 dbname=shop`.
pub fn is_connection_string(text: &str) -> bool {
    const KEYWORDS: [&str; 10] = [
        "host", "hostaddr", "port", "dbname", "user", "password", "service", "passfile", "sslmode", "options",
    ];
    let keyword = text.trim_start().split_once('=').map(|(keyword, _)| keyword.trim_end());
    text.starts_with("postgres:")
        || text.starts_with("postgresql:")
        || keyword.is_some_and(|keyword| KEYWORDS.contains(&keyword))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqliteFile(path) | Self::Path(path) => write!(f, "{}", path.display()),
            Self::Postgres(database) => f.write_str(&without_password(database)),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqliteFile(path) => f.debug_tuple("SqliteFile").field(path).finish(),
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Postgres(database) => f.debug_tuple("Postgres").field(&without_password(database)).finish(),
        }
    }
}

/// A connection string without what stands between `:` and `@`; one with a `password` parameter is not shown at all.
fn without_password(database: &str) -> String {
    if database.to_ascii_lowercase().contains("password") {
        return "postgres:…".to_owned();
    }
    let Some((scheme, rest)) = database.split_once("://") else { return database.to_owned() };
    let Some((user, place)) = rest.rsplit_once('@') else { return database.to_owned() };
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:…@{place}"),
        None => database.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_target_shows_a_password() {
        for text in [
            "postgres://app:hush@db1/shop",
            "postgres://app:hu@sh@db1/shop",
            "postgres://app@db1/shop?password=hush",
            "host=db1 PASSWORD='hush'",
        ] {
            let target = Target::from(text);
            assert!(matches!(target, Target::Postgres(_)), "{text}");
            for shown in [target.to_string(), format!("{target:?}")] {
                assert!(!shown.contains("hu") && !shown.contains("sh@"), "{shown}");
            }
        }
        assert_eq!(Target::from("postgres://app@db1/shop").to_string(), "postgres://app@db1/shop");
    }
}
