use backup::{Result, Source};
use serde_json::json;

use super::Session;
use crate::{args::InitArgs, environment, exit::ExitCode};

pub(crate) fn execute(session: &Session<'_>, args: &InitArgs) -> Result<ExitCode> {
    let source: Source = environment::source(args.source.as_deref())?.parse()?;
    let starter = backup::starter(&source, &environment::store(session.global), &session.context)?;
    starter.write(&args.output, args.force)?;
    let path = args.output.display().to_string();
    if starter.left_password_out {
        session
            .output
            .tell("The password was not written: keep it in ~/.pgpass or a variable, as the file says.");
    }
    let flag = if path == "backup.toml" { String::new() } else { format!("--config {path} ") };
    let next = [format!("backup {flag}check"), format!("backup {flag}run {}", starter.job)];
    session.output.data(
        || json!({ "path": path, "job": starter.job, "next": next }),
        || format!("{path} is written. Next:\n  {}\n  {}", next[0], next[1]),
    );
    Ok(ExitCode::SUCCESS)
}
