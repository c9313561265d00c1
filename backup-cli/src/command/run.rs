use std::time::Duration;

use backup::{Error, Job, Result, RunOptions, Taken};
use serde_json::{Value, json};

use super::Session;
use crate::{
    args::RunArgs,
    exit::{self, ExitCode},
    output,
    protected::Protected,
};

pub(crate) fn execute(session: &Session<'_>, args: &RunArgs) -> Result<ExitCode> {
    let protected = session.protected(&args.sources)?;
    match protected.as_slice() {
        [only] => {
            let taken = run(session, only, args)?;
            session.output.data(|| document(&taken), || taken.id().to_string());
            Ok(exit::verdict(taken.is_good()))
        }
        several => run_all(session, several, args),
    }
}

/// One after another; what fails stops none of the others, and is not forgotten.
fn run_all(session: &Session<'_>, protected: &[Protected], args: &RunArgs) -> Result<ExitCode> {
    if args.name.is_some() {
        return Err(Error::invalid("several jobs cannot share one --name"));
    }
    let (mut documents, mut ids, mut is_good, mut first_error) = (Vec::new(), Vec::new(), true, None);
    for one in protected {
        match run(session, one, args) {
            Ok(taken) => {
                is_good &= taken.is_good();
                ids.push(taken.id().to_string());
                documents.push(document(&taken));
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                session.output.warn(&format!("{} failed", one.name()));
                if !session.output.as_json {
                    session.output.tell_error(&error);
                }
                documents.push(json!({ "job": one.name(), "error": output::document_of(&error) }));
                first_error.get_or_insert(error);
            }
        }
    }
    let mut whole = json!({ "runs": documents });
    if let Some(error) = &first_error {
        whole["error"] = output::document_of(error);
    }
    session.output.data(|| whole, || ids.join("\n"));
    Ok(first_error.map_or_else(|| exit::verdict(is_good), |error| exit::of(&error)))
}

fn run(session: &Session<'_>, protected: &Protected, args: &RunArgs) -> Result<Taken> {
    let job = session.job(protected, args.name.as_deref())?;
    let mut settings = job.settings().clone();
    settings.run = options(args, settings.run)?;
    let taken = Job::with_settings(job, settings).blocking().run(RunOptions::default())?;
    tell(session, &taken);
    Ok(taken)
}

fn document(taken: &Taken) -> Value {
    json!({
        "id": taken.id(),
        "good": taken.is_good(),
        "location": taken.location,
        "findings": taken.findings,
        "manifest": taken.manifest,
        "mirrors": taken.copies,
        "pruned": taken.pruned,
    })
}

/// What was typed goes before what the job says; tags add up.
fn options(args: &RunArgs, own: RunOptions) -> Result<RunOptions> {
    let mut options = own.with_accept(args.accept).with_same_source(args.name.is_some());
    options.content = args.content.unwrap_or(options.content);
    options.verify = args.verify.unwrap_or(options.verify);
    options.tags.extend(args.tag.clone());
    options.compression = args.compression.or(options.compression);
    options.wait = args.wait.map_or(options.wait, Duration::from_secs);
    options.guardrails.min_rows = args.min_rows.or(options.guardrails.min_rows);
    let capture = &mut options.capture;
    let lists = [
        (&mut capture.tables, &args.table),
        (&mut capture.exclude_tables, &args.exclude_table),
        (&mut capture.exclude_table_data, &args.exclude_table_data),
        (&mut capture.schemas, &args.schema),
    ];
    lists.into_iter().filter(|(_, typed)| !typed.is_empty()).for_each(|(own, typed)| own.clone_from(typed));
    capture.format = args.format.or(capture.format);
    capture.jobs = args.jobs.or(capture.jobs);
    capture.cross_check |= args.cross_check;
    capture.no_owner |= args.no_owner;
    capture.no_roles |= args.no_roles;
    capture.lock_wait = args.lock_wait.map(Duration::from_secs).or(capture.lock_wait);
    if !args.recipient.is_empty() {
        // Not by the parser of the command line, which would repeat a secret key that was given by mistake.
        options.recipients = args.recipient.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    }
    Ok(options)
}

fn tell(session: &Session<'_>, taken: &Taken) {
    let (manifest, payload) = (&taken.manifest, &taken.manifest.payload);
    let rows = output::rows_in(manifest);
    let seconds = manifest.finished_at.duration_since(manifest.started_at).as_secs_f64();
    session.output.tell(&format!(
        "{} in {}{rows}; {seconds:.1} s, verified: {}",
        output::size(payload.plain_bytes),
        output::size(payload.bytes),
        manifest.options.get("verify").and_then(|level| level.as_str()).unwrap_or("none"),
    ));
    for suspicion in &manifest.suspect {
        session.output.alarm(&format!(
            "warning: SUSPECT ({}): {}; {}",
            suspicion.rule, suspicion.found, suspicion.expected
        ));
    }
    if !taken.is_good() {
        session.output.tell("The backup is kept and does not count as good. --accept takes a smaller database as the new normal.");
    }
}
