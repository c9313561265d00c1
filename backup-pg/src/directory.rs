//! Dumps in the directory format: several sessions write one file per table, and the folder is stored as one tar.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::Command,
    time::Duration,
};

use backup_core::{
    Error, Result,
    context::Context,
    engine::{CaptureRequest, PayloadSink, SinkWriter},
    manifest::TableFacts,
};

use crate::{
    archive::{self, Archive, Entry},
    child::{Ended, Running},
    contents::Contents,
    left_out, messages,
    rows::RowFold,
};

/// The table of contents of the folder; it comes first in the tar.
const TOC: &str = "toc.dat";

/// The largest table of contents that is read.
const MAX_TOC_BYTES: u64 = 1 << 30;

/// A tar's unit.
const BLOCK: usize = 512;

/// How often a growing folder is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Dumps into the scratch folder, then into the sink.
pub(crate) fn dump(
    mut command: Command,
    request: &CaptureRequest,
    sink: &mut dyn PayloadSink,
    stall: Duration,
    begun: &mut dyn FnMut(),
    cx: &Context,
) -> Result<Contents> {
    let scratch =
        request.scratch.as_deref().ok_or_else(|| Error::failed("a directory dump needs a working folder"))?;
    let folder = scratch.join("directory");
    // A dump that begins again finds what the one before left.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("clear", &folder, error));
        }
        _ => {}
    }
    command.arg("--file").arg(&folder).arg("--no-sync");
    command.arg(format!(
        "--jobs={}",
        request.options.jobs.map_or_else(|| cx.jobs(), std::num::NonZeroUsize::get)
    ));
    let dump = Running::start(command, Some(stall), cx)?;
    let ended = watch(dump, &folder, begun)?;
    messages::require_dumped("pg_dump", &ended, cx)?;
    pack(&folder, sink, cx)
}

/// Waits for the end, telling the watcher whenever the folder has grown, and `begun` when rows arrive in it.
fn watch(dump: Running, folder: &Path, begun: &mut dyn FnMut()) -> Result<Ended> {
    let pulse = dump.pulse();
    let mut last = 0;
    dump.finish_watching(LOOK_INTERVAL, &mut || {
        let now = bytes_in(folder);
        if now != last {
            pulse.progressed();
            begun();
        }
        last = now;
    })
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Packs a folder that pg_dump made into a tar of this crate's form, so that it can be adopted.
///
/// # Errors
/// `Invalid` when it has no table of contents.
pub fn pack_folder(folder: &Path, out: &mut dyn Write) -> Result<()> {
    if !folder.join(TOC).is_file() {
        return Err(Error::invalid(format!(
            "\"{}\" is no dump in the directory format: it has no {TOC}",
            folder.display()
        )));
    }
    let mut names = names_in(folder)?;
    names.sort_by_key(|name| (name != TOC, name.clone()));
    let mut writer = tar::Builder::new(out);
    writer.mode(tar::HeaderMode::Deterministic);
    let failed = |e| Error::from_io(format!("could not pack \"{}\"", folder.display()), e);
    for name in names {
        writer.append_path_with_name(folder.join(&name), &name).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Writes the folder as a tar, its table of contents first, reading it as it passes by.
fn pack(folder: &Path, sink: &mut dyn PayloadSink, cx: &Context) -> Result<Contents> {
    let mut names = names_in(folder)?;
    names.sort_by_key(|name| (name != TOC, name.clone()));
    let mut reader = TarReader::default();
    let mut writer = tar::Builder::new(Observed { inner: SinkWriter(sink), reader: &mut reader });
    writer.mode(tar::HeaderMode::Deterministic);
    for name in names {
        cx.cancel().check()?;
        let path = folder.join(&name);
        writer
            .append_path_with_name(&path, &name)
            .map_err(|e| Error::from_io(format!("could not store \"{name}\""), e))?;
        // What is stored needs no second copy; the scratch folder goes away anyway.
        let _ = fs::remove_file(&path);
    }
    writer.finish().map_err(|e| Error::from_io("could not store the dump", e))?;
    drop(writer);
    reader.finish()
}

struct Observed<'a> {
    inner: SinkWriter<'a>,
    reader: &'a mut TarReader,
}

impl Write for Observed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.reader.feed(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the tar of a directory dump as it passes by.
#[derive(Default)]
pub(crate) struct TarReader {
    header: Vec<u8>,
    file: Option<File>,
    /// Bytes that fill the last block of a file.
    padding: usize,
    toc: Vec<u8>,
    archive: Option<Archive>,
    tables: Vec<TableFacts>,
    is_uncounted: bool,
    has_ended: bool,
}

/// A file passing by.
struct File {
    left: u64,
    name: String,
    rows: Option<(String, Rows)>,
}

/// The rows of a table's file, through the compression its name tells.
enum Rows {
    Plain(Box<RowFold>),
    Gzip(Box<flate2::write::MultiGzDecoder<FoldWriter>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, FoldWriter>>),
}

struct FoldWriter(RowFold);

impl Default for FoldWriter {
    fn default() -> Self {
        Self(RowFold::with_end_marker())
    }
}

impl Write for FoldWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TarReader {
    /// The next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = match &mut self.file {
                Some(file) => {
                    let count = usize::try_from(file.left).unwrap_or(usize::MAX).min(bytes.len());
                    file.left -= count as u64;
                    if file.name == TOC {
                        self.toc.extend_from_slice(&bytes[..count]);
                    } else if let Some((_, rows)) = &mut file.rows {
                        rows.feed(&bytes[..count])?;
                    }
                    count
                }
                None if self.padding > 0 => {
                    let count = self.padding.min(bytes.len());
                    self.padding -= count;
                    count
                }
                None => {
                    let count = (BLOCK - self.header.len()).min(bytes.len());
                    self.header.extend_from_slice(&bytes[..count]);
                    count
                }
            };
            bytes = &bytes[taken..];
            self.step()?;
        }
        Ok(())
    }

    /// Ends a file that has come whole, and begins the next one.
    fn step(&mut self) -> Result<()> {
        if self.file.as_ref().is_some_and(|file| file.left == 0) {
            self.end_file()?;
        }
        if self.header.len() == BLOCK {
            let header = std::mem::take(&mut self.header);
            self.begin_file(&header)?;
        }
        Ok(())
    }

    fn begin_file(&mut self, block: &[u8]) -> Result<()> {
        if block.iter().all(|byte| *byte == 0) {
            self.has_ended = true;
            return Ok(());
        }
        let damaged = || Error::corrupt("its tar is damaged: a header is not one");
        if self.has_ended {
            return Err(damaged());
        }
        let header = tar::Header::from_byte_slice(block);
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        let left = header.entry_size().map_err(|_| damaged())?;
        if header.cksum().map_err(|_| damaged())? != sum {
            return Err(damaged());
        }
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        if name == TOC && left > MAX_TOC_BYTES {
            return Err(damaged());
        }
        self.padding = (BLOCK - (left % BLOCK as u64) as usize) % BLOCK;
        let rows = self.rows_of(&name)?;
        self.file = Some(File { left, name, rows });
        if left == 0 { self.end_file() } else { Ok(()) }
    }

    /// The table whose rows a file holds.
    fn rows_of(&mut self, name: &str) -> Result<Option<(String, Rows)>> {
        let entries = self.archive.iter().flat_map(|archive| &archive.entries);
        let holds =
            |entry: &&Entry| entry.is_copy() && name.strip_prefix(&entry.data_file).is_some_and(is_suffix);
        let Some(entry) = entries.into_iter().find(holds) else { return Ok(None) };
        let failed = |e| Error::from_io("could not set up zstd", e);
        let rows = match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
            "gz" => Rows::Gzip(Box::new(flate2::write::MultiGzDecoder::new(FoldWriter::default()))),
            "zst" => Rows::Zstd(Box::new(
                zstd::stream::write::Decoder::new(FoldWriter::default()).map_err(failed)?,
            )),
            "lz4" => {
                self.is_uncounted = true;
                return Ok(None);
            }
            _ => Rows::Plain(Box::new(RowFold::with_end_marker())),
        };
        Ok(Some((entry.name(), rows)))
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        if file.name == TOC {
            self.archive = Some(archive::read_toc(&self.toc[..])?);
            self.toc = Vec::new();
        }
        if let Some((table, rows)) = file.rows {
            let facts = rows.finish()?.finish()?;
            self.tables.push(TableFacts { name: table, rows: facts.rows, digest: Some(facts.hex()) });
        }
        Ok(())
    }

    /// What was in it.
    ///
    /// # Errors
    /// `Corrupt` when the tar, or the dump in it, is cut short.
    pub(crate) fn finish(self) -> Result<Contents> {
        if !self.has_ended || self.file.is_some() {
            return Err(Error::corrupt("its tar is cut short"));
        }
        let archive = self.archive.ok_or_else(|| Error::corrupt(format!("its tar has no \"{TOC}\"")))?;
        let missing =
            archive.entries.iter().filter(|entry| entry.is_copy()).find(|entry| {
                !self.is_uncounted && !self.tables.iter().any(|table| table.name == entry.name())
            });
        if let Some(missing) = missing {
            return Err(Error::corrupt(format!("its tar has no rows of {}", missing.name())));
        }
        let left_out = left_out::of_archive(&archive);
        Ok(Contents { tables: self.tables, counted: !self.is_uncounted, archive: Some(archive), left_out })
    }
}

/// What may follow the name that the table of contents gives a file.
fn is_suffix(rest: &str) -> bool {
    ["", ".gz", ".zst", ".lz4"].contains(&rest)
}

impl Rows {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let outcome = match self {
            Self::Plain(fold) => {
                fold.feed(bytes);
                Ok(())
            }
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        };
        outcome.map_err(|e| Error::corrupt("a table's rows do not decompress").with_source(e))
    }

    fn finish(self) -> Result<RowFold> {
        let cut = |e| Error::corrupt("a table's rows are cut short").with_source(e);
        match self {
            Self::Plain(fold) => Ok(*fold),
            Self::Gzip(decoder) => Ok(decoder.finish().map_err(cut)?.0),
            Self::Zstd(mut decoder) => {
                decoder.flush().map_err(cut)?;
                Ok(decoder.into_inner().0)
            }
        }
    }
}
