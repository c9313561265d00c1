use std::{
    io::{self, Write},
    process::ExitCode,
};

use backup::{Error, Result, operation};

use super::Session;
use crate::args::{CatArgs, CatFormat};

pub(crate) fn execute(session: &Session<'_>, args: &CatArgs) -> Result<ExitCode> {
    let named = session.named(&args.backup.id)?;
    let mut out = io::stdout().lock();
    match args.format {
        CatFormat::Payload => operation::cat(named.artifact(), &mut out, &session.context)?,
        CatFormat::Sql => {
            let (artifact, store) = (named.artifact(), session.scratch_store(&named)?);
            let engine = session.engine_for(artifact.manifest())?;
            operation::write_sql(artifact, &*engine, &mut out, &*store, &session.context)?;
        }
    }
    out.flush().map_err(|e| Error::from_io("could not write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}
