use backup::{Backups, Error, ErrorKind, JobMirror, Mirror, Result, operation, vault::Vault};
use serde_json::{Value, json};

use super::{Session, as_mirror};
use crate::{args::MirrorArgs, exit::ExitCode, output};

pub(crate) fn execute(session: &Session<'_>, args: &MirrorArgs) -> Result<ExitCode> {
    let (mut rows, mut documents, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (vault, to) in copies(session, args)? {
        let outcome = to.catch_up(&vault, &session.context);
        if outcome.as_ref().is_err_and(Error::is_cancelled) {
            return Err(Error::cancelled());
        }
        let (source, mirror) = (vault.source().as_str(), to.mirror.name.as_str());
        rows.push(row(mirror, source, outcome.as_ref().ok()));
        failures.extend(failed(mirror, source, &outcome));
        documents.push(document(mirror, source, &outcome));
    }
    failures.iter().for_each(|failure| session.output.alarm(&format!("warning: {failure}")));
    session.output.data(
        || json!({ "ok": failures.is_empty(), "mirrors": documents }),
        || output::table(&["MIRROR", "SOURCE", "COPIED", "THERE", "MENDED", "FAILED", "SENT"], rows),
    );
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which vault is copied where: to `--to`, else to the mirrors of its job; a copy out of a mirror goes into the store.
fn copies(session: &Session<'_>, args: &MirrorArgs) -> Result<Vec<(Vault, JobMirror)>> {
    let backups = session.backups()?;
    let mut vaults = match &args.from {
        Some(text) => Vault::all(&session.typed_store(backups, text)?)?,
        None => backups.vaults()?,
    };
    if let Some(of) = &args.of {
        let name = session.vault_name(of)?;
        vaults.retain(|vault| vault.source().as_str() == name);
    }
    if vaults.is_empty() {
        let place = args.from.clone().map_or_else(|| session.places(), Ok)?;
        return Err(Error::new(ErrorKind::NotFound, format!("there are no backups in {place} to copy"))
            .with_hint(
                "`backup mirror --from STORE` copies the other way, out of a mirror into the store.",
            ));
    }
    let mut copies = Vec::new();
    for vault in vaults {
        let targets = targets(session, backups, args, &vault)?;
        copies.extend(targets.into_iter().map(|target| (vault.clone(), target)));
    }
    if copies.is_empty() {
        return Err(Error::invalid("no mirror was named").with_hint(
            "Name one: `backup mirror --to STORE`, --mirror STORE, BACKUP_MIRRORS, or \"mirrors\" of a job.",
        ));
    }
    Ok(copies)
}

fn targets(
    session: &Session<'_>,
    backups: &Backups,
    args: &MirrorArgs,
    vault: &Vault,
) -> Result<Vec<JobMirror>> {
    let plain = |mirror: Mirror| JobMirror::new(mirror, None);
    if !args.to.is_empty() {
        let open =
            |text: &String| as_mirror(text, session.typed_store(backups, text)?, &**vault.store()).map(plain);
        return args.to.iter().map(open).collect();
    }
    if args.from.is_none() {
        return Ok(backups.mirrors_of(vault.source()));
    }
    let store = backups.store_of(vault.source())?;
    if store.to_string() == vault.store().to_string() {
        return Err(Error::invalid(format!("{store} cannot be rebuilt from itself"))
            .with_hint("Name the mirror with --from and the store to fill with --store."));
    }
    Ok(vec![plain(Mirror::new(store.to_string(), store))])
}

fn row(mirror: &str, source: &str, done: Option<&operation::Mirrored>) -> Vec<String> {
    let mut row = vec![mirror.to_owned(), source.to_owned()];
    row.extend(match done {
        Some(done) => [
            done.copied.len().to_string(),
            done.already.to_string(),
            done.mended.len().to_string(),
            done.failed.len().to_string(),
            output::size(done.bytes),
        ],
        None => ["-", "-", "-", "all", "-"].map(str::to_owned),
    });
    row
}

/// Everything that could not be copied, one line each.
fn failed(mirror: &str, source: &str, outcome: &Result<operation::Mirrored>) -> Vec<String> {
    match outcome {
        Ok(done) => {
            let line = |failed: &operation::Failed| {
                format!("{} was not copied to {mirror}: {}", failed.object, failed.error)
            };
            done.failed.iter().map(line).collect()
        }
        Err(error) => vec![format!("nothing of \"{source}\" was copied to {mirror}: {}", in_a_line(error))],
    }
}

fn document(mirror: &str, source: &str, outcome: &Result<operation::Mirrored>) -> Value {
    match outcome {
        Ok(done) => json!(done),
        Err(error) => json!({ "mirror": mirror, "source": source, "error": in_a_line(error) }),
    }
}

fn in_a_line(error: &Error) -> String {
    std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": ")
}
