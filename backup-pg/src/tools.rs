//! PostgreSQL's own client programs: where they are, and which of them suits a server or an archive.

use std::{
    collections::{BTreeSet, HashSet},
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backup_core::{Error, ErrorKind, Result};

/// Names the folder of the programs to use, before all others.
const CHOSEN: [&str; 2] = ["BACKUP_PG_BIN", "PGBIN"];

/// Folders that hold one folder per major version, with the programs in `bin` below it.
const VERSIONED: [&str; 7] = [
    "/usr/lib/postgresql",
    "/usr",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/Library/PostgreSQL",
    "C:\\Program Files\\PostgreSQL",
    "/opt/local/lib",
];

/// Folders that hold one version.
const SINGLE: [&str; 3] = ["/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin"];

/// One installation of the client programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools {
    folder: PathBuf,
    /// The version its `pg_dump` names, e.g. `15.18`.
    version: String,
    major: u32,
}

impl Tools {
    /// The programs for a server: of its own major version, or of the lowest later one, as an older `pg_dump` refuses
    /// and a newer one writes what its own `pg_restore` reads.
    ///
    /// # Errors
    /// `Unsupported`, naming what was found and how to install what is missing.
    pub(crate) fn for_server(major: u32) -> Result<Self> {
        Self::at_least(major, &format!("a PostgreSQL {major} server"))
    }

    /// The programs of at least this major version.
    pub(crate) fn at_least(major: u32, purpose: &str) -> Result<Self> {
        let mut found = Vec::new();
        for folders in [chosen_folders(), usual_folders()] {
            if let Some(tools) = lowest(major, &folders, &mut found) {
                return Ok(tools);
            }
        }
        Err(missing(major, purpose, &found))
    }

    /// Their version as they name it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// A call of one of them; `PG*` variables are the caller's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        // Messages are read by us as well as by people.
        command.env("LC_MESSAGES", "C").env("PG_COLOR", "never").stdin(Stdio::null());
        command
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in \"{}\"", self.version, self.folder.display())
    }
}

/// The programs in one of these folders whose major version is the lowest that suits; all that were met are kept in
/// `found`. Programs are asked for their version only until one is exactly what is wanted.
fn lowest(major: u32, folders: &[PathBuf], found: &mut Vec<Tools>) -> Option<Tools> {
    let mut lowest: Option<Tools> = None;
    let mut met = HashSet::new();
    // A folder may be another one's second name.
    for folder in folders.iter().filter_map(|folder| folder.canonicalize().ok()) {
        let Some(tools) = Some(folder).filter(|f| met.insert(f.clone())).and_then(look_at) else { continue };
        found.push(tools.clone());
        if tools.major >= major && lowest.as_ref().is_none_or(|lowest| tools.major < lowest.major) {
            lowest = Some(tools);
        }
        if lowest.as_ref().is_some_and(|lowest| lowest.major == major) {
            break;
        }
    }
    lowest
}

fn chosen_folders() -> Vec<PathBuf> {
    let lists = CHOSEN.iter().filter_map(env::var_os);
    lists.flat_map(|list| env::split_paths(&list).collect::<Vec<_>>()).collect()
}

fn usual_folders() -> Vec<PathBuf> {
    let mut folders = BTreeSet::new();
    for parent in VERSIONED.iter().map(Path::new) {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|entry| is_version_folder(&entry.file_name().to_string_lossy()));
        folders.extend(named.map(|entry| entry.path().join("bin")));
    }
    folders.extend(SINGLE.iter().map(PathBuf::from));
    let mut ordered: Vec<PathBuf> = folders.into_iter().collect();
    // Last, because on Debian `/usr/bin/pg_dump` chooses a version by rules of its own.
    ordered.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    ordered
}

/// `15`, `pgsql-15`, `postgresql@15`, `postgresql15`, `libpq`.
fn is_version_folder(name: &str) -> bool {
    let number =
        ["pgsql-", "postgresql@", "postgresql"].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
    name == "libpq" || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn look_at(folder: PathBuf) -> Option<Tools> {
    let program = folder.join(if cfg!(windows) { "pg_dump.exe" } else { "pg_dump" });
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = version_in(&text)?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Tools { folder, version, major })
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15.18`.
fn version_in(text: &str) -> Option<String> {
    text.split_once("(PostgreSQL)")?.1.split_whitespace().next().map(str::to_owned)
}

fn missing(major: u32, purpose: &str, found: &[Tools]) -> Error {
    let mut found: Vec<String> = found.iter().map(Tools::to_string).collect();
    found.sort();
    found.dedup();
    let found =
        if found.is_empty() { "none was found".to_owned() } else { format!("found: {}", found.join(", ")) };
    Error::new(
        ErrorKind::Unsupported,
        format!("{purpose} needs the client programs (pg_dump, pg_restore, psql) of PostgreSQL {major} or later; {found}"),
    )
    .with_hint(format!(
        "Install them (Debian: postgresql-client-{major}, Red Hat: postgresql{major}, macOS: brew install \
         postgresql@{major}), or name their folder in BACKUP_PG_BIN."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_the_programs_print_them() {
        for (text, version) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some("15.18")),
            ("pg_dump (PostgreSQL) 18.4\n", Some("18.4")),
            ("pg_dump (PostgreSQL) 19beta1\n", Some("19beta1")),
            ("something else", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version, "{text}");
        }
    }

    #[test]
    fn folders_of_versions_are_told_from_others() {
        for name in ["15", "pgsql-16", "postgresql@17", "postgresql18", "libpq"] {
            assert!(is_version_folder(name), "{name}");
        }
        for name in ["bin", "postgresql", "local", "pgsql-"] {
            assert!(!is_version_folder(name), "{name}");
        }
    }
}
