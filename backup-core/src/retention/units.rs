//! Ages and sizes as people write them: `7d`, `12h`, `50GB`.

use jiff::{SignedDuration, Span};

use crate::error::{Error, Result};

const DAY: i64 = 86_400;

/// Units of sizes, largest first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// An age as people write it: `90m`, `12h`, `7d`, `2w`, `1mo`, `1y`, or several together (`1d 12h`).
///
/// A day is 24 hours, a week 7 days, a month (`mo`) 30 days, a year 365 days; `m` are minutes.
///
/// # Errors
/// `Invalid` when it is none, or not longer than nothing.
pub fn parse_age(text: &str) -> Result<SignedDuration> {
    let invalid = || {
        Error::invalid(format!("\"{}\" is not an age", text.escape_debug()))
            .with_hint("Write it as 90m, 12h, 7d, 2w, 1mo (30 days) or 1y (365 days).")
    };
    let span: Span = text.trim().parse().map_err(|e| invalid().with_source(e))?;
    let days = i64::from(span.get_years()) * 365
        + i64::from(span.get_months()) * 30
        + i64::from(span.get_weeks()) * 7
        + i64::from(span.get_days());
    let clock = span.years(0).months(0).weeks(0).days(0);
    let clock = SignedDuration::try_from(clock).map_err(|e| invalid().with_source(e))?;
    let age = SignedDuration::from_secs(days * DAY).checked_add(clock).ok_or_else(invalid)?;
    if age.is_positive() { Ok(age) } else { Err(invalid()) }
}

/// An age in the form that [`parse_age`] reads back as the same: `7d`, `12h`, `90m`.
pub fn show_age(age: SignedDuration) -> String {
    let seconds = age.as_secs();
    match age.subsec_nanos() {
        0 if seconds % DAY == 0 => format!("{}d", seconds / DAY),
        0 if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        0 if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{age:#}"),
    }
}

/// A size as people write it: `50GB` (10⁹), `50GiB` (2³⁰), `1.5TB`; without unit, bytes.
///
/// # Errors
/// `Invalid` when it is none, or zero.
pub fn parse_size(text: &str) -> Result<u64> {
    let invalid = || {
        Error::invalid(format!("\"{}\" is not a size", text.escape_debug()))
            .with_hint("Write it as 500MB, 50GB (powers of 1000) or 50GiB (powers of 1024).")
    };
    let trimmed = text.trim();
    let number_end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(number_end);
    let unit = unit.trim_start();
    let is_unit = |name: &str| unit.eq_ignore_ascii_case(name) || (unit.is_empty() && name == "B");
    let factor =
        SIZES.iter().find(|(name, _)| is_unit(name)).map(|(_, factor)| *factor).ok_or_else(invalid)?;
    let bytes = times(number, factor).ok_or_else(invalid)?;
    if bytes > 0 { Ok(bytes) } else { Err(invalid()) }
}

/// A decimal number times a unit, rounded down to whole bytes.
fn times(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 15 {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (whole, fraction): (u128, u128) = (whole.parse().ok()?, fraction.parse().ok()?);
    let units = whole.checked_mul(scale)?.checked_add(fraction)?;
    u64::try_from(units.checked_mul(u128::from(factor))? / scale).ok()
}

/// A size in the form that [`parse_size`] reads back as the same: `50GB`, `50GiB`, `123B`.
pub fn show_size(bytes: u64) -> String {
    let divides = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (name, factor) = SIZES.iter().find(divides).copied().unwrap_or(("B", 1));
    format!("{}{name}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ages_read_as_people_write_them() {
        let hours = |text: &str| parse_age(text).unwrap().as_hours();
        for (text, expected) in
            [("12h", 12), ("7d", 168), ("2w", 336), ("1mo", 720), ("1y", 8760), ("1d 12h", 36), ("1d12h", 36)]
        {
            assert_eq!(hours(text), expected, "{text}");
        }
        assert_eq!(parse_age("90m").unwrap(), SignedDuration::from_mins(90));
        for bad in
            ["", "7", "d", "-7d", "7d ago", "0d", "seven days", "7 fortnights", "99999999999999999999d"]
        {
            assert!(parse_age(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, expected) in [
            ("50GB", 50_000_000_000),
            ("50 gb", 50_000_000_000),
            ("50GiB", 50 << 30),
            ("1.5TB", 1_500_000_000_000),
            ("512", 512),
        ] {
            assert_eq!(parse_size(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "GB", "-1GB", "0", "0GB", "1.GB", "1.2.3GB", "5 bananas", "99999999TB", "1e9"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_age_reads_back_as_it_was_written(
            seconds in 1i64..10_000_000_000,
            nanos in prop_oneof![Just(0), 0i32..1_000_000_000],
        ) {
            let age = SignedDuration::new(seconds, nanos);
            prop_assert_eq!(parse_age(&show_age(age)).unwrap(), age);
        }

        #[test]
        fn a_size_reads_back_as_it_was_written(
            count in 1u64..5000,
            factor in prop::sample::select(vec![1u64, 1000, 1 << 20, 1_000_000_000, 1 << 40]),
            bytes in 1u64..,
        ) {
            prop_assert_eq!(parse_size(&show_size(count * factor)).unwrap(), count * factor);
            prop_assert_eq!(parse_size(&show_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_text_is_no_panic(text in ".*") {
            let _ = (parse_age(&text), parse_size(&text));
        }
    }
}
