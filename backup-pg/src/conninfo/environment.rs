//! What resolution reads from outside the connection string.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::keyword::KEYWORDS;

/// Variables, home folder and user name, handed in so that tests need not change the process's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The `PG*` variables.
    pub variables: BTreeMap<String, String>,
    /// The home folder, where `.pgpass`, `.pg_service.conf` and `.postgresql` are.
    pub home: Option<PathBuf>,
    /// The operating system's name of the user, libpq's default for `user`.
    pub user: Option<String>,
}

impl Environment {
    /// The process's own. Variables that are not Unicode are passed over, as no parameter can hold them.
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(unicode);
        Self {
            variables: variables.filter(|(name, _)| name.starts_with("PG") || name == "APPDATA").collect(),
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            user: user_name(),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The folder for a user's certificates, and on Windows for all of PostgreSQL's files.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        if cfg!(windows) { self.roaming() } else { self.home.as_ref().map(|home| home.join(".postgresql")) }
    }

    /// Where the password file is unless something else is said.
    pub(crate) fn default_passfile(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            self.roaming().map(|folder| folder.join("pgpass.conf"))
        } else {
            self.home.as_ref().map(|home| home.join(".pgpass"))
        }
    }

    /// Where the user's service file is unless `PGSERVICEFILE` says otherwise.
    pub(crate) fn default_service_file(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            self.roaming().map(|folder| folder.join(".pg_service.conf"))
        } else {
            self.home.as_ref().map(|home| home.join(".pg_service.conf"))
        }
    }

    fn roaming(&self) -> Option<PathBuf> {
        self.variable("APPDATA").map(|folder| PathBuf::from(folder).join("postgresql"))
    }
}

/// Names of variables, and values only of those that hold no secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = |name: &str| {
            name != "PGPASSWORD" && KEYWORDS.iter().any(|keyword| keyword.variable == Some(name))
        };
        let shown: BTreeMap<_, _> = self
            .variables
            .iter()
            .map(|(name, value)| (name, if public(name) { value.as_str() } else { "…" }))
            .collect();
        f.debug_struct("Environment")
            .field("variables", &shown)
            .field("home", &self.home)
            .field("user", &self.user)
            .finish()
    }
}

/// The name of the effective user, from the local list of users, else from whatever directory the system asks.
#[cfg(unix)]
fn user_name() -> Option<String> {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    };
    users.lines().find_map(named).or_else(|| {
        let answer = std::process::Command::new("id").arg("-un").output().ok()?;
        let name = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
        (answer.status.success() && !name.is_empty()).then_some(name)
    })
}

/// The name the user logged on with.
#[cfg(windows)]
fn user_name() -> Option<String> {
    std::env::var("USERNAME").ok()
}
