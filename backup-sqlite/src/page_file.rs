//! The pages of a private copy, read one by one without SQLite.

use std::io::{Read, Seek, SeekFrom};

use crate::{
    doubt::{Doubt, OrDoubt, Plainly},
    page::{DatabaseHeader, HEADER_BYTES},
};

/// A database file whose shape is understood.
#[derive(Debug)]
pub(crate) struct PageFile<F> {
    file: F,
    position: u64,
    /// What the first page says.
    pub(crate) header: DatabaseHeader,
    /// Bytes per page.
    pub(crate) page_size: usize,
    /// Those of them that hold data.
    pub(crate) usable: usize,
    /// Pages of the file.
    pub(crate) page_count: u32,
}

impl<F: Read + Seek> PageFile<F> {
    /// Takes a file, which must be a whole number of pages.
    pub(crate) fn new(mut file: F) -> Plainly<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut first = [0u8; HEADER_BYTES];
        if bytes < HEADER_BYTES as u64 {
            return Err(Doubt::NotPlain);
        }
        file.rewind()?;
        file.read_exact(&mut first)?;
        let header = DatabaseHeader::parse(&first).or_doubt()?;
        let page_size = u64::from(header.page_size);
        let page_count = u32::try_from(bytes / page_size).ok().or_doubt()?;
        let usable = header.page_size as usize - usize::from(header.reserved);
        if bytes % page_size != 0 || usable < 480 {
            return Err(Doubt::NotPlain);
        }
        let (page_size, position) = (page_size as usize, HEADER_BYTES as u64);
        Ok(Self { file, position, header, page_size, usable, page_count })
    }

    /// Reads the beginning of a page.
    pub(crate) fn read(&mut self, number: u32, into: &mut [u8]) -> Plainly<()> {
        if number == 0 || number > self.page_count {
            return Err(Doubt::NotPlain);
        }
        let at = u64::from(number - 1) * self.page_size as u64;
        if self.position != at {
            self.file.seek(SeekFrom::Start(at))?;
        }
        self.file.read_exact(into)?;
        self.position = at + into.len() as u64;
        Ok(())
    }
}
