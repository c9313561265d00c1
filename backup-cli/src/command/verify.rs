use backup::{
    DrillOptions, Error, ErrorKind, Level, Mirror, Result, Verified,
    artifact::{Artifact, StoredArtifact},
    operation::{self, Healed, Mended},
    pipeline,
    vault::Vault,
    verify::Finding,
};
use serde_json::{Value, json};

use super::{Named, Session};
use crate::{
    args::VerifyArgs,
    exit::{self, ExitCode},
};

pub(crate) fn execute(session: &Session<'_>, args: &VerifyArgs) -> Result<ExitCode> {
    let mut shown = Shown::default();
    if let (true, Some(of)) = (args.all, &args.of) {
        let name = session.vault_name(of)?;
        for vault in session.backups()?.vaults()?.iter().filter(|vault| vault.source().as_str() == name) {
            whole_vault(session, vault, args, &mut shown)?;
        }
    } else if args.all {
        for store in session.backups()?.stores()? {
            for finding in store.conflicts("")? {
                session.output.finding(&finding);
                shown.unusable(&finding);
            }
        }
        for vault in session.backups()?.vaults()? {
            whole_vault(session, &vault, args, &mut shown)?;
        }
    } else {
        match session.named(args.id.as_deref().unwrap_or("latest"), args.of.as_deref())? {
            Named::Stored(copies) => {
                let own = session.own_copy(&copies)?;
                let healers = healers(session, args, &own.vault)?;
                one(session, (&own.vault, &own.artifact), args.level, &healers, &mut shown)?;
            }
            named => shown.add_file(session, &named, args.level)?,
        }
    }
    let is_well = shown.is_well;
    if !is_well && !args.heal && shown.has_mirrors {
        session.output.tell("--heal replaces what is damaged by a mirror's good copy.");
    }
    session.output.data(
        || json!({ "ok": is_well, "verified": shown.documents, "healed": shown.healed }),
        || shown.lines.join("\n"),
    );
    Ok(exit::verdict(is_well))
}

/// The stores that good copies may come from.
fn healers(session: &Session<'_>, args: &VerifyArgs, vault: &Vault) -> Result<Vec<Mirror>> {
    if !args.heal {
        return Ok(Vec::new());
    }
    let mirrors = mirrors_of(session, vault)?;
    if mirrors.is_empty() {
        return Err(Error::invalid("no mirror was named that good copies could come from")
            .with_hint("Name one: --mirror STORE, or BACKUP_MIRRORS."));
    }
    Ok(mirrors)
}

fn mirrors_of(session: &Session<'_>, vault: &Vault) -> Result<Vec<Mirror>> {
    let mirrors = session.backups()?.mirrors_of(vault.source());
    Ok(mirrors.into_iter().map(|one| one.mirror).collect())
}

fn whole_vault(session: &Session<'_>, vault: &Vault, args: &VerifyArgs, shown: &mut Shown) -> Result<()> {
    let healers = healers(session, args, vault)?;
    shown.has_mirrors |= !mirrors_of(session, vault)?.is_empty();
    let mut catalogue = vault.catalogue(None)?;
    if args.heal && !catalogue.damaged.is_empty() {
        for finding in &catalogue.damaged {
            session.output.finding(finding);
            let healed = operation::heal_manifest(vault, &finding.object, &healers, &session.context)?;
            shown.heal(session, healed);
        }
        catalogue = vault.catalogue(None)?;
    }
    for finding in catalogue.damaged {
        session.output.finding(&finding);
        shown.unusable(&finding);
    }
    for artifact in &catalogue.artifacts {
        let level = possible(session, artifact, args.level)?;
        one(session, (vault, artifact), level, &healers, shown)?;
    }
    Ok(())
}

/// Verifies one backup; where it is damaged and shall be healed, heals it and looks again.
fn one(
    session: &Session<'_>,
    (vault, artifact): (&Vault, &StoredArtifact),
    level: Level,
    healers: &[Mirror],
    shown: &mut Shown,
) -> Result<()> {
    let mut verified = stored(session, vault, artifact, level)?;
    if !healers.is_empty() && !verified.is_ok() {
        let here = vault.store().to_string();
        let elsewhere: Vec<Mirror> =
            healers.iter().filter(|mirror| mirror.store.to_string() != here).cloned().collect();
        let healed = operation::heal(vault, &artifact.manifest().id, &elsewhere, &session.context)?;
        let is_changed = !healed.mended.is_empty();
        shown.heal(session, healed);
        if is_changed {
            verified = stored(session, vault, artifact, level)?;
        }
    }
    shown.add(&verified);
    Ok(())
}

fn stored(session: &Session<'_>, vault: &Vault, artifact: &StoredArtifact, level: Level) -> Result<Verified> {
    let engine = session.engine_for(artifact.manifest())?;
    operation::verify(vault, artifact, &*engine, level, &DrillOptions::default(), &session.context)
}

/// As deep as asked, or as deep as can be looked without a key.
fn possible(session: &Session<'_>, artifact: &StoredArtifact, asked: Level) -> Result<Level> {
    if asked <= Level::Checksum {
        return Ok(asked);
    }
    match pipeline::require_key(artifact, &session.context) {
        Err(error) if error.kind() == ErrorKind::Denied => {
            session.output.warn(&format!("only to the level checksum: {error}"));
            Ok(Level::Checksum)
        }
        // Damage, or a payload that is gone, is for the verification to tell.
        _ => Ok(asked),
    }
}

/// One line and one document per backup.
struct Shown {
    is_well: bool,
    lines: Vec<String>,
    documents: Vec<Value>,
    healed: Vec<Mended>,
    /// Good copies could come from somewhere.
    has_mirrors: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            is_well: true,
            lines: Vec::new(),
            documents: Vec::new(),
            healed: Vec::new(),
            has_mirrors: false,
        }
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

    /// Only what is whole afterwards counts as well, which looking again tells.
    fn heal(&mut self, session: &Session<'_>, healed: Healed) {
        for mended in &healed.mended {
            self.lines.push(format!(
                "{} healed from {}; it was damaged: {}",
                mended.object, mended.from, mended.was
            ));
        }
        for failed in &healed.failed {
            session.output.warn(&format!("{} could not be healed: {}", failed.object, failed.error));
        }
        self.healed.extend(healed.mended);
    }

    fn unusable(&mut self, finding: &Finding) {
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
