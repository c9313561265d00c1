mod attached;
mod prepare;
mod report;

use std::{path::Path, process::ExitStatus};

use backup::{CancelToken, Error, Guard, Result};

use super::Session;
use crate::{
    args::GuardArgs,
    child::{self, NotRunnable},
    exit::{self, ExitCode},
    signals::Signals,
};

pub(crate) fn execute(session: &Session<'_>, args: &GuardArgs) -> Result<ExitCode> {
    if args.attached {
        return attached::execute(session, args);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Error::invalid("no command was named").with_hint("Name one after `--`."));
    };
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    let after = CancelToken::default();
    let begun = child::find(program).map_err(|why| not_runnable(&name, why)).and_then(|()| {
        let signals = Signals::catch(session.context.cancel())
            .map_err(|e| NotStarted::of(Error::from_io("signals cannot be caught", e)))?;
        let guard = prepare::begin(session, args, &name).map_err(NotStarted::of)?;
        tell_begun(session, &guard);
        let guard = guard.with_context(session.context.clone().with_cancel(after.clone()));
        let mut command = child::command(program, arguments, guard.id());
        match signals.run(&mut command, &after) {
            Ok(status) => Ok((guard, status)),
            Err(error) => {
                guard.call_off();
                Err(match error.kind() {
                    std::io::ErrorKind::Interrupted => NotStarted::of(Error::cancelled()),
                    _ => not_runnable(&name, NotRunnable::of(&error)),
                })
            }
        }
    });
    match begun {
        Ok((guard, status)) => end(session, args, guard, status),
        Err(not_started) => Ok(report::tell_not_started(session, args, &name, not_started)),
    }
}

/// Why the command was not started, and the code that says so.
struct NotStarted {
    error: Error,
    code: u8,
}

impl NotStarted {
    fn of(error: Error) -> Self {
        let code = exit::code_of(error.kind());
        Self { error, code }
    }
}

fn not_runnable(name: &str, why: NotRunnable) -> NotStarted {
    let error = Error::new(why.kind, format!("command \"{name}\" {}", why.why));
    NotStarted { error, code: why.code }
}

fn tell_begun(session: &Session<'_>, guard: &Guard) {
    let how = if guard.is_taken() { "taken and proven" } else { "proven, and fresh enough" };
    session.output.tell(&format!("guard: \"{}\" is {how}", guard.backup().id));
}

/// Ends the guard as the command ended, and returns the command's code.
fn end(session: &Session<'_>, args: &GuardArgs, guard: Guard, status: ExitStatus) -> Result<ExitCode> {
    let code = child::code_of(status);
    let report = if status.success() { guard.succeed() } else { guard.fail(&child::reason(status)) };
    report::tell(session, args, &report);
    report::publish(session, args, &report::document(&report, code));
    Ok(ExitCode::from(code))
}
