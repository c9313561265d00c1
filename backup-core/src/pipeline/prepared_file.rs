//! Has the system make the memory of a large new file's pages on another core, shortly before they are written.
//!
//! A write makes the pages it needs one by one under the file's lock. In a virtual machine whose host takes unused
//! memory back, that is where most of the time of writing goes. Reading the hole ahead of the writer makes the same
//! pages without that lock; plain reads in order do, as the kernel then makes large folios, which a mapping of the
//! file goes through three times as fast as the single pages that `posix_fadvise` makes.

use std::{
    fs::File,
    io::{self, Write},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::platform;

/// Bytes by which preparer and writer keep in step.
const STRETCH_BYTES: u64 = 4 << 20;

/// Bytes made before the writer comes to them.
const AHEAD_BYTES: u64 = 8 * STRETCH_BYTES;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// A new file of known size, written from its beginning.
pub(super) struct PreparedFile {
    file: File,
    written: u64,
    /// One message for each stretch the writer has left behind.
    left: Option<Sender<()>>,
    preparer: Option<JoinHandle<()>>,
}

impl PreparedFile {
    /// Prepares an empty file for `size` bytes. Where the system cannot, the file is merely written.
    pub(super) fn new(file: File, size: u64) -> Self {
        let mut prepared = Self { file, written: 0, left: None, preparer: None };
        if size < 2 * STRETCH_BYTES || prepared.file.set_len(size).is_err() {
            return prepared;
        }
        if let Ok(file) = prepared.file.try_clone() {
            let (left, came) = bounded((AHEAD_BYTES / STRETCH_BYTES) as usize);
            let preparer = thread::Builder::new().name("backup-prepare".to_owned());
            prepared.preparer = preparer.spawn(move || prepare(&file, size, &came)).ok();
            prepared.left = Some(left);
        }
        prepared
    }

    /// Ends the file where the writing ended.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.stop();
        self.file.set_len(self.written)
    }

    fn stop(&mut self) {
        self.left = None;
        if let Some(preparer) = self.preparer.take() {
            let _ = preparer.join();
        }
    }
}

impl Write for PreparedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        let before = self.written / STRETCH_BYTES;
        self.written += count as u64;
        if let Some(left) = &self.left {
            for _ in before..self.written / STRETCH_BYTES {
                // A full channel means the preparer is behind and need not be told.
                let _ = left.try_send(());
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        self.stop();
    }
}

fn prepare(file: &File, size: u64, came: &Receiver<()>) {
    let mut buffer = vec![0u8; READ_BYTES];
    let mut offset = 0;
    while offset < size {
        if offset % STRETCH_BYTES == 0 && offset >= AHEAD_BYTES && came.recv().is_err() {
            return;
        }
        match platform::read_at(file, &mut buffer, offset) {
            Ok(count) if count > 0 => offset += count as u64,
            _ => return,
        }
    }
}
