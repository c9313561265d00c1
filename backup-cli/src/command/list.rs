use backup::{Error, ErrorKind, Manifest, Result, artifact::Artifact, cache::Cache, verify::Finding};
use serde_json::json;

use super::Session;
use crate::{args::ListArgs, exit::ExitCode, output};

pub(crate) fn execute(session: &Session<'_>, args: &ListArgs) -> Result<ExitCode> {
    let mut vaults = session.backups()?.vaults()?;
    let named = |text| args.name.clone().map_or_else(|| session.vault_name(text), Ok);
    let source = args.source.as_deref().map(named).transpose()?;
    if let Some(source) = &source {
        vaults.retain(|vault| vault.source().as_str() == source);
        // A job or a database that has none yet is none that is unknown.
        let is_only_a_name = args.name.is_none() && args.source.as_ref() == Some(source);
        if vaults.is_empty() && is_only_a_name && session.backups()?.source(source).is_err() {
            let message =
                format!("there are no backups of \"{}\" in {}", source.escape_debug(), session.places()?);
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("`backup list` alone prints every source's."));
        }
    }
    let (mut artifacts, mut damaged) = (Vec::new(), Vec::new());
    for vault in vaults {
        let catalogue = vault.with_cache(Cache::of_user()).overview(None)?;
        artifacts.extend(catalogue.artifacts);
        damaged.extend(catalogue.damaged);
    }
    let manifests: Vec<&Manifest> = artifacts.iter().map(Artifact::manifest).collect();
    damaged.iter().for_each(|finding| session.output.finding(finding));
    session
        .output
        .data(|| json!({ "backups": manifests, "damaged": damaged }), || text(session, &manifests, &damaged));
    Ok(ExitCode::SUCCESS)
}

fn text(session: &Session<'_>, manifests: &[&Manifest], damaged: &[Finding]) -> String {
    if manifests.is_empty() && damaged.is_empty() {
        session.output.tell("no backups yet; `backup run DATABASE` makes one");
    }
    let now = session.context.now();
    let row = |manifest: &&Manifest| {
        vec![
            manifest.id.to_string(),
            output::age(now.duration_since(manifest.snapshot_at).as_secs()),
            output::size(manifest.payload.plain_bytes),
            output::size(manifest.payload.bytes),
            manifest.rows.map_or("-".to_owned(), |rows| rows.to_string()),
            state(manifest).to_owned(),
            manifest.tags.join(","),
        ]
    };
    output::table(
        &["ID", "AGE", "SIZE", "STORED", "ROWS", "STATE", "TAGS"],
        manifests.iter().map(row).collect(),
    )
}

/// A partial backup is good for what it holds, and never stands for its source.
fn state(manifest: &Manifest) -> &'static str {
    match (manifest.is_good(), manifest.is_partial()) {
        (false, _) => "SUSPECT",
        (true, true) => "partial",
        (true, false) => "good",
    }
}
