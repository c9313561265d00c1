//! What the decrypting stream reads.

use std::{
    io::{self, BufRead, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use age::stream::StreamReader;

use super::{Parts, damaged_header, decrypt};
use crate::{error::Result, store::ObjectReader};

/// An age file as the decrypting stream sees it: its two ends are in memory, what lies between comes from elsewhere.
pub(super) struct View {
    parts: Arc<Parts>,
    between: Between,
    position: u64,
}

/// Where what lies between comes from.
pub(super) enum Between {
    Object(Arc<dyn ObjectReader>),
    Window(Arc<Mutex<Window>>),
}

/// The stored bytes that a worker is at.
#[derive(Default)]
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    pub(super) fn new(parts: &Arc<Parts>, between: Between) -> Self {
        Self { parts: Arc::clone(parts), between, position: 0 }
    }

    /// What it says, by the file's own key.
    pub(super) fn decrypt(self) -> Result<StreamReader<Self>> {
        let key = self.parts.key.clone();
        decrypt(self, &key).map_err(damaged_header)
    }
}

/// What of `bytes`, which lie at `offset`, is at `position`.
pub(super) fn piece(bytes: &[u8], offset: u64, position: u64) -> &[u8] {
    let skipped = position.checked_sub(offset).and_then(|skipped| usize::try_from(skipped).ok());
    skipped.and_then(|skipped| bytes.get(skipped..)).unwrap_or_default()
}

impl Read for View {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let parts = &self.parts;
        let ends = [(&parts.head, 0), (&parts.tail, parts.size - parts.tail.len() as u64)];
        let kept = ends.into_iter().map(|(bytes, offset)| piece(bytes, offset, self.position));
        let count = match kept.into_iter().find(|piece| !piece.is_empty()) {
            Some(mut piece) => piece.read(buffer)?,
            None => match &self.between {
                Between::Object(object) => object.read_at(self.position, buffer)?,
                Between::Window(window) => {
                    let window = lock(window);
                    piece(&window.bytes, window.offset, self.position).read(buffer)?
                }
            },
        };
        self.position += count as u64;
        Ok(count)
    }
}

/// The header is read by lines; it lies in the beginning that is kept.
impl BufRead for View {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(piece(&self.parts.head, 0, self.position))
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
    }
}

impl Seek for View {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.parts.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
