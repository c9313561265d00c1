use std::process::ExitCode;

use backup::{Error, ErrorKind, Manifest, Result, verify::Finding};
use serde_json::json;

use super::Session;
use crate::{args::ListArgs, output};

pub(crate) fn execute(session: &Session<'_>, args: &ListArgs) -> Result<ExitCode> {
    let mut vaults = session.backups()?.vaults()?;
    if let Some(source) = &args.source {
        vaults.retain(|vault| vault.source().as_str() == source);
        if vaults.is_empty() {
            let message =
                format!("there are no backups of \"{}\" in {}", source.escape_debug(), session.store()?);
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("`backup list` alone prints every source's."));
        }
    }
    let (mut manifests, mut damaged) = (Vec::new(), Vec::new());
    for vault in vaults {
        let catalogue = vault.catalogue(None)?;
        manifests.extend(catalogue.manifests());
        damaged.extend(catalogue.damaged);
    }
    damaged.iter().for_each(|finding| session.output.finding(finding));
    session
        .output
        .data(|| json!({ "backups": manifests, "damaged": damaged }), || text(session, &manifests, &damaged));
    Ok(ExitCode::SUCCESS)
}

fn text(session: &Session<'_>, manifests: &[Manifest], damaged: &[Finding]) -> String {
    if manifests.is_empty() && damaged.is_empty() {
        session.output.tell("no backups yet; `backup run DATABASE` makes one");
    }
    let now = session.context.now();
    let row = |manifest: &Manifest| {
        vec![
            manifest.id.to_string(),
            output::age(now.duration_since(manifest.snapshot_at).as_secs()),
            output::size(manifest.payload.plain_bytes),
            output::size(manifest.payload.bytes),
            manifest.rows.map_or("-".to_owned(), |rows| rows.to_string()),
            if manifest.is_good() { "good" } else { "SUSPECT" }.to_owned(),
            manifest.tags.join(","),
        ]
    };
    output::table(
        &["ID", "AGE", "SIZE", "STORED", "ROWS", "STATE", "TAGS"],
        manifests.iter().map(row).collect(),
    )
}
