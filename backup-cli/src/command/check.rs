use backup::{
    Backups, Result, Source,
    check::{Report, State},
};
use serde_json::json;

use super::Session;
use crate::{
    args::CheckArgs,
    environment,
    exit::{self, ExitCode},
    output,
};

pub(crate) fn execute(session: &Session<'_>, args: &CheckArgs) -> Result<ExitCode> {
    let report = report(session, args.job.as_deref())?;
    let is_well = report.is_well();
    session.output.data(|| json!({ "well": is_well, "items": report.items }), || text(&report));
    let bad = report.items.iter().filter(|item| item.state == State::Fail).count();
    if bad > 0 {
        session.output.tell(&format!("{bad} of {} would not work", report.items.len()));
    }
    Ok(exit::verdict(is_well))
}

/// Without configuration there is still the database of `DATABASE_URL`, and a store.
fn report(session: &Session<'_>, job: Option<&str>) -> Result<Report> {
    let backups = session.backups()?;
    if backups.file().is_some() || job.is_some() {
        return backups.check(job);
    }
    let text = environment::source(None)?;
    let name = text.parse::<Source>()?.default_name().to_string();
    let only = Backups::builder().opened_store(backups.store()?).source(name, text);
    only.context(session.context.clone()).build()?.check(None)
}

fn text(report: &Report) -> String {
    let rows = report.items.iter().map(|item| {
        let state = match item.state {
            State::Ok => "ok",
            State::Warn => "warn",
            _ => "FAIL",
        };
        let advice = item.advice.clone().unwrap_or_default();
        vec![state.to_owned(), item.about.clone(), item.what.clone(), item.found.clone(), advice]
    });
    output::table(&["STATE", "OF", "WHAT", "FOUND", "WHAT TO DO"], rows.collect())
}
