//! Reading an object by ranges, with what comes next already under way.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use backup_core::{Error, Result, id::Key, store::ObjectReader};
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{GetOptions, GetResultPayload, path::Path};
use tokio::task::AbortHandle;

use super::{
    bucket::Bucket,
    errors::{Action, Failed},
    runtime,
};

/// What a reader that jumps fetches at least.
const SMALL_WINDOW: u64 = 64 << 10;
/// What a reader that goes on fetches at a time, in the end.
const LARGE_WINDOW: u64 = 8 << 20;
/// By how much windows grow while a reader goes on.
const GROWTH: u64 = 4;
/// Large windows on their way besides the one being read: 40 MiB in all.
const AHEAD: usize = 4;

/// An object open for reading; several threads may share it.
pub(super) struct RemoteObject {
    target: Arc<Target>,
    windows: Mutex<Windows>,
}

/// What is read, and by which version.
struct Target {
    bucket: Arc<Bucket>,
    key: Key,
    path: Path,
    bytes: u64,
    e_tag: Option<String>,
}

#[derive(Default)]
struct Windows {
    /// By age; neighbours in the object while reading goes on.
    fetched: VecDeque<Arc<Window>>,
    /// Where the last read ended.
    position: u64,
    /// The size of the next window of a reader that goes on.
    size: u64,
}

/// A range under way or there; the request is stopped when nobody keeps the window or waits for it.
struct Window {
    range: Range<u64>,
    slot: Arc<Slot>,
    task: AbortHandle,
}

impl Drop for Window {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bytes of a window, once they are there.
#[derive(Default)]
struct Slot {
    outcome: Mutex<Option<Result<Bytes>>>,
    arrived: Condvar,
}

impl Slot {
    fn fill(&self, outcome: Result<Bytes>) {
        *lock(&self.outcome) = Some(outcome);
        self.arrived.notify_all();
    }

    fn wait(&self) -> Result<Bytes> {
        let mut outcome = lock(&self.outcome);
        loop {
            match &*outcome {
                Some(Ok(bytes)) => return Ok(bytes.clone()),
                Some(Err(error)) => return Err(error.duplicate()),
                None => outcome = self.arrived.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Fills its slot in any case: a task that is stopped must not leave a reader waiting.
struct Promise(Arc<Slot>);

impl Drop for Promise {
    fn drop(&mut self) {
        if lock(&self.0.outcome).is_none() {
            self.0.fill(Err(Error::failed("reading from an object store was stopped")));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RemoteObject {
    pub(super) fn new(bucket: &Arc<Bucket>, key: &Key, bytes: u64, e_tag: Option<String>) -> Self {
        let path = bucket.path(key.as_str());
        let target = Target { bucket: Arc::clone(bucket), key: key.clone(), path, bytes, e_tag };
        Self { target: Arc::new(target), windows: Mutex::default() }
    }

    /// The window that holds `offset`, fetched if need be, and those to come.
    fn window(&self, offset: u64, wanted: u64) -> Result<Arc<Window>> {
        let mut windows = lock(&self.windows);
        let goes_on = offset == windows.position;
        let known = windows.fetched.iter().position(|window| window.range.contains(&offset));
        if !goes_on && known.is_none() {
            windows.size = 0;
        }
        if known.is_none() {
            let bytes = if goes_on && windows.size > 0 { windows.size } else { SMALL_WINDOW };
            // Where a reader jumps to, or from, is of no use any more.
            windows.fetched.clear();
            self.fetch(&mut windows, offset, bytes.max(wanted))?;
        }
        if goes_on {
            windows.fetched.retain(|window| window.range.end > offset);
            self.fetch_ahead(&mut windows)?;
        }
        let found = windows.fetched.iter().find(|window| window.range.contains(&offset));
        found
            .cloned()
            .ok_or_else(|| Error::failed(format!("could not read \"{}\" at {offset}", self.target.key)))
    }

    /// Windows grow from small to large; only large ones are fetched several at a time.
    fn fetch_ahead(&self, windows: &mut Windows) -> Result<()> {
        loop {
            let Some(last) = windows.fetched.back().map(|window| window.range.clone()) else { return Ok(()) };
            let length = last.end - last.start;
            let allowed = if length >= LARGE_WINDOW { AHEAD } else { 1 };
            if windows.fetched.len() > allowed || last.end >= self.target.bytes {
                return Ok(());
            }
            windows.size = (length * GROWTH).clamp(SMALL_WINDOW, LARGE_WINDOW);
            self.fetch(windows, last.end, windows.size)?;
        }
    }

    fn fetch(&self, windows: &mut Windows, offset: u64, bytes: u64) -> Result<()> {
        let range = offset..offset.saturating_add(bytes).min(self.target.bytes);
        let slot = Arc::new(Slot::default());
        let promise = Promise(Arc::clone(&slot));
        let (target, wanted) = (Arc::clone(&self.target), range.clone());
        let task = runtime::handle()?.spawn(async move {
            promise.0.fill(target.fetch(wanted).await);
        });
        windows.fetched.push_back(Arc::new(Window { range, slot, task: task.abort_handle() }));
        Ok(())
    }
}

impl ObjectReader for RemoteObject {
    fn size(&self) -> u64 {
        self.target.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() || offset >= self.target.bytes {
            return Ok(0);
        }
        let window = self.window(offset, buffer.len() as u64)?;
        let bytes = match window.slot.wait() {
            Ok(bytes) => bytes,
            Err(error) => {
                // The next read of this place asks again.
                lock(&self.windows).fetched.clear();
                return Err(error);
            }
        };
        let start = usize::try_from(offset - window.range.start).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let (start, _) = buffer.split_at_mut(count);
        start.copy_from_slice(rest.split_at(count).0);
        lock(&self.windows).position = offset + count as u64;
        Ok(count)
    }
}

impl fmt::Debug for RemoteObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteObject({} in {}, {} bytes)", self.target.key, self.target.bucket, self.target.bytes)
    }
}

impl Target {
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let limit = self.bucket.options.limit_for(length);
        let attempt = || self.get(range.clone(), length);
        match self.bucket.call(limit, attempt).await {
            // Not every server knows the condition.
            Ok(answer) if answer.value.1.is_some() && answer.value.1 != self.e_tag => Err(self.changed()),
            Ok(answer) if answer.value.0.len() == length => Ok(answer.value.0),
            Ok(answer) => Err(Error::corrupt(format!(
                "{} gave {} bytes of \"{}\" where {length} were asked for",
                self.bucket,
                answer.value.0.len(),
                self.key
            ))),
            Err(failed) => Err(self.error(&failed)),
        }
    }

    /// One request with a clock of its own; each piece of the answer has to come in time.
    async fn get(&self, range: Range<u64>, length: usize) -> object_store::Result<(Bytes, Option<String>)> {
        let options =
            GetOptions { range: Some(range.into()), if_match: self.e_tag.clone(), ..GetOptions::default() };
        let answer = self.bucket.reading.objects.get_opts(&self.path, options).await?;
        let GetResultPayload::Stream(mut stream) = answer.payload;
        let mut bytes = Vec::with_capacity(length);
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok((bytes.into(), answer.meta.e_tag))
    }

    fn error(&self, failed: &Failed) -> Error {
        if failed.seen.status == Some(412) {
            return self.changed();
        }
        self.bucket.key_error(Action::Read, &self.key, failed)
    }

    fn changed(&self) -> Error {
        let message = format!("\"{}\" in {} changed while it was read", self.key, self.bucket);
        Error::corrupt(message).with_hint("Find out who writes there; stored backups never change.")
    }
}
