//! The native half of the Python package `backup_py`: the command `backup`, as an extension module.
//!
//! The package runs it in processes of its own, so that nothing of it lives in its user's process, and decides nothing.

use pyo3::prelude::pymodule;

/// The extension module `backup_py._native`.
#[pymodule]
mod _native {
    use std::{ffi::OsString, path::PathBuf};

    use backup_cli::Program;
    use pyo3::prelude::{Python, pyfunction};

    /// The version of the wheel.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python gives it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Runs the command in this process, with its signals; `arguments` are those of `sys.argv`. Returns its exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
        let program = Program::named(arguments.first().map(PathBuf::from));
        py.detach(|| backup_cli::run(&program, arguments)).code()
    }

    /// Runs the command that the first line of stdin asks for, and ends the process.
    #[pyfunction]
    fn worker(py: Python<'_>) {
        py.detach(|| std::process::exit(backup_cli::serve().code().into()))
    }
}
