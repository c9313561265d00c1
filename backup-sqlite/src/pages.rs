//! The pages of one consistent state, in order or one by one, wherever they lie.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use backup_core::{Error, Result, context::Context, engine::PayloadSink};
use rusqlite::Connection;

use crate::{census::Census, handle, page::DatabaseHeader, schema::Definition, wal::Overlay};

/// The shape of a captured database.
pub(crate) struct Shape {
    pub(crate) header: DatabaseHeader,
    pub(crate) page_count: u32,
    /// Its definitions; `Err` says why they could not be read.
    pub(crate) definitions: Result<Vec<Definition>, String>,
    /// Rows by definition, for those that are tables; or what is wrong with the tree.
    pub(crate) rows: Vec<(Definition, Result<u64, backup_core::verify::Finding>)>,
}

/// Where pages come from, and what lies over them.
pub(crate) struct Pages<'a> {
    pub(crate) base: Base<'a>,
    pub(crate) path: &'a Path,
    pub(crate) page_size: usize,
    pub(crate) page_count: u32,
    pub(crate) overlay: Option<&'a Overlay>,
}

pub(crate) enum Base<'a> {
    Handle(&'a Connection),
    Copy(&'a mut File),
}

impl Pages<'_> {
    pub(crate) fn read(&mut self, first: u32, buffer: &mut [u8]) -> Result<()> {
        let offset = u64::from(first - 1) * self.page_size as u64;
        match &mut self.base {
            Base::Handle(connection) => handle::read_file(connection, self.path, offset, buffer)?,
            Base::Copy(copy) => io::Seek::seek(copy, io::SeekFrom::Start(offset))
                .and_then(|_| copy.read_exact(buffer))
                .map_err(|e| Error::from_io("could not read the working copy", e))?,
        }
        match self.overlay {
            Some(overlay) => overlay.lay_over(first, self.page_size, buffer),
            None => Ok(()),
        }
    }

    /// All pages in order, counted as they pass.
    pub(crate) fn stream(&mut self, sink: &mut dyn PayloadSink, cx: &Context) -> Result<Census> {
        let mut census = Census::new(self.page_size as u32, self.page_count);
        let mut next = 1u32;
        while next <= self.page_count {
            cx.cancel().check()?;
            let space = sink.space()?;
            // A frame holds a whole number of pages of any size, so there is always room for one.
            let pages = (space.len() / self.page_size).min((self.page_count - next + 1) as usize);
            let count = pages * self.page_size;
            self.read(next, &mut space[..count])?;
            census.observe(&space[..count]);
            sink.advance(count)?;
            next += pages as u32;
        }
        Ok(census)
    }

    pub(crate) fn header(&mut self) -> Result<DatabaseHeader> {
        let mut page = vec![0u8; self.page_size];
        self.read(1, &mut page)?;
        DatabaseHeader::parse(&page).ok_or_else(|| {
            Error::corrupt(format!("the first page of \"{}\" is no header", self.path.display()))
        })
    }

    pub(crate) fn shape(
        &mut self,
        census: &Census,
        definitions: Result<Vec<Definition>, String>,
    ) -> Result<Shape> {
        let header = self.header()?;
        let mut rows = Vec::new();
        for table in definitions.iter().flatten().filter(|definition| definition.is_user_table()) {
            let counted =
                census.rows(&table.name, table.root, &mut |number, page| self.read(number, page))?;
            rows.push((table.clone(), counted));
        }
        Ok(Shape { header, page_count: self.page_count, definitions, rows })
    }
}
