//! An engine of your own: a log of one JSON document per line, to which programs only append.
//!
//! `cargo run --example own_engine -- events.jsonl backups`
#![allow(clippy::print_stdout)]

use std::{fmt, fs, io::Write, path::PathBuf, sync::Arc};

use backup::{Error, Result, engine::*, manifest::SourceFacts, manifest::TableFacts, prelude::*};

#[derive(Debug)]
struct LineLog(PathBuf);

impl fmt::Display for LineLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log \"{}\"", self.0.display())
    }
}

impl BackupEngine for LineLog {
    fn capabilities(&self) -> EngineCapabilities {
        EngineCapabilities::new(&[Content::Full])
    }

    fn extension(&self, _request: &CaptureRequest) -> &'static str {
        ".jsonl"
    }

    fn inspect(&self, _cx: &Context) -> Result<SourceReport> {
        let path = self.0.canonicalize().map_err(|e| Error::io("find", &self.0, e))?;
        let size = fs::metadata(&path).map_err(|e| Error::io("examine", &path, e))?.len();
        Ok(SourceReport::new(SourceFacts::new("", "line-log", path.display().to_string()), Some(size)))
    }

    fn capture(&self, _: &CaptureRequest, sink: &mut dyn PayloadSink, cx: &Context) -> Result<Captured> {
        let bytes = fs::read(&self.0).map_err(|e| Error::io("read", &self.0, e))?;
        let mut captured = Captured::at(cx.now());
        captured.counted = true;
        // A line that is being written has no end yet, and belongs to the next backup.
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let store = |line| SinkWriter(&mut *sink).write_all(line);
        lines.clone().try_for_each(store).map_err(|e| Error::from_io("could not store a line", e))?;
        captured.tables.push(TableFacts::new("lines", lines.count() as u64));
        Ok(captured)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [log, store] = arguments.as_slice() else {
        return Err(Error::invalid("usage: own_engine LOG STORE"));
    };
    let log = Arc::new(LineLog(log.into()));
    let job = Backups::builder().store(store.as_str()).engine("log", log).build()?.job("log")?.blocking();
    let taken = job.run(RunOptions::default())?;
    let drilled = job.drill(taken.id(), &DrillOptions::default())?;
    println!("{}: {} lines, drill ok: {}", taken.id(), taken.manifest.rows.unwrap_or(0), drilled.is_ok());
    Ok(())
}
