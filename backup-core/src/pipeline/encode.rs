//! Outwards: plain bytes → frames → workers → one writer, which encrypts → store.

use std::{
    fmt,
    io::{self, Write},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{
    Coding, Compression, FRAME_BYTES,
    compression::FrameCodec,
    seal::Seal,
    seek_table::{self, FrameEntry},
};
use crate::{
    context::Context,
    crash,
    encryption::FileKey,
    engine::PayloadSink,
    error::{Error, Result},
    event::{Event, Step},
    file,
    manifest::Payload,
    store::ObjectWriter,
};

/// Opens the object that receives the payload; called again after a restart.
pub(crate) type OpenObject<'a> = Box<dyn FnMut() -> Result<Box<dyn ObjectWriter>> + 'a>;

/// Stores a companion object under a suffix and says what became of it.
pub(crate) type StoreCompanion<'a> = Box<dyn FnMut(&str, &[u8]) -> Result<()> + 'a>;

/// A payload that is stored whole and not yet visible.
pub struct Encoded {
    /// What was stored.
    pub payload: Payload,
    object: Box<dyn ObjectWriter>,
}

impl Encoded {
    /// Makes the object visible.
    pub fn publish(self) -> Result<Payload> {
        self.object.finish()?;
        Ok(self.payload)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("payload", &self.payload).finish_non_exhaustive()
    }
}

/// The sink an engine writes a payload into. Dropped unfinished, nothing becomes visible.
pub struct Encoder<'a> {
    open: OpenObject<'a>,
    companion: StoreCompanion<'a>,
    coding: Coding,
    cx: Context,
    flow: Option<Flow>,
    frame: Vec<u8>,
    filled: usize,
    plain_bytes: u64,
    plain_hash: blake3::Hasher,
}

impl<'a> Encoder<'a> {
    /// An encoder into the object that `open` opens; `coding` may be a mere [`Compression`].
    pub fn new(
        open: OpenObject<'a>,
        companion: StoreCompanion<'a>,
        coding: impl Into<Coding>,
        cx: &Context,
    ) -> Result<Self> {
        let mut encoder = Self {
            open,
            companion,
            coding: coding.into(),
            cx: cx.clone(),
            flow: None,
            frame: Vec::new(),
            filled: 0,
            plain_bytes: 0,
            plain_hash: blake3::Hasher::new(),
        };
        encoder.begin()?;
        Ok(encoder)
    }

    fn begin(&mut self) -> Result<()> {
        let flow = Flow::start((self.open)()?, &self.coding, &self.cx)?;
        self.flow = Some(flow);
        self.frame = Vec::new();
        self.filled = 0;
        self.plain_bytes = 0;
        self.plain_hash.reset();
        Ok(())
    }

    /// Ends the payload: all bytes are with the store, under `name`, and not yet visible.
    pub fn finish(mut self, name: &str) -> Result<Encoded> {
        // An empty payload still is one frame: a gzip file of no members is no gzip file.
        if self.filled > 0 || self.plain_bytes == 0 {
            self.space()?;
            self.ship()?;
        }
        let flow = self.flow.take().ok_or_else(already_failed)?;
        let written = flow.finish()?;
        if let Some(key) = written.key {
            self.coding.keys().insert(name, key);
        }
        crash::point("payload.written");
        let payload = Payload {
            name: name.to_owned(),
            bytes: written.bytes,
            blake3: written.hash.to_hex().to_string(),
            encoding: self.coding.layers().names(),
            plain_bytes: self.plain_bytes,
            plain_blake3: self.plain_hash.finalize().to_hex().to_string(),
        };
        Ok(Encoded { payload, object: written.object })
    }

    /// Sends the filled part of the frame to the workers.
    fn ship(&mut self) -> Result<()> {
        self.cx.cancel().check()?;
        let mut frame = std::mem::take(&mut self.frame);
        frame.truncate(self.filled);
        self.plain_hash.update(&frame);
        self.plain_bytes += self.filled as u64;
        self.filled = 0;
        match self.flow.as_mut().ok_or_else(already_failed)?.send(frame) {
            true => {
                self.cx.emit(Event::Progress { step: Step::Capture, done: self.plain_bytes });
                Ok(())
            }
            false => Err(self.failure()),
        }
    }

    /// Why the flow stopped taking frames.
    fn failure(&mut self) -> Error {
        match self.flow.take().map(Flow::finish) {
            Some(Err(error)) => error,
            _ => already_failed(),
        }
    }
}

fn already_failed() -> Error {
    Error::failed("the payload could not be written")
}

impl PayloadSink for Encoder<'_> {
    fn space(&mut self) -> Result<&mut [u8]> {
        if self.frame.is_empty() {
            let Some(frame) = self.flow.as_ref().and_then(Flow::empty_frame) else {
                return Err(self.failure());
            };
            self.frame = frame;
            self.frame.resize(FRAME_BYTES, 0);
        }
        Ok(&mut self.frame[self.filled..])
    }

    fn advance(&mut self, count: usize) -> Result<()> {
        self.filled = (self.filled + count).min(self.frame.len());
        if self.filled == FRAME_BYTES { self.ship() } else { Ok(()) }
    }

    fn restart(&mut self) -> Result<()> {
        self.flow = None;
        self.begin()
    }

    fn companion(&mut self, suffix: &str, bytes: &[u8]) -> Result<()> {
        (self.companion)(suffix, bytes)
    }
}

impl fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("plain_bytes", &self.plain_bytes).finish_non_exhaustive()
    }
}

/// Encodes a whole small object in memory.
pub fn encode_bytes(plain: &[u8], coding: &Coding, name: &str) -> Result<(Vec<u8>, Payload)> {
    let mut codec = FrameCodec::new(coding.compression())?;
    let (mut frame, mut entries) = (Vec::new(), Vec::new());
    let mut seal = Seal::begin(Vec::new(), coding)?;
    let parts = plain.chunks(FRAME_BYTES).chain(plain.is_empty().then_some(plain));
    for part in parts {
        codec.compress(part, &mut frame)?;
        entries.push(entry_of(&frame, part.len()));
        seal.put(&frame)?;
    }
    seal.put(&trailer(coding.compression(), &entries))?;
    let (stored, key) = seal.finish()?;
    if let Some(key) = key {
        coding.keys().insert(name, key);
    }
    let payload = Payload {
        name: name.to_owned(),
        bytes: stored.len() as u64,
        blake3: blake3::hash(&stored).to_hex().to_string(),
        encoding: coding.layers().names(),
        plain_bytes: plain.len() as u64,
        plain_blake3: blake3::hash(plain).to_hex().to_string(),
    };
    Ok((stored, payload))
}

/// The threads of one payload and the channels between them. Dropped, it waits until they are gone, and with them the
/// unfinished object.
struct Flow {
    channels: Option<Channels>,
    threads: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Result<Written>>>,
}

struct Channels {
    work: Sender<Work>,
    order: Sender<Receiver<Result<Compressed>>>,
    empty: Receiver<Vec<u8>>,
}

struct Work {
    plain: Vec<u8>,
    done: Sender<Result<Compressed>>,
}

struct Compressed {
    stored: Vec<u8>,
    plain_bytes: usize,
}

struct Written {
    object: Box<dyn ObjectWriter>,
    bytes: u64,
    hash: blake3::Hash,
    key: Option<FileKey>,
}

impl Flow {
    fn start(object: Box<dyn ObjectWriter>, coding: &Coding, cx: &Context) -> Result<Self> {
        let compression = coding.compression();
        let jobs = cx.jobs();
        let frames = jobs + 2;
        let (work, work_queue) = unbounded::<Work>();
        let (order, order_queue) = unbounded();
        let (plain_pool, empty) = bounded(frames);
        let (stored_pool, stored_empty) = bounded(frames);
        for _ in 0..frames {
            let _ = plain_pool.send(Vec::new());
            let _ = stored_pool.send(Vec::new());
        }
        let mut threads = Vec::with_capacity(jobs);
        for _ in 0..jobs {
            let worker = Worker {
                codec: FrameCodec::new(compression)?,
                queue: work_queue.clone(),
                plain_pool: plain_pool.clone(),
                stored_empty: stored_empty.clone(),
            };
            threads.push(spawn("compress", move || worker.run())?);
        }
        let (cx, coding) = (cx.clone(), coding.clone());
        let writer = spawn("store", move || write_frames(object, &coding, &order_queue, &stored_pool, &cx))?;
        Ok(Self { channels: Some(Channels { work, order, empty }), threads, writer: Some(writer) })
    }

    /// An empty frame, once one is free; `None` after a failure further down.
    fn empty_frame(&self) -> Option<Vec<u8>> {
        self.channels.as_ref()?.empty.recv().ok()
    }

    /// Queues a frame; false after a failure further down.
    fn send(&mut self, plain: Vec<u8>) -> bool {
        let (done, result) = bounded(1);
        self.channels.as_ref().is_some_and(|channels| {
            channels.order.send(result).is_ok() && channels.work.send(Work { plain, done }).is_ok()
        })
    }

    fn finish(mut self) -> Result<Written> {
        self.stop().unwrap_or_else(|| Err(already_failed()))
    }

    /// Closes the channels and waits for the threads; `None` if that was done before.
    fn stop(&mut self) -> Option<Result<Written>> {
        self.channels = None;
        let written = self.writer.take().map(JoinHandle::join);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        written.map(|written| written.unwrap_or_else(|_| Err(Error::failed("the storing thread panicked"))))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // What was written is dropped unfinished, which is what makes it never have been.
        let _ = self.stop();
    }
}

struct Worker {
    codec: FrameCodec,
    queue: Receiver<Work>,
    plain_pool: Sender<Vec<u8>>,
    stored_empty: Receiver<Vec<u8>>,
}

impl Worker {
    fn run(mut self) {
        // The buffer first: whoever holds a frame can finish it. Waiting for one with the next frame in hand, while the
        // others fill all of them with later frames, would be for ever.
        while let (Ok(mut stored), Ok(work)) = (self.stored_empty.recv(), self.queue.recv()) {
            let outcome = self.codec.compress(&work.plain, &mut stored);
            let plain_bytes = work.plain.len();
            let _ = self.plain_pool.send(work.plain);
            // A writer that is gone has its own error to tell.
            let _ = work.done.send(outcome.map(|()| Compressed { stored, plain_bytes }));
        }
    }
}

fn write_frames(
    object: Box<dyn ObjectWriter>,
    coding: &Coding,
    order: &Receiver<Receiver<Result<Compressed>>>,
    stored_pool: &Sender<Vec<u8>>,
    cx: &Context,
) -> Result<Written> {
    let mut seal = Seal::begin(Hashed { object, hash: blake3::Hasher::new(), bytes: 0 }, coding)?;
    let mut entries = Vec::new();
    while let Ok(result) = order.recv() {
        cx.cancel().check()?;
        let frame = result.recv().map_err(|_| already_failed())??;
        seal.put(&frame.stored)?;
        entries.push(entry_of(&frame.stored, frame.plain_bytes));
        let _ = stored_pool.send(frame.stored);
    }
    seal.put(&trailer(coding.compression(), &entries))?;
    let (out, key) = seal.finish()?;
    Ok(Written { hash: out.hash.finalize(), bytes: out.bytes, object: out.object, key })
}

/// An object whose stored bytes are counted and hashed.
struct Hashed {
    object: Box<dyn ObjectWriter>,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.object.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
    }
}

/// A zstd frame with a content checksum ends with exactly the four bytes the seek table wants.
fn entry_of(stored: &[u8], plain_bytes: usize) -> FrameEntry {
    let checksum = stored.last_chunk::<4>().map_or(0, |last| u32::from_le_bytes(*last));
    FrameEntry { stored: stored.len() as u32, plain: plain_bytes as u32, checksum }
}

fn trailer(compression: Compression, entries: &[FrameEntry]) -> Vec<u8> {
    match compression {
        Compression::Zstd(_) => seek_table::write(entries),
        Compression::Gzip(_) | Compression::None | Compression::Inside(_) => Vec::new(),
    }
}

/// Starts a worker, which the application's own threads come before.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    thread::Builder::new()
        .name(format!("backup-{name}"))
        .spawn(|| {
            file::yield_to_others();
            work()
        })
        .map_err(|e| Error::from_io("could not start a thread", e))
}
