//! Inwards: store → stored bytes → workers → plain bytes in order.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Encoding,
    encode::spawn,
    seek_table::{self, FrameEntry},
};
use crate::{
    context::Context,
    error::{Error, Result},
    manifest::Payload,
    store::{ObjectReader, SequentialReader},
};

/// Bytes of one read where there are no frames to go by.
const BLOCK_BYTES: usize = 1 << 20;

/// A payload being decoded: its plain bytes in order, as [`Read`] or block by block.
pub struct Decoder {
    order: Option<Receiver<Receiver<Result<Vec<u8>>>>>,
    fetcher: Option<JoinHandle<Result<Sum>>>,
    threads: Vec<JoinHandle<()>>,
    /// Blocks that were given out and can be filled again.
    spent: Sender<Vec<u8>>,
    block: Vec<u8>,
    taken: usize,
    plain: SumInProgress,
    limit: Option<u64>,
}

/// What a payload decoded to, at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Stored bytes read.
    pub bytes: u64,
    /// Their BLAKE3, hex.
    pub blake3: String,
    /// Plain bytes given out.
    pub plain_bytes: u64,
    /// Their BLAKE3, hex.
    pub plain_blake3: String,
}

/// How many bytes passed by, and their hash.
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) hash: blake3::Hash,
}

/// Bytes passing by, counted and hashed.
#[derive(Default)]
pub(super) struct SumInProgress {
    pub(super) bytes: u64,
    hash: blake3::Hasher,
}

impl SumInProgress {
    pub(super) fn add(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        self.hash.update(part);
    }

    pub(super) fn done(&self) -> Sum {
        Sum { bytes: self.bytes, hash: self.hash.finalize() }
    }
}

impl Decoder {
    /// Starts decoding an object that `payload` describes; where it claims a size, no more than that is given out.
    ///
    /// # Errors
    /// `Unsupported` for an unknown encoding; `Corrupt` when the object contradicts itself.
    pub fn open(object: Arc<dyn ObjectReader>, payload: &Payload, cx: &Context) -> Result<Self> {
        let encoding = Encoding::from_layers(&payload.encoding)?;
        let limit = (!payload.plain_blake3.is_empty()).then_some(payload.plain_bytes);
        let frames = match encoding {
            Some(Encoding::Zstd) => seek_table::read(&*object)?,
            _ => None,
        };
        require_within(frames.as_deref(), limit)?;
        let (order_in, order) = bounded(cx.jobs() + 1);
        let (spent, blank) = bounded(2 * cx.jobs() + 2);
        let mut threads = Vec::new();
        let fetcher = match frames {
            Some(frames) => {
                let (work, queue) = bounded::<Work>(cx.jobs());
                let (read, unread) = bounded(2 * cx.jobs() + 2);
                for _ in 0..cx.jobs() {
                    let worker = Worker { queue: queue.clone(), blank: blank.clone(), read: read.clone() };
                    threads.push(spawn("decompress", move || worker.run())?);
                }
                spawn("fetch", move || fetch_frames(&*object, &frames, &order_in, &work, &unread))?
            }
            None => spawn("decode", move || decode_stream(object, encoding, &order_in))?,
        };
        Ok(Self {
            order: Some(order),
            fetcher: Some(fetcher),
            threads,
            spent,
            block: Vec::new(),
            taken: 0,
            plain: SumInProgress::default(),
            limit,
        })
    }

    /// The next plain bytes; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` names the damaged frame and the plain bytes it holds.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>> {
        let Some(result) = self.order.as_ref().and_then(|order| order.recv().ok()) else {
            return Ok(None);
        };
        let block = result.recv().map_err(|_| Error::failed("a decoding thread stopped"))??;
        let _ = self.spent.try_send(std::mem::replace(&mut self.block, block));
        self.taken = 0;
        self.plain.add(&self.block);
        if self.limit.is_some_and(|limit| self.plain.bytes > limit) {
            return Err(Error::corrupt("it decodes to more bytes than its manifest says"));
        }
        Ok(Some(&self.block))
    }

    /// What was read and given out; to be called at the end.
    pub fn finish(mut self) -> Result<Decoded> {
        let fetched = match self.fetcher.take().map(JoinHandle::join) {
            Some(Ok(sum)) => sum?,
            _ => return Err(Error::failed("the reading thread panicked")),
        };
        let plain = self.plain.done();
        Ok(Decoded {
            bytes: fetched.bytes,
            blake3: fetched.hash.to_hex().to_string(),
            plain_bytes: plain.bytes,
            plain_blake3: plain.hash.to_hex().to_string(),
        })
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if self.next_block()?.is_none() {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len() - self.taken);
        buffer[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // The threads end at their next send, as nobody receives any more.
        self.order = None;
        if let Some(fetcher) = self.fetcher.take() {
            let _ = fetcher.join();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("plain_bytes", &self.plain.bytes).finish_non_exhaustive()
    }
}

struct Work {
    number: usize,
    count: usize,
    plain_offset: u64,
    entry: FrameEntry,
    stored: Vec<u8>,
    done: Sender<Result<Vec<u8>>>,
}

/// A table that promises more than the manifest does is not followed.
fn require_within(frames: Option<&[FrameEntry]>, limit: Option<u64>) -> Result<()> {
    let promised: u64 = frames.unwrap_or_default().iter().map(|frame| u64::from(frame.plain)).sum();
    match limit {
        Some(limit) if promised > limit => {
            Err(Error::corrupt("it decodes to more bytes than its manifest says"))
        }
        _ => Ok(()),
    }
}

fn fetch_frames(
    object: &dyn ObjectReader,
    frames: &[FrameEntry],
    order: &Sender<Receiver<Result<Vec<u8>>>>,
    work: &Sender<Work>,
    unread: &Receiver<Vec<u8>>,
) -> Result<Sum> {
    let mut sum = SumInProgress::default();
    let mut plain_offset = 0;
    for (number, entry) in frames.iter().enumerate() {
        let mut stored = unread.try_recv().unwrap_or_default();
        stored.resize(entry.stored as usize, 0);
        read_fully(object, sum.bytes, &mut stored)?;
        sum.add(&stored);
        let (done, result) = bounded(1);
        let count = frames.len();
        let sent = order.send(result).is_ok()
            && work.send(Work { number, count, plain_offset, entry: *entry, stored, done }).is_ok();
        if !sent {
            return Err(Error::cancelled());
        }
        plain_offset += u64::from(entry.plain);
    }
    read_rest(object, &mut sum)?;
    Ok(sum.done())
}

/// Decodes frames; buffers come back to it from both sides.
struct Worker {
    queue: Receiver<Work>,
    blank: Receiver<Vec<u8>>,
    read: Sender<Vec<u8>>,
}

impl Worker {
    fn run(self) {
        let mut decompressor = zstd::bulk::Decompressor::new();
        for work in &self.queue {
            let outcome = match &mut decompressor {
                Ok(decompressor) => {
                    let mut plain = self.blank.try_recv().unwrap_or_default();
                    decompress(decompressor, &work, &mut plain).map(|()| plain)
                }
                Err(error) => Err(Error::failed(format!("could not set up zstd: {error}"))),
            };
            let _ = self.read.try_send(work.stored);
            // A reader that is gone needs no answer.
            let _ = work.done.send(outcome);
        }
    }
}

fn decompress(
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    work: &Work,
    plain: &mut Vec<u8>,
) -> Result<()> {
    let expected = work.entry.plain as usize;
    let damaged = |why: String| {
        Error::corrupt(format!(
            "frame {} of {} (plain bytes {} to {}) is damaged: {why}",
            work.number + 1,
            work.count,
            work.plain_offset,
            work.plain_offset + u64::from(work.entry.plain),
        ))
    };
    plain.clear();
    plain.reserve(expected);
    match decompressor.decompress_to_buffer(&work.stored, plain) {
        Ok(count) if count == expected => Ok(()),
        Ok(count) => Err(damaged(format!("it holds {count} bytes"))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

fn decode_stream(
    object: Arc<dyn ObjectReader>,
    encoding: Option<Encoding>,
    order: &Sender<Receiver<Result<Vec<u8>>>>,
) -> Result<Sum> {
    let mut source =
        Summing { inner: SequentialReader::new(Arc::clone(&object)), sum: SumInProgress::default() };
    let outcome = match encoding {
        Some(Encoding::Zstd) => {
            let buffered = io::BufReader::with_capacity(BLOCK_BYTES, &mut source);
            match zstd::stream::read::Decoder::with_buffer(buffered) {
                Ok(decoder) => give_out(decoder, order),
                Err(error) => Err(Error::from_io("could not set up zstd", error)),
            }
        }
        Some(Encoding::Gzip) => {
            let buffered = io::BufReader::with_capacity(BLOCK_BYTES, &mut source);
            give_out(flate2::bufread::MultiGzDecoder::new(buffered), order)
        }
        None => give_out(&mut source, order),
    };
    if let Err(error) = outcome {
        let told = error.duplicate();
        tell(order, Err(error));
        return Err(told);
    }
    read_rest(&*object, &mut source.sum)?;
    Ok(source.sum.done())
}

fn give_out(mut decoder: impl Read, order: &Sender<Receiver<Result<Vec<u8>>>>) -> Result<()> {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        decoder.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block).map_err(undecodable)?;
        if block.is_empty() {
            return Ok(());
        }
        if !tell(order, Ok(block)) {
            return Err(Error::cancelled());
        }
    }
}

fn tell(order: &Sender<Receiver<Result<Vec<u8>>>>, block: Result<Vec<u8>>) -> bool {
    let (done, result) = bounded(1);
    done.send(block).is_ok() && order.send(result).is_ok()
}

/// An error that came up from the store keeps its kind; everything else is the decoder's complaint about the bytes.
fn undecodable(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(own) => own.duplicate(),
        None => Error::corrupt(format!("it does not decode: {error}")),
    }
}

/// Hashes the stored bytes on their way into a decoder.
struct Summing {
    inner: SequentialReader,
    sum: SumInProgress,
}

impl Read for Summing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sum.add(&buffer[..count]);
        Ok(count)
    }
}

fn read_fully(object: &dyn ObjectReader, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match object.read_at(offset + done as u64, &mut buffer[done..])? {
            0 => return Err(Error::corrupt("it ended while being read")),
            more => done += more,
        }
    }
    Ok(())
}

/// Hashes what lies behind the last decoded byte: the seek table, or anything somebody appended.
fn read_rest(object: &dyn ObjectReader, sum: &mut SumInProgress) -> Result<()> {
    let mut buffer = vec![0u8; BLOCK_BYTES];
    loop {
        match object.read_at(sum.bytes, &mut buffer)? {
            0 => return Ok(()),
            count => sum.add(&buffer[..count]),
        }
    }
}
