use std::{
    io::{self, Write},
    process::ExitCode,
};

use backup::{Error, Result, operation};

use super::Session;
use crate::args::IdArg;

pub(crate) fn execute(session: &Session<'_>, args: &IdArg) -> Result<ExitCode> {
    let named = session.named(&args.id)?;
    let mut out = io::stdout().lock();
    let written = operation::cat(named.artifact(), &mut out, &session.context)
        .and_then(|()| out.flush().map_err(|e| Error::from_io("could not write to stdout", e)));
    match written {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.causes().iter().any(|cause| cause.contains("Broken pipe")) => {
            Ok(ExitCode::SUCCESS)
        }
        other => other.map(|()| ExitCode::SUCCESS),
    }
}
