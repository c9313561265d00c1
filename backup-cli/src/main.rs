//! The command `backup`: parse, call the library, show, exit.

mod args;
mod command;
mod confirm;
mod demo;
mod environment;
mod exit;
mod output;
mod progress;

use std::process::ExitCode;

use backup::CancelToken;
use clap::Parser;

use crate::{args::Args, output::Output};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return exit::usage(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let output = Output::new(&args.global);
    let cancel = CancelToken::default();
    if let Err(error) = exit::cancel_on_signals(&cancel) {
        output.warn(&format!("signals cannot be caught: {error}"));
    }
    match command::execute(&args, &output, &cancel) {
        Ok(code) => code,
        Err(error) => exit::failure(&error, &output),
    }
}
