//! The native half of the Python package `backup_py`.
//!
//! It has no content yet: it can say which version it is, and nothing else. Backups are taken with the command
//! `backup` or the crate `backup`.

use pyo3::prelude::pymodule;

/// The extension module `backup_py._native`.
#[pymodule]
mod _native {
    /// The version of the wheel.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python gives it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
