//! The calls that differ between operating systems, all in one place.

use std::{
    fs::{File, Permissions},
    io,
    path::Path,
};

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
