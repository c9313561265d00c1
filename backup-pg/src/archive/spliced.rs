//! pg_dump's archive, with the rows put back that went past pg_dump.

use std::io::{self, BufRead, BufReader, Read};

use backup_core::{Error, Result};

use super::{
    bytes::number,
    data::{BLOCK_DATA, BLOCK_LARGE_OBJECTS},
    read_head,
};
use crate::tap::Tap;

/// How much is read of the archive at once.
const READ_BYTES: usize = 64 << 10;

/// What begins the end of a table's rows, and is in no stand-in for them.
const END_BEGINS: u8 = b'\\';

/// Hands on an archive that comes from `input`, whose rows partly come from a tap. An archive that was cut short is
/// handed on as far as it came.
///
/// # Errors
/// `Corrupt` when it is no archive; the errors of `input` and `put`.
pub(crate) fn spliced(
    input: &mut dyn Read,
    tap: &Tap,
    put: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut kept = Kept { input, bytes: Vec::new() };
    let (toc, end, _) = match read_head(&mut kept) {
        Err(error) if error.is_corruption() => return put(&kept.bytes),
        head => head?,
    };
    let Kept { input, bytes } = kept;
    let (head, rest) = bytes.split_at(usize::try_from(end).map_or(bytes.len(), |end| end.min(bytes.len())));
    put(head)?;
    let input = BufReader::with_capacity(READ_BYTES, rest.chain(input));
    let mut blocks = Blocks { input, int_size: usize::from(toc.header.int_size), tap, put };
    while blocks.block()?.is_some() {}
    // A program that tells why it ends must not meet a closed pipe.
    io::copy(&mut blocks.input, &mut io::sink()).map_err(not_read)?;
    Ok(())
}

fn not_read(cause: io::Error) -> Error {
    Error::from_io("could not read from pg_dump", cause)
}

/// Keeps what is read.
struct Kept<'i> {
    input: &'i mut dyn Read,
    bytes: Vec<u8>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The data of an archive, entry by entry. `None` is its end, or where it was cut.
struct Blocks<'a, I> {
    input: I,
    int_size: usize,
    tap: &'a Tap,
    put: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<I: BufRead> Blocks<'_, I> {
    fn block(&mut self) -> Result<Option<()>> {
        let Some(kind) = self.take(1)? else { return Ok(None) };
        (self.put)(&kind)?;
        let Some(_) = self.number()? else { return Ok(None) };
        match kind.first() {
            Some(&BLOCK_DATA) => self.rows(),
            Some(&BLOCK_LARGE_OBJECTS) => self.large_objects(),
            _ => Err(Error::corrupt("pg_dump wrote data of an unknown kind")),
        }
    }

    fn large_objects(&mut self) -> Result<Option<()>> {
        loop {
            // Identifiers of 2^31 and more are no lengths.
            let Some(identifier) = self.take(self.int_size + 1)? else { return Ok(None) };
            (self.put)(&identifier)?;
            if identifier.iter().all(|byte| *byte == 0) {
                return Ok(Some(()));
            }
            let mut left = usize::MAX;
            while left > 0 {
                let Some(length) = self.number()? else { return Ok(None) };
                let Some(()) = self.hand_on(length)? else { return Ok(None) };
                left = length;
            }
        }
    }

    fn rows(&mut self) -> Result<Option<()>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let sign = self.tap.sign_length().min(length);
        let Some(begun) = self.take(sign)? else { return Ok(None) };
        if self.tap.is_stand_in(&begun) {
            return self.rows_of_tap(length - sign);
        }
        self.put_length(length)?;
        (self.put)(&begun)?;
        let mut left = length - sign;
        loop {
            let Some(()) = self.hand_on(left)? else { return Ok(None) };
            match self.number()? {
                None => return Ok(None),
                Some(0) => return Ok(Some(())),
                Some(length) => left = length,
            }
        }
    }

    /// The rows themselves, then what follows the stand-in, of which so much is left in this chunk.
    fn rows_of_tap(&mut self, mut left: usize) -> Result<Option<()>> {
        let (int_size, put) = (self.int_size, &mut self.put);
        let all = self.tap.take(&mut |rows| {
            put(&number_bytes(rows.len(), int_size))?;
            put(rows)
        })?;
        if all.is_err() {
            // pg_dump was told why, and tells.
            return Ok(None);
        }
        let mut is_filler = true;
        loop {
            while is_filler && left > 0 {
                let Some(bytes) = peek(&mut self.input, left)? else { return Ok(None) };
                let filler = memchr::memchr(END_BEGINS, bytes);
                let count = filler.unwrap_or(bytes.len());
                is_filler = filler.is_none();
                self.input.consume(count);
                left -= count;
            }
            if left > 0 {
                self.put_length(left)?;
                let Some(()) = self.hand_on(left)? else { return Ok(None) };
            }
            let Some(length) = self.length()? else { return Ok(None) };
            if length == 0 {
                self.put_length(0)?;
                return Ok(Some(()));
            }
            left = length;
        }
    }

    /// Hands on so many bytes.
    fn hand_on(&mut self, mut left: usize) -> Result<Option<()>> {
        while left > 0 {
            let Some(bytes) = peek(&mut self.input, left)? else { return Ok(None) };
            (self.put)(bytes)?;
            let count = bytes.len();
            self.input.consume(count);
            left -= count;
        }
        Ok(Some(()))
    }

    /// The next number, which it hands on.
    fn number(&mut self) -> Result<Option<usize>> {
        let Some(bytes) = self.take(self.int_size + 1)? else { return Ok(None) };
        (self.put)(&bytes)?;
        as_length(&bytes).map(Some)
    }

    /// The length of the next chunk, which is not handed on.
    fn length(&mut self) -> Result<Option<usize>> {
        let Some(bytes) = self.take(self.int_size + 1)? else { return Ok(None) };
        as_length(&bytes).map(Some)
    }

    fn put_length(&mut self, length: usize) -> Result<()> {
        (self.put)(&number_bytes(length, self.int_size))
    }

    fn take(&mut self, count: usize) -> Result<Option<Vec<u8>>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let Some(bytes) = peek(&mut self.input, count - taken.len())? else { return Ok(None) };
            taken.extend_from_slice(bytes);
            let read = bytes.len();
            self.input.consume(read);
        }
        Ok(Some(taken))
    }
}

/// The next bytes, so many at most; `None` at the end.
fn peek(input: &mut impl BufRead, most: usize) -> Result<Option<&[u8]>> {
    while input.fill_buf().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    let bytes = input.fill_buf().map_err(not_read)?;
    Ok(bytes.get(..bytes.len().min(most)).filter(|bytes| !bytes.is_empty()))
}

fn as_length(bytes: &[u8]) -> Result<usize> {
    let number = number(bytes).map_err(Error::corrupt)?;
    usize::try_from(number).map_err(|_| Error::corrupt("pg_dump wrote a negative length"))
}

/// A number as archives have it: its sign, then the lowest byte first.
fn number_bytes(number: usize, int_size: usize) -> Vec<u8> {
    let mut bytes = vec![0; int_size + 1];
    let written = number.to_le_bytes();
    bytes.iter_mut().skip(1).zip(written).for_each(|(place, byte)| *place = byte);
    bytes
}
