//! A database to protect, as people name it.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use backup_core::{
    Error, ErrorKind, Result,
    context::Context,
    engine::{BackupEngine, is_connection_string},
    id::SourceName,
    manifest::Manifest,
};

/// A database to protect: `sqlite:PATH`, a path to an SQLite file, `postgres://…`, or whatever an engine of the
/// program's own reads.
#[derive(Clone)]
#[non_exhaustive]
pub enum Source {
    /// An SQLite database file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, as a connection string.
    Postgres(String),
    /// What an engine of the program's own reads.
    Engine(Arc<dyn BackupEngine>),
}

/// Two texts are the same as they are written; an engine is only itself.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(another)) => one == another,
            (Self::Postgres(one), Self::Postgres(another)) => one == another,
            (Self::Engine(one), Self::Engine(another)) => Arc::ptr_eq(one, another),
            _ => false,
        }
    }
}

impl Eq for Source {}

impl From<Arc<dyn BackupEngine>> for Source {
    fn from(engine: Arc<dyn BackupEngine>) -> Self {
        Self::Engine(engine)
    }
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
            Self::Engine(engine) => write!(f, "{engine}"),
        }
    }
}

/// As `Display`: the rest may hold a password.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
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
            Self::Engine(engine) => SourceName::from_text(&engine.to_string()),
        }
    }

    /// What a configuration may say of it without holding a password, and whether a password was left out.
    ///
    /// # Errors
    /// `Invalid` when it is no connection string.
    pub(crate) fn without_password(&self) -> Result<(String, bool)> {
        match self {
            Self::Sqlite(path) => {
                let path = std::path::absolute(path).map_err(|e| Error::io("resolve", path, e))?;
                Ok((format!("sqlite:{}", path.display()), false))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(text) => {
                let whole = backup_pg::conninfo::Conninfo::parse(text)?;
                let (short, long) = (whole.display(), whole.for_child());
                // The short form leaves out what does not tell databases apart, such as how TLS is done.
                let is_enough = backup_pg::conninfo::Conninfo::parse(&short)?.for_child() == long;
                Ok((if is_enough { short } else { long }, whole.password().is_some()))
            }
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => {
                Err(Error::new(ErrorKind::Unsupported, "this build has no engine for PostgreSQL"))
            }
            Self::Engine(engine) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("no configuration can name {engine}, whose engine is the program's own"),
            )),
        }
    }

    /// Its tables, the largest first.
    pub(crate) fn tables_by_size(&self, cx: &Context) -> Result<Vec<String>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => backup_sqlite::tables_by_size(path),
            #[cfg(feature = "postgres")]
            Self::Postgres(text) => backup_pg::tables_by_size(text, cx),
            #[allow(unreachable_patterns)]
            _ => {
                let _ = cx;
                Ok(Vec::new())
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
            // What the engines of this crate made, they also read.
            Self::Engine(_) => !matches!(manifest.source.engine.as_str(), "sqlite" | "postgres"),
        }
    }

    /// Whether both texts lead to the same file, or are the same connection string.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(another)) => {
                let whole = |path: &PathBuf| {
                    path.canonicalize()
                        .or_else(|_| std::path::absolute(path))
                        .unwrap_or_else(|_| path.clone())
                };
                whole(one) == whole(another)
            }
            (one, another) => one == another,
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
            Self::Engine(engine) => Ok(Arc::clone(engine)),
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
