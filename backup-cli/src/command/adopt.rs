use std::{fs, path::Path, process::ExitCode};

use backup::{AdoptOptions, Error, ErrorKind, Result, SourceName, Taken};
use serde_json::json;

use super::Session;
use crate::{args::AdoptArgs, output};

pub(crate) fn execute(session: &Session<'_>, args: &AdoptArgs) -> Result<ExitCode> {
    let source = args.name.as_deref().map(SourceName::new).transpose()?;
    let mut options = AdoptOptions::default();
    options.tags.clone_from(&args.tag);
    options.taken_at = args.at;
    let backups = session.backups()?;
    let (mut adopted, mut first_error) = (Vec::new(), None);
    for path in &args.paths {
        match backups
            .adopt(path, source.as_ref(), &options)
            .and_then(|taken| finish(path, taken, args.r#move))
        {
            Ok(taken) => {
                tell(session, path, &taken);
                adopted.push(taken);
            }
            Err(error) if error.is_cancelled() => return Err(error),
            // What is there already needs no second place.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                session.output.tell(&format!("{}: {error}", path.display()));
            }
            Err(error) => {
                session.output.warn(&format!("{error:?}"));
                first_error.get_or_insert(error);
            }
        }
    }
    let ids: Vec<&str> = adopted.iter().map(|taken| taken.id().as_str()).collect();
    session.output.data(|| json!({ "adopted": ids }), || ids.join("\n"));
    // One dump that cannot be adopted stops none of the others, and is not forgotten.
    first_error.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn finish(path: &Path, taken: Taken, is_moved: bool) -> Result<Taken> {
    if is_moved {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(|e| Error::io("remove", path, e))?;
    }
    Ok(taken)
}

fn tell(session: &Session<'_>, path: &Path, taken: &Taken) {
    let manifest = &taken.manifest;
    let rows = manifest
        .rows
        .map_or(String::new(), |rows| format!(", {rows} rows in {} tables", manifest.tables.len()));
    session.output.tell(&format!("{}: {}{rows}", path.display(), output::size(manifest.payload.plain_bytes)));
}
