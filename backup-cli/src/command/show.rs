use std::{fmt::Write, process::ExitCode};

use backup::{Manifest, Proof, Result};
use serde_json::json;

use super::{Named, Session};
use crate::{args::IdArg, output};

pub(crate) fn execute(session: &Session<'_>, args: &IdArg) -> Result<ExitCode> {
    let named = session.named(&args.id)?;
    let proofs = match &named {
        Named::Stored(vault, artifact) => vault.proofs(&backup::artifact::Artifact::manifest(artifact).id)?,
        Named::File(_) => Vec::new(),
    };
    let artifact = named.artifact();
    let (manifest, location) = (artifact.manifest(), artifact.location());
    session.output.data(
        || json!({ "location": location, "manifest": manifest, "proofs": proofs }),
        || text(manifest, &location, &proofs),
    );
    Ok(ExitCode::SUCCESS)
}

fn text(manifest: &Manifest, location: &str, proofs: &[Proof]) -> String {
    let payload = &manifest.payload;
    let mut rows = vec![
        ("id", manifest.id.to_string()),
        ("state", if manifest.is_good() { "good".to_owned() } else { "SUSPECT".to_owned() }),
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
    rows.extend(
        manifest.suspect.iter().map(|s| ("suspect", format!("{}: {}; {}", s.rule, s.found, s.expected))),
    );
    rows.extend(proofs.iter().map(|proof| ("proof", proof_line(proof))));
    rows.retain(|(_, value)| !value.is_empty());
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<9} {value}");
    }
    let tables =
        manifest.tables.iter().map(|table| vec![table.name.clone(), table.rows.to_string()]).collect();
    let _ = write!(text, "\n{}", output::table(&["TABLE", "ROWS"], tables));
    text
}

fn proof_line(proof: &Proof) -> String {
    let outcome = if proof.ok { "ok" } else { "FAILED" };
    let restore =
        proof.restore_seconds.map_or(String::new(), |seconds| format!(", restored in {seconds:.1} s"));
    format!("{} {} {outcome} in {:.1} s{restore}", proof.started_at, proof.level, proof.seconds)
}
