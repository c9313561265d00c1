//! Exit codes, and the last words before them.

use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
};

use backup::{CancelToken, Error, ErrorKind};
use serde_json::json;

use crate::output::Output;

/// Looked, and it is bad.
pub(crate) const BAD: u8 = 3;

fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid | ErrorKind::Unsupported => 2,
        ErrorKind::Corrupt => BAD,
        ErrorKind::NotFound => 4,
        ErrorKind::Busy => 5,
        ErrorKind::Cancelled => 130,
        _ => 1,
    }
}

/// 0, or 3 when what was looked at is bad.
pub(crate) fn verdict(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(BAD) }
}

/// Prints an error where it belongs and returns its code. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn failure(error: &Error, output: &Output) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    output.error(error);
    ExitCode::from(code_of(error.kind()))
}

fn is_closed_pipe(error: &Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Help and version are no failures; anything else the parser says is a usage error, in JSON where that was asked for.
#[allow(clippy::print_stdout)]
pub(crate) fn usage(error: &clap::Error, as_json: bool) -> ExitCode {
    if as_json && error.use_stderr() {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let hint = "See `backup --help`.";
        println!(
            "{}",
            json!({ "error": { "kind": "invalid", "message": message, "hint": hint, "causes": [] } })
        );
    } else {
        // A closed terminal is no reason for another error.
        let _ = error.print();
        let _ = std::io::stdout().flush();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The first Ctrl-C or SIGTERM asks the work to stop and clean up; the third ends the process at once.
pub(crate) fn cancel_on_signals(cancel: &CancelToken) -> Result<(), ctrlc::Error> {
    let (cancel, count) = (cancel.clone(), AtomicU32::new(0));
    ctrlc::set_handler(move || {
        cancel.cancel();
        if count.fetch_add(1, Ordering::Relaxed) >= 2 {
            std::process::exit(130);
        }
    })
}
