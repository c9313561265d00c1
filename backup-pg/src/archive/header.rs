//! The header of an archive: what made it, when, from what, and how it is laid out.

use backup_core::{Error, ErrorKind, Result};
use jiff::civil::DateTime;

use super::bytes::{Cursor, Stop, Widths, damaged_at};

/// The first bytes of every archive.
pub const MAGIC: &[u8; 5] = b"PGDMP";

/// The oldest and newest format that is read, as (major, minor): pg_dump 9.0 wrote the first, 17 and 18 write the last.
const OLDEST: (u8, u8) = (1, 12);
const NEWEST: (u8, u8) = (1, 16);

/// The version of an archive's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 1.
    pub major: u8,
    /// 12 to 16.
    pub minor: u8,
    /// Says nothing about the layout.
    pub rev: u8,
}

impl Version {
    pub(crate) fn since(self, minor: u8) -> bool {
        self.minor >= minor
    }
}

/// Which of pg_dump's formats a table of contents belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One file (`-Fc`): the table of contents and all data.
    #[default]
    Custom,
    /// A member of a tar file (`-Ft`), or `toc.dat` of a folder (`-Fd`): pg_dump writes the same letter into both.
    Tar,
    /// A letter of its own for `-Fd`, which pg_restore knows and no pg_dump has written yet.
    Directory,
}

/// How data is compressed inside the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InnerCompression {
    /// Not at all (`-Z0`).
    #[default]
    None,
    /// zlib streams, of this level; -1 is zlib's default, and what is given for formats since 1.15, which do not say.
    Gzip(i32),
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

/// What an archive says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The format's version.
    pub version: Version,
    /// Bytes per number; 4 everywhere pg_dump runs.
    pub int_size: u8,
    /// Bytes per position in the file; 8 everywhere pg_dump runs.
    pub offset_size: u8,
    /// Custom, tar or directory.
    pub format: Format,
    /// How data is compressed.
    pub compression: InnerCompression,
    /// When pg_dump wrote it, in the local time of its host.
    pub created_at: DateTime,
    /// Whether daylight saving time was in force there.
    pub is_dst: bool,
    /// The name of the dumped database.
    pub database: String,
    /// The server's version, as in `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// pg_dump's version.
    pub dump_version: String,
}

impl Header {
    pub(crate) fn widths(&self) -> Widths {
        Widths { int: usize::from(self.int_size), offset: usize::from(self.offset_size) }
    }

    /// Reads a header, of any of pg_dump's formats.
    ///
    /// Source: `ReadHead` of pg_backup_archiver.c, PostgreSQL 9.0 to 18.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        for expected in MAGIC {
            if cursor.byte()? != *expected {
                return Err(Error::corrupt(
                    "this is not an archive of pg_dump: it does not begin with \"PGDMP\"",
                )
                .into());
            }
        }
        let version = Version { major: cursor.byte()?, minor: cursor.byte()?, rev: cursor.byte()? };
        supported(version)?;
        let int_size = width(cursor, "number")?;
        let offset_size = width(cursor, "file position")?;
        cursor.widths = Widths { int: usize::from(int_size), offset: usize::from(offset_size) };
        let mut header = Self { version, int_size, offset_size, format: format(cursor)?, ..Self::default() };
        header.compression = compression(cursor, version)?;
        (header.created_at, header.is_dst) = created_at(cursor)?;
        header.database = text(cursor.string()?);
        header.server_version = text(cursor.string()?);
        header.dump_version = text(cursor.string()?);
        Ok(header)
    }
}

fn supported(version: Version) -> Result<()> {
    let found = (version.major, version.minor);
    if (OLDEST..=NEWEST).contains(&found) {
        return Ok(());
    }
    let (hint, age) = if found > NEWEST {
        ("Use a version of backup that knows the PostgreSQL which made it.", "newer")
    } else {
        ("Restore it with the pg_restore of its time, and dump again with a supported pg_dump.", "older")
    };
    let message =
        format!("the archive has format {}.{}, {age} than what is known", version.major, version.minor);
    Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
}

/// Widths beyond 64 bits are possible by the format's letter, and written by nothing.
fn width(cursor: &mut Cursor<'_>, of: &str) -> Result<u8, Stop> {
    let at = cursor.position();
    match cursor.byte()? {
        width @ 1..=8 => Ok(width),
        width => Err(damaged_at(at, format!("{width} bytes per {of}")).into()),
    }
}

fn format(cursor: &mut Cursor<'_>) -> Result<Format, Stop> {
    let at = cursor.position();
    match cursor.byte()? {
        1 => Ok(Format::Custom),
        3 => Ok(Format::Tar),
        5 => Ok(Format::Directory),
        other => Err(damaged_at(at, format!("unknown format {other}")).into()),
    }
}

fn compression(cursor: &mut Cursor<'_>, version: Version) -> Result<InnerCompression, Stop> {
    let at = cursor.position();
    if !version.since(15) {
        return Ok(match cursor.int()? {
            0 => InnerCompression::None,
            level @ -1..=9 => InnerCompression::Gzip(level),
            level => return Err(damaged_at(at, format!("compression level {level}")).into()),
        });
    }
    match cursor.byte()? {
        0 => Ok(InnerCompression::None),
        1 => Ok(InnerCompression::Gzip(-1)),
        2 => Ok(InnerCompression::Lz4),
        3 => Ok(InnerCompression::Zstd),
        other => Err(damaged_at(at, format!("unknown compression {other}")).into()),
    }
}

/// The fields of C's `struct tm`: months from 0, years from 1900.
fn created_at(cursor: &mut Cursor<'_>) -> Result<(DateTime, bool), Stop> {
    let at = cursor.position();
    let mut fields = [0; 7];
    for field in &mut fields {
        *field = cursor.int()?;
    }
    let [second, minute, hour, day, month, year, is_dst] = fields;
    // A leap second is the one value that jiff does not know.
    let second = if second == 60 { 59 } else { second };
    let narrow = |value: i32| i8::try_from(value).ok();
    let time = || {
        let year = i16::try_from(year.checked_add(1900)?).ok()?;
        let month = narrow(month.checked_add(1)?)?;
        DateTime::new(year, month, narrow(day)?, narrow(hour)?, narrow(minute)?, narrow(second)?, 0).ok()
    };
    Ok((time().ok_or_else(|| damaged_at(at, "no valid time of creation"))?, is_dst > 0))
}

/// Names in an archive have the dumped database's encoding; what is not UTF-8 is shown by replacement characters.
pub(crate) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
