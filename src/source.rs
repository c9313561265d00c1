//! A database to protect, as people name it.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use backup_core::{
    Error, ErrorKind, Result,
    engine::{BackupEngine, is_connection_string},
    id::SourceName,
    manifest::Manifest,
};

/// A database to protect: `sqlite:PATH`, a path to an SQLite file, `postgres://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// An SQLite database file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, as a connection string.
    Postgres(String),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let path = ["sqlite://", "sqlite:", "file:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        match (path, text.split_once("://")) {
            _ if text.is_empty() || path == Some("") => {
                Err(Error::invalid("a source needs a name")
                    .with_hint("Name a database file, or sqlite:PATH."))
            }
            (Some(path), _) => Ok(Self::Sqlite(PathBuf::from(path))),
            _ if is_connection_string(text) => Ok(Self::Postgres(text.to_owned())),
            (None, Some((scheme, _))) => Err(Error::new(
                ErrorKind::Invalid,
                format!("\"{}\" databases are not known", scheme.escape_debug()),
            )
            .with_hint("Sources are sqlite:PATH, a path to an SQLite file, or postgres://…")),
            (None, None) => Ok(Self::Sqlite(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            // The rest may hold a password.
            Self::Postgres(_) => f.write_str("postgres:…"),
        }
    }
}

impl Source {
    /// The name its vault has unless told otherwise: the file's name without its last extension, or the database's.
    pub fn default_name(&self) -> SourceName {
        match self {
            Self::Sqlite(path) => {
                SourceName::from_text(&path.file_stem().unwrap_or_default().to_string_lossy())
            }
            Self::Postgres(text) => {
                SourceName::from_text(&self.postgres_database(text).unwrap_or_else(|| "postgres".to_owned()))
            }
        }
    }

    /// Whether this is the database that an artifact was taken from.
    pub fn is_source_of(&self, manifest: &Manifest) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(text) => {
                manifest.source.engine == "postgres"
                    && self.postgres_database(text).as_deref() == Some(manifest.source.database.as_str())
            }
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres_database(&self, text: &str) -> Option<String> {
        backup_pg::database_name(text).ok()
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres_database(&self, _text: &str) -> Option<String> {
        None
    }

    /// The engine that reads it.
    ///
    /// # Errors
    /// `Unsupported` where this build has none.
    pub fn engine(&self) -> Result<Arc<dyn BackupEngine>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Ok(Arc::new(backup_sqlite::SqliteEngine::new(path))),
            #[cfg(feature = "postgres")]
            Self::Postgres(text) => Ok(Arc::new(backup_pg::PgEngine::new(text)?)),
            #[allow(unreachable_patterns)]
            other => {
                Err(Error::new(ErrorKind::Unsupported, format!("this build has no engine for \"{other}\"")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_as_people_write_them() {
        for (text, path) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite:///srv/a.db", "/srv/a.db"),
            ("a.db", "a.db"),
            ("file:./a.db", "./a.db"),
        ] {
            assert_eq!(text.parse::<Source>().unwrap(), Source::Sqlite(path.into()), "{text}");
        }
        for text in ["postgres://db1/x", "postgres:", "host=db1 dbname=x", "password='a b' host=db1"] {
            assert!(matches!(text.parse().unwrap(), Source::Postgres(_)), "{text}");
        }
        for bad in ["", "sqlite:", "mysql://x/y"] {
            assert_eq!(bad.parse::<Source>().unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_file_names_its_vault() {
        let name = |text: &str| text.parse::<Source>().unwrap().default_name().to_string();
        assert_eq!(name("/srv/my app.v2.db"), "my_app.v2");
        assert_eq!(name("sqlite:../database.db"), "database");
    }
}
