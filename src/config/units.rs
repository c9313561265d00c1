//! Durations and sizes as people write them.

use backup_core::{Error, Result};
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// The units of sizes, largest first; the first of equals is how sizes are written.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `90m`, `24h`, `7d`, `2w`, `1d 12h`; a day has 24 hours and a week seven days.
///
/// # Errors
/// `Invalid` for anything else, for months and years, which have no fixed length, and for what is not longer than zero.
pub fn parse_duration(text: &str) -> Result<SignedDuration> {
    let refused = || {
        Error::invalid(format!("\"{}\" is not a duration", text.escape_debug()))
            .with_hint("Durations are written as in \"30m\", \"24h\", \"7d\" or \"2w\".")
    };
    // What jiff also reads, ISO 8601's `P1D`, is not what people expect here.
    let span: Span = match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => text.parse().map_err(|_| refused())?,
        false => return Err(refused()),
    };
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(Error::invalid(format!("\"{}\" has no fixed length", text.escape_debug()))
            .with_hint("Write days, as in \"365d\"."));
    }
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    if duration.is_positive() { Ok(duration) } else { Err(refused()) }
}

/// Reads `50GB` (powers of ten), `50GiB` (powers of two), or a number of bytes.
///
/// # Errors
/// `Invalid` for anything else, and for zero.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let refused = || {
        Error::invalid(format!("\"{}\" is not a size", text.escape_debug()))
            .with_hint("Sizes are written as in \"500MB\", \"50GB\" or \"50GiB\".")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(refused)?.1,
    };
    let number: u64 = digits.trim_end().parse().map_err(|_| refused())?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(refused)
}

/// How [`parse_bytes`] reads it back.
pub(crate) fn write_bytes(bytes: u64) -> String {
    let (unit, factor) =
        UNITS.into_iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A size for people, rounded.
pub(crate) fn about(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.0} {}", UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, hours) in [("24h", 24), ("7d", 168), ("2w", 336), ("1d 12h", 36), ("90d", 2160)] {
            assert_eq!(parse_duration(text).unwrap(), SignedDuration::from_hours(hours), "{text}");
        }
        for bad in ["", "24", "h", "1y", "2 months", "0h", "-1h", "24h ago", "P1D", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("1", 1), ("50GB", 50_000_000_000), ("2 GiB", 2 << 30), ("3kb", 3000)] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "GB", "-1", "1.5GB", "0", "1XB", "99999999999TB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_told_in_few_digits() {
        for (bytes, told) in
            [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_600, "1 MB"), (41 << 30, "44 GB")]
        {
            assert_eq!(about(bytes), told);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in 1u64.., seconds in 1i64..400_000_000) {
            prop_assert_eq!(parse_bytes(&write_bytes(bytes)).unwrap(), bytes);
            let duration = SignedDuration::from_secs(seconds);
            prop_assert_eq!(parse_duration(&format!("{duration:#}")).unwrap(), duration);
        }
    }
}
