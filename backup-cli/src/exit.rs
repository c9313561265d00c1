//! Exit codes, and the last words before them.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use backup::{CancelToken, Error, ErrorKind};
use serde_json::{Value, json};

use crate::output::{self, Output};

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// Not done.
    pub const FAILURE: Self = Self(1);

    /// The number that a shell sees.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}

/// Looked, and it is bad.
pub(crate) const BAD: u8 = 3;

pub(crate) fn code_of(kind: ErrorKind) -> u8 {
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
    of(error)
}

/// The code of an error that was told already.
pub(crate) fn of(error: &Error) -> ExitCode {
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
pub(crate) fn usage(error: &clap::Error, as_json: bool) -> ExitCode {
    if as_json && error.use_stderr() {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let hint = "See `backup --help`.";
        let error = json!({ "kind": "invalid", "message": message, "hint": hint, "causes": [] });
        tell(&json!({ "error": error }));
    } else {
        // A closed terminal is no reason for another error.
        let _ = error.print();
        let _ = std::io::stdout().flush();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Nothing was asked for in a way that could be understood.
pub(crate) fn unasked(error: &Error) -> ExitCode {
    tell(&json!({ "error": output::document_of(error) }));
    of(error)
}

/// A reader that is gone is no reason for another error.
fn tell(document: &Value) {
    let _ = writeln!(io::stdout(), "{document}");
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
