//! Restores: planned, loaded beside the target, proven there.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use backup_core::{
    Error, ErrorKind, Result,
    artifact::Artifact,
    content::Content,
    context::Context,
    engine::{RestorePart, RestorePlan, RestoreRequest, Staged, Swapped, Target},
    file,
    manifest::Manifest,
    pipeline::decode_to_file,
    verify::Finding,
};

use crate::{
    check::{check_copy, first_row},
    connection::{explain, log_bytes, open_immutable, open_private},
    engine::is_opaque,
    platform, swap,
    tables::{self, StagedTables},
};

/// What a database loaded beside its target is called until it takes its place.
const RESTORING: &str = ".restoring-";

pub(crate) fn plan(manifest: &Manifest, request: &RestoreRequest, _cx: &Context) -> Result<RestorePlan> {
    require_restorable(manifest)?;
    let target = target_path(manifest, request)?;
    let mut plan = RestorePlan::new(Target::SqliteFile(target.clone()), manifest.payload.plain_bytes);
    plan.request = request.clone();
    require_known(request)?;
    plan.replaces = holds_data(&target)?;
    require_room(&target, plan.writes)?;
    if !request.tables.is_empty() {
        tables::plan(&target, &mut plan)?;
        return Ok(plan);
    }
    if plan.replaces {
        if !request.replace {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("\"{}\" exists already", target.display()))
                .with_hint("Say --replace to put the backup in its place (the old file is kept beside), or name another --to."));
        }
        swap::require_unused(&target)?;
    }
    plan.steps = steps(manifest, &target, plan.replaces);
    Ok(plan)
}

/// An SQLite file is restored whole or by tables; it has no owners and no rows without definitions.
fn require_known(request: &RestoreRequest) -> Result<()> {
    let asked = [
        (request.part != RestorePart::All, "--schema-only and --data-only"),
        (request.into_empty, "--into-empty"),
        (request.no_owner || request.no_privileges, "--no-owner and --no-privileges"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, flags)) => {
            Err(Error::new(ErrorKind::Unsupported, format!("SQLite restores do not know {flags}"))
                .with_hint("Restore it whole, or single tables with --table."))
        }
        None => Ok(()),
    }
}

fn steps(manifest: &Manifest, target: &Path, replaces: bool) -> Vec<String> {
    let mut steps = vec![
        format!(
            "decode \"{}\" ({} bytes) beside \"{}\"",
            manifest.id,
            manifest.payload.plain_bytes,
            target.display()
        ),
        "compare it with the manifest and run the full integrity check".to_owned(),
    ];
    if replaces {
        steps.push(format!("keep the present database as \"{}.before-<instant>\"", target.display()));
    }
    steps.push(format!("rename the restored database to \"{}\"", target.display()));
    steps
}

fn require_restorable(manifest: &Manifest) -> Result<()> {
    match manifest.content {
        Content::Full | Content::Schema => Ok(()),
        Content::Data => Err(Error::new(
            ErrorKind::Unsupported,
            format!("\"{}\" holds rows without their tables", manifest.id),
        )
        .with_hint("Review it with `backup cat`, and pipe that into sqlite3 on a database with the same definitions.")),
        other => Err(Error::new(ErrorKind::Unsupported, format!("{other} backups are not SQLite's"))),
    }
}

fn target_path(manifest: &Manifest, request: &RestoreRequest) -> Result<PathBuf> {
    let path = match &request.target {
        Some(Target::SqliteFile(path) | Target::Path(path)) => path.clone(),
        None => PathBuf::from(&manifest.source.database),
        Some(other) => {
            return Err(Error::invalid(format!("an SQLite backup cannot be restored to \"{other}\""))
                .with_hint("Name a file: --to sqlite:PATH."));
        }
    };
    let path = std::path::absolute(&path).map_err(|e| Error::io("resolve", &path, e))?;
    // A link is followed: what stands behind it is replaced, the link stays.
    let path = fs::canonicalize(&path).unwrap_or(path);
    if path.is_dir() {
        return Err(Error::invalid(format!("\"{}\" is a folder", path.display()))
            .with_hint("Name the database file inside it."));
    }
    let folder = file::folder_of(&path);
    if !folder.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no folder \"{}\"", folder.display()))
            .with_hint("Create it, or name another --to."));
    }
    Ok(path)
}

/// An empty file without a log is no data to keep.
fn holds_data(target: &Path) -> Result<bool> {
    match fs::metadata(target) {
        Ok(meta) => Ok(meta.len() > 0 || log_bytes(target) > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("examine", target, error)),
    }
}

fn require_room(target: &Path, needed: u64) -> Result<()> {
    let folder = file::folder_of(target);
    let free = file::free_space(folder)?;
    if free >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        format!("the restore writes {needed} bytes to \"{}\" and {free} are free", folder.display()),
    )
    .with_hint("Free some room there, or name another --to."))
}

pub(crate) fn load(artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
    let Target::SqliteFile(target) = &plan.target else {
        return Err(Error::invalid(format!("\"{}\" is not an SQLite file", plan.target)));
    };
    let staged = StagedFile::load(artifact, target, plan.replaces, cx)?;
    if plan.request.tables.is_empty() {
        Ok(Box::new(staged))
    } else {
        Ok(Box::new(StagedTables::new(staged, plan.request.tables.clone())))
    }
}

/// A database beside its target. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) manifest: Manifest,
    has_facts: bool,
    replaces: bool,
    /// Held until the swap, so that the next restore can tell a living neighbour from a dead one's left-over.
    lock: Option<File>,
    syncing: Option<JoinHandle<std::io::Result<()>>>,
}

impl StagedFile {
    fn load(artifact: &dyn Artifact, target: &Path, replaces: bool, cx: &Context) -> Result<Self> {
        let folder = file::folder_of(target);
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sweep(folder, &name)?;
        let path =
            folder.join(format!(".{name}{RESTORING}{}-{}", std::process::id(), cx.now().as_nanosecond()));
        let mut staged = Self {
            path: path.clone(),
            target: target.to_owned(),
            manifest: artifact.manifest().clone(),
            has_facts: artifact.has_facts(),
            replaces,
            lock: None,
            syncing: None,
        };
        let findings = match artifact.manifest().content {
            Content::Schema => run_definitions(artifact, &path, cx)?,
            _ => decode_to_file(artifact, &path, cx)?,
        };
        if let Some(finding) = findings.first() {
            return Err(Error::corrupt(format!("\"{}\" is damaged: {finding}", artifact.manifest().id))
                .with_hint(
                    "The target was not touched. `backup verify --all` tells which backups are whole.",
                ));
        }
        staged.begin_sync()?;
        Ok(staged)
    }

    /// Making a gigabyte durable takes as long as checking it, and both can be done at once.
    fn begin_sync(&mut self) -> Result<()> {
        let open = || File::options().read(true).write(true).open(&self.path);
        let lock = open().map_err(|e| Error::io("open", &self.path, e))?;
        // A neighbour can only find it unlocked if it is older than this line.
        let _ = lock.try_lock();
        let file = lock.try_clone().map_err(|e| Error::io("open", &self.path, e))?;
        self.lock = Some(lock);
        self.syncing = Some(thread::spawn(move || file.sync_all()));
        Ok(())
    }

    fn end_sync(&mut self) -> Result<()> {
        let outcome = match self.syncing.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(std::io::Error::other("the syncing thread panicked")),
            None => Ok(()),
        };
        outcome.map_err(|e| Error::io("make durable", &self.path, e))
    }
}

impl Staged for StagedFile {
    fn prove(&mut self, cx: &Context) -> Result<Vec<Finding>> {
        let findings = if is_opaque(&self.manifest) {
            Vec::new()
        } else if !self.has_facts && !is_database(&self.path)? {
            vec![Finding::content("sqlite", &self.manifest.payload.name, "it is not an SQLite database")]
        } else {
            check_copy(&self.path, &self.manifest, cx)?
        };
        self.end_sync()?;
        Ok(findings)
    }

    fn query(&mut self, sql: &str) -> Result<Option<String>> {
        first_row(&open_immutable(&self.path, &Default::default())?, sql, &self.path)
    }

    fn swap(mut self: Box<Self>, _cx: &Context) -> Result<Swapped> {
        self.end_sync()?;
        if let Some(restored) = &self.lock {
            if let Ok(old) = fs::metadata(&self.target) {
                platform::copy_owner_and_mode(&old, restored)
                    .map_err(|e| Error::io("give its owner to", &self.path, e))?;
            }
            // The check left everything as it was, and touched the header on the way.
            restored.sync_all().map_err(|e| Error::io("make durable", &self.path, e))?;
        }
        // No descriptor of ours may be open on what becomes the live database.
        self.lock = None;
        if self.replaces {
            swap::replace(&self.path, &self.target)
        } else {
            swap::place(&self.path, &self.target)
        }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let _ = self.end_sync();
        // After a swap the name is gone; after anything else the file has served.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_database(path: &Path) -> Result<bool> {
    let head = file::FileObject::open(path)?;
    let mut bytes = [0u8; crate::page::HEADER_BYTES];
    let count = backup_core::store::ObjectReader::read_at(&head, 0, &mut bytes)?;
    Ok(bytes[..count].starts_with(crate::page::MAGIC))
}

/// Makes a new database of a schema artifact's definitions.
fn run_definitions(artifact: &dyn Artifact, path: &Path, cx: &Context) -> Result<Vec<Finding>> {
    let text_path = path.with_extension("sql");
    let findings = decode_to_file(artifact, &text_path, cx);
    let text = fs::read_to_string(&text_path);
    file::remove_if_present(&text_path)?;
    let findings = findings?;
    if findings.is_empty() {
        let text = text.map_err(|e| Error::io("read", &text_path, e))?;
        file::create_private(path)?.flush().map_err(|e| Error::io("create", path, e))?;
        let connection = open_private(path, cx.cancel())?;
        connection.execute_batch(&text).map_err(|e| explain(e, "run the definitions in", path))?;
    }
    Ok(findings)
}

/// Removes what killed restores of this target left behind.
fn sweep(folder: &Path, name: &str) -> Result<()> {
    let prefix = format!(".{name}{RESTORING}");
    for entry in fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        let is_dead =
            || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) && is_old(&entry.path());
        if is_ours && is_dead() {
            file::remove_if_present(&entry.path())?;
        }
    }
    Ok(())
}

/// A restore locks its file once it is decoded; one that decodes for longer than a minute keeps writing it.
fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age.as_secs() > 60))
}
