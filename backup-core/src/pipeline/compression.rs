//! The compression layer: what it is called, and one frame of it.

use std::{fmt, io::Write, str::FromStr};

use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{CParameter, Strategy};

use crate::error::{Error, Result};

/// How payloads are compressed; as text `zstd`, `zstd:LEVEL`, `gzip`, `gzip:LEVEL`, `none`, or `pg:` and a compression
/// that pg_dump does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Compression {
    /// zstd in independent frames with a seek table; `None` is the measured default, else levels 1 to 19.
    Zstd(Option<u8>),
    /// gzip in independent members, levels 1 to 9.
    Gzip(u8),
    /// Plain bytes.
    None,
    /// None of ours: the dumping program compresses inside its own format.
    Inside(InsideCompression),
}

/// Compression that a dumping program does itself, so that its own tools read the stored file as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsideCompression {
    /// zlib, levels 1 to 9; every version of pg_dump.
    Gzip(u8),
    /// zstd, levels 1 to 22; pg_dump 16 and later.
    Zstd(u8),
    /// LZ4; pg_dump 16 and later.
    Lz4,
}

impl fmt::Display for InsideCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Lz4 => f.write_str("lz4"),
        }
    }
}

/// What payloads are compressed with unless told otherwise.
pub const DEFAULT_COMPRESSION: Compression = Compression::Zstd(None);

/// A compression that can lie on a payload, as the manifest's `encoding` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// RFC 8878 frames.
    Zstd,
    /// RFC 1952 members.
    Gzip,
}

impl Encoding {
    /// The layer's name in manifests.
    pub fn layer(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The file extension of the layer, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The compression of something that begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x1f, 0x8b, 8, _, ..] => Some(Self::Gzip),
            _ => None,
        }
    }

    /// The compression a manifest names below the encryption.
    ///
    /// # Errors
    /// `Unsupported` when it is unknown, or more than one is named.
    pub(super) fn from_layers(layers: &[String]) -> Result<Option<Self>> {
        match layers {
            [] => Ok(None),
            [one] if one == "zstd" => Ok(Some(Self::Zstd)),
            [one] if one == "gzip" => Ok(Some(Self::Gzip)),
            other => Err(Error::new(
                crate::error::ErrorKind::Unsupported,
                format!("the encoding \"{}\" is not known to this version", other.join(", ").escape_debug()),
            )
            .with_hint("A newer version of backup made it: upgrade this one.")),
        }
    }
}

impl Compression {
    /// The file extension of the layer, with its dot; empty for none.
    pub fn extension(self) -> &'static str {
        self.encoding().map_or("", Encoding::extension)
    }

    /// The layer, if there is one.
    pub fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Zstd(_) => Some(Encoding::Zstd),
            Self::Gzip(_) => Some(Encoding::Gzip),
            Self::None | Self::Inside(_) => None,
        }
    }

    /// The same around the payload in the place of inside of it; LZ4 is no layer of ours and stays.
    pub(crate) fn around(self) -> Self {
        match self {
            Self::Inside(InsideCompression::Gzip(level)) => Self::Gzip(level),
            Self::Inside(InsideCompression::Zstd(level)) => Self::Zstd(Some(level.min(19))),
            other => other,
        }
    }

    /// What the dumping program shall do itself.
    pub fn inside(self) -> Option<InsideCompression> {
        match self {
            Self::Inside(inside) => Some(inside),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(None) => f.write_str("zstd"),
            Self::Zstd(Some(level)) => write!(f, "zstd:{level}"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::None => f.write_str("none"),
            Self::Inside(inside) => write!(f, "pg:{inside}"),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(inside) = text.strip_prefix("pg:") {
            return inside_from_str(inside).map(Self::Inside).ok_or_else(|| unknown(text));
        }
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u8>().map_err(|_| unknown(text))?)),
            None => (text, None),
        };
        match (name, level) {
            ("zstd", None) => Ok(Self::Zstd(None)),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(Some(level))),
            ("gzip", None) => Ok(Self::Gzip(6)),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level)),
            ("none", None) => Ok(Self::None),
            _ => Err(unknown(text)),
        }
    }
}

fn inside_from_str(text: &str) -> Option<InsideCompression> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let level = level.map(|level| level.parse::<u8>().ok());
    match (name, level) {
        ("gzip", None) => Some(InsideCompression::Gzip(6)),
        ("gzip", Some(Some(level @ 1..=9))) => Some(InsideCompression::Gzip(level)),
        ("zstd", None) => Some(InsideCompression::Zstd(3)),
        ("zstd", Some(Some(level @ 1..=22))) => Some(InsideCompression::Zstd(level)),
        ("lz4", None) => Some(InsideCompression::Lz4),
        _ => None,
    }
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!("\"{}\" is not a compression", text.escape_debug()))
        .with_hint(
            "Use zstd, zstd:1 to zstd:19, gzip, gzip:1 to gzip:9, none, or for PostgreSQL pg:gzip:1 to pg:gzip:9, \
             pg:zstd:1 to pg:zstd:22, pg:lz4.",
        )
}

impl TryFrom<String> for Compression {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

/// Compresses frames one by one; a worker owns one.
pub(super) enum FrameCodec {
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    /// zstd as the frame asks for it.
    Default(Box<zstd::bulk::Compressor<'static>>),
    Gzip(flate2::Compression),
    Plain,
}

impl FrameCodec {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        let failed = |e| Error::from_io("could not set up zstd", e);
        Ok(match compression {
            Compression::Zstd(level) => {
                let mut codec = zstd::bulk::Compressor::new(level.map_or(1, i32::from)).map_err(failed)?;
                codec.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
                if level.is_some() {
                    Self::Zstd(Box::new(codec))
                } else {
                    tune_default(&mut codec).map_err(failed)?;
                    Self::Default(Box::new(codec))
                }
            }
            Compression::Gzip(level) => Self::Gzip(flate2::Compression::new(u32::from(level))),
            Compression::None | Compression::Inside(_) => Self::Plain,
        })
    }

    /// Compresses one frame into `out`, which is emptied first.
    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let failed = |e| Error::from_io("zstd failed", e);
        match self {
            Self::Zstd(codec) => zstd_frame(codec, plain, out).map_err(failed)?,
            Self::Default(codec) => {
                let hash_log = if is_text(plain) { TEXT_HASH_LOG } else { PAGES_HASH_LOG };
                codec.set_parameter(CParameter::HashLog(hash_log)).map_err(failed)?;
                zstd_frame(codec, plain, out).map_err(failed)?;
            }
            Self::Gzip(level) => {
                let mut encoder = flate2::write::GzEncoder::new(out, *level);
                encoder
                    .write_all(plain)
                    .and_then(|()| encoder.finish())
                    .map_err(|e| Error::from_io("gzip failed", e))?;
            }
            Self::Plain => out.extend_from_slice(plain),
        }
        Ok(())
    }
}

fn zstd_frame(
    codec: &mut zstd::bulk::Compressor<'_>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
    codec.compress_to_buffer(plain, out).map(drop)
}

/// Entries of the table of earlier matches, as a power of two. A table of 256 KiB stays in a core's own cache, one of
/// 1 MiB does not: for text it takes a quarter off the time for a thirtieth more bytes, for pages of a database the bytes
/// are a twentieth (docs/performance.md).
const TEXT_HASH_LOG: u32 = 16;
const PAGES_HASH_LOG: u32 = 18;

/// How many bytes of text there are for one NUL at least: a dump has some where its parts begin.
const TEXT_BYTES_PER_NUL: usize = 1000;

/// Text, unlike pages and records of a database, has next to no NUL bytes.
fn is_text(plain: &[u8]) -> bool {
    memchr::memchr_iter(0, plain).count() <= plain.len() / TEXT_BYTES_PER_NUL
}

/// The default: level 2's speed at level 3's size, on text and on numbers alike (docs/performance.md).
fn tune_default(codec: &mut zstd::bulk::Compressor<'_>) -> std::io::Result<()> {
    codec.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast))?;
    codec.set_parameter(CParameter::WindowLog(21))?;
    codec.set_parameter(CParameter::MinMatch(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_next_to_no_nul_bytes() {
        let rows = "1\t2026-01-05 09:00:00+00\tGrüße\t\\N\n".repeat(1000).into_bytes();
        let mut chunks = vec![0, 1, 0, 0, 0];
        chunks.extend_from_slice(&rows);
        assert!(is_text(&rows) && is_text(&chunks) && is_text(b""));
        let mut page = vec![0; 4096];
        page[..13].copy_from_slice(b"\x0d\x00\x00\x00\x02\x0f\xe0\x00Grace");
        assert!(!is_text(&page));
        // A row of a hundred bytes with its length before it, as pg_dump 15 writes it.
        let framed = [&[0, 100, 0, 0, 0][..], &rows[..100]].concat().repeat(100);
        assert!(!is_text(&framed));
    }

    #[test]
    fn text_and_pages_take_turns_in_one_payload() {
        let text = "the same words again and again\n".repeat(4000).into_bytes();
        let pages: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        let mut codec = FrameCodec::new(DEFAULT_COMPRESSION).unwrap();
        let mut alone = Vec::new();
        FrameCodec::new(DEFAULT_COMPRESSION).unwrap().compress(&text, &mut alone).unwrap();
        for plain in [&text, &pages, &text, &pages, &text] {
            let mut frame = Vec::new();
            codec.compress(plain, &mut frame).unwrap();
            assert_eq!(zstd::stream::decode_all(frame.as_slice()).unwrap(), *plain);
            // What came before is not in the frame.
            assert!(plain != &text || frame == alone);
        }
    }
}
