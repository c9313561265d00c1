//! The calls that differ between operating systems, all in one place.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    path::Path,
    time::SystemTime,
};

use tempfile::TempPath;

/// Takes every right to write away from a finished object.
#[cfg(unix)]
pub(crate) fn make_read_only(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(Permissions::from_mode(0o400))
}

/// Takes the right to write away from a finished object.
#[cfg(windows)]
pub(crate) fn make_read_only(file: &File) -> io::Result<()> {
    let mut permissions: Permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

/// Points `link` at `target`, a name in the same folder.
#[cfg(unix)]
pub(crate) fn link_name(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Symbolic links need a privilege on Windows: a copy serves.
#[cfg(windows)]
pub(crate) fn link_name(target: &str, link: &Path) -> io::Result<()> {
    let folder = link.parent().unwrap_or(Path::new("."));
    std::fs::copy(folder.join(target), link).map(drop)
}

/// Whether an object was finished and protected by [`make_read_only`].
pub(crate) fn is_read_only(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().readonly())
}

/// A protected file can be replaced by whoever may write its folder.
#[cfg(unix)]
pub(crate) fn allow_replacing(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Windows replaces no read-only file.
#[cfg(windows)]
pub(crate) fn allow_replacing(path: &Path) -> io::Result<()> {
    if !is_read_only(path) {
        return Ok(());
    }
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions)
}

/// When a file came to be here as it is: a sync client keeps the modification time of the machine it was made on.
#[cfg(unix)]
pub(crate) fn arrived(meta: &Metadata) -> io::Result<SystemTime> {
    use std::{os::unix::fs::MetadataExt, time::Duration};
    let changed =
        Duration::new(meta.ctime().try_into().unwrap_or(0), meta.ctime_nsec().try_into().unwrap_or(0));
    Ok(meta.modified()?.max(SystemTime::UNIX_EPOCH + changed))
}

/// When a file came to be here as it is.
#[cfg(windows)]
pub(crate) fn arrived(meta: &Metadata) -> io::Result<SystemTime> {
    Ok(meta.modified()?.max(meta.created()?))
}

/// Renames a finished file to a name that nothing has, without a second name on the way: sync clients take hard links
/// for copies, and some file systems have none.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(crate) fn name_new(from: TempPath, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, &*from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => reserve_and_rename(&from, to),
        renamed => Ok(renamed?),
    }
}

/// Renames a finished file to a name that nothing has.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
pub(crate) fn name_new(from: TempPath, to: &Path) -> io::Result<()> {
    reserve_and_rename(&from, to)
}

/// Renames a finished file to a name that nothing has.
#[cfg(windows)]
pub(crate) fn name_new(from: TempPath, to: &Path) -> io::Result<()> {
    from.persist_noclobber(to).map_err(|e| e.error)
}

/// Where no rename refuses to replace: the name is taken by an empty file first. A kill between the two leaves that,
/// which no manifest vouches for.
#[cfg(unix)]
fn reserve_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    File::create_new(to)?;
    fs::rename(from, to).inspect_err(|_| {
        // An empty file is damage that everybody finds.
        let _ = fs::remove_file(to);
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_on_file_systems_that_can_only_replace_too() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second, name) =
            (folder.path().join("1"), folder.path().join("2"), folder.path().join("x"));
        fs::write(&first, "first").unwrap();
        fs::write(&second, "second").unwrap();
        reserve_and_rename(&first, &name).unwrap();
        let refused = reserve_and_rename(&second, &name).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&name).unwrap(), b"first");
        assert!(second.exists());
    }
}
