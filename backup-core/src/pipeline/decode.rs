//! Inwards: store → stored bytes → (decryption →) workers → plain bytes in order.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Encoding, Layers,
    encode::spawn,
    ordered::{BLOCK_BYTES, Ordered, Place, Source, Sum, SumInProgress, tell, undecodable},
    sealed::Sealed,
    seek_table::{self, FrameEntry},
};
use crate::{
    context::Context,
    error::{Error, Result},
    manifest::Payload,
    store::ObjectReader,
};

/// A payload being decoded: its plain bytes in order, as [`Read`] or block by block.
pub struct Decoder {
    blocks: Ordered,
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

impl Decoder {
    /// Starts decoding an object that `payload` describes; where it claims a size, no more than that is given out.
    ///
    /// # Errors
    /// `Unsupported` for an unknown encoding; `Corrupt` when the object contradicts itself; `Denied` when it is
    /// encrypted and no identity of the context opens it.
    pub fn open(object: Arc<dyn ObjectReader>, payload: &Payload, cx: &Context) -> Result<Self> {
        Self::open_for(object, payload, &[], cx)
    }

    /// The same, when it is known for whom the object was encrypted.
    pub(super) fn open_for(
        object: Arc<dyn ObjectReader>,
        payload: &Payload,
        recipients: &[String],
        cx: &Context,
    ) -> Result<Self> {
        let layers = Layers::from_names(&payload.encoding)?;
        let limit = (!payload.plain_blake3.is_empty()).then_some(payload.plain_bytes);
        let sealed = match layers.is_encrypted {
            true => Some(Sealed::open(Arc::clone(&object), &payload.name, recipients, cx)?),
            false => None,
        };
        let frames = match (layers.compression, &sealed) {
            (Some(Encoding::Zstd), Some(sealed)) => seek_table::read(&sealed.reader()?)?,
            (Some(Encoding::Zstd), None) => seek_table::read(&*object)?,
            _ => None,
        };
        require_within(frames.as_deref(), limit)?;
        let blocks = match (sealed, layers.compression) {
            (Some(sealed), None) => sealed.stream(cx)?,
            (Some(sealed), compression) => {
                decompress(Source::Unsealed(sealed.stream(cx)?), compression, frames, cx)?
            }
            (None, compression) => decompress(Source::stored(object), compression, frames, cx)?,
        };
        Ok(Self { blocks, plain: SumInProgress::default(), limit })
    }

    /// The next plain bytes; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` names the damaged frame and the plain bytes it holds.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>> {
        let Some(block) = self.blocks.next_block()? else { return Ok(None) };
        pass(&mut self.plain, self.limit, block)?;
        Ok(Some(block))
    }

    /// What was read and given out; to be called at the end.
    pub fn finish(self) -> Result<Decoded> {
        let fetched = self.blocks.finish()?;
        let plain = self.plain.done();
        Ok(Decoded {
            bytes: fetched.bytes,
            blake3: fetched.hash.to_hex().to_string(),
            plain_bytes: plain.bytes,
            plain_blake3: plain.hash.to_hex().to_string(),
        })
    }
}

/// Counts and hashes a block on its way out.
fn pass(plain: &mut SumInProgress, limit: Option<u64>, block: &[u8]) -> Result<()> {
    plain.add(block);
    if limit.is_some_and(|limit| plain.bytes > limit) {
        return Err(Error::corrupt("it decodes to more bytes than its manifest says"));
    }
    Ok(())
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.blocks.is_used_up() {
            if self.next_block()?.is_none() {
                return Ok(0);
            }
        }
        self.blocks.read(buffer)
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

/// Starts the threads that decompress what a source gives.
fn decompress(
    source: Source,
    compression: Option<Encoding>,
    frames: Option<Vec<FrameEntry>>,
    cx: &Context,
) -> Result<Ordered> {
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
            spawn("fetch", move || fetch_frames(source, &frames, &order_in, &work, &unread))?
        }
        None => spawn("decode", move || decode_stream(source, compression, &order_in))?,
    };
    Ok(Ordered::new(order, fetcher, threads, spent))
}

fn fetch_frames(
    mut source: Source,
    frames: &[FrameEntry],
    order: &Sender<Place>,
    work: &Sender<Work>,
    unread: &Receiver<Vec<u8>>,
) -> Result<Sum> {
    let mut plain_offset = 0;
    for (number, entry) in frames.iter().enumerate() {
        let mut stored = unread.try_recv().unwrap_or_default();
        stored.resize(entry.stored as usize, 0);
        source.read_fully(&mut stored)?;
        let (done, place) = bounded(1);
        let count = frames.len();
        let sent = order.send(place).is_ok()
            && work.send(Work { number, count, plain_offset, entry: *entry, stored, done }).is_ok();
        if !sent {
            return Err(Error::cancelled());
        }
        plain_offset += u64::from(entry.plain);
    }
    source.finish()
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
                    decode_frame(decompressor, &work, &mut plain).map(|()| plain)
                }
                Err(error) => Err(Error::failed(format!("could not set up zstd: {error}"))),
            };
            let _ = self.read.try_send(work.stored);
            // A reader that is gone needs no answer.
            let _ = work.done.send(outcome);
        }
    }
}

fn decode_frame(
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

fn decode_stream(mut source: Source, compression: Option<Encoding>, order: &Sender<Place>) -> Result<Sum> {
    let outcome = match compression {
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
    source.finish()
}

fn give_out(mut decoder: impl Read, order: &Sender<Place>) -> Result<()> {
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
