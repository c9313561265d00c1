//! Loading a whole archive as it is decoded: its rows go straight into the server, and no copy of it lies anywhere.
//!
//! The stored bytes are compared with the manifest's hash before anything is made on the server, and what they decode
//! to is compared with the manifest as it passes by.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
};

use backup_core::{
    Error, Result,
    artifact::Artifact,
    capture::DumpFormat,
    context::Context,
    engine::{RestorePart, RestorePlan},
    pipeline::{self, Decoder},
    scratch::Scratch,
    verify::Subject,
};

use super::{
    Filled, copying, indexes,
    load::{self, Selection},
    order,
    server::TargetServer,
    statistics,
    temporary::TemporaryDatabase,
    unpacked::{damaged, ended, expected_tables},
};
use crate::{
    archive::{Archive, ArchiveReader, Entry, fill_offsets, read_toc},
    contents::{Contents, ContentsReader, format_in},
    session::Session,
};

/// The beginning of an archive: its table of contents, also as a file that pg_restore reads.
pub(super) struct Head {
    archive: Archive,
    scratch: Scratch,
}

/// The head of an archive that can be loaded this way; `None` for all others.
///
/// What is restored by a role with limits goes another way: privileges come with the definitions here, and may take
/// from that role what it needs for the rows.
pub(super) fn head(
    artifact: &dyn Artifact,
    plan: &RestorePlan,
    control: &mut Session,
    cx: &Context,
) -> Result<Option<Head>> {
    let manifest = artifact.manifest();
    let is_whole = artifact.has_facts() && plan.request.part == RestorePart::All;
    if !is_whole || format_in(manifest)? != DumpFormat::Custom || !load::is_superuser(control)? {
        return Ok(None);
    }
    if let Some(finding) = pipeline::checksum(artifact, cx)?.first() {
        return Err(damaged(artifact, &finding.to_string()));
    }
    let scratch = Scratch::for_artifact(artifact, 0, cx)?;
    let decoder = Decoder::open(artifact.open_payload()?, &manifest.payload, cx)?;
    let mut kept = Kept { decoder, bytes: Vec::new() };
    let archive = read_toc(&mut kept).map_err(|error| match error.is_corruption() {
        true => damaged(artifact, &error.to_string()),
        false => error,
    })?;
    let can_stream = |entry: &Entry| !entry.has_data || copying::can_copy(entry);
    if !archive.entries.iter().all(can_stream) {
        return Ok(None);
    }
    let head = Head { archive, scratch };
    fs::write(head.path(), kept.bytes).map_err(|e| Error::io("write", &head.path(), e))?;
    Ok(Some(head))
}

/// Loads the archive that `head` is of.
pub(super) fn load(
    artifact: &dyn Artifact,
    head: Head,
    plan: &RestorePlan,
    (server, control): (&TargetServer, Session),
    jobs: usize,
    cx: &Context,
) -> Result<Filled> {
    let (manifest, entries) = (artifact.manifest(), &head.archive.entries);
    let tools = load::tools_for(Some(&head.archive), manifest)?;
    let mut database = TemporaryDatabase::create(server, control, manifest, Some(&head.archive), cx)?;
    let selection = Selection::of(&plan.request, manifest);
    let definitions = selection.clone().with("--section=pre-data");
    load::run_pg_restore(&mut database, &head.path(), &tools, &definitions, 1, cx)?;

    let (rows, copying) = copying::start(&database.place, jobs, head.archive.encoding(), entries)?;
    let mut reader = ContentsReader::Custom(Box::new(ArchiveReader::with_data(Box::new(rows))));
    let decoded = load::measured(&database.place, cx, || feed(artifact, &mut reader, cx));
    // With the reader goes the sessions' queue, so that they end.
    let contents = ended(reader, artifact);
    let loaded = copying.finish();
    match decoded {
        // Half a row may be all that the server got.
        Err(error) if error.is_cancelled() || error.is_corruption() => return Err(error),
        // What the server refused explains why no more rows were taken.
        decoded => loaded.and(decoded)?,
    }
    let contents = contents?;

    let place = database.place.clone();
    let (mut built, mut complete) = (HashSet::new(), Vec::new());
    if let Some(read) = contents.archive.as_ref().filter(|_| jobs > 1) {
        let facts = expected_tables(artifact, &contents);
        built = load::measured(&place, cx, || indexes::build(&place, read, &facts, jobs, cx))?;
        complete = statistics::complete(read, &built);
    }
    head.tell_sizes(&contents, manifest.payload.plain_bytes)?;
    let rest = selection.with("--section=data").with("--section=post-data");
    // Foreign keys of several tables that refer to one are checked by one session, whatever the jobs are.
    let (finished, gathered) = statistics::gather_beside(&place, &complete, cx, || -> Result<()> {
        for stage in order::stages(entries).into_iter().filter_map(|stage| stage.without(&built)) {
            let list = load::write_list(head.scratch.path(), "rest", &head.archive, &stage.entries)?;
            let rest = rest.clone().with(list);
            load::run_pg_restore(&mut database, &head.path(), &tools, &rest, stage.jobs(jobs), cx)?;
        }
        Ok(())
    });
    finished?;
    Ok(Filled { database, contents, tools, gathered })
}

/// Decodes the archive into the reader, which hands its rows on.
fn feed(artifact: &dyn Artifact, reader: &mut ContentsReader, cx: &Context) -> Result<()> {
    let subject = Subject::streamed(artifact);
    let is_whole = subject.read(cx, &mut |bytes| {
        reader.feed(bytes).map_err(|error| match error.is_corruption() {
            true => damaged(artifact, &error.to_string()),
            false => error,
        })
    })?;
    if is_whole {
        return Ok(());
    }
    let findings = subject.decoded().unwrap_or_default();
    Err(damaged(artifact, &findings.first().map(ToString::to_string).unwrap_or_default()))
}

impl Head {
    /// The table of contents in a file of its own, for pg_restore.
    fn path(&self) -> std::path::PathBuf {
        self.scratch.path().join("contents")
    }

    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Says where the rows would be in the whole archive: from that pg_restore knows how large each table is, and
    /// builds the longest indexes first.
    fn tell_sizes(&self, contents: &Contents, archive_bytes: u64) -> Result<()> {
        let Some(read) = &contents.archive else { return Ok(()) };
        let path = self.path();
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        fill_offsets(&file, read)?;
        file.set_len(archive_bytes).map_err(|e| Error::io("write", &path, e))
    }
}

/// Keeps what is read of a payload.
struct Kept {
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
