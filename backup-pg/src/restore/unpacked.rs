//! A dump decoded into a working folder, read to its end and compared with its manifest.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    capture::DumpFormat,
    context::Context,
    event::{Event, Step},
    file,
    manifest::TableFacts,
    scratch::Scratch,
    verify::Subject,
};
use memchr::memmem;

use crate::{
    archive::{Archive, Format, fill_offsets},
    contents::{Contents, ContentsReader, by_name, format_in},
};

/// Where a plain dump goes on in another database, which would not be the one it is loaded into.
const CONNECT: &[u8] = b"\n\\connect ";

/// A dump that lies in a folder of its own, removed on drop.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The file, or the folder of a directory dump.
    pub(super) path: PathBuf,
    pub(super) is_plain: bool,
    pub(super) contents: Contents,
    pub(super) scratch: Scratch,
}

impl Unpacked {
    /// Decodes an artifact.
    ///
    /// # Errors
    /// `Corrupt` when the stored bytes are not those of the manifest, the dump is not whole, or it does not hold
    /// what the manifest says.
    pub(super) fn decode(artifact: &dyn Artifact, cx: &Context) -> Result<Self> {
        let manifest = artifact.manifest();
        let plain_bytes = manifest.payload.plain_bytes;
        let form = format_in(manifest)?;
        let scratch = Scratch::for_artifact(artifact, plain_bytes, cx)?;
        let path = scratch.path().join("dump");
        let mut arriving = Arriving {
            file: file::create_private(&path)?,
            form,
            reader: ContentsReader::new(form, manifest.content),
            tail: Vec::new(),
            connects: false,
            artifact,
        };
        let subject = Subject::streamed(artifact);
        let (mut damage, mut done) = (None, 0);
        let is_whole = subject.read(cx, &mut |bytes| {
            // Damage of the stored bytes explains a damaged dump better, so it is decoded to its end all the same.
            if damage.is_none() {
                damage = arriving.take(bytes, &path)?;
            }
            done += bytes.len() as u64;
            cx.emit(Event::Progress { step: Step::Decode, done });
            Ok(())
        })?;
        if !is_whole {
            let findings = subject.decoded().unwrap_or_default();
            let first = findings.first().map(ToString::to_string).unwrap_or_default();
            return Err(damaged(artifact, &first));
        }
        match damage {
            Some(error) if error.is_corruption() => return Err(damaged(artifact, &error.to_string())),
            Some(error) => return Err(error),
            None => {}
        }
        arriving.end(path, scratch)
    }

    /// The table of contents, where there is one.
    pub(super) fn archive(&self) -> Option<&Archive> {
        self.contents.archive.as_ref()
    }
}

/// `15.18 (Debian …)` → 15.
pub(super) fn major_in(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a dump held, which must be what its manifest says.
pub(super) fn ended(reader: ContentsReader, artifact: &dyn Artifact) -> Result<Contents> {
    let contents = reader.finish().map_err(|error| match error.is_corruption() {
        true => damaged(artifact, &error.to_string()),
        false => error,
    })?;
    if artifact.has_facts()
        && contents.counted
        && let Some(difference) = difference(&contents, &artifact.manifest().tables)
    {
        return Err(damaged(artifact, &difference));
    }
    Ok(contents)
}

pub(super) fn damaged(artifact: &dyn Artifact, what: &str) -> Error {
    Error::corrupt(format!("\"{}\" is damaged: {what}", artifact.manifest().id))
        .with_hint("The target was not touched. `backup verify --all` tells which backups are whole.")
}

/// A dump on its way into a file.
struct Arriving<'a> {
    artifact: &'a dyn Artifact,
    file: File,
    form: DumpFormat,
    reader: ContentsReader,
    /// The last bytes of what came before, in which [`CONNECT`] may have begun.
    tail: Vec<u8>,
    connects: bool,
}

impl Arriving<'_> {
    /// Stores and reads the next bytes; what is wrong with the dump is the inner value.
    fn take(&mut self, bytes: &[u8], path: &Path) -> Result<Option<Error>> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
        if self.form == DumpFormat::Plain {
            self.look_for_connect(bytes);
        }
        Ok(self.reader.feed(bytes).err())
    }

    fn look_for_connect(&mut self, bytes: &[u8]) {
        let head = bytes.get(..bytes.len().min(CONNECT.len())).unwrap_or_default();
        self.tail.extend_from_slice(head);
        self.connects |=
            memmem::find(&self.tail, CONNECT).is_some() || memmem::find(bytes, CONNECT).is_some();
        let from = bytes.len().saturating_sub(CONNECT.len());
        self.tail = bytes.get(from..).unwrap_or_default().to_vec();
    }

    fn end(self, path: PathBuf, scratch: Scratch) -> Result<Unpacked> {
        let contents = ended(self.reader, self.artifact)?;
        if self.connects {
            return Err(refuse_connecting(self.artifact));
        }
        let unpacked = Unpacked { path, is_plain: self.form == DumpFormat::Plain, contents, scratch };
        match unpacked.archive().map(|archive| archive.header.format) {
            Some(Format::Custom) => unpacked.with_offsets(),
            // Unpacked, a tar of pg_dump's is a directory (manual, pg_dump, "--format"), and that of a directory says
            // of itself that it is a tar.
            Some(Format::Directory | Format::Tar) => unpacked.untarred(),
            None => Ok(unpacked),
        }
    }
}

fn refuse_connecting(artifact: &dyn Artifact) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("\"{}\" creates its database itself and connects to it", artifact.manifest().id),
    )
    .with_hint("It was dumped with --create: pipe `backup cat` into psql by hand, or take a backup in the custom format.")
}

impl Unpacked {
    /// Lets each session of `pg_restore` go straight to its table.
    fn with_offsets(self) -> Result<Self> {
        if let Some(archive) = self.archive() {
            let reopened = File::options().read(true).write(true).open(&self.path);
            fill_offsets(&reopened.map_err(|e| Error::io("open", &self.path, e))?, archive)?;
        }
        Ok(self)
    }

    fn untarred(self) -> Result<Self> {
        let folder = self.scratch.path().join("directory");
        let bytes = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        self.scratch.require(bytes)?;
        file::create_private_folder(&folder)?;
        let tar = File::open(&self.path).map_err(|e| Error::io("open", &self.path, e))?;
        tar::Archive::new(tar).unpack(&folder).map_err(|e| Error::io("unpack into", &folder, e))?;
        file::remove(&self.path)?;
        Ok(Self { path: folder, ..self })
    }
}

/// The tables that a restore must bring back: the manifest's, or those of the dump where there is no manifest.
pub(super) fn expected_tables(artifact: &dyn Artifact, contents: &Contents) -> Vec<TableFacts> {
    let stated = &artifact.manifest().tables;
    let tables = if artifact.has_facts() && !stated.is_empty() { stated } else { &contents.tables };
    by_name(tables).into_values().collect()
}

/// What first differs between a dump and its manifest.
fn difference(contents: &Contents, stated: &[TableFacts]) -> Option<String> {
    contents.differences(stated).into_iter().next().map(|(table, what)| format!("{table} {what}"))
}
