//! When a file without manifest was made: by a date in its name, else by its own.

use std::path::Path;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// The instant a name tells, as scripts write it: `full_20260122_1518.dump`, `shop-2026-01-22T15-18-00-000Z.sql.gz`,
/// `backup_20260122.dump`. Local time, unless a `Z` follows.
pub(crate) fn in_name(name: &str) -> Option<Timestamp> {
    (0..name.len()).filter(|at| name.is_char_boundary(*at)).find_map(|at| instant_at(name, at))
}

/// What stands before the date in a name, or before its first dot: `vamsa-full-2024-01-29….sql.gz` → `vamsa`.
pub(crate) fn before(name: &str) -> &str {
    let stem = name.split('.').next().unwrap_or(name);
    let date =
        (1..stem.len()).filter(|at| stem.is_char_boundary(*at)).find(|at| instant_at(name, *at).is_some());
    let bare = stem[..date.unwrap_or(stem.len())].trim_end_matches(['-', '_', ' ']);
    let bare = ["-full", "_full", "-backup", "_backup"]
        .iter()
        .find_map(|end| bare.strip_suffix(end))
        .unwrap_or(bare);
    if bare.is_empty() { stem } else { bare }
}

fn instant_at(name: &str, at: usize) -> Option<Timestamp> {
    let is_inside_number = at > 0 && name.as_bytes()[at - 1].is_ascii_digit();
    if is_inside_number {
        return None;
    }
    let mut digits = Digits { rest: name.get(at..)?.as_bytes() };
    let year = digits.number(4).filter(|year| (1990..2200).contains(year))?;
    let month = digits.number(2)?;
    let day = digits.number(2)?;
    let clock = digits.clone();
    let (hour, minute) = (digits.number(2), digits.number(2));
    let (hour, minute) = match (hour, minute) {
        (Some(hour), Some(minute)) => (hour, minute),
        _ => {
            digits = clock;
            (0, 0)
        }
    };
    let second = digits.clone().number(2).filter(|second| *second < 60);
    if second.is_some() {
        digits.number(2);
    }
    let small = |number: i16| i8::try_from(number).ok();
    let civil = DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second.unwrap_or(0))?,
        0,
    );
    let zone = if digits.is_utc() { TimeZone::UTC } else { TimeZone::system() };
    civil.ok()?.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

/// Numbers with or without one separator between them.
#[derive(Clone)]
struct Digits<'n> {
    rest: &'n [u8],
}

impl Digits<'_> {
    fn number(&mut self, digits: usize) -> Option<i16> {
        let rest = match self.rest {
            [b'-' | b'_' | b'T' | b':' | b'.', rest @ ..] => rest,
            rest => rest,
        };
        let text = rest.get(..digits).filter(|text| text.iter().all(u8::is_ascii_digit))?;
        self.rest = &rest[digits..];
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// Whether a `Z` follows, with or without a fraction of a second before it.
    fn is_utc(&self) -> bool {
        let fraction = |byte: &u8| byte.is_ascii_digit() || b"-._".contains(byte);
        self.rest.iter().find(|byte| !fraction(byte)) == Some(&b'Z')
    }
}

/// When a file was last written.
pub(crate) fn modified(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_usual_scripts_tell_when_they_were_made() {
        for (name, instant) in [
            ("vamsa-full-2024-01-29T00-00-00-000Z.sql.gz", Some("2024-01-29T00:00:00Z")),
            ("shop-full-20261121T124325Z.dump", Some("2026-11-21T12:43:25Z")),
            ("v2-app.db", None),
            ("99999999.dump", None),
            ("20261399_1200.dump", None),
        ] {
            assert_eq!(in_name(name).map(|found| found.to_string()).as_deref(), instant, "{name}");
        }
        for (name, bare) in [
            ("vamsa-full-2024-01-29T00-00-00-000Z.sql.gz", "vamsa"),
            ("app_20260122.db", "app"),
            ("app.v2.db", "app"),
            ("20260122.dump", "20260122"),
        ] {
            assert_eq!(before(name), bare, "{name}");
        }
        for name in ["full_20260122_1518.dump", "backup_20260122.dump", "backup_20260122_151800.sql"] {
            assert!(in_name(name).is_some(), "{name}");
        }
    }
}
