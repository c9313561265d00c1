//! The command of this workspace.

use std::path::PathBuf;

/// Where it was built, beside the tests.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("backup");
    assert!(program.is_file(), "build it first: cargo build -p backup-cli");
    program
}
