//! Rows that go into the server while an archive passes by.
//!
//! pg_restore gives each table to one session, so the largest one decides how long all take. Here every session takes
//! the next rows, whichever table they are of: COPY text may be cut at any line feed. Where the types of a table's columns
//! are known here, its rows go in COPY's binary format.

use std::{
    io::{self, Write},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use backup_core::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use memchr::{memchr, memrchr};

use super::{
    binary::{BinaryTable, HEADER, TRAILER},
    temporary::Place,
};
use crate::{
    archive::{DataSink, Entry},
    session::{Session, explain},
};

/// Rows that one session takes at a time. Two for each session wait.
const PART_BYTES: usize = 512 << 10;

/// Rows that are fewer go as they are: looking up a table's columns would take longer than they do.
const WORTH_BYTES: usize = 64 << 10;

/// Bytes that are sent at once: each is copied twice on its way, which is cheap while it is near.
const WRITE_BYTES: usize = 32 << 10;

/// A row that is longer goes to its session piece by piece: one may have a gigabyte and more.
const LONG_ROW_BYTES: usize = 8 << 20;

/// Pieces of a long row that wait for its session.
const PIECES_AHEAD: usize = 2;

/// What pg_dump ends a table's rows with, which are also the most bytes that are not rows.
const END_MARK: &[u8] = b"\\.\n\n\n";

/// The settings that pg_dump's archives begin with, and no waiting for the disk.
const SETTINGS: [(&str, &str); 3] =
    [("xmloption", "content"), ("row_security", "off"), ("synchronous_commit", "off")];

/// Sessions that copy rows into a database. They stop at the first error, and when the [`Rows`] are dropped.
pub(super) struct Copying {
    sessions: Vec<JoinHandle<()>>,
    outcome: Arc<Outcome>,
}

/// The end of an archive's data that fills the sessions.
pub(super) struct Rows {
    queue: Sender<Part>,
    sessions: usize,
    outcome: Arc<Outcome>,
    encoding: Option<String>,
    /// The entries that have data; some tables wait for others.
    with_data: Vec<i32>,
    statement: Arc<Statement>,
    open: Vec<u8>,
    /// A row ends in what is open; without that, a long row need not be looked through again with each of its pieces.
    has_end: bool,
    /// Where the pieces of a long row go until its end has come.
    long_row: Option<Sender<Vec<u8>>>,
}

#[derive(Default)]
struct Outcome {
    is_over: AtomicBool,
    error: Mutex<Option<Error>>,
}

enum Part {
    /// Whole rows of a table.
    Rows { statement: Arc<Statement>, rows: Vec<u8> },
    /// One row of a table, in pieces.
    LongRow { statement: Arc<Statement>, pieces: Receiver<Vec<u8>> },
    /// All sessions end what they are at before any goes on.
    Fence(Arc<Barrier>),
}

/// Starts so many sessions in a database; rows come in `encoding`, where the archive says.
pub(super) fn start(
    place: &Place,
    jobs: usize,
    encoding: Option<&str>,
    entries: &[Entry],
) -> Result<(Rows, Copying)> {
    let (queue, waiting) = bounded(2 * jobs);
    let outcome = Arc::new(Outcome::default());
    let mut sessions = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let (place, waiting, outcome) = (place.clone(), waiting.clone(), Arc::clone(&outcome));
        let work = move || {
            if let Err(error) = serve(&place, &waiting) {
                outcome.fail(error);
                // Others may wait at a fence that this session has not reached.
                for part in &waiting {
                    part.pass();
                }
            }
        };
        let thread = thread::Builder::new().name("backup-copy".to_owned()).spawn(work);
        sessions.push(thread.map_err(|e| Error::from_io("could not start a thread", e))?);
    }
    let rows = Rows {
        queue,
        sessions: jobs,
        outcome: Arc::clone(&outcome),
        encoding: encoding.map(str::to_owned),
        with_data: entries.iter().filter(|entry| entry.has_data).map(|entry| entry.dump_id).collect(),
        statement: Arc::default(),
        open: Vec::new(),
        has_end: false,
        long_row: None,
    };
    Ok((rows, Copying { sessions, outcome }))
}

/// Whether a table's rows can be copied by this statement: what the archive has is lossy where names are in another
/// encoding.
pub(super) fn can_copy(entry: &Entry) -> bool {
    entry.is_copy() && !entry.copy.contains('\u{fffd}') && statement_of(entry, None).is_some()
}

/// How a table's rows are copied.
#[derive(Debug, Default, PartialEq, Eq)]
struct Statement {
    /// As pg_dump wrote it.
    dumped: String,
    /// For the archive's text.
    text: String,
    /// The archive's text is UTF-8, as all that our sessions say.
    can_be_binary: bool,
}

fn statement_of(entry: &Entry, encoding: Option<&str>) -> Option<Statement> {
    let copy = entry.copy.trim_end().strip_suffix(" FROM stdin;")?;
    let options =
        encoding.map(|name| format!(" WITH (ENCODING {})", super::names::literal(name))).unwrap_or_default();
    Some(Statement {
        dumped: entry.copy.clone(),
        text: format!("{copy} FROM stdin{options}"),
        can_be_binary: encoding.is_none_or(|name| name == "UTF8"),
    })
}

impl Copying {
    /// Waits until all rows are in, after the [`Rows`] were dropped.
    ///
    /// # Errors
    /// The first that any session met.
    pub(super) fn finish(self) -> Result<()> {
        let is_panicked = self.sessions.into_iter().map(JoinHandle::join).filter(Result::is_err).count() > 0;
        match self.outcome.take() {
            Some(error) => Err(error),
            None if is_panicked => Err(Error::failed("a session that loaded rows stopped")),
            None => Ok(()),
        }
    }
}

impl Outcome {
    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.is_over.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Part {
    fn is_of(&self, table: &Arc<Statement>) -> bool {
        match self {
            Self::Rows { statement, .. } | Self::LongRow { statement, .. } => statement == table,
            Self::Fence(_) => false,
        }
    }

    fn is_rows_of(&self, table: &Arc<Statement>) -> bool {
        matches!(self, Self::Rows { .. }) && self.is_of(table)
    }

    fn write_to(self, copy: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Rows { rows, .. } => rows.chunks(WRITE_BYTES).try_for_each(|rows| copy.write_all(rows)),
            Self::LongRow { pieces, .. } => pieces.iter().try_for_each(|piece| copy.write_all(&piece)),
            Self::Fence(_) => Ok(()),
        }
    }

    fn pass(self) {
        if let Self::Fence(fence) = self {
            fence.wait();
        }
    }
}

impl Rows {
    fn send(&self, part: Part) -> Result<()> {
        let is_taken = !self.outcome.is_over.load(Ordering::Acquire) && self.queue.send(part).is_ok();
        if is_taken { Ok(()) } else { Err(not_loaded()) }
    }

    /// Sends whole rows; what is left may be the beginning of one, or the end mark.
    fn send_rows(&mut self) -> Result<()> {
        let sure = self.open.len().saturating_sub(END_MARK.len());
        let Some(last) = memrchr(b'\n', self.open.get(..sure).unwrap_or_default()) else { return Ok(()) };
        let rest = self.open.split_off(last + 1);
        self.has_end = memrchr(b'\n', &rest).is_some();
        let rows = std::mem::replace(&mut self.open, rest);
        self.send(Part::Rows { statement: Arc::clone(&self.statement), rows })
    }

    /// What is open is the beginning of a row that is too long to be held.
    fn begin_long_row(&mut self) -> Result<()> {
        let (row, pieces) = bounded(PIECES_AHEAD);
        self.send(Part::LongRow { statement: Arc::clone(&self.statement), pieces })?;
        let begun = std::mem::take(&mut self.open);
        self.long_row = row.send(begun).is_ok().then_some(row);
        self.long_row.as_ref().map(drop).ok_or_else(not_loaded)
    }

    /// Hands on what of `bytes` belongs to the long row that is open, and returns the rest.
    fn go_on_with_long_row<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let Some(row) = self.long_row.take() else { return Ok(bytes) };
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let (now, later) = bytes.split_at(end.unwrap_or(bytes.len()));
        row.send(now.to_vec()).map_err(|_| not_loaded())?;
        self.long_row = end.is_none().then_some(row);
        Ok(later)
    }
}

fn not_loaded() -> Error {
    Error::failed("the rows could not be loaded")
}

impl DataSink for Rows {
    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let statement = statement_of(entry, self.encoding.as_deref());
        let statement = statement.ok_or_else(|| Error::corrupt(format!("{} has no COPY", entry.label())))?;
        self.statement = Arc::new(statement);
        self.open.clear();
        self.has_end = false;
        self.long_row = None;
        // Among configuration tables of extensions there are foreign keys while rows are loaded.
        if entry.dependencies.iter().any(|id| self.with_data.contains(id)) {
            let fence = Arc::new(Barrier::new(self.sessions));
            for _ in 0..self.sessions {
                // Also after a failure: a fence that only some of the sessions reach would hold those for ever.
                let _ = self.queue.send(Part::Fence(Arc::clone(&fence)));
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = self.go_on_with_long_row(bytes)?;
        self.open.extend_from_slice(bytes);
        self.has_end |= memrchr(b'\n', bytes).is_some();
        match (self.has_end, self.open.len()) {
            (true, open) if open >= PART_BYTES => self.send_rows(),
            (false, open) if open >= LONG_ROW_BYTES => self.begin_long_row(),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        // Its place in the archive was read already: no table's rows end without it.
        let mut rows = std::mem::take(&mut self.open);
        while rows.ends_with(b"\n\n") || rows == b"\n" {
            rows.pop();
        }
        if rows.ends_with(b"\\.\n") {
            rows.truncate(rows.len() - 3);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.send(Part::Rows { statement: Arc::clone(&self.statement), rows })
    }
}

/// Copies what comes until no more does.
fn serve(place: &Place, waiting: &Receiver<Part>) -> Result<()> {
    let mut session = place.session("backup restore", &SETTINGS)?;
    session.client().batch_execute("SET search_path = ''").map_err(|e| explain(e, "set up a session"))?;
    let mut next = waiting.recv().ok();
    while let Some(part) = next {
        next = match part {
            Part::Fence(fence) => {
                fence.wait();
                waiting.recv().ok()
            }
            Part::Rows { ref statement, .. } | Part::LongRow { ref statement, .. } => {
                let statement = Arc::clone(statement);
                copy_table(&mut session, &statement, part, waiting)?
            }
        };
    }
    Ok(())
}

/// Copies rows of one table until others come, which are returned.
fn copy_table(
    session: &mut Session,
    table: &Arc<Statement>,
    first: Part,
    waiting: &Receiver<Part>,
) -> Result<Option<Part>> {
    let is_large = matches!(&first, Part::Rows { rows, .. } if rows.len() >= WORTH_BYTES);
    let binary =
        if is_large && table.can_be_binary { BinaryTable::look_up(session, &table.dumped) } else { None };
    let next = match binary {
        Some(binary) => copy(session, &binary.statement, Some(&binary), table, first, waiting)?,
        None => Some(first),
    };
    match next {
        Some(part) if part.is_of(table) => copy(session, &table.text, None, table, part, waiting),
        next => Ok(next),
    }
}

/// Copies rows of one table by one statement, until others come or some that do not go in its format; those are
/// returned.
fn copy(
    session: &mut Session,
    statement: &str,
    binary: Option<&BinaryTable>,
    table: &Arc<Statement>,
    first: Part,
    waiting: &Receiver<Part>,
) -> Result<Option<Part>> {
    let action = format!("load rows by \"{statement}\"");
    let mut copy = session.client().copy_in(statement).map_err(|e| explain(e, &action))?;
    let written = match binary {
        Some(binary) => write_binary(&mut copy, binary, table, first, waiting),
        None => write_text(&mut copy, table, first, waiting),
    };
    // The server's own words come with the end of the copy.
    copy.finish().map_err(|e| explain(e, &action))?;
    written.map_err(|e| Error::from_io("could not send rows", e))
}

fn write_text(
    copy: &mut impl Write,
    table: &Arc<Statement>,
    first: Part,
    waiting: &Receiver<Part>,
) -> io::Result<Option<Part>> {
    let mut next = Some(first);
    while let Some(part) = next.take_if(|part| part.is_of(table)) {
        part.write_to(copy)?;
        next = waiting.recv().ok();
    }
    Ok(next)
}

fn write_binary(
    copy: &mut impl Write,
    binary: &BinaryTable,
    table: &Arc<Statement>,
    first: Part,
    waiting: &Receiver<Part>,
) -> io::Result<Option<Part>> {
    let mut converted = Vec::with_capacity(2 * WRITE_BYTES);
    converted.extend_from_slice(HEADER);
    let mut next = Some(first);
    while let Some(Part::Rows { rows, .. }) = next.take_if(|part| part.is_rows_of(table)) {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let is_understood = binary.convert(&mut rest, &mut converted, WRITE_BYTES);
            copy.write_all(&converted)?;
            converted.clear();
            if !is_understood {
                copy.write_all(TRAILER)?;
                return Ok(Some(Part::Rows { statement: Arc::clone(table), rows: rest.to_vec() }));
            }
        }
        next = waiting.recv().ok();
    }
    converted.extend_from_slice(TRAILER);
    copy.write_all(&converted)?;
    Ok(next)
}
