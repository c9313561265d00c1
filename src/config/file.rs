//! Where the configuration lies, and how it is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use backup_core::{Error, Result, file};

use super::{Config, Secret};

/// The name of the file where nobody gives it another.
const NAME: &str = "backup.toml";

/// A configuration is text that people write; a larger file was named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration and the file it was read from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// What it says.
    pub config: Config,
    /// Whether users other than its owner can read it; `false` where the system does not tell.
    pub is_readable_by_others: bool,
}

impl ConfigFile {
    /// The first that exists of `./backup.toml`, `backup/backup.toml` in `$XDG_CONFIG_HOME` or else `~/.config`, and
    /// `/etc/backup/backup.toml`.
    pub fn find() -> Option<PathBuf> {
        places().into_iter().find(|path| path.is_file())
    }

    /// Reads a configuration. Variables in it come from the environment, else from the file `.env` beside it.
    ///
    /// # Errors
    /// `Invalid` when it cannot be read, and with every mistake, its line and column ([`Config::parse`]).
    pub fn read(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|e| Error::io("resolve", path, e))?;
        let bytes = file::read(&path, MAX_BYTES).map_err(|e| {
            Error::invalid(format!("the configuration \"{}\" cannot be read", path.display()))
                .with_hint("`backup init` writes one; --config FILE names another.")
                .with_source(e)
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::invalid(format!("the configuration \"{}\" is no UTF-8 text", path.display()))
        })?;
        let beside: OnceLock<BTreeMap<String, String>> = OnceLock::new();
        let dotenv = file::folder_of(&path).join(".env");
        let lookup = |name: &str| {
            let set = env::var(name).ok();
            set.or_else(|| beside.get_or_init(|| variables_of(&dotenv)).get(name).cloned())
        };
        let config = Config::parse(&text, &shown(&path), &lookup)?;
        Ok(Self { is_readable_by_others: is_readable_by_others(&path), path, config })
    }

    /// The folder that relative paths of the configuration start from: its own.
    pub fn folder(&self) -> &Path {
        file::folder_of(&self.path)
    }

    /// The identity files that jobs name, each once: what opens their encrypted backups.
    pub fn identities(&self) -> Vec<PathBuf> {
        let named = self.config.jobs.values().filter_map(|job| job.encrypt.as_ref()?.identity.as_ref());
        let paths: BTreeSet<PathBuf> = named.map(|path| self.folder().join(path)).collect();
        paths.into_iter().collect()
    }

    /// What a user should know of the file itself, whole sentences.
    pub fn warnings(&self) -> Vec<String> {
        let literal = self.literal_secrets();
        if !self.is_readable_by_others || literal.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "\"{}\" holds secrets ({}) and can be read by other users: chmod 600 it, or write ${{VARIABLE}} or file:PATH instead",
            self.path.display(),
            literal.join(", ")
        )]
    }

    /// The keys whose value is a secret that stands in the file itself.
    fn literal_secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut look = |key: String, secret: Option<&Secret>, is_secret: fn(&str) -> bool| {
            if secret.is_some_and(|secret| secret.is_literal() && is_secret(secret.written())) {
                found.push(key);
            }
        };
        for (name, job) in &self.config.jobs {
            look(format!("jobs.{name}.source"), Some(&job.source), has_password);
            look(format!("jobs.{name}.password"), job.password.as_ref(), |_| true);
        }
        for (name, notify) in &self.config.notify {
            // Whoever knows the address of a webhook can post to it.
            look(format!("notify.{name}.webhook"), notify.webhook.as_ref(), |_| true);
            look(
                format!("notify.{name}.email"),
                notify.email.as_ref().map(|email| &email.smtp),
                has_password,
            );
        }
        found
    }
}

/// Whether a connection string or URL carries a password.
fn has_password(text: &str) -> bool {
    let user = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || text.to_ascii_lowercase().contains("password=")
}

/// A path as messages show it: short where it lies in the working folder.
fn shown(path: &Path) -> String {
    let here = env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok());
    short.unwrap_or(path).display().to_string()
}

fn places() -> Vec<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .or_else(|| set("APPDATA"));
    let mut places = vec![PathBuf::from(NAME)];
    places.extend(home.map(|home| home.join("backup").join(NAME)));
    if cfg!(unix) {
        places.push(Path::new("/etc/backup").join(NAME));
    }
    places
}

fn variables_of(dotenv: &Path) -> BTreeMap<String, String> {
    let lines = dotenvy::from_path_iter(dotenv).into_iter().flatten();
    lines.filter_map(|line| line.ok()).collect()
}

/// Whether users other than its owner can read a file.
#[cfg(unix)]
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0)
}

/// Who can read a file is not told by a mode here.
#[cfg(not(unix))]
pub(crate) fn is_readable_by_others(_path: &Path) -> bool {
    false
}
