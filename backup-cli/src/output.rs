//! What people and programs get to see: data on stdout, everything else on stderr. A reader that is gone stops nothing.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write as _},
};

use backup::{Error, Manifest, event::Event, verify::Finding};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{DecimalBytes, MultiProgress};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::args::{Global, Told};

/// Where output goes.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) as_json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// stderr is for a program: every line a JSON object.
    pub(crate) tells_events: bool,
    bars: MultiProgress,
}

impl Output {
    /// What the flags say; a program that is attached reads JSON, whatever they say.
    pub(crate) fn new(global: &Global, is_attached: bool) -> Self {
        Self {
            as_json: global.json || is_attached,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            tells_events: global.progress == Told::Json || is_attached,
            bars: MultiProgress::new(),
        }
    }

    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// A line for people.
    pub(crate) fn tell(&self, line: &str) {
        match (self.quiet, self.tells_events, self.as_json) {
            (true, _, _) | (_, false, true) => {}
            (_, true, _) => self.document(&json!({ "event": "told", "text": line })),
            _ => self.line(&printable(line)),
        }
    }

    pub(crate) fn warn(&self, warning: &str) {
        if !self.quiet || self.tells_events {
            self.say("warning", warning, &format!("warning: {}", printable(warning)));
        }
    }

    /// A line that must be seen, even where only errors are wanted.
    pub(crate) fn alarm(&self, line: &str) {
        self.say("alarm", line, &printable(line));
    }

    pub(crate) fn finding(&self, finding: &Finding) {
        if self.tells_events {
            self.event(&Event::Found(finding.clone()));
        } else if !self.quiet {
            self.line(&format!("found: {}", printable(&finding.to_string())));
        }
    }

    /// What happened, for programs.
    pub(crate) fn event(&self, event: &Event) {
        self.document(&json!(event));
    }

    /// One JSON object in one line of stderr.
    pub(crate) fn document(&self, document: &Value) {
        self.line(&document.to_string());
    }

    pub(crate) fn error(&self, error: &Error) {
        if self.as_json {
            let _ = writeln!(io::stdout().lock(), "{:#}", json!({ "error": document_of(error) }));
            return;
        }
        self.tell_error(error);
    }

    /// An error as people read it, where it is not the last word.
    pub(crate) fn tell_error(&self, error: &Error) {
        if self.tells_events {
            return self.document(&json!({ "event": "error", "error": document_of(error) }));
        }
        let mut text = format!("error: {}", printable(&error.to_string()));
        for cause in error.causes() {
            let _ = write!(text, "\n  caused by: {}", printable(&cause));
        }
        if let Some(hint) = error.hint() {
            let _ = write!(text, "\nhint: {}", printable(hint));
        }
        self.line(&text);
    }

    fn say(&self, event: &str, text: &str, line: &str) {
        if self.tells_events {
            self.document(&json!({ "event": event, "text": text }));
        } else {
            self.line(line);
        }
    }

    fn line(&self, line: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }

    /// The command's result: the document where JSON was asked for, else the text.
    pub(crate) fn data(&self, document: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let line = if self.as_json { format!("{:#}", document()) } else { printable(&text()).into_owned() };
        if line.is_empty() {
            return;
        }
        // A reader that has seen enough (`| head`) is no failure.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

/// Text without what a terminal would act on: a manifest in a store that others can write to may hold anything.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && c != '\n';
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if acts(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// One line of text, whatever it holds.
pub(crate) fn cell(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// An error as programs read it.
pub(crate) fn document_of(error: &Error) -> Value {
    json!({
        "kind": error.kind().name(),
        "message": error.to_string(),
        "hint": error.hint(),
        "causes": error.causes(),
    })
}

/// A table without lines, as wide as it must be.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    rows.into_iter().for_each(|row| {
        table.add_row(row.iter().map(|text| cell(text)));
    });
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(crate) fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// What was counted, as the end of a line about a backup: `, 2 rows in 1 table`; nothing where nothing was.
pub(crate) fn rows_in(manifest: &Manifest) -> String {
    let of = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    manifest.rows.map_or(String::new(), |rows| {
        format!(", {} in {}", of(rows, "row"), of(manifest.tables.len() as u64, "table"))
    })
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
