//! The command `backup`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    backup_cli::run(&backup_cli::Program::of_this_process(), std::env::args_os()).into()
}
