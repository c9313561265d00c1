//! A program that had this process started: what it asks for, what it says meanwhile, and its death.

use std::{
    ffi::OsString,
    io::{self, BufRead},
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use backup::{CancelToken, Error, Result};
use serde_json::Value;

/// How often it is looked whether the caller lives.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// What a caller asks for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The command line, without a program.
    pub(crate) arguments: Vec<OsString>,
    /// What lines that people paste begin with.
    pub(crate) program: Option<PathBuf>,
    /// The caller's process, which must be our parent.
    pub(crate) parent: Option<u32>,
}

impl Request {
    /// Reads the line that asks.
    ///
    /// # Errors
    /// `Invalid` when it is no such line. It is not repeated: it may hold a password.
    pub(crate) fn read() -> Result<Self> {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|e| Error::from_io("could not read a request", e))?;
        let invalid = || Error::invalid("a request is one line of JSON with \"arguments\", a list of texts");
        let request: Value = serde_json::from_str(&line).map_err(|_| invalid())?;
        let arguments = request["arguments"].as_array().ok_or_else(invalid)?;
        let text = |argument: &Value| argument.as_str().map(OsString::from).ok_or_else(invalid);
        Ok(Self {
            arguments: arguments.iter().map(text).collect::<Result<_>>()?,
            program: request["program"].as_str().map(PathBuf::from),
            parent: request["parent"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
        })
    }
}

/// Whoever holds our stdin.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its lines; `None` once it is gone.
    lines: Receiver<Option<String>>,
}

impl Caller {
    /// Listens from now on. When stdin ends, or our parent is no longer the process `parent`, `cancel` is raised.
    ///
    /// stdin alone would not do: a fork of the caller, which knows nothing of us, holds the other end, too.
    ///
    /// # Errors
    /// A thread could not be started.
    pub(crate) fn listen(parent: Option<u32>, cancel: &CancelToken) -> Result<Self> {
        let (tell, lines) = mpsc::channel();
        let (told, token) = (tell.clone(), cancel.clone());
        start("backup-caller", move || hear(&told, &token))?;
        if let Some(parent) = parent.filter(|_| cfg!(unix)) {
            let cancel = cancel.clone();
            start("backup-parent", move || watch(parent, &tell, &cancel))?;
        }
        Ok(Self { lines })
    }

    /// Waits for the next line; `None` when the caller is gone.
    pub(crate) fn line(&self) -> Option<String> {
        self.lines.recv().ok().flatten()
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|e| Error::from_io("could not start a thread", e))
}

fn hear(tell: &Sender<Option<String>>, cancel: &CancelToken) {
    for line in io::stdin().lines().map_while(io::Result::ok) {
        if tell.send(Some(line)).is_err() {
            return;
        }
    }
    gone(tell, cancel);
}

fn watch(parent: u32, tell: &Sender<Option<String>>, cancel: &CancelToken) {
    while is_parent(parent) {
        thread::sleep(HEARTBEAT);
    }
    gone(tell, cancel);
}

/// The token goes first: whoever hears that the caller is gone finds it raised.
fn gone(tell: &Sender<Option<String>>, cancel: &CancelToken) {
    cancel.cancel();
    // Nobody may be listening.
    let _ = tell.send(None);
}

#[cfg(unix)]
fn is_parent(process: u32) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == process)
}

#[cfg(not(unix))]
fn is_parent(_process: u32) -> bool {
    true
}
