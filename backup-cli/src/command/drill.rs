use backup::{
    DrillOptions, Error, Result, artifact::Artifact, engine::Target, mirror::ArtifactCopy, operation,
};
use serde_json::json;

use super::{Named, Session};
use crate::{
    args::DrillArgs,
    exit::{self, ExitCode},
};

pub(crate) fn execute(session: &Session<'_>, args: &DrillArgs) -> Result<ExitCode> {
    let copies = match session.named(&selector(session, args.id.as_deref())?, args.of.as_deref())? {
        Named::Stored(copies) => copies,
        Named::File(file) => {
            return Err(Error::invalid(format!(
                "\"{}\" lies in no vault that could keep the proof",
                file.location()
            ))
            .with_hint("`backup verify FILE --level restore` does the same without one."));
        }
    };
    let ArtifactCopy { vault, artifact } = session.own_copy(&copies)?;
    let engine = session.engine_for(copies.manifest())?;
    let own = session.backups()?.settings(vault.source().as_str()).map(|settings| settings.drill.clone());
    let mut options: DrillOptions = own.unwrap_or_default().with_smoke(args.smoke.clone());
    options.on = args.on.as_deref().map(Target::from).or(options.on);
    let drilled = operation::drill(vault, artifact, &*engine, &options, &session.context)?;
    let proof = &drilled.proof;
    session.output.data(
        || json!({ "id": proof.id, "ok": proof.ok, "proof": proof }),
        || {
            let outcome = if proof.ok { "ok" } else { "FAILED" };
            let restored =
                proof.restore_seconds.map_or(String::new(), |s| format!(", restored and proven in {s:.1} s"));
            let answers = proof
                .smoke
                .iter()
                .map(|a| format!("\n  {} → {}", a.sql, a.answer.as_deref().unwrap_or("nothing")));
            format!("{} drill {outcome}{restored}{}", proof.id, answers.collect::<String>())
        },
    );
    Ok(exit::verdict(proof.ok))
}

/// A source's name stands for its newest backup.
fn selector(session: &Session<'_>, id: Option<&str>) -> Result<String> {
    let id = id.unwrap_or("latest");
    let is_source = session.backups()?.sources()?.iter().any(|source| source.as_str() == id);
    Ok(if is_source { format!("{id}/latest") } else { id.to_owned() })
}
