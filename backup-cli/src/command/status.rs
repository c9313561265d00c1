use backup::{Backups, Error, ErrorKind, Objectives, Result, VaultStatus, cache::Cache, operation};
use serde_json::json;

use super::Session;
use crate::{
    args::StatusArgs,
    exit::{self, ExitCode},
    output,
};

pub(crate) fn execute(session: &Session<'_>, args: &StatusArgs) -> Result<ExitCode> {
    let backups = session.backups()?;
    let source = args.source.as_deref().map(|text| session.vault_name(text)).transpose()?;
    let names = names(session, backups, source.as_deref())?;
    let objectives = Objectives::new(args.rpo, args.rto, args.proof);
    let (mut statuses, mut unknown, mut first_error) = (Vec::new(), Vec::new(), None);
    for name in &names {
        match status(session, backups, name, &objectives) {
            Ok(status) => statuses.push(status),
            // A store that cannot be reached says nothing of those that can.
            Err(error) if names.len() > 1 && !error.is_cancelled() => {
                session.output.warn(&format!("how \"{name}\" stands cannot be told"));
                if !session.output.as_json {
                    session.output.tell_error(&error);
                }
                unknown.push(json!({ "source": name, "error": output::document_of(&error) }));
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let is_well = first_error.is_none() && statuses.iter().all(VaultStatus::is_well);
    let mut document = json!({ "well": is_well, "sources": statuses });
    if let Some(error) = &first_error {
        document["unknown"] = json!(unknown);
        document["error"] = output::document_of(error);
    }
    session.output.data(|| document, || text(&statuses));
    Ok(first_error.map_or_else(|| exit::verdict(is_well), |error| exit::of(&error)))
}

/// Every job, with or without a backup, and every other source that has some; or only the one that is asked for.
fn names(session: &Session<'_>, backups: &Backups, only: Option<&str>) -> Result<Vec<String>> {
    let mut names: Vec<String> = backups.names().map(ToString::to_string).collect();
    let is_job = only.is_some_and(|only| backups.source(only).is_ok());
    if !is_job {
        match backups.vaults() {
            Ok(vaults) => names.extend(vaults.iter().map(|vault| vault.source().to_string())),
            // The job whose store this is says so itself.
            Err(_) if only.is_none() && !names.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    names.sort();
    names.dedup();
    names.retain(|name| only.is_none_or(|only| only == name));
    if names.is_empty() {
        let what = only.unwrap_or("anything");
        let message = format!("there are no backups of {} in {}", what.escape_debug(), session.places()?);
        return Err(
            Error::new(ErrorKind::NotFound, message).with_hint("`backup run DATABASE` makes the first one.")
        );
    }
    Ok(names)
}

fn status(
    session: &Session<'_>,
    backups: &Backups,
    name: &str,
    objectives: &Objectives,
) -> Result<VaultStatus> {
    if backups.source(name).is_ok() {
        return backups.job(name)?.with_cache(Cache::of_user()).blocking().status(objectives);
    }
    let vaults = backups.vaults()?;
    let vault = vaults.iter().find(|vault| vault.source().as_str() == name);
    let vault = vault.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("\"{name}\" has gone")))?;
    operation::status(&vault.clone().with_cache(Cache::of_user()), objectives, &session.context)
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
