//! Work that is done by another program, which holds our stdin: it is told when it may start, and tells how it ended.

use backup::{CancelToken, Error, Guard, Result};
use serde_json::json;

use super::{super::Session, NotStarted, prepare, report};
use crate::{args::GuardArgs, caller::Caller, exit::ExitCode, signals::Signals};

/// What work is called that has no name.
const WORK: &str = "the caller's work";

pub(super) fn execute(session: &Session<'_>, args: &GuardArgs) -> Result<ExitCode> {
    let work = args.work.as_deref().unwrap_or(WORK);
    let own;
    let caller = match session.surroundings.caller {
        Some(caller) => caller,
        None => {
            own = Caller::listen(None, session.context.cancel())?;
            &own
        }
    };
    let begun = Signals::catch(session.context.cancel())
        .map_err(|e| Error::from_io("signals cannot be caught", e))
        .and_then(|signals| Ok((begin(session, args, work, &signals)?, signals)));
    let (guard, signals) = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(report::tell_not_started(session, args, work, NotStarted::of(error))),
    };
    match caller.line().as_deref().and_then(Ending::of) {
        Some(ending) => Ok(end(session, args, guard, &ending, &signals)),
        None => {
            guard.leave();
            Err(Error::cancelled()
                .with_hint("Whoever did the guarded work went without saying how it ended."))
        }
    }
}

/// Makes everything ready and says so. From then on signals are for whoever does the work.
fn begin(session: &Session<'_>, args: &GuardArgs, work: &str, signals: &Signals) -> Result<Guard> {
    let guard = prepare::begin(session, args, work)?;
    if !signals.ignore() {
        guard.call_off();
        return Err(Error::cancelled());
    }
    session.output.document(&json!({
        "event": "guarding",
        "id": guard.id(),
        "backup": guard.backup().id,
        "taken": guard.is_taken(),
        "restore": guard.restore_line(),
    }));
    Ok(guard)
}

/// How the work ended, in its own words.
enum Ending {
    Succeeded,
    Failed(String),
}

impl Ending {
    /// What a line says: `succeeded`, or `failed: REASON`.
    fn of(line: &str) -> Option<Self> {
        match line.trim().split_once(':') {
            None if line.trim() == "succeeded" => Some(Self::Succeeded),
            Some(("failed", reason)) => Some(Self::Failed(reason.trim().to_owned())),
            _ => None,
        }
    }
}

fn end(
    session: &Session<'_>,
    args: &GuardArgs,
    guard: Guard,
    ending: &Ending,
    signals: &Signals,
) -> ExitCode {
    let after = CancelToken::default();
    signals.raise(&after);
    let guard = guard.with_context(session.context.clone().with_cancel(after));
    let (report, code) = match ending {
        Ending::Succeeded => (guard.succeed(), ExitCode::SUCCESS),
        Ending::Failed(reason) => (guard.fail(reason), ExitCode::FAILURE),
    };
    report::tell(session, args, &report);
    report::publish(session, args, &report::document(&report, code.code()));
    code
}
