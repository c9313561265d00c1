use std::fmt::Write;

use backup::{Manifest, Proof, Result, artifact::Artifact, proof::KeyUsed};
use serde_json::json;

use super::{Named, Session};
use crate::{args::IdArg, exit::ExitCode, output};

pub(crate) fn execute(session: &Session<'_>, args: &IdArg) -> Result<ExitCode> {
    let named = session.named(&args.id, args.of.as_deref())?;
    let proofs = match &named {
        Named::Stored(copies) => session.own_copy(copies)?.vault.proofs(&copies.manifest().id)?,
        Named::File(_) => Vec::new(),
    };
    let places = places(&named);
    let artifact = named.artifact();
    let (manifest, location) = (artifact.manifest(), artifact.location());
    session.output.data(
        || json!({ "location": location, "manifest": manifest, "proofs": proofs, "copies": places }),
        || text(manifest, &location, &places, &proofs),
    );
    Ok(ExitCode::SUCCESS)
}

/// Where it lies, nearest first.
fn places(named: &Named) -> Vec<String> {
    match named {
        Named::Stored(copies) => copies.iter().map(|copy| copy.artifact.location()).collect(),
        Named::File(file) => vec![file.location()],
    }
}

fn text(manifest: &Manifest, location: &str, places: &[String], proofs: &[Proof]) -> String {
    let payload = &manifest.payload;
    let mut rows = vec![
        ("id", manifest.id.to_string()),
        ("state", if manifest.is_good() { "good".to_owned() } else { "SUSPECT".to_owned() }),
        ("partial", manifest.limited_to().unwrap_or_default()),
        ("source", format!("{} {}", manifest.source.engine, manifest.source.database)),
        ("snapshot", manifest.snapshot_at.to_string()),
        ("tags", manifest.tags.join(", ")),
        ("payload", location.to_owned()),
        ("stored", format!("{} ({} bytes)", output::size(payload.bytes), payload.bytes)),
        ("decoded", format!("{} ({} bytes)", output::size(payload.plain_bytes), payload.plain_bytes)),
        ("encoding", payload.encoding.join(", ")),
        ("blake3", payload.blake3.clone()),
        ("rows", manifest.rows.map_or("not counted".to_owned(), |rows| rows.to_string())),
    ];
    rows.extend(recipients(manifest).map(|recipient| ("recipient", recipient)));
    rows.extend(
        manifest.suspect.iter().map(|s| ("suspect", format!("{}: {}; {}", s.rule, s.found, s.expected))),
    );
    rows.extend(places.iter().skip(1).map(|place| ("copy", place.clone())));
    rows.extend(proofs.iter().map(|proof| ("proof", proof_line(proof))));
    rows.retain(|(_, value)| !value.is_empty());
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<9} {}", output::cell(&value));
    }
    let tables =
        manifest.tables.iter().map(|table| vec![table.name.clone(), table.rows.to_string()]).collect();
    let _ = write!(text, "\n{}", output::table(&["TABLE", "ROWS"], tables));
    text
}

/// For whom it is encrypted.
fn recipients(manifest: &Manifest) -> impl Iterator<Item = String> {
    let named = manifest.options.get("recipients").and_then(|names| names.as_array()).into_iter().flatten();
    named.filter_map(|name| Some(name.as_str()?.escape_debug().to_string()))
}

fn proof_line(proof: &Proof) -> String {
    let outcome = if proof.ok { "ok" } else { "FAILED" };
    let restore =
        proof.restore_seconds.map_or(String::new(), |seconds| format!(", restored in {seconds:.1} s"));
    let key = match proof.key {
        Some(KeyUsed::Run) => ", with the run's own key",
        _ => "",
    };
    format!("{} {} {outcome} in {:.1} s{restore}{key}", proof.started_at, proof.level, proof.seconds)
}
