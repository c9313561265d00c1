//! Restores of engines whose payload is one plain file: decoded beside its target, then renamed into its place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    artifact::Artifact,
    context::Context,
    engine::{RestorePart, RestorePlan, RestoreRequest, Staged, Swapped, Target},
    error::{Error, ErrorKind, Result},
    file,
    id::compact_instant,
    manifest::Manifest,
    pipeline::decode_to_file,
    verify::Finding,
};

/// Plans the restore of a payload that is one plain file: what [`crate::engine::BackupEngine::plan_restore`] returns
/// for engines that have no server and no log beside their file.
///
/// Without a target it goes to the path that the manifest names as its database. A link is followed: what stands
/// behind it is replaced.
///
/// # Errors
/// `AlreadyExists` when the target holds bytes and `replace` is not set; `NotFound` without a folder for it; `NoSpace`
/// when its bytes do not fit there; `Unsupported` for anything but a whole file.
pub fn plan_file(manifest: &Manifest, request: &RestoreRequest) -> Result<RestorePlan> {
    if request.part != RestorePart::All || request.no_owner || request.no_privileges {
        return Err(Error::new(ErrorKind::Unsupported, "a plain file is restored whole, or not at all"));
    }
    let target = target_path(manifest, request)?;
    let bytes = manifest.payload.plain_bytes;
    let mut plan = RestorePlan::new(Target::Path(target.clone()), bytes);
    plan.request = request.clone();
    plan.replaces = fs::metadata(&target).is_ok_and(|meta| meta.len() > 0);
    let shown = target.display();
    if plan.replaces && request.into_empty {
        plan.skipped = Some(format!("\"{shown}\" holds data already"));
        return Ok(plan);
    }
    if plan.replaces && !request.replace {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("\"{shown}\" exists already"))
            .with_hint("Say --replace to put the backup in its place (the old file is kept beside), or name another --to."));
    }
    require_room(&target, bytes)?;
    plan.steps = vec![format!("decode \"{}\" ({bytes} bytes) beside \"{shown}\"", manifest.id)];
    if plan.replaces {
        plan.steps.push(format!("keep the present file as \"{shown}.before-<instant>\""));
    }
    plan.steps.push(format!("rename the restored file to \"{shown}\""));
    Ok(plan)
}

/// Loads a payload that is one plain file as planned by [`plan_file`]: what
/// [`crate::engine::BackupEngine::load`] returns. It is proven by the manifest's length and hash.
///
/// A kill leaves a hidden folder beside the target and the target as it was.
///
/// # Errors
/// `Corrupt` when the payload is damaged; what writing beside the target reports.
pub fn load_file(artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) -> Result<Box<dyn Staged>> {
    let Target::Path(target) = &plan.target else {
        return Err(Error::invalid(format!("\"{}\" is no plain file", plan.target)));
    };
    let folder = file::folder_of(target);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = tempfile::Builder::new()
        .prefix(&format!(".{name}.restoring-"))
        .tempdir_in(folder)
        .map_err(|e| Error::io("create a folder in", folder, e))?;
    let path = beside.path().join("copy");
    let findings = decode_to_file(artifact, &path, cx)?;
    if let Some(finding) = findings.first() {
        return Err(Error::corrupt(format!("\"{}\" is damaged: {finding}", artifact.manifest().id))
            .with_hint("The target was not touched. `backup verify --all` tells which backups are whole."));
    }
    Ok(Box::new(StagedFile { path, target: target.clone(), _beside: beside }))
}

fn target_path(manifest: &Manifest, request: &RestoreRequest) -> Result<PathBuf> {
    let path = match &request.target {
        Some(Target::Path(path) | Target::SqliteFile(path)) => path.clone(),
        None => PathBuf::from(&manifest.source.database),
        Some(other) => {
            return Err(Error::invalid(format!("\"{}\" cannot be restored to \"{other}\"", manifest.id))
                .with_hint("Name a file: --to PATH."));
        }
    };
    let path = std::path::absolute(&path).map_err(|e| Error::io("resolve", &path, e))?;
    let path = fs::canonicalize(&path).unwrap_or(path);
    if path.is_dir() {
        return Err(Error::invalid(format!("\"{}\" is a folder", path.display()))
            .with_hint("Name the file inside it."));
    }
    if !file::folder_of(&path).is_dir() {
        let folder = file::folder_of(&path).display();
        return Err(Error::new(ErrorKind::NotFound, format!("there is no folder \"{folder}\""))
            .with_hint("Create it, or name another --to."));
    }
    Ok(path)
}

fn require_room(target: &Path, needed: u64) -> Result<()> {
    let folder = file::folder_of(target);
    let free = file::free_space(folder)?;
    if free >= needed {
        return Ok(());
    }
    let message =
        format!("the restore writes {needed} bytes to \"{}\" and {free} are free", folder.display());
    Err(Error::new(ErrorKind::NoSpace, message).with_hint("Free some room there, or name another --to."))
}

/// A file beside its target, in a folder that goes with it.
#[derive(Debug)]
struct StagedFile {
    path: PathBuf,
    target: PathBuf,
    _beside: TempDir,
}

impl Staged for StagedFile {
    /// Decoding it compared its length and hash with the manifest's.
    fn prove(&mut self, _cx: &Context) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn swap(self: Box<Self>, cx: &Context) -> Result<Swapped> {
        let mut swapped = Swapped { target: self.target.display().to_string(), ..Swapped::default() };
        if let Ok(old) = fs::metadata(&self.target) {
            fs::set_permissions(&self.path, old.permissions())
                .map_err(|e| Error::io("set the mode of", &self.path, e))?;
            if old.len() > 0 {
                let kept = kept_path(&self.target, cx);
                keep(&self.target, &kept)?;
                let words = ["mv", &kept.display().to_string(), &swapped.target].map(shell_word);
                swapped.undo = Some(words.join(" "));
                swapped.kept.push(kept.display().to_string());
            }
        }
        if swapped.undo.is_none() {
            swapped.undo = Some(format!("rm {}", shell_word(&swapped.target)));
        }
        let restored = fs::File::open(&self.path).map_err(|e| Error::io("open", &self.path, e))?;
        file::sync(&restored, &self.path)?;
        file::rename(&self.path, &self.target)?;
        file::sync_folder(file::folder_of(&self.target))?;
        Ok(swapped)
    }
}

/// A second name for the old file, so that its own name never stands empty.
fn keep(path: &Path, kept: &Path) -> Result<()> {
    match fs::hard_link(path, kept) {
        Ok(()) => Ok(()),
        // File systems without hard links: for one moment the name is empty, and the old file has its new name.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported || error.raw_os_error() == Some(1) => {
            file::rename(path, kept)
        }
        Err(error) => Err(Error::io("keep the old file as", kept, error)),
    }
}

/// `<target>.before-<instant>`, with a number where that is taken.
fn kept_path(target: &Path, cx: &Context) -> PathBuf {
    let first = format!("{}.before-{}", target.display(), compact_instant(cx.now()));
    let mut names = std::iter::once(first.clone()).chain((2..).map(|number| format!("{first}-{number}")));
    names.find(|name| fs::symlink_metadata(name).is_err()).map_or_else(|| first.into(), PathBuf::from)
}

fn shell_word(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}
