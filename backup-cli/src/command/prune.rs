use std::{collections::BTreeSet, sync::Arc};

use backup::{
    Backups, Error, ErrorKind, Pruning, Result,
    operation::{self, PruneOptions, Pruned},
    retention::{Keep, PRESETS, stored_bytes},
    vault::Vault,
};
use serde_json::{Value, json};

use super::Session;
use crate::{
    args::PruneArgs,
    exit::{self, ExitCode},
    output,
};

pub(crate) fn execute(session: &Session<'_>, args: &PruneArgs) -> Result<ExitCode> {
    let backups = session.backups()?;
    let mut prunings = match &args.keep {
        Some(text) => by_one_policy(backups, &text.parse()?)?,
        None => backups.prunings()?,
    };
    if prunings.is_empty() && args.keep.is_none() {
        return Err(no_policy());
    }
    if let Some(source) = &args.source.as_deref().map(|text| session.vault_name(text)).transpose()? {
        prunings.retain(|pruning| pruning.vault.source().as_str() == source);
        if prunings.is_empty() {
            let (source, places) = (source.escape_debug(), session.places()?);
            let message = format!("there are no backups of \"{source}\" in {places} that a policy is about");
            return Err(
                Error::new(ErrorKind::NotFound, message).with_hint("`backup list` prints every source's.")
            );
        }
    }
    let options = PruneOptions::default().with_dry_run(args.dry_run).with_rpo(args.rpo);
    prune(session, &prunings, &options)
}

/// Every vault by the policy that was typed.
fn by_one_policy(backups: &Backups, keep: &Keep) -> Result<Vec<Pruning>> {
    let vaults = backups.vaults()?.into_iter();
    Ok(vaults.map(|vault| Pruning { vault, keep: Arc::new(keep.clone()), rpo: None }).collect())
}

/// A vault that cannot be pruned stops no other; the first one's error is the command's.
fn prune(session: &Session<'_>, prunings: &[Pruning], options: &PruneOptions) -> Result<ExitCode> {
    let (mut shown, mut failed) = (Vec::new(), Vec::new());
    for Pruning { vault, keep, rpo } in prunings {
        let options = options.with_rpo(options.rpo.or(*rpo));
        match operation::prune(vault, keep, &options, &session.context) {
            Ok(pruned) => shown.push((vault, pruned)),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => failed.push((vault, error)),
        }
    }
    if shown.is_empty() && !failed.is_empty() {
        let (_, error) = failed.swap_remove(0);
        return Err(error);
    }
    if !session.output.as_json {
        failed.iter().for_each(|(_, error)| session.output.error(error));
    }
    let failures: Vec<Value> = failed.iter().map(|(vault, error)| failure(vault, error)).collect();
    let removes_nothing = !options.dry_run && shown.iter().all(|(_, pruned)| pruned.removed.is_empty());
    if session.output.as_json || !removes_nothing {
        session.output.data(
            || document(session, &shown, &failures, options),
            || if options.dry_run { table(session, &shown) } else { ids(&shown) },
        );
    }
    shown.iter().for_each(|(vault, pruned)| summary(session, vault, pruned, options));
    Ok(failed.first().map_or(ExitCode::SUCCESS, |(_, error)| exit::of(error)))
}

fn no_policy() -> Error {
    let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    Error::invalid("no retention policy was given").with_hint(format!(
        "Say what to keep: \"retention\" of a job or store, `backup prune --keep daily=30,weekly=12,monthly=12 --dry-run`, or one of {}.",
        presets.join(", ")
    ))
}

fn failure(vault: &Vault, error: &Error) -> Value {
    json!({ "source": vault.source(), "kind": error.kind().name(), "message": error.to_string(),
            "hint": error.hint(), "causes": error.causes() })
}

/// Seconds since the state an artifact holds, and its stored bytes; unknown where its manifest cannot be used.
fn facts(session: &Session<'_>, pruned: &Pruned, place: usize) -> Option<(i64, u64)> {
    let manifest = pruned.manifests.get(place)?;
    Some((session.context.now().duration_since(manifest.snapshot_at).as_secs(), stored_bytes(manifest)))
}

fn document(
    session: &Session<'_>,
    shown: &[(&Vault, Pruned)],
    failures: &[Value],
    options: &PruneOptions,
) -> Value {
    let decisions = shown.iter().flat_map(|(vault, pruned)| {
        pruned.plan.decisions.iter().enumerate().map(|(place, decision)| {
            let facts = facts(session, pruned, place);
            json!({ "source": vault.source(), "store": vault.store().to_string(), "id": decision.id, "age_seconds": facts.map(|(age, _)| age),
                    "bytes": facts.map(|(_, bytes)| bytes), "keep": decision.keep, "reasons": decision.reasons })
        })
    });
    let refused = shown.iter().flat_map(|(_, pruned)| &pruned.refused);
    json!({
        "dry_run": options.dry_run,
        "decisions": decisions.collect::<Vec<_>>(),
        "removed": shown.iter().flat_map(|(_, pruned)| &pruned.removed).collect::<Vec<_>>(),
        "refused": refused.map(|(id, why)| json!({ "id": id, "why": why })).collect::<Vec<_>>(),
        "freed_bytes": shown.iter().map(|(_, pruned)| pruned.freed_bytes).sum::<u64>(),
        "damaged": shown.iter().flat_map(|(_, pruned)| &pruned.damaged).collect::<Vec<_>>(),
        "failed": failures,
    })
}

fn table(session: &Session<'_>, shown: &[(&Vault, Pruned)]) -> String {
    let stores: BTreeSet<String> = shown.iter().map(|(vault, _)| vault.store().to_string()).collect();
    let in_several = stores.len() > 1;
    let rows = shown.iter().flat_map(|(vault, pruned)| {
        pruned.plan.decisions.iter().enumerate().map(move |(place, decision)| {
            let facts = facts(session, pruned, place);
            let mut row = vec![
                decision.id.to_string(),
                facts.map_or("-".to_owned(), |(age, _)| output::age(age)),
                facts.map_or("-".to_owned(), |(_, bytes)| output::size(bytes)),
                if decision.keep { "KEEP" } else { "remove" }.to_owned(),
                decision.reasons.join("; "),
            ];
            if in_several {
                row.insert(1, vault.store().to_string());
            }
            row
        })
    });
    let mut header = vec!["ID", "AGE", "SIZE", "DECISION", "REASONS"];
    if in_several {
        header.insert(1, "STORE");
    }
    output::table(&header, rows.collect())
}

fn ids(shown: &[(&Vault, Pruned)]) -> String {
    let removed = shown.iter().flat_map(|(_, pruned)| &pruned.removed);
    removed.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn summary(session: &Session<'_>, vault: &Vault, pruned: &Pruned, options: &PruneOptions) {
    let going = pruned.plan.removals().count();
    let kept = pruned.plan.decisions.len() - going;
    let line = if options.dry_run {
        let removals =
            pruned.plan.decisions.iter().zip(&pruned.manifests).filter(|(decision, _)| !decision.keep);
        let bytes = removals.map(|(_, manifest)| stored_bytes(manifest)).sum();
        format!("{kept} would stay, {going} ({}) would go; nothing was removed", output::size(bytes))
    } else {
        let removed = pruned.removed.len();
        format!("{kept} stay, {removed} removed, {} freed", output::size(pruned.freed_bytes))
    };
    let refused = match pruned.refused.len() {
        0 => String::new(),
        count => format!("; {count} that should have gone could not be removed"),
    };
    session.output.tell(&format!("{} in {}: {line}{refused}", vault.source(), vault.store()));
}
