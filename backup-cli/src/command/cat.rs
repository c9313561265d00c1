use std::io::{self, Write};

use backup::{
    Error, Result,
    operation::{self, Unbroken},
};

use super::{Named, Session};
use crate::{
    args::{CatArgs, CatFormat},
    exit::ExitCode,
};

pub(crate) fn execute(session: &Session<'_>, args: &CatArgs) -> Result<ExitCode> {
    let named = session.named(&args.backup.id, args.backup.of.as_deref())?;
    let mut out = io::stdout().lock();
    match args.format {
        CatFormat::Payload => match &named {
            Named::Stored(copies) => operation::cat_from(copies, &mut out, &session.context)?,
            Named::File(file) => operation::cat(file, &mut out, &session.context)?,
        },
        CatFormat::Sql => {
            let store = session.scratch_store(&named)?;
            let engine = session.engine_for(named.artifact().manifest())?;
            let mut out = Unbroken::new(&mut out);
            named.attempt(&session.context, |artifact| {
                let mut out = out.again()?;
                operation::write_sql(artifact, &*engine, &mut out, &*store, &session.context)
            })?;
        }
    }
    out.flush().map_err(|e| Error::from_io("could not write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}
