//! The command `backup`: parse, call the library, show, exit code.
//!
//! [`run`] is the command. [`serve`] is the command for a program that started this process to have it run: so the
//! Python package does every piece of work.

mod args;
mod caller;
mod child;
mod command;
mod confirm;
mod demo;
mod environment;
mod exit;
mod identity;
mod output;
mod program;
mod progress;
mod protected;
mod signals;

use std::ffi::OsString;

use backup::CancelToken;
use clap::Parser;

use crate::{
    args::{Args, Command},
    caller::{Caller, Request},
    command::Surroundings,
    output::Output,
};
pub use crate::{exit::ExitCode, program::Program};

/// Runs the command: `arguments` with the program's own name first. Data go to stdout and all else to stderr; signals
/// are caught for the rest of the process.
pub fn run(program: &Program, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cancel = CancelToken::default();
    execute(&Surroundings { program, caller: None, cancel: &cancel }, arguments.into_iter().collect())
}

/// Runs the command that the first line of stdin asks for: `{"arguments": [...], "program": PATH, "parent": PID}`. The
/// arguments are without the program's own name; nobody sees them in a list of processes. `program` is what lines that
/// people paste begin with. When stdin ends, or the process `parent` is no longer our parent, the work is cancelled.
pub fn serve() -> ExitCode {
    let cancel = CancelToken::default();
    let begun = Request::read().and_then(|request| Ok((Caller::listen(request.parent, &cancel)?, request)));
    match begun {
        Ok((caller, request)) => {
            let program = Program::named(request.program);
            let arguments = std::iter::once("backup".into()).chain(request.arguments).collect();
            execute(&Surroundings { program: &program, caller: Some(&caller), cancel: &cancel }, arguments)
        }
        Err(error) => exit::unasked(&error),
    }
}

fn execute(surroundings: &Surroundings<'_>, arguments: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return exit::usage(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let output = Output::new(&args.global, matches!(&args.command, Command::Guard(guard) if guard.attached));
    // A guarded command has signals of its own.
    let is_guard = matches!(args.command, Command::Guard(_));
    if !is_guard && let Err(error) = exit::cancel_on_signals(surroundings.cancel) {
        output.warn(&format!("signals cannot be caught: {error}"));
    }
    match command::execute(&args, &output, surroundings) {
        Ok(code) => code,
        Err(error) => exit::failure(&error, &output),
    }
}
