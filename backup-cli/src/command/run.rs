use std::process::ExitCode;

use std::time::Duration;

use backup::{Backups, CaptureOptions, Result, RunOptions, Source, Taken};
use serde_json::json;

use super::Session;
use crate::{args::RunArgs, environment, exit, output};

pub(crate) fn execute(session: &Session<'_>, args: &RunArgs) -> Result<ExitCode> {
    let text = environment::source(args.source.as_deref())?;
    let source: Source = text.parse()?;
    let name = args.name.clone().unwrap_or_else(|| source.default_name().to_string());
    let mut context = session.context.clone();
    if let Some(jobs) = args.jobs {
        context = context.with_jobs(jobs);
    }
    let backups =
        Backups::builder().opened_store(session.store()?).source(&name, text).context(context).build()?;
    let taken = backups.job(&name)?.blocking().run(options(args))?;
    tell(session, &taken);
    session.output.data(
        || json!({ "id": taken.id(), "good": taken.is_good(), "location": taken.location, "findings": taken.findings, "manifest": taken.manifest }),
        || taken.id().to_string(),
    );
    Ok(exit::verdict(taken.is_good()))
}

fn options(args: &RunArgs) -> RunOptions {
    let mut options = RunOptions::default()
        .with_content(args.content)
        .with_capture(capture(args))
        .with_verify(args.verify)
        .with_accept(args.accept)
        .with_same_source(args.name.is_some());
    options.tags.clone_from(&args.tag);
    options.compression = args.compression;
    options.guardrails.min_rows = args.min_rows;
    options
}

fn capture(args: &RunArgs) -> CaptureOptions {
    let mut capture = CaptureOptions::default();
    capture.tables.clone_from(&args.table);
    capture.exclude_tables.clone_from(&args.exclude_table);
    capture.exclude_table_data.clone_from(&args.exclude_table_data);
    capture.schemas.clone_from(&args.schema);
    capture.format = args.format;
    capture.jobs = args.jobs;
    capture.cross_check = args.cross_check;
    capture.no_owner = args.no_owner;
    capture.lock_wait = args.lock_wait.map(Duration::from_secs);
    capture
}

fn tell(session: &Session<'_>, taken: &Taken) {
    let (manifest, payload) = (&taken.manifest, &taken.manifest.payload);
    let rows = manifest
        .rows
        .map_or(String::new(), |rows| format!(", {rows} rows in {} tables", manifest.tables.len()));
    let seconds = manifest.finished_at.duration_since(manifest.started_at).as_secs_f64();
    session.output.tell(&format!(
        "{} in {}{rows}; {seconds:.1} s, verified: {}",
        output::size(payload.plain_bytes),
        output::size(payload.bytes),
        manifest.options.get("verify").and_then(|level| level.as_str()).unwrap_or("none"),
    ));
    for suspicion in &manifest.suspect {
        session
            .output
            .warn(&format!("SUSPECT ({}): {}; {}", suspicion.rule, suspicion.found, suspicion.expected));
    }
    if !taken.is_good() {
        session.output.tell("The backup is kept and does not count as good. --accept takes a smaller database as the new normal.");
    }
}
