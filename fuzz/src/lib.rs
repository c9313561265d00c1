//! What the fuzz targets share.

use backup_core::{Result, store::ObjectReader};

/// An object in memory that gives out a few bytes at a time, as a store may.
#[derive(Debug)]
pub struct Bytes {
    bytes: Vec<u8>,
    most: usize,
}

impl Bytes {
    /// All bytes of `bytes`, whatever is asked for.
    pub fn whole(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), most: usize::MAX }
    }

    /// At most `most` bytes per read.
    pub fn in_parts(bytes: &[u8], most: usize) -> Self {
        Self { bytes: bytes.to_vec(), most: most.max(1) }
    }
}

impl ObjectReader for Bytes {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let rest =
            self.bytes.get(usize::try_from(offset).expect("an offset in memory")..).unwrap_or_default();
        let count = rest.len().min(buffer.len()).min(self.most);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
