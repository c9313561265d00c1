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
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let meta = file.metadata().map_err(|e| Error::io("examine", path, e))?;
        if !meta.is_file() {
            return Err(Error::invalid(format!("\"{}\" is not a regular file", path.display())));
        }
        Ok(Self { path: path.to_owned(), file, size: meta.len() })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
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
}

/// A whole small file.
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
pub fn create_private(path: &Path) -> Result<File> {
    platform::private_file().open(path).map_err(|e| Error::io("create", path, e))
}

/// Writes a whole small private file; never replaces.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    create_private(path)?.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

/// Creates a folder, and those above it, that only their owner can enter.
pub fn create_private_folder(path: &Path) -> Result<()> {
    platform::create_private_folder(path).map_err(|e| Error::io("create the folder", path, e))
}

/// Renames, replacing what stood there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| {
        Error::from_io(format!("could not rename \"{}\" to \"{}\"", from.display(), to.display()), e)
    })
}

/// Removes a file.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
}

/// Removes a file if it is there.
pub fn remove_if_present(path: &Path) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file's bytes durable.
pub fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| Error::io("make durable", path, e))
}

/// Makes a folder's names durable.
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
