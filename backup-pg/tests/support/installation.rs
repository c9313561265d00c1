//! Where the servers' programs are, and the user who runs them.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// The majors that `scripts/postgres` installs.
pub(crate) const MAJORS: [u32; 3] = [15, 16, 18];

/// The folder that `scripts/postgres` fills, and that the user of the servers can enter.
pub(super) fn root() -> PathBuf {
    let ours = rustix::process::getuid().as_raw();
    let default = PathBuf::from(format!("/var/tmp/backup-postgres-{ours}"));
    let root = env::var_os("BACKUP_POSTGRES").map_or(default, PathBuf::from);
    let owner = fs::metadata(&root).map(|metadata| metadata.uid());
    assert!(owner.is_ok(), "there is no \"{}\": run scripts/postgres", root.display());
    assert_eq!(owner.ok(), Some(ours), "\"{}\" belongs to somebody else", root.display());
    root
}

/// The folder of a major's programs.
pub(super) fn bin(major: u32) -> PathBuf {
    let bin = root().join(major.to_string()).join("bin");
    assert!(bin.join("postgres").exists(), "there is no PostgreSQL {major}: run scripts/postgres");
    bin
}

/// Names the programs of all majors to this process, as somebody would who has them in folders of their own.
#[allow(unsafe_code, reason = "the only way to name them to an engine in this process")]
pub(super) fn name_the_programs() {
    static NAMED: std::sync::Once = std::sync::Once::new();
    NAMED.call_once(|| {
        let folders = MAJORS.map(|major| root().join(major.to_string()).join("bin"));
        // SAFETY: the first thing a test does, and nextest gives each test a process of its own.
        unsafe { env::set_var("BACKUP_PG_BIN", env::join_paths(folders).unwrap()) };
    });
}

/// A command that the user of the servers runs: PostgreSQL refuses to run as root.
pub(super) fn as_server_user(program: &Path) -> Command {
    let mut command = match server_user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
            command.args(["--clear-groups", "--"]).arg(program);
            command
        }
    };
    forget_surroundings(&mut command);
    // The working folder may be one that the user cannot enter.
    command.current_dir("/");
    command
}

/// Takes away what would lead a tool to another server, or make it speak another language.
pub(super) fn forget_surroundings(command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C.UTF-8");
}

/// Gives a folder or file to the user of the servers.
pub(super) fn give_to_server_user(path: &Path) {
    if let Some(user) = server_user() {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// The user of the servers, unless that is who runs the tests.
fn server_user() -> Option<User> {
    static USER: OnceLock<User> = OnceLock::new();
    rustix::process::getuid().is_root().then(|| {
        *USER.get_or_init(|| {
            let number = |flag| {
                let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
                assert!(output.status.success(), "there is no user \"postgres\": run scripts/postgres");
                String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
            };
            User { uid: number("-u"), gid: number("-g") }
        })
    })
}

/// Runs a command and returns its standard output.
#[track_caller]
pub(super) fn succeed(command: &mut Command) -> String {
    text_of(&command.output().unwrap(), command)
}

/// The standard output of a command that must have succeeded.
#[track_caller]
pub(super) fn text_of(output: &Output, command: &Command) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}
