use backup::{
    RestoreOptions, Restored, Result,
    engine::{RestorePart, RestorePlan, Target},
    operation,
};
use serde_json::json;

use super::{Named, Session};
use crate::{args::RestoreArgs, confirm, exit::ExitCode, output};

pub(crate) fn execute(session: &Session<'_>, args: &RestoreArgs) -> Result<ExitCode> {
    let named = session.named(&args.backup.id, args.backup.of.as_deref())?;
    let artifact = named.artifact();
    let engine = session.engine_for(artifact.manifest())?;
    let mut context = session.context.clone();
    if let Some(jobs) = args.jobs {
        context = context.with_jobs(jobs);
    }
    let options = options(args);
    let plan = operation::load_plan(artifact, &*engine, &options, &context)?;
    if args.dry_run {
        show_plan(session, &plan);
        return Ok(ExitCode::SUCCESS);
    }
    if plan.replaces && plan.skipped.is_none() {
        confirm::replacement(&plan.target.to_string(), args.yes)?;
    }
    let restored = match &named {
        Named::Stored(copies) => operation::restore_from(copies, &*engine, &options, &context)?,
        Named::File(file) => operation::restore(file, &*engine, &options, &context)?,
    };
    show(session, artifact.manifest().id.as_str(), &restored);
    Ok(ExitCode::SUCCESS)
}

fn options(args: &RestoreArgs) -> RestoreOptions {
    let options = match &args.to {
        Some(to) => RestoreOptions::into(Target::from(to.as_str())),
        None => RestoreOptions::default(),
    };
    let mut options = options.with_replace(args.replace).with_tables(args.table.clone());
    options.request.part = match (args.schema_only, args.data_only) {
        (true, _) => RestorePart::Schema,
        (_, true) => RestorePart::Data,
        _ => RestorePart::All,
    };
    options.request.into_empty = args.into_empty;
    options.request.no_owner = args.no_owner;
    options.request.no_privileges = args.no_privileges;
    options.request.jobs = args.jobs;
    options
}

fn show_plan(session: &Session<'_>, plan: &RestorePlan) {
    session.output.data(
        || json!({ "plan": { "target": plan.target.to_string(), "replaces": plan.replaces, "writes": plan.writes, "steps": plan.steps } }),
        || plan.steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect::<Vec<_>>().join("\n"),
    );
}

fn show(session: &Session<'_>, id: &str, restored: &Restored) {
    let (swapped, plan) = (&restored.swapped, &restored.plan);
    if plan.skipped.is_some() {
        session.output.data(
            || json!({ "id": id, "target": swapped.target, "skipped": plan.skipped }),
            || swapped.target.clone(),
        );
        return;
    }
    session.output.tell(&format!(
        "{} restored and proven in {:.1} s from {}",
        output::size(plan.writes),
        restored.seconds,
        restored.location
    ));
    for kept in &swapped.kept {
        session.output.tell(&format!("kept: {kept}"));
    }
    if let Some(undo) = &swapped.undo {
        session.output.tell(&format!("undo: {undo}"));
    }
    session.output.data(
        || json!({ "id": id, "target": swapped.target, "kept": swapped.kept, "undo": swapped.undo, "seconds": restored.seconds, "location": restored.location }),
        || swapped.target.clone(),
    );
}
