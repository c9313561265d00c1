//! The calls that differ between operating systems, all in one place.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

/// Reads at an offset without moving a shared position.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

/// Reads at an offset without moving a shared position.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Has the system give back the memory that keeps these bytes of a file, where it can and they are written.
#[cfg(target_os = "linux")]
pub(crate) fn forget(file: &File, offset: u64, length: u64) {
    use std::num::NonZeroU64;
    /// The largest piece of memory the system keeps a file in; one is given back when the last of it is named.
    const FOLIO_BYTES: u64 = 4 << 20;
    let begin = offset.saturating_sub(FOLIO_BYTES);
    let length = NonZeroU64::new(offset - begin + length);
    // Advice; it changes nothing if it is not taken.
    let _ = rustix::fs::fadvise(file, begin, length, rustix::fs::Advice::DontNeed);
}

/// Has the system give back the memory that keeps these bytes of a file: other systems decide for themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn forget(_file: &File, _offset: u64, _length: u64) {}

/// Opens for reading, a link only if asked to follow it. Never waits, as a pipe would for its writer.
#[cfg(unix)]
pub(crate) fn open_at_once(path: &Path, follow: bool) -> io::Result<File> {
    use rustix::fs::OFlags;
    let flags = if follow { OFlags::NONBLOCK } else { OFlags::NONBLOCK | OFlags::NOFOLLOW };
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    options.read(true).open(path)
}

/// Opens for reading, a link only if asked to follow it. Pipes have no names among files here.
#[cfg(windows)]
pub(crate) fn open_at_once(path: &Path, follow: bool) -> io::Result<File> {
    if !follow && path.symlink_metadata()?.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    File::open(path)
}

/// Options that create a file only its owner can read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a folder, and those above it, that only their owner can enter.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a folder's names durable.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows makes names durable with the file itself.
#[cfg(windows)]
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// This machine's name.
#[cfg(unix)]
pub(crate) fn host_name() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

/// This machine's name.
#[cfg(windows)]
pub(crate) fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// Lets everybody else's threads go first; only the calling thread steps back.
#[cfg(target_os = "linux")]
pub(crate) fn yield_to_others() {
    // Not being allowed to is no reason to stop.
    let _ = rustix::process::nice(BACKGROUND_NICE);
}

/// Enough that a woken writer runs at once beside busy workers, and an idle machine shows no difference.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 10;

/// Elsewhere niceness belongs to the whole process, of which this is a guest.
#[cfg(not(target_os = "linux"))]
pub(crate) fn yield_to_others() {}

/// Ends this process as a power cut would: no destructor, no signal handler, no exit hook.
#[cfg(all(unix, debug_assertions))]
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Ends this process as a power cut would.
#[cfg(all(windows, debug_assertions))]
pub(crate) fn die() -> ! {
    std::process::abort()
}
