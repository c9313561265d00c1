use std::process::ExitCode;

use backup::{Error, ErrorKind, Objectives, Result, VaultStatus, operation};
use serde_json::json;

use super::Session;
use crate::{args::StatusArgs, exit, output};

pub(crate) fn execute(session: &Session<'_>, args: &StatusArgs) -> Result<ExitCode> {
    let mut vaults = session.backups()?.vaults()?;
    if let Some(source) = &args.source {
        vaults.retain(|vault| vault.source().as_str() == source);
    }
    if vaults.is_empty() {
        let what = args.source.as_deref().unwrap_or("anything");
        let message = format!("there are no backups of {} in {}", what.escape_debug(), session.store()?);
        return Err(
            Error::new(ErrorKind::NotFound, message).with_hint("`backup run DATABASE` makes the first one.")
        );
    }
    let objectives = Objectives::new(args.rpo, args.rto, args.proof);
    let statuses: Vec<VaultStatus> = vaults
        .iter()
        .map(|vault| operation::status(vault, &objectives, &session.context))
        .collect::<Result<_>>()?;
    let is_well = statuses.iter().all(VaultStatus::is_well);
    session.output.data(|| json!({ "well": is_well, "sources": statuses }), || text(&statuses));
    Ok(exit::verdict(is_well))
}

fn text(statuses: &[VaultStatus]) -> String {
    let row = |status: &VaultStatus| {
        let proof =
            status.last_proof.as_ref().map(|p| format!("{} {}", p.level, if p.ok { "ok" } else { "FAILED" }));
        vec![
            status.source.clone(),
            if status.is_well() { "well" } else { "BAD" }.to_owned(),
            status.age_seconds.map_or("-".to_owned(), output::age),
            status.good.to_string(),
            status.suspect.to_string(),
            output::size(status.bytes),
            proof.unwrap_or_else(|| "never".to_owned()),
            status.measured_rto_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s")),
        ]
    };
    let header = ["SOURCE", "STATE", "NEWEST", "GOOD", "SUSPECT", "STORED", "LAST PROOF", "RESTORES IN"];
    let mut lines = vec![output::table(&header, statuses.iter().map(row).collect())];
    for status in statuses {
        lines.extend(
            status
                .missed
                .iter()
                .map(|missed| format!("{}: {}: {}", status.source, missed.objective, missed.what)),
        );
    }
    lines.join("\n")
}
