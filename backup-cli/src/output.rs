//! What people and programs get to see: data on stdout, everything else on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, Write};

use backup::{Error, verify::Finding};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{DecimalBytes, MultiProgress};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::args::Global;

/// Where output goes.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) as_json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    bars: MultiProgress,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            as_json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            bars: MultiProgress::new(),
        }
    }

    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// A line for people.
    pub(crate) fn tell(&self, line: &str) {
        if !self.quiet && !self.as_json {
            self.bars.suspend(|| eprintln!("{line}"));
        }
    }

    pub(crate) fn warn(&self, warning: &str) {
        if !self.quiet {
            self.bars.suspend(|| eprintln!("warning: {warning}"));
        }
    }

    pub(crate) fn finding(&self, finding: &Finding) {
        if !self.quiet {
            self.bars.suspend(|| eprintln!("found: {finding}"));
        }
    }

    pub(crate) fn error(&self, error: &Error) {
        if self.as_json {
            let document = json!({ "error": {
                "kind": error.kind().name(),
                "message": error.to_string(),
                "hint": error.hint(),
                "causes": error.causes(),
            }});
            println!("{document:#}");
            return;
        }
        eprintln!("error: {error}");
        error.causes().iter().for_each(|cause| eprintln!("  caused by: {cause}"));
        error.hint().iter().for_each(|hint| eprintln!("hint: {hint}"));
    }

    /// The command's result: the document where JSON was asked for, else the text.
    pub(crate) fn data(&self, document: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let line = if self.as_json { format!("{:#}", document()) } else { text() };
        // A reader that has seen enough (`| head`) is no failure.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

/// A table without lines, as wide as it must be.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(crate) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// An age in its largest sensible unit.
pub(crate) fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", SignedDuration::from_secs(seconds).as_hours() / 24),
    }
}
