//! The calls that differ between operating systems, all in one place.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
};

/// Gives a new file the owner and mode of the one whose place it takes.
#[cfg(unix)]
pub(crate) fn copy_owner_and_mode(from: &Metadata, to: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let now = to.metadata()?;
    if (now.uid(), now.gid()) != (from.uid(), from.gid()) {
        fchown(to, Some(from.uid()), Some(from.gid()))?;
    }
    to.set_permissions(std::fs::Permissions::from_mode(from.mode() & 0o7777))
}

/// Windows files inherit their folder's rights.
#[cfg(windows)]
pub(crate) fn copy_owner_and_mode(_from: &Metadata, _to: &File) -> io::Result<()> {
    Ok(())
}

/// The processes that have a file open, as far as this user may see: `name (pid N)`.
///
/// Looks only at names and inodes; the file itself is not opened.
#[cfg(target_os = "linux")]
pub(crate) fn openers(path: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let Ok(wanted) = std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())) else { return Vec::new() };
    let has_it_open = |process: &PathBuf| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|fd| std::fs::metadata(fd.path()).ok())
            .any(|meta| (meta.dev(), meta.ino()) == wanted)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .map(|entry| entry.path());
    numbered.filter(has_it_open).map(|process| name_of(&process)).collect()
}

#[cfg(target_os = "linux")]
fn name_of(process: &Path) -> String {
    let pid = process.file_name().unwrap_or_default().to_string_lossy();
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}

/// Other systems do not tell who has a file open; the lock alone decides.
#[cfg(not(target_os = "linux"))]
pub(crate) fn openers(_path: &Path) -> Vec<String> {
    Vec::new()
}

/// Tells how much memory this process has resident.
#[derive(Debug)]
pub(crate) struct Resident(File);

impl Resident {
    /// `None` where the system does not tell.
    pub(crate) fn new() -> Option<Self> {
        if cfg!(target_os = "linux") { File::open("/proc/self/statm").ok().map(Self) } else { None }
    }

    /// Bytes; the most there can be where it cannot be told.
    #[cfg(unix)]
    pub(crate) fn bytes(&self) -> u64 {
        use std::os::unix::fs::FileExt;
        let mut text = [0u8; 64];
        let count = self.0.read_at(&mut text, 0).unwrap_or(0);
        let fields = std::str::from_utf8(&text[..count]).unwrap_or_default();
        let pages = fields.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(u64::MAX);
        pages.saturating_mul(rustix::param::page_size() as u64)
    }

    /// Never asked, as there is none.
    #[cfg(windows)]
    pub(crate) fn bytes(&self) -> u64 {
        u64::MAX
    }
}

/// Whether a file system cannot be written, so that nobody changes what lies there through this mount.
#[cfg(unix)]
pub(crate) fn is_read_only_mount(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Not known; the usual way is tried.
#[cfg(windows)]
pub(crate) fn is_read_only_mount(_path: &Path) -> bool {
    false
}
