use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use backup::{
    Error, Result,
    artifact::Artifact,
    engine::ExtractFormat,
    operation::{self, Unbroken},
};
use serde_json::json;

use super::{Named, Session};
use crate::{
    args::{ExtractArgs, TextFormat},
    exit::ExitCode,
};

pub(crate) fn execute(session: &Session<'_>, args: &ExtractArgs) -> Result<ExitCode> {
    let named = session.named(&args.backup.id, args.backup.of.as_deref())?;
    let store = session.scratch_store(&named)?;
    let engine = session.engine_for(named.artifact().manifest())?;
    let format = match args.format {
        TextFormat::Sql => ExtractFormat::Sql,
        TextFormat::Csv => ExtractFormat::Csv,
    };
    let extract = |artifact: &dyn Artifact, out: &mut dyn Write| {
        let mut out = BufWriter::new(out);
        let cx = &session.context;
        let outcome = operation::extract(artifact, &*engine, &args.table, format, &mut out, &*store, cx);
        let Ok(rows) = outcome else {
            // What is not written yet must not be written now: another copy may begin.
            drop(out.into_parts());
            return outcome;
        };
        out.flush().map_err(|e| Error::from_io("could not write the table", e))?;
        Ok(rows)
    };
    let rows = match &args.output {
        Some(path) => into_file(session, &named, path, extract)?,
        None => {
            let mut stdout = io::stdout().lock();
            let mut out = Unbroken::new(&mut stdout);
            named.attempt(&session.context, |artifact| extract(artifact, out.again()?))?
        }
    };
    match &args.output {
        Some(path) => session.output.data(
            || json!({ "table": args.table, "rows": rows, "file": path }),
            || path.display().to_string(),
        ),
        None => session.output.tell(&format!("{rows} rows")),
    }
    Ok(ExitCode::SUCCESS)
}

/// A file is begun anew with every copy that is tried.
fn into_file(
    session: &Session<'_>,
    named: &Named,
    path: &Path,
    extract: impl Fn(&dyn Artifact, &mut dyn Write) -> Result<u64>,
) -> Result<u64> {
    let create = || File::create_new(path).map_err(|e| Error::io("create", path, e));
    named.attempt(&session.context, |artifact| {
        let rows = extract(artifact, &mut create()?);
        if rows.is_err() {
            // Half a table would look like a whole one.
            let _ = std::fs::remove_file(path);
        }
        rows
    })
}
