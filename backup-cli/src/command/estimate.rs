use backup::{Error, Estimate, Result};

use super::Session;
use crate::{args::EstimateArgs, exit::ExitCode, output};

pub(crate) fn execute(session: &Session<'_>, args: &EstimateArgs) -> Result<ExitCode> {
    let protected = session.protected(args.source.as_slice())?;
    let [only] = protected.as_slice() else {
        return Err(Error::invalid("which job is meant?").with_hint("Name one: `backup estimate JOB`."));
    };
    let estimate = session.job(only, args.name.as_deref())?.blocking().estimate()?;
    session.output.data(|| serde_json::json!(estimate), || lines(&estimate).join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn lines(estimate: &Estimate) -> Vec<String> {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), output::size);
    let basis = match estimate.learnt_from {
        0 => "a guess: there is no backup of it yet".to_owned(),
        count => format!("by the last of {count} backups"),
    };
    vec![
        format!("database   {}", size(estimate.plain_bytes)),
        format!("backup     {} ({basis})", size(estimate.stored_bytes)),
        format!(
            "time       {}",
            estimate.seconds.map_or_else(|| "unknown".to_owned(), |s| format!("{s:.0} s"))
        ),
        format!("one a day  {} a month, {} a year", size(estimate.month_bytes), size(estimate.year_bytes)),
        format!("free       {}", size(estimate.free_bytes)),
    ]
}
