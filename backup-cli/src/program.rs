//! The program that people call `backup`, as lines that they paste name it.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The program that people call: this process's own, or the one that started it.
#[derive(Clone, Debug)]
pub struct Program {
    path: Option<PathBuf>,
}

impl Program {
    /// The program that this process runs.
    pub fn of_this_process() -> Self {
        Self { path: env::current_exe().ok() }
    }

    /// The program at `path`; `None` is `backup`, wherever a shell finds it.
    pub fn named(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// `backup`, or where the program lies when a shell would not find it under that name.
    pub(crate) fn word(&self) -> String {
        let Some(own) = &self.path else { return "backup".to_owned() };
        let folders = env::var_os("PATH").unwrap_or_default();
        let found =
            env::split_paths(&folders).map(|folder| folder.join("backup")).find(|path| path.is_file());
        if found.is_some_and(|found| is_same(&found, own)) {
            return "backup".to_owned();
        }
        std::path::absolute(own).unwrap_or_else(|_| own.clone()).display().to_string()
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}
