use std::process::ExitCode;

use backup::{
    DrillOptions, Level, Result, Verified,
    artifact::{Artifact, StoredArtifact},
    operation,
    vault::Vault,
    verify::Finding,
};
use serde_json::{Value, json};

use super::{Named, Session};
use crate::{args::VerifyArgs, exit};

pub(crate) fn execute(session: &Session<'_>, args: &VerifyArgs) -> Result<ExitCode> {
    let mut shown = Shown::default();
    if args.all {
        for vault in session.backups()?.vaults()? {
            let catalogue = vault.catalogue(None)?;
            for finding in catalogue.damaged {
                session.output.finding(&finding);
                shown.damaged_manifest(&finding);
            }
            for artifact in &catalogue.artifacts {
                shown.add(&stored(session, &vault, artifact, args.level)?);
            }
        }
    } else {
        match session.named(args.id.as_deref().unwrap_or("latest"))? {
            Named::Stored(vault, artifact) => shown.add(&stored(session, &vault, &artifact, args.level)?),
            named => shown.add_file(session, &named, args.level)?,
        }
    }
    let is_well = shown.is_well;
    session.output.data(|| json!({ "ok": is_well, "verified": shown.documents }), || shown.lines.join("\n"));
    Ok(exit::verdict(is_well))
}

fn stored(session: &Session<'_>, vault: &Vault, artifact: &StoredArtifact, level: Level) -> Result<Verified> {
    let engine = session.engine_for(artifact.manifest())?;
    operation::verify(vault, artifact, &*engine, level, &DrillOptions::default(), &session.context)
}

/// One line and one document per backup.
struct Shown {
    is_well: bool,
    lines: Vec<String>,
    documents: Vec<Value>,
}

impl Default for Shown {
    fn default() -> Self {
        Self { is_well: true, lines: Vec::new(), documents: Vec::new() }
    }
}

impl Shown {
    fn add(&mut self, verified: &Verified) {
        let proof = &verified.proof;
        self.push(proof.id.as_str(), proof.ok, proof.level, proof.seconds, &proof.findings);
    }

    fn add_file(&mut self, session: &Session<'_>, named: &Named, level: Level) -> Result<()> {
        let artifact = named.artifact();
        let (engine, store) = (session.engine_for(artifact.manifest())?, session.scratch_store(named)?);
        let proven =
            operation::prove(artifact, &*engine, level, &DrillOptions::default(), &*store, &session.context)?;
        proven.findings.iter().for_each(|finding| session.output.finding(finding));
        let is_well = !proven.findings.iter().any(Finding::is_damage);
        self.push(&artifact.location(), is_well, level, proven.seconds, &proven.findings);
        Ok(())
    }

    fn damaged_manifest(&mut self, finding: &Finding) {
        self.is_well = false;
        self.lines.push(format!("{} UNUSABLE: {}", finding.object, finding.what));
        self.documents.push(json!({ "object": finding.object, "ok": false, "findings": [finding] }));
    }

    fn push(&mut self, id: &str, ok: bool, level: Level, seconds: f64, findings: &[Finding]) {
        self.is_well &= ok;
        self.lines.push(format!("{id} {level} {} in {seconds:.1} s", if ok { "ok" } else { "DAMAGED" }));
        self.documents
            .push(json!({ "id": id, "level": level, "ok": ok, "seconds": seconds, "findings": findings }));
    }
}
