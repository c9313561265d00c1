//! The roles, memberships and tablespaces of a cluster, stored beside each full dump: a database alone does not bring
//! its owners back.

use std::{io::Read, process::Stdio, time::Duration};

use backup_core::{
    Error, Result,
    context::Context,
    engine::{Captured, PayloadSink},
};
use serde_json::json;

use crate::{child::Running, dump::connect, messages, source::Source, tools::Tools};

/// How the companion's name ends.
pub(crate) const SUFFIX: &str = "globals.sql";

/// The most that is kept of them; they are a line or two per role.
const MAX_BYTES: u64 = 256 << 20;

const STALL: Duration = Duration::from_secs(300);

/// Stores them; without the right to see passwords, without those; without any right, says so and goes on.
pub(crate) fn store(
    source: &Source,
    tools: &Tools,
    sink: &mut dyn PayloadSink,
    captured: &mut Captured,
    cx: &Context,
) -> Result<()> {
    let (text, passwords) = match globals(source, tools, true, cx) {
        Ok(text) => (text, true),
        Err(error) if error.is_cancelled() => return Err(error),
        Err(_) => match globals(source, tools, false, cx) {
            Ok(text) => (text, false),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                cx.warn(format!("the cluster's roles are not in this backup: {error:?}"));
                return Ok(());
            }
        },
    };
    captured.facts.insert("role_passwords".to_owned(), json!(passwords));
    sink.companion(SUFFIX, &text)
}

fn globals(source: &Source, tools: &Tools, passwords: bool, cx: &Context) -> Result<Vec<u8>> {
    let mut command = tools.command("pg_dumpall");
    connect(&mut command, source, "backup roles", &[]);
    command.arg("--globals-only").arg(format!("--database={}", source.resolved.database));
    if !passwords {
        command.arg("--no-role-passwords");
    }
    command.stdout(Stdio::piped());
    let mut dump = Running::start(command, Some(STALL), cx)?;
    let mut text = Vec::new();
    if let Some(output) = dump.stdout() {
        output
            .take(MAX_BYTES)
            .read_to_end(&mut text)
            .map_err(|e| Error::from_io("could not read from pg_dumpall", e))?;
    }
    let ended = dump.finish()?;
    messages::require_dumped(
        "pg_dumpall",
        &ended,
        &cx.clone().with_observer(std::sync::Arc::new(backup_core::event::Silent)),
    )?;
    if String::from_utf8_lossy(&text[text.len().saturating_sub(200)..]).contains("cluster dump complete") {
        return Ok(text);
    }
    Err(Error::corrupt("what pg_dumpall wrote is cut short"))
}
