//! Local files, with errors that name their path.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, ErrorKind, Result},
    platform,
    store::ObjectReader,
};

/// A local file open for reading by range.
#[derive(Debug)]
pub struct FileObject {
    path: PathBuf,
    file: File,
    size: u64,
}

impl FileObject {
    /// Opens a regular file; `path` may be a link to it.
    ///
    /// # Errors
    /// `NotFound`, `Denied`; `Invalid` when it is no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path, true)
    }

    /// Opens a regular file that is no link, as a store's objects are.
    ///
    /// # Errors
    /// `Corrupt` when something else stands there: a link, a folder, a pipe, a device.
    pub fn open_object(path: &Path) -> Result<Self> {
        Self::opened(path, false).map_err(|error| match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => corrupt(path, "a symbolic link"),
            Ok(meta) if !meta.is_file() => corrupt(path, "no regular file"),
            _ => error,
        })
    }

    fn opened(path: &Path, follow: bool) -> Result<Self> {
        let file = platform::open_at_once(path, follow).map_err(|e| Error::io("open", path, e))?;
        let meta = file.metadata().map_err(|e| Error::io("examine", path, e))?;
        if !meta.is_file() {
            return Err(Error::invalid(format!("\"{}\" is not a regular file", path.display())));
        }
        Ok(Self { path: path.to_owned(), file, size: meta.len() })
    }

    /// Whether nobody holds a lock on it.
    pub fn is_unlocked(&self) -> bool {
        self.file.try_lock().is_ok()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::corrupt(format!("\"{}\" is {what}", path.display()))
}

impl ObjectReader for FileObject {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match platform::read_at(&self.file, buffer, offset) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path, error)),
            }
        }
    }

    fn forget(&self, offset: u64, length: u64) {
        platform::forget(&self.file, offset, length);
    }
}

/// A whole small file.
///
/// # Errors
/// `NotFound`, `Denied`; `Corrupt` when it is larger than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::corrupt(format!("\"{}\" is larger than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

/// Creates a file only its owner can read; never replaces.
///
/// # Errors
/// `AlreadyExists`, `Denied`, `NoSpace`.
pub fn create_private(path: &Path) -> Result<File> {
    platform::private_file().open(path).map_err(|e| Error::io("create", path, e))
}

/// Writes a whole small private file; never replaces.
///
/// # Errors
/// As [`create_private`]; a file that could not be written whole stays.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    create_private(path)?.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

/// Creates a folder, and those above it, that only their owner can enter.
///
/// # Errors
/// `Denied`, `NoSpace`; what stands there and is no folder.
pub fn create_private_folder(path: &Path) -> Result<()> {
    platform::create_private_folder(path).map_err(|e| Error::io("create the folder", path, e))
}

/// Renames, replacing what stood there.
///
/// # Errors
/// What the system reports; both names are as they were then.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| {
        Error::from_io(format!("could not rename \"{}\" to \"{}\"", from.display(), to.display()), e)
    })
}

/// Removes a file.
///
/// # Errors
/// `NotFound`, `Denied`.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
}

/// Removes a file if it is there.
///
/// # Errors
/// `Denied`.
pub fn remove_if_present(path: &Path) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file's bytes durable.
///
/// # Errors
/// What the disk reports: the bytes may be lost.
pub fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| Error::io("make durable", path, e))
}

/// Makes a folder's names durable.
///
/// # Errors
/// What the disk reports: names made since the last time may be lost.
pub fn sync_folder(path: &Path) -> Result<()> {
    platform::sync_folder(path).map_err(|e| Error::io("make durable", path, e))
}

/// The folder a path lies in; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Free bytes on the disk that holds `path`, for this user.
///
/// # Errors
/// What the system reports of the path.
pub fn free_space(path: &Path) -> Result<u64> {
    fs4::available_space(path).map_err(|e| Error::io("measure the free space of", path, e))
}

/// Lets everybody else's threads go before the calling one, where the system can do that for one thread.
pub fn yield_to_others() {
    platform::yield_to_others();
}

/// This machine's name.
pub fn host_name() -> Option<String> {
    platform::host_name()
}
