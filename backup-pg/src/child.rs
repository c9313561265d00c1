//! A client program at work: watched, heard, and ended with everything it started.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use backup_core::{
    Error, ErrorKind, Result,
    context::{CancelToken, Context},
};

use crate::platform;

/// How often a watcher looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// How long a program may take to end itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Lines of what a program says on stderr that are kept: the first and the last so many.
const KEPT_LINES: usize = 200;

/// Bytes of one such line that are kept.
const KEPT_LINE_BYTES: usize = 2000;

/// A program running in a process group of its own. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    stderr: Option<JoinHandle<Vec<String>>>,
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
}

/// What the watcher and the user of a program share.
#[derive(Debug, Default)]
struct Watch {
    progress: AtomicU64,
    ended: AtomicBool,
    stopped: AtomicU8,
}

const STOPPED_BY_CANCEL: u8 = 1;
const STOPPED_BY_STALL: u8 = 2;

/// Tells a program's watcher that something moved.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<Watch>);

impl Pulse {
    pub(crate) fn progressed(&self) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it said on stderr.
    pub(crate) stderr: Vec<String>,
}

impl Running {
    /// Starts a program. Cancelling the context ends it, and so does `stall` without any [`Running::progressed`].
    pub(crate) fn start(mut command: Command, stall: Option<Duration>, cx: &Context) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stderr(Stdio::piped());
        platform::isolate(&mut command);
        let mut child =
            command.spawn().map_err(|e| Error::from_io(format!("could not start \"{name}\""), e))?;
        let stderr = child.stderr.take();
        let stderr = thread::spawn(move || stderr.map_or_else(Vec::new, listen));
        let watch = Arc::new(Watch::default());
        let watcher = {
            let (watch, cancel, group) = (Arc::clone(&watch), cx.cancel().clone(), child.id());
            thread::spawn(move || guard(&watch, &cancel, stall, group))
        };
        Ok(Self { name, child, stderr: Some(stderr), watch, watcher: Some(watcher) })
    }

    /// Its output, once, where it was piped.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its input, once, where it was piped.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Tells the watcher that something moved.
    pub(crate) fn progressed(&self) {
        self.pulse().progressed();
    }

    /// The same, for whoever sees that something moved while another waits for the end.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.watch))
    }

    /// Asks it to end.
    pub(crate) fn stop(&self) {
        platform::end_group(self.child.id());
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `Cancelled` or, after a stall, `Unavailable`, when the watcher ended it; a program that failed by itself is no
    /// error here.
    pub(crate) fn finish(mut self) -> Result<Ended> {
        let status = self
            .child
            .wait()
            .map_err(|e| Error::from_io(format!("could not wait for \"{}\"", self.name), e))?;
        self.watch.ended.store(true, Ordering::Relaxed);
        let stderr = self.stderr.take().map_or_else(Vec::new, |thread| thread.join().unwrap_or_default());
        match self.watch.stopped.load(Ordering::Relaxed) {
            STOPPED_BY_CANCEL => Err(Error::cancelled()),
            STOPPED_BY_STALL => Err(stalled(&self.name)),
            _ => Ok(Ended { status, stderr }),
        }
    }

    /// Waits for its end, and looks at something every now and then meanwhile.
    ///
    /// # Errors
    /// As [`Running::finish`].
    pub(crate) fn finish_watching(mut self, interval: Duration, look: &mut dyn FnMut()) -> Result<Ended> {
        let waited = |e| Error::from_io(format!("could not wait for \"{}\"", self.name), e);
        while self.child.try_wait().map_err(waited)?.is_none() {
            look();
            thread::sleep(interval);
        }
        look();
        self.finish()
    }

    /// Ends it now, and everything it started.
    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            platform::end_group(self.child.id());
            let asked = Instant::now();
            while asked.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
            if matches!(self.child.try_wait(), Ok(None)) {
                platform::kill_group(self.child.id());
            }
        }
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.watch.ended.load(Ordering::Relaxed) {
            // A program that waits for its input or output to be taken must see them close.
            drop((self.child.stdin.take(), self.child.stdout.take()));
            self.end();
        }
        self.watch.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.watcher.take() {
            let _ = thread.join();
        }
        if let Some(thread) = self.stderr.take() {
            let _ = thread.join();
        }
    }
}

/// Ends the group when somebody cancelled or nothing moves any more.
fn guard(watch: &Watch, cancel: &CancelToken, stall: Option<Duration>, group: u32) {
    let (mut last, mut since) = (0, Instant::now());
    while !watch.ended.load(Ordering::Relaxed) {
        let progress = watch.progress.load(Ordering::Relaxed);
        if progress != last {
            (last, since) = (progress, Instant::now());
        }
        let reason = match (cancel.is_cancelled(), stall) {
            (true, _) => STOPPED_BY_CANCEL,
            (false, Some(stall)) if since.elapsed() > stall => STOPPED_BY_STALL,
            _ => 0,
        };
        if reason != 0 {
            watch.stopped.store(reason, Ordering::Relaxed);
            return put_down(watch, group);
        }
        thread::sleep(WATCH_INTERVAL);
    }
}

fn put_down(watch: &Watch, group: u32) {
    platform::end_group(group);
    let asked = Instant::now();
    while !watch.ended.load(Ordering::Relaxed) {
        if asked.elapsed() > GRACE {
            return platform::kill_group(group);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads everything a program says, so that it never waits for a reader, and keeps the beginning and the end.
fn listen(stderr: impl Read) -> Vec<String> {
    let (mut first, mut last) = (Vec::new(), std::collections::VecDeque::new());
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let kept = line.trim_ascii_end();
        let kept = String::from_utf8_lossy(&kept[..kept.len().min(KEPT_LINE_BYTES)]).into_owned();
        if first.len() < KEPT_LINES {
            first.push(kept);
        } else {
            last.push_back(kept);
            if last.len() > KEPT_LINES {
                last.pop_front();
            }
        }
        line.clear();
    }
    first.extend(last);
    first
}

fn stalled(name: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("\"{name}\" made no progress for too long and was ended"))
        .with_hint(
            "Look for locks it waits for (pg_stat_activity, pg_locks) and at the network, then try again.",
        )
}
