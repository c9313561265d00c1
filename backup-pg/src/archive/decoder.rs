//! Decompression of data inside an archive, as its bytes come.

use std::io::{self, BufRead, Read};

use backup_core::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};
use lz4_flex::frame::FrameDecoder;
use zstd::stream::raw::{Decoder as ZstdContext, Operation};

use super::header::InnerCompression;

/// How much is decompressed at once.
const OUTPUT_BYTES: usize = 64 << 10;

/// Takes what was decompressed.
pub(crate) type Output<'o> = &'o mut dyn FnMut(&[u8]) -> Result<()>;

/// Decompresses one stream after the other; none of them need hold a byte.
pub(crate) enum Decoder {
    None,
    Gzip { context: Box<Decompress>, progress: Progress, output: Vec<u8> },
    Lz4(Box<Lz4>),
    Zstd { context: Box<ZstdContext<'static>>, progress: Progress, output: Vec<u8> },
}

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Nothing,
    Begun,
    Ended,
}

impl Decoder {
    pub(crate) fn new(compression: InnerCompression) -> Result<Self> {
        let (progress, output) = (Progress::Nothing, vec![0; OUTPUT_BYTES]);
        Ok(match compression {
            InnerCompression::None => Self::None,
            InnerCompression::Gzip(_) => {
                Self::Gzip { context: Box::new(Decompress::new(true)), progress, output }
            }
            InnerCompression::Lz4 => Self::Lz4(Box::default()),
            InnerCompression::Zstd => {
                let context = ZstdContext::new();
                let context = context.map_err(|cause| Error::from_io("could not prepare zstd", cause))?;
                Self::Zstd { context: Box::new(context), progress, output }
            }
        })
    }

    /// Takes the next bytes of a stream.
    pub(crate) fn push(&mut self, bytes: &[u8], plain: Output<'_>) -> Result<()> {
        match self {
            Self::None => plain(bytes),
            Self::Gzip { context, progress, output } => inflate(context, progress, output, bytes, plain),
            Self::Lz4(lz4) => lz4.push(bytes, plain),
            Self::Zstd { context, progress, output } => {
                decompress_zstd(context.as_mut(), progress, output, bytes, plain)
            }
        }
    }

    /// Ends a stream; the next byte begins another one.
    ///
    /// # Errors
    /// `Corrupt` when the stream has begun and lacks its end.
    pub(crate) fn end(&mut self) -> Result<()> {
        let progress = match self {
            Self::None => return Ok(()),
            Self::Gzip { progress, .. } | Self::Zstd { progress, .. } => progress,
            Self::Lz4(lz4) => &mut lz4.progress,
        };
        let ended = std::mem::replace(progress, Progress::Nothing);
        if ended == Progress::Begun {
            return Err(Error::corrupt("compressed data lacks its end"));
        }
        if let (Self::Gzip { context, .. }, Progress::Ended) = (&mut *self, ended) {
            context.reset(true);
        }
        // A decoder of zstd or LZ4 that has ended a frame is ready for the next.
        Ok(())
    }
}

fn begin(progress: &mut Progress) -> Result<()> {
    if *progress == Progress::Ended {
        return Err(Error::corrupt("more bytes follow the end of compressed data"));
    }
    *progress = Progress::Begun;
    Ok(())
}

fn inflate(
    context: &mut Decompress,
    progress: &mut Progress,
    output: &mut [u8],
    mut bytes: &[u8],
    plain: Output<'_>,
) -> Result<()> {
    while !bytes.is_empty() {
        begin(progress)?;
        loop {
            let (consumed, written) = (context.total_in(), context.total_out());
            let status = context.decompress(bytes, output, FlushDecompress::None);
            let status = status.map_err(|cause| undecodable("zlib").with_source(cause))?;
            let consumed = (context.total_in() - consumed) as usize;
            let written = (context.total_out() - written) as usize;
            bytes = bytes.get(consumed..).unwrap_or_default();
            plain(output.get(..written).unwrap_or_default())?;
            if status == Status::StreamEnd {
                *progress = Progress::Ended;
                break;
            }
            if written < output.len() {
                if !bytes.is_empty() && consumed == 0 {
                    return Err(undecodable("zlib"));
                }
                break;
            }
        }
    }
    Ok(())
}

fn decompress_zstd(
    context: &mut ZstdContext<'static>,
    progress: &mut Progress,
    output: &mut [u8],
    mut bytes: &[u8],
    plain: Output<'_>,
) -> Result<()> {
    while !bytes.is_empty() {
        begin(progress)?;
        loop {
            let status = context.run_on_buffers(bytes, output);
            let status = status.map_err(|cause| undecodable("zstd").with_source(cause))?;
            bytes = bytes.get(status.bytes_read..).unwrap_or_default();
            plain(output.get(..status.bytes_written).unwrap_or_default())?;
            if status.remaining == 0 {
                *progress = Progress::Ended;
                break;
            }
            if status.bytes_written < output.len() {
                if !bytes.is_empty() && status.bytes_read == 0 {
                    return Err(undecodable("zstd"));
                }
                break;
            }
        }
    }
    Ok(())
}

fn undecodable(method: &str) -> Error {
    Error::corrupt(format!("compressed data is no valid {method} stream"))
}

/// Cuts LZ4 frames into their parts, so that the decoder of frames, which pulls, is only asked when it can answer.
///
/// Source: the LZ4 frame format, version 1.6.
pub(crate) struct Lz4 {
    frames: FrameDecoder<Queue>,
    /// The bytes of the part that is coming.
    part: Vec<u8>,
    coming: Part,
    flags: u8,
    progress: Progress,
}

/// The parts of a frame.
#[derive(Clone, Copy)]
enum Part {
    /// Magic number and flags, from which the descriptor's length follows.
    Start,
    /// All of the descriptor, of so many bytes with its start.
    Descriptor(usize),
    /// A block's length.
    Size,
    /// A whole block of so many bytes with its length, or the end mark.
    Block(usize),
}

/// The parts that have come and are not decoded yet.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    used: usize,
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.used..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.used += count;
        Ok(count)
    }
}

impl Default for Lz4 {
    fn default() -> Self {
        Self {
            frames: FrameDecoder::new(Queue::default()),
            part: Vec::new(),
            coming: Part::Start,
            flags: 0,
            progress: Progress::Nothing,
        }
    }
}

impl Lz4 {
    const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    /// The largest block the format has, with its length and checksum.
    const MAX_BLOCK: usize = (4 << 20) + 8;
    const HAS_DICTIONARY: u8 = 1;
    const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
    const HAS_CONTENT_SIZE: u8 = 1 << 3;
    const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;

    fn push(&mut self, mut bytes: &[u8], plain: Output<'_>) -> Result<()> {
        while !bytes.is_empty() {
            begin(&mut self.progress)?;
            let wanted = match self.coming {
                Part::Start => 5,
                Part::Size => 4,
                Part::Descriptor(length) | Part::Block(length) => length,
            };
            let (now, rest) = bytes.split_at(bytes.len().min(wanted.saturating_sub(self.part.len())));
            self.part.extend_from_slice(now);
            bytes = rest;
            if self.part.len() == wanted {
                self.take_part(plain)?;
            }
        }
        Ok(())
    }

    /// Works on what has come; parts of known length that follow without bytes of their own are taken at once.
    fn take_part(&mut self, plain: Output<'_>) -> Result<()> {
        match self.coming {
            Part::Start => {
                if !self.part.starts_with(&Self::MAGIC) {
                    return Err(undecodable("LZ4"));
                }
                self.flags = self.part.last().copied().unwrap_or_default();
                let size = if self.has(Self::HAS_CONTENT_SIZE) { 8 } else { 0 };
                let dictionary = if self.has(Self::HAS_DICTIONARY) { 4 } else { 0 };
                self.coming = Part::Descriptor(7 + size + dictionary);
            }
            Part::Descriptor(_) => {
                self.decode(plain)?;
                self.coming = Part::Size;
            }
            Part::Size => {
                let size = self.part.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
                // The highest bit says that the block is stored as it is.
                let length = (size & 0x7fff_ffff) as usize;
                let checksum = if size == 0 { Self::HAS_CONTENT_CHECKSUM } else { Self::HAS_BLOCK_CHECKSUMS };
                let whole = 4 + length + if self.has(checksum) { 4 } else { 0 };
                if whole > Self::MAX_BLOCK {
                    return Err(undecodable("LZ4"));
                }
                self.coming = Part::Block(whole);
                if whole == self.part.len() {
                    return self.take_part(plain);
                }
            }
            Part::Block(_) => {
                let is_end = self.part.starts_with(&[0; 4]);
                self.decode(plain)?;
                self.coming = if is_end { Part::Start } else { Part::Size };
                if is_end {
                    self.progress = Progress::Ended;
                }
            }
        }
        Ok(())
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn decode(&mut self, plain: Output<'_>) -> Result<()> {
        let queue = self.frames.get_mut();
        queue.used = 0;
        std::mem::swap(&mut queue.bytes, &mut self.part);
        self.part.clear();
        loop {
            let output = self.frames.fill_buf();
            let output = output.map_err(|cause| undecodable("LZ4").with_source(cause))?;
            let count = output.len();
            plain(output)?;
            self.frames.consume(count);
            let queue = self.frames.get_ref();
            if count == 0 && queue.used == queue.bytes.len() {
                return Ok(());
            }
        }
    }
}
