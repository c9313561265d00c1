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
    operation::cat(named.artifact(), &mut out, &session.context)?;
    out.flush().map_err(|e| Error::from_io("could not write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}
