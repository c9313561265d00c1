//! How a guard tells what became of the work.

use backup::{GuardOutcome, GuardReport, file};
use serde_json::{Value, json};

use super::{super::Session, NotStarted};
use crate::{args::GuardArgs, exit::ExitCode, output};

/// What people read, warnings and failures above all.
pub(super) fn tell(session: &Session<'_>, args: &GuardArgs, report: &GuardReport) {
    if let Some(failure) = &report.failure {
        let what = if args.attached { "work" } else { "command" };
        session.output.alarm(&format!("the {what} failed: {failure}"));
    }
    report.warnings.iter().for_each(|warning| session.output.warn(warning));
    for line in report.lines() {
        match report.outcome {
            GuardOutcome::Succeeded => session.output.tell(&format!("guard: {line}")),
            _ => session.output.alarm(&format!("guard: {line}")),
        }
    }
}

pub(super) fn tell_not_started(
    session: &Session<'_>,
    args: &GuardArgs,
    name: &str,
    why: NotStarted,
) -> ExitCode {
    let what = if args.attached { name.to_owned() } else { format!("the command \"{name}\"") };
    let error = why.error.context(format!("{what} was not started"));
    if !session.output.as_json {
        session.output.error(&error);
    }
    let document = json!({
        "outcome": "not-started",
        "code": why.code,
        "error": output::document_of(&error),
    });
    publish(session, args, &document);
    ExitCode::from(why.code)
}

pub(super) fn document(report: &GuardReport, code: u8) -> Value {
    let restored = report.restored.as_ref().map(|restored| {
        let swapped = &restored.swapped;
        json!({ "id": report.backup, "target": swapped.target, "kept": swapped.kept, "undo": swapped.undo, "seconds": restored.seconds, "location": restored.location })
    });
    json!({
        "outcome": report.outcome.name(),
        "code": code,
        "id": report.id,
        "backup": report.backup,
        "taken": report.taken,
        "failure": report.failure,
        "difference": report.difference,
        "warnings": report.warnings,
        "restore": report.restore_line,
        "restored": restored,
        "restore_error": report.restore_error.as_ref().map(|error| format!("{error:?}")),
    })
}

/// stdout is the command's: the document is the last line of stderr, and a file where one was named. Where the work has
/// no stdout of ours, it is on stdout like any other.
pub(super) fn publish(session: &Session<'_>, args: &GuardArgs, document: &Value) {
    if let Some(path) = &args.report {
        let written = file::remove_if_present(path)
            .and_then(|()| file::write_private(path, format!("{document:#}\n").as_bytes()));
        if let Err(error) = written {
            session.output.warn(&format!("the report could not be written: {error:?}"));
        }
    }
    if args.attached {
        session.output.data(|| document.clone(), String::new);
    } else if session.output.as_json {
        session.output.document(document);
    }
}
