//! The secret keys of encrypted backups: where they are, and the passphrase that protects their file.

use std::{
    io::{IsTerminal, stderr, stdin},
    path::{Path, PathBuf},
};

use backup::{Error, ErrorKind, Identity, Result, Secret, encryption::read_identities};

use crate::{
    args::Global,
    environment::{config_named, variable},
};

/// A file with keys, or one key itself.
const IDENTITY: &str = "BACKUP_IDENTITY";

/// The passphrase of protected identity files.
const PASSPHRASE: &str = "BACKUP_PASSPHRASE";

/// A file whose first line is that passphrase.
const PASSPHRASE_FILE: &str = "BACKUP_PASSPHRASE_FILE";

/// What a secret key begins with.
const KEY_PREFIX: &str = "AGE-SECRET-KEY-";

/// Passphrases are lines; a file larger than this is another one.
const MAX_PASSPHRASE_BYTES: u64 = 4 << 10;

/// Where the keys are; they are read when something encrypted is met.
pub(crate) struct Keys {
    typed: Vec<PathBuf>,
    config: Option<PathBuf>,
}

impl Keys {
    /// Where a command line says.
    ///
    /// # Errors
    /// `Invalid` when it names no file but a key, which is not repeated.
    pub(crate) fn of(global: &Global) -> Result<Self> {
        if global.identity.iter().any(|path| is_key(&path.to_string_lossy())) {
            return Err(Error::invalid("a secret key was given where its file is expected").with_hint(
                "Everybody on this machine can read a command line: write the key into a file and name that.",
            ));
        }
        Ok(Self { typed: global.identity.clone(), config: global.config.clone() })
    }

    /// The identities: of the files that were typed, else of `BACKUP_IDENTITY`, else of the configuration's jobs.
    ///
    /// # Errors
    /// `NotFound` when a file is missing; `Invalid` when it holds no keys; `Denied` when its passphrase does not open
    /// it, or nobody can be asked for it.
    pub(crate) fn read(&self) -> Result<Vec<Identity>> {
        if !self.typed.is_empty() {
            return all_of(&self.typed);
        }
        match variable(IDENTITY) {
            Some(text) if is_key(&text) => {
                let key = text.trim().parse::<Identity>();
                Ok(vec![key.map_err(|error| error.context(format!("{IDENTITY} holds no identity")))?])
            }
            Some(path) => of_file(Path::new(&path)),
            None => {
                let file = config_named(self.config.clone())?;
                all_of(&file.map(|file| file.identities()).unwrap_or_default())
            }
        }
    }
}

fn all_of(files: &[PathBuf]) -> Result<Vec<Identity>> {
    let identities: Vec<_> = files.iter().map(|path| of_file(path)).collect::<Result<_>>()?;
    Ok(identities.concat())
}

fn is_key(text: &str) -> bool {
    text.trim().to_ascii_uppercase().starts_with(KEY_PREFIX)
}

fn of_file(path: &Path) -> Result<Vec<Identity>> {
    read_identities(path, &|| passphrase(path))
}

/// The passphrase of an identity file: `BACKUP_PASSPHRASE`, `BACKUP_PASSPHRASE_FILE`, else whoever sits there.
fn passphrase(path: &Path) -> Result<Secret> {
    if let Some(text) = variable(PASSPHRASE) {
        return Ok(Secret::new(text));
    }
    if let Some(file) = variable(PASSPHRASE_FILE) {
        return first_line(Path::new(&file));
    }
    // What is asked goes to stderr, so that stdout may be a pipe.
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Err(Error::new(
            ErrorKind::Denied,
            "it is protected with a passphrase, and nobody can be asked for it",
        )
        .with_hint(format!("Set {PASSPHRASE_FILE} to a file that holds it, or {PASSPHRASE} to itself.")));
    }
    dialoguer::Password::new()
        .with_prompt(format!("Passphrase of {}", path.display()))
        .interact()
        .map(Secret::new)
        .map_err(|e| Error::failed("could not ask for the passphrase").with_source(e))
}

fn first_line(path: &Path) -> Result<Secret> {
    let whole =
        Secret::new(String::from_utf8(backup::file::read(path, MAX_PASSPHRASE_BYTES)?).map_err(|_| {
            Error::invalid(format!("the passphrase file \"{}\" is not text", path.display()))
        })?);
    Ok(Secret::new(whole.expose().lines().next().unwrap_or_default().to_owned()))
}
