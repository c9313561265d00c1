use std::{
    fs::File,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use backup::{Error, Result, engine::ExtractFormat, operation};
use serde_json::json;

use super::Session;
use crate::args::{ExtractArgs, TextFormat};

pub(crate) fn execute(session: &Session<'_>, args: &ExtractArgs) -> Result<ExitCode> {
    let named = session.named(&args.backup.id)?;
    let (artifact, store) = (named.artifact(), session.scratch_store(&named)?);
    let engine = session.engine_for(artifact.manifest())?;
    let format = match args.format {
        TextFormat::Sql => ExtractFormat::Sql,
        TextFormat::Csv => ExtractFormat::Csv,
    };
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create_new(path).map_err(|e| Error::io("create", path, e))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::new(sink);
    let rows =
        operation::extract(artifact, &*engine, &args.table, format, &mut out, &*store, &session.context);
    let rows = rows.and_then(|rows| {
        out.flush().map_err(|e| Error::from_io("could not write the table", e))?;
        Ok(rows)
    });
    if let (Err(_), Some(path)) = (&rows, &args.output) {
        // Half a table would look like a whole one.
        let _ = std::fs::remove_file(path);
    }
    let rows = rows?;
    match &args.output {
        Some(path) => session.output.data(
            || json!({ "table": args.table, "rows": rows, "file": path }),
            || path.display().to_string(),
        ),
        None => session.output.tell(&format!("{rows} rows")),
    }
    Ok(ExitCode::SUCCESS)
}
