//! Values as COPY's binary format has them, from the text that the server wrote of them.
//!
//! Source: the `*_recv` functions of the server's `src/backend/utils/adt`, which have read the same bytes since
//! PostgreSQL 10. What is written here is only what those of pg_dump's settings write (ISO dates, hexadecimal `bytea`);
//! `None` for anything else.

use memchr::memchr;

/// What kind of value a column has, as far as its bytes are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// Texts, JSON and the labels of enumerations.
    Text,
    Jsonb,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
}

/// Days from 0000-03-01 to 2000-01-01, where the server's calendar begins.
const EPOCH_DAYS: i64 = 730_425;

const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// The last year of a timestamp (`MAX_TIMESTAMP`); dates go further and are rare.
const LAST_YEAR: i64 = 294_000;

impl Form {
    /// Writes a value, without its length.
    pub(super) fn write(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Bool => match text {
                b"t" => out.push(1),
                b"f" => out.push(0),
                _ => return None,
            },
            Self::Int2 => out.extend_from_slice(&i16::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Int4 => out.extend_from_slice(&i32::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Int8 => out.extend_from_slice(&integer(text)?.to_be_bytes()),
            Self::Oid => out.extend_from_slice(&u32::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Float4 => out.extend_from_slice(&parsed::<f32>(text)?.to_be_bytes()),
            Self::Float8 => out.extend_from_slice(&parsed::<f64>(text)?.to_be_bytes()),
            Self::Numeric => numeric(text, out)?,
            Self::Text => unescape(text, out)?,
            Self::Jsonb => {
                // The version of its text form (`jsonb_recv`).
                out.push(1);
                unescape(text, out)?;
            }
            Self::Bytea => bytea(text, out)?,
            Self::Date => out.extend_from_slice(&date(text)?.to_be_bytes()),
            Self::Time => out.extend_from_slice(&time(text)?.to_be_bytes()),
            Self::Timestamp => out.extend_from_slice(&timestamp(text, false)?.to_be_bytes()),
            Self::TimestampTz => out.extend_from_slice(&timestamp(text, true)?.to_be_bytes()),
            Self::Uuid => uuid(text, out)?,
        }
        Some(())
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A whole number of at most 18 digits, or any that an `i64` holds.
fn integer(text: &[u8]) -> Option<i64> {
    let (digits, is_negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if digits.len() > 18 {
        return parsed(text);
    }
    let value = natural(digits)?;
    Some(if is_negative { -value } else { value })
}

/// A number of at least one digit and nothing else; at most 18, so that it fits.
fn natural(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// Undoes what COPY's text format does to a value (`CopyAttributeOutText`).
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(match rest.get(at + 1)? {
            b'\\' => b'\\',
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    Some(())
}

/// `\x6162`, whose backslash COPY doubles.
fn bytea(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    hex(text.strip_prefix(br"\\x")?, out)
}

fn hex(digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    for pair in digits.chunks_exact(2) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        out.push((high << 4 | low) as u8);
    }
    Some(())
}

fn uuid(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let groups = [0..8, 9..13, 14..18, 19..23, 24..36];
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    groups.into_iter().try_for_each(|group| hex(&text[group], out))
}

/// Groups of four decimal digits around the point (`numeric_recv`).
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    const NEGATIVE: u16 = 0x4000;
    const MOST_DIGITS: usize = 100_000;
    let special = match text {
        b"NaN" => Some(0xc000u16),
        // Since PostgreSQL 14.
        b"Infinity" => Some(0xd000),
        b"-Infinity" => Some(0xf000),
        _ => None,
    };
    if let Some(sign) = special {
        [0, 0, sign, 0].iter().for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
        return Some(());
    }
    let (digits, sign) = match text {
        [b'-', digits @ ..] => (digits, NEGATIVE),
        digits => (digits, 0),
    };
    let (whole, fraction) = match memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &digits[..0]),
    };
    let is_number = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !is_number || digits.len() > MOST_DIGITS {
        return None;
    }
    let (groups_before, groups_after) = (whole.len().div_ceil(4), fraction.len().div_ceil(4));
    let mut written = [0; 64];
    let header =
        [(groups_before + groups_after) as u16, (groups_before - 1) as u16, sign, fraction.len() as u16];
    let mut end = 0;
    let mut write = |part: u16, out: &mut Vec<u8>| {
        if end == written.len() {
            out.extend_from_slice(&written);
            end = 0;
        }
        written[end..end + 2].copy_from_slice(&part.to_be_bytes());
        end += 2;
    };
    header.into_iter().for_each(|part| write(part, out));
    let value = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    let (first, rest) = whole.split_at(whole.len() - (groups_before - 1) * 4);
    write(value(first), out);
    rest.chunks_exact(4).for_each(|digits| write(value(digits), out));
    let fraction = fraction.chunks_exact(4);
    let last = fraction.remainder();
    fraction.for_each(|digits| write(value(digits), out));
    if !last.is_empty() {
        write(value(last) * 10u16.pow(4 - last.len() as u32), out);
    }
    out.extend_from_slice(&written[..end]);
    Some(())
}

/// Days since 2000-01-01.
fn date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => Some(i32::MAX),
        b"-infinity" => Some(i32::MIN),
        _ => i32::try_from(days(text)?).ok(),
    }
}

/// Days since 2000-01-01 of `yyyy-mm-dd`.
fn days(text: &[u8]) -> Option<i64> {
    let (year, month_and_day) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let [b'-', m1, m2, b'-', d1, d2] = month_and_day else { return None };
    let (year, month, day) = (natural(year)?, natural(&[*m1, *m2])?, natural(&[*d1, *d2])?);
    if !(1..=LAST_YEAR).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day ends one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = 365 * year + year / 4 - year / 100 + year / 400;
    Some(before_year + (153 * month + 2) / 5 + day - 1 - EPOCH_DAYS)
}

/// Microseconds since midnight of `hh:mm:ss[.ffffff]`.
fn time(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = text else { return None };
    let (hours, minutes, seconds) = (natural(&[*h1, *h2])?, natural(&[*m1, *m2])?, natural(&[*s1, *s2])?);
    let microseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.len() <= 6 => natural(digits)? * 10i64.pow(6 - digits.len() as u32),
        _ => return None,
    };
    if hours > 24 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + microseconds)
}

/// Microseconds since 2000-01-01, of UTC where the text has an offset.
fn timestamp(text: &[u8], has_offset: bool) -> Option<i64> {
    match text {
        b"infinity" => return Some(i64::MAX),
        b"-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let space = memchr(b' ', text)?;
    let (day, rest) = (days(&text[..space])?, &text[space + 1..]);
    let (clock, offset) = match rest.iter().position(|byte| matches!(byte, b'+' | b'-')) {
        Some(at) if has_offset => (&rest[..at], seconds_of_offset(&rest[at..])?),
        None if !has_offset => (rest, 0),
        _ => return None,
    };
    Some(day * DAY_MICROSECONDS + time(clock)? - offset * 1_000_000)
}

/// Seconds of `+hh[:mm[:ss]]`, east of Greenwich.
fn seconds_of_offset(text: &[u8]) -> Option<i64> {
    let two = |high: &u8, low: &u8| natural(&[*high, *low]);
    let (hours, minutes, seconds) = match &text[1..] {
        [h1, h2] => (two(h1, h2)?, 0, 0),
        [h1, h2, b':', m1, m2] => (two(h1, h2)?, two(m1, m2)?, 0),
        [h1, h2, b':', m1, m2, b':', s1, s2] => (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?),
        _ => return None,
    };
    let seconds = (hours * 60 + minutes) * 60 + seconds;
    Some(if text[0] == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        form.write(text.as_bytes(), &mut out).map(|()| out)
    }

    /// Bytes as `SELECT encode(int8send(1), 'hex')` and its like show them, PostgreSQL 15.
    #[test]
    fn values_are_written_as_the_server_sends_them() {
        for (form, text, bytes) in [
            (Form::Bool, "t", "01"),
            (Form::Int2, "-2", "fffe"),
            (Form::Int4, "2147483647", "7fffffff"),
            (Form::Int8, "-9223372036854775808", "8000000000000000"),
            (Form::Float8, "-1.5", "bff8000000000000"),
            (Form::Float4, "NaN", "7fc00000"),
            (Form::Numeric, "12345.678", "0003000100000003000109291a7c"),
            (Form::Text, r"a\\b\tc", "615c620963"),
            (Form::Jsonb, "{}", "017b7d"),
            (Form::Bytea, r"\\x00ff", "00ff"),
            (Form::Date, "2000-01-01", "00000000"),
            (Form::Date, "2024-02-29", "00002279"),
            (Form::Date, "1999-12-31", "ffffffff"),
            (Form::Time, "00:00:01.5", "000000000016e360"),
            (Form::Timestamp, "2000-01-01 00:00:00.000001", "0000000000000001"),
            (Form::TimestampTz, "2000-01-01 05:30:00+05:30", "0000000000000000"),
            (Form::TimestampTz, "infinity", "7fffffffffffffff"),
            (Form::Uuid, "00112233-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff"),
        ] {
            let hex: Option<String> =
                written(form, text).map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
            assert_eq!(hex.as_deref(), Some(bytes), "{form:?} {text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_left_to_the_server() {
        for (form, text) in [
            (Form::Bool, "true"),
            (Form::Int4, "2147483648"),
            (Form::Int4, ""),
            (Form::Int8, "1e3"),
            (Form::Numeric, "1e3"),
            (Form::Numeric, ".5"),
            (Form::Text, r"\x"),
            (Form::Bytea, r"\\001"),
            (Form::Date, "0044-03-15 BC"),
            (Form::Date, "03/15/2024"),
            (Form::Timestamp, "2024-03-15 10:00:00+00"),
            (Form::TimestampTz, "2024-03-15 10:00:00"),
            (Form::Uuid, "00112233445566778899aabbccddeeff"),
        ] {
            assert_eq!(written(form, text), None, "{form:?} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            for form in [
                Form::Bool, Form::Int2, Form::Int4, Form::Int8, Form::Oid, Form::Float4, Form::Float8, Form::Numeric,
                Form::Text, Form::Jsonb, Form::Bytea, Form::Date, Form::Time, Form::Timestamp, Form::TimestampTz,
                Form::Uuid,
            ] {
                let _ = form.write(&text, &mut Vec::new());
            }
        }

        #[test]
        fn days_follow_the_calendar(day in -730_118i32..2_000_000) {
            use jiff::{ToSpan, civil::date};
            let written_date = date(2000, 1, 1).checked_add(i64::from(day).days());
            if let Ok(written_date) = written_date {
                let text = format!("{:04}-{:02}-{:02}", written_date.year(), written_date.month(), written_date.day());
                proptest::prop_assert_eq!(super::date(text.as_bytes()), Some(day), "{}", text);
            }
        }
    }
}
