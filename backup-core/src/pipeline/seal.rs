//! The encrypting end of the pipeline: what the writer writes through.

use std::io::{self, Write};

use age::{Encryptor, stream::StreamWriter};

use super::layers::Coding;
use crate::{
    encryption::{FileKey, Wrapping},
    error::{Error, Result},
};

/// A writer that encrypts, or not.
pub(super) enum Seal<W: Write> {
    None(W),
    Age { writer: Box<StreamWriter<W>>, key: FileKey },
}

impl<W: Write> Seal<W> {
    /// Begins; with recipients, the age file's header is written at once.
    pub(super) fn begin(out: W, coding: &Coding) -> Result<Self> {
        if coding.recipients().is_empty() {
            return Ok(Self::None(out));
        }
        let recipients = coding.recipients().to_vec();
        let wrapping = Wrapping::new(&recipients);
        let one: &dyn age::Recipient = &wrapping;
        let encryptor = Encryptor::with_recipients(std::iter::once(one))
            .map_err(|e| Error::failed("could not begin the encryption").with_source(e.to_string()))?;
        let key = wrapping.key().ok_or_else(|| Error::failed("the encryption has no key"))?;
        let writer = encryptor.wrap_output(out).map_err(unwritable)?;
        Ok(Self::Age { writer: Box::new(writer), key })
    }

    /// Ends the age file. Dropped before, it is one that is cut short.
    pub(super) fn finish(self) -> Result<(W, Option<FileKey>)> {
        match self {
            Self::None(out) => Ok((out, None)),
            Self::Age { writer, key } => Ok((writer.finish().map_err(unwritable)?, Some(key))),
        }
    }

    /// Writes all of `part`.
    pub(super) fn put(&mut self, part: &[u8]) -> Result<()> {
        self.write_all(part).map_err(unwritable)
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::from_io("could not store the payload", error)
}

impl<W: Write> Write for Seal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Age { writer, .. } => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Age { writer, .. } => writer.flush(),
        }
    }
}
