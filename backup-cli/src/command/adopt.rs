use std::path::Path;

use backup::{AdoptOptions, ErrorKind, Result, SourceName, Taken};
use serde_json::json;

use super::Session;
use crate::{
    args::AdoptArgs,
    exit::{self, ExitCode},
    output,
};

pub(crate) fn execute(session: &Session<'_>, args: &AdoptArgs) -> Result<ExitCode> {
    let source = match &args.of {
        Some(of) => Some(SourceName::new(&session.vault_name(of)?)?),
        None => args.name.as_deref().map(SourceName::new).transpose()?,
    };
    let mut options = AdoptOptions::default();
    options.tags.clone_from(&args.tag);
    options.taken_at = args.at;
    options.remove = args.r#move;
    let backups = session.backups()?;
    let (mut adopted, mut first_error) = (Vec::new(), None);
    for path in &args.paths {
        match backups.adopt(path, source.as_ref(), &options) {
            Ok(taken) => {
                tell(session, path, &taken);
                adopted.push(taken);
            }
            Err(error) if error.is_cancelled() => return Err(error),
            // What is there already needs no second place.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                session.output.tell(&format!("{}: {error}", path.display()));
            }
            // One dump that cannot be adopted stops none of the others, and is not forgotten.
            Err(error) => {
                if !session.output.as_json {
                    session.output.tell_error(&error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    let ids: Vec<&str> = adopted.iter().map(|taken| taken.id().as_str()).collect();
    let mut document = json!({ "adopted": ids });
    if let Some(error) = &first_error {
        document["error"] = output::document_of(error);
    }
    session.output.data(|| document, || ids.join("\n"));
    Ok(first_error.map_or(ExitCode::SUCCESS, |error| exit::of(&error)))
}

fn tell(session: &Session<'_>, path: &Path, taken: &Taken) {
    let manifest = &taken.manifest;
    let rows = output::rows_in(manifest);
    session.output.tell(&format!("{}: {}{rows}", path.display(), output::size(manifest.payload.plain_bytes)));
}
