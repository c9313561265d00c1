//! The guarded command: found before anything is done for it, run without a shell, its end told as a shell would.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use backup::ErrorKind;

/// A command that does not exist, as shells tell it.
const NOT_FOUND: u8 = 127;

/// A command that cannot be executed, as shells tell it.
const NOT_EXECUTABLE: u8 = 126;

/// How much of a file's beginning tells what it is; Linux reads so much of a first line.
const HEAD_BYTES: u64 = 256;

/// Why a command cannot be run.
#[derive(Debug)]
pub(crate) struct NotRunnable {
    pub(crate) code: u8,
    pub(crate) kind: ErrorKind,
    pub(crate) why: &'static str,
}

impl NotRunnable {
    const MISSING: Self = Self { code: NOT_FOUND, kind: ErrorKind::NotFound, why: "not found" };
    const REFUSED: Self = Self { code: NOT_EXECUTABLE, kind: ErrorKind::Denied, why: "cannot be executed" };
    /// A shell would take it for a script of its own; without one, nobody knows whose it is.
    const NAMELESS: Self = Self {
        code: NOT_EXECUTABLE,
        kind: ErrorKind::Denied,
        why: "is a text without a first line `#!…` that names its interpreter; name it: -- sh ./script",
    };
    const NO_INTERPRETER: Self = Self {
        code: NOT_FOUND,
        kind: ErrorKind::NotFound,
        why: "names an interpreter in its first line that is not there",
    };

    /// What a failed start means.
    pub(crate) fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::MISSING } else { Self::REFUSED }
    }
}

/// Looks for a program where starting it would look, so that nothing is done for one that cannot be started.
pub(crate) fn find(program: &OsString) -> Result<(), NotRunnable> {
    let path = Path::new(program);
    if !cfg!(unix) {
        return Ok(());
    }
    if path.components().count() > 1 || program.to_string_lossy().contains('/') {
        return examine(path);
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let verdicts = env::split_paths(&folders).map(|folder: PathBuf| examine(&folder.join(path)));
    // One that may not be executed is passed over for one that may.
    let mut refused = None;
    for verdict in verdicts {
        match verdict {
            Err(why) if why.code == NOT_EXECUTABLE => refused = Some(why),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
    Err(refused.unwrap_or(NotRunnable::MISSING))
}

fn examine(path: &Path) -> Result<(), NotRunnable> {
    match path.metadata() {
        Err(error) => Err(NotRunnable::of(&error)),
        Ok(meta) if meta.is_file() && may_execute(path) => examine_head(path),
        Ok(_) => Err(NotRunnable::REFUSED),
    }
}

/// What the system would only find out when it starts it: execve(2), `ENOEXEC` and a missing interpreter. What cannot
/// be read, and what is neither text nor empty, is for the system to judge: it may know more formats than we do.
fn examine_head(path: &Path) -> Result<(), NotRunnable> {
    let mut head = Vec::new();
    let Ok(file) = File::open(path) else { return Ok(()) };
    if file.take(HEAD_BYTES).read_to_end(&mut head).is_err() {
        return Ok(());
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        let is_text = head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        return if is_text { Err(NotRunnable::NAMELESS) } else { Ok(()) };
    };
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default());
    match line.split_whitespace().next() {
        Some(interpreter) if Path::new(interpreter).exists() => Ok(()),
        Some(_) => Err(NotRunnable::NO_INTERPRETER),
        None => Err(NotRunnable::NAMELESS),
    }
}

#[cfg(unix)]
fn may_execute(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_execute(_path: &Path) -> bool {
    true
}

/// The command with our streams; `guard` is told to it as `BACKUP_GUARD_ID`.
pub(crate) fn command(program: &OsString, arguments: &[OsString], guard: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("BACKUP_GUARD_ID", guard);
    command
}

/// Its exit code as a shell would tell it: 128 and the signal's number for one that a signal ended.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| Some(128 + signal_of(status)?))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// How it ended, in words.
pub(crate) fn reason(status: ExitStatus) -> String {
    match (status.code(), signal_of(status)) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "nobody knows how it ended".to_owned(),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}
