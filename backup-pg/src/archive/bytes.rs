//! The numbers and strings that archives are made of, read from bytes that come in pieces.

use std::fmt::Display;

use backup_core::Error;

/// The longest string that is taken, in bytes. The text of one definition; PostgreSQL's own limit for a value is 1 GiB.
const MAX_STRING: usize = 256 << 20;

/// What to do with a damaged archive.
pub(crate) const UNTRUSTED: &str = "Make a new backup; what this archive holds cannot be trusted.";

/// Why something could not be read.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Its last byte has not come.
    More,
    /// It is not what the format has there.
    Refused(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// How wide numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Widths {
    /// Bytes of a number, without its sign.
    pub(crate) int: usize,
    /// Bytes of a position in the file, without its flag.
    pub(crate) offset: usize,
}

/// Bytes that have come and were not used yet.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
    /// Where `bytes` begins in the archive.
    base: u64,
}

impl Buffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.base += self.used as u64;
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// A view of what is not used yet.
    pub(crate) fn cursor(&self, widths: Widths) -> Cursor<'_> {
        Cursor { rest: &self.bytes[self.used..], at: self.base + self.used as u64, widths }
    }

    /// Everything before `at` is used.
    pub(crate) fn use_up_to(&mut self, at: u64) {
        self.used = at.saturating_sub(self.base).min(self.bytes.len() as u64) as usize;
    }

    /// Where the next unused byte lies in the archive.
    pub(crate) fn position(&self) -> u64 {
        self.base + self.used as u64
    }

    /// Where the next byte to come lies in the archive.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// All unused bytes.
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.used);
        self.bytes
    }
}

/// Reads along; nothing counts as used before [`Buffer::use_up_to`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'b> {
    rest: &'b [u8],
    at: u64,
    pub(crate) widths: Widths,
}

impl<'b> Cursor<'b> {
    /// Where it stands in the archive.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'b [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Stop::More)?;
        self.rest = rest;
        self.at += count as u64;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.bytes(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn int(&mut self) -> Result<i32, Stop> {
        let at = self.at;
        Ok(number(self.bytes(self.widths.int + 1)?).map_err(|why| damaged_at(at, why))?)
    }

    /// A number that says yes or no.
    pub(crate) fn flag(&mut self) -> Result<bool, Stop> {
        let at = self.at;
        match self.int()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(damaged_at(at, format!("{other} stands where 0 or 1 belongs")).into()),
        }
    }

    /// A string; `None` where the archive says that there is none.
    pub(crate) fn string(&mut self) -> Result<Option<&'b [u8]>, Stop> {
        let at = self.at;
        let Ok(length) = usize::try_from(self.int()?) else { return Ok(None) };
        if length > MAX_STRING {
            return Err(damaged_at(at, format!("a string of {length} bytes")).into());
        }
        self.bytes(length).map(Some)
    }
}

/// A number as archives write it: its sign, then its absolute value, lowest byte first.
///
/// Object identifiers of 2^31 and more come as the negative numbers of the same 32 bits.
#[inline]
pub(crate) fn number(bytes: &[u8]) -> Result<i32, &'static str> {
    let value = match bytes {
        [0, a, b, c, d] => i32::from_le_bytes([*a, *b, *c, *d]),
        _ => return wide_number(bytes),
    };
    if value < 0 { Err("a number is too large") } else { Ok(value) }
}

fn wide_number(bytes: &[u8]) -> Result<i32, &'static str> {
    let Some((&sign, value)) = bytes.split_first() else { return Err("a number without bytes") };
    let value = unsigned(value).ok_or("a number is too large")?;
    let value = i64::try_from(value).map_err(|_| "a number is too large")?;
    match sign {
        0 => i32::try_from(value).map_err(|_| "a number is too large"),
        1 if value > 0 => i32::try_from(-value).map_err(|_| "a number is too large"),
        _ => Err("a number has no valid sign"),
    }
}

/// A number without sign, lowest byte first; `None` when it needs more than 64 bits.
pub(crate) fn unsigned(bytes: &[u8]) -> Option<u64> {
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let fits = high.iter().all(|byte| *byte == 0);
    fits.then(|| low.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

/// The error of an archive that is not what its format has at `place`, as in `byte 17`.
pub(crate) fn damaged(place: impl Display, why: impl Display) -> Error {
    Error::corrupt(format!("the archive is damaged at {place}: {why}")).with_hint(UNTRUSTED)
}

/// [`damaged`] at a position.
pub(crate) fn damaged_at(position: u64, why: impl Display) -> Error {
    damaged(format_args!("byte {position}"), why)
}

/// The error of an archive that ends too early.
pub(crate) fn cut_short(position: u64, why: impl Display) -> Error {
    Error::corrupt(format!("the archive is cut short at byte {position}: {why}"))
        .with_hint("pg_dump was interrupted, or a part of what it wrote was lost; make a new backup.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_sign_and_the_lowest_byte_first() {
        assert_eq!(number(&[0, 1, 2, 0, 0]), Ok(513));
        assert_eq!(number(&[1, 1, 0, 0, 0]), Ok(-1));
        assert_eq!(number(&[1, 0, 0, 0, 0x80]), Ok(i32::MIN));
        assert_eq!(number(&[0, 0xff, 0xff, 0xff, 0x7f]), Ok(i32::MAX));
        assert_eq!(number(&[0, 5, 0, 0, 0, 0, 0, 0, 0]), Ok(5));
        for wrong in [
            &[0, 0, 0, 0, 0x80][..],
            &[2, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 1],
            &[1, 1, 0, 0, 0x80],
            &[1, 0, 0, 0, 0],
            &[],
        ] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_is_used_before_all_of_it_has_come() {
        let widths = Widths { int: 4, offset: 8 };
        let mut buffer = Buffer::default();
        buffer.push(&[0, 3, 0, 0, 0, b'a']);
        assert!(matches!(buffer.cursor(widths).string(), Err(Stop::More)));
        buffer.push(b"bcd");
        let mut cursor = buffer.cursor(widths);
        assert_eq!(cursor.string().unwrap(), Some(&b"abc"[..]));
        let at = cursor.position();
        buffer.use_up_to(at);
        assert_eq!((buffer.position(), buffer.into_rest()), (8, b"d".to_vec()));
    }
}
