//! A policy on one line: `last=3,daily=30,within=7d,max_bytes=50GB,tag:pre-migration=90d,tag:pre-rollout=forever`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::tz::{Offset, TimeZone};

use super::{
    keep::{Keep, KeepFor},
    presets::{PRESETS, named},
    units::{parse_age, parse_size, show_age, show_size},
};
use crate::error::{Error, Result};

/// What begins the name of a tag's rule.
const TAG: &str = "tag:";

const FOREVER: &str = "forever";

/// Reads the one-line form: parts joined by commas, in any order, each once. The first part may be the name of one of
/// [`PRESETS`], whose parts the others then replace or add to. Without `zone`, periods are those of UTC.
impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (head, rest) = text.split_once(',').unwrap_or((text, ""));
        let (mut keep, parts) = match named(head.trim()) {
            Some(preset) => (fill(Self::default(), preset.policy)?, rest),
            None if !head.contains('=') => return Err(unknown(head)),
            None => (Self::default(), text),
        };
        keep = fill(keep, parts)?;
        Ok(keep)
    }
}

fn fill(mut keep: Keep, parts: &str) -> Result<Keep> {
    let mut seen = BTreeSet::new();
    for part in parts.split(',').map(str::trim).filter(|_| !parts.trim().is_empty()) {
        let (key, value) = part.rsplit_once('=').ok_or_else(|| unknown(part))?;
        let (key, value) = (key.trim(), value.trim());
        if !seen.insert(key.to_owned()) {
            return Err(Error::invalid(format!("the policy says \"{}\" twice", key.escape_debug())));
        }
        set(&mut keep, key, value)?;
    }
    Ok(keep)
}

fn set(keep: &mut Keep, key: &str, value: &str) -> Result<()> {
    match key {
        "last" => keep.last = Some(count(key, value)?),
        "hourly" => keep.hourly = Some(count(key, value)?),
        "daily" => keep.daily = Some(count(key, value)?),
        "weekly" => keep.weekly = Some(count(key, value)?),
        "monthly" => keep.monthly = Some(count(key, value)?),
        "yearly" => keep.yearly = Some(count(key, value)?),
        "within" => keep.within = Some(parse_age(value)?),
        "max_bytes" => keep.max_bytes = Some(parse_size(value)?),
        "zone" => keep.zone = zone(value)?,
        _ => match key.strip_prefix(TAG).map(str::trim).filter(|tag| !tag.is_empty()) {
            Some(tag) => {
                let rule = if value == FOREVER { KeepFor::Forever } else { KeepFor::For(parse_age(value)?) };
                keep.tags.insert(tag.to_owned(), rule);
            }
            None => return Err(unknown(key)),
        },
    }
    Ok(())
}

fn count(key: &str, value: &str) -> Result<u32> {
    value.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
        Error::invalid(format!("\"{key}={}\" is not a number of backups", value.escape_debug()))
            .with_hint(format!("Write {key}=N with N at least 1, or leave it out."))
    })
}

fn zone(name: &str) -> Result<TimeZone> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|e| {
        Error::invalid(format!("\"{}\" is not a time zone this host knows", name.escape_debug()))
            .with_hint(
                "Write a name of the IANA database, e.g. Europe/Berlin, or an offset, e.g. +02:00; where zones are \
                 missing, install tzdata.",
            )
            .with_source(e)
    })
}

/// A fixed offset: `+02:00`, `-03:30`, with seconds where it has some.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        let number: i32 = part.parse().ok().filter(|number| (0..60).contains(number))?;
        seconds += number * unit;
    }
    let is_whole = (2..=3).contains(&digits.split(':').count()) && digits.split(':').all(|p| p.len() == 2);
    Offset::from_seconds(sign * seconds).ok().filter(|_| is_whole)
}

fn unknown(part: &str) -> Error {
    let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    Error::invalid(format!("\"{}\" is no part of a retention policy", part.trim().escape_debug())).with_hint(
        format!(
            "Parts are last, hourly, daily, weekly, monthly, yearly, within, max_bytes, tag:NAME and zone, e.g. \
             \"daily=30,weekly=12,tag:pre-migration=90d\"; or one of {}.",
            presets.join(", ")
        ),
    )
}

/// The one-line form, which reads back as the same policy. (A tag with a comma, and a zone that is neither named nor a
/// fixed offset, have no form that does.)
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        let mut parts: Vec<String> =
            counts.iter().filter_map(|(key, count)| Some(format!("{key}={}", (*count)?))).collect();
        parts.extend(self.within.map(|within| format!("within={}", show_age(within))));
        parts.extend(self.max_bytes.map(|bytes| format!("max_bytes={}", show_size(bytes))));
        parts.extend(self.tags.iter().map(|(tag, rule)| format!("{TAG}{tag}={rule}")));
        if self.zone != TimeZone::UTC {
            parts.push(format!("zone={}", zone_name(&self.zone)));
        }
        if parts.is_empty() { f.write_str("everything") } else { f.write_str(&parts.join(",")) }
    }
}

fn zone_name(zone: &TimeZone) -> String {
    match (zone.iana_name(), zone.to_fixed_offset()) {
        (Some(name), _) => name.to_owned(),
        (None, Ok(offset)) => {
            let seconds = offset.seconds();
            let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
            let clock = format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
            if seconds % 60 == 0 { clock } else { format!("{clock}:{:02}", seconds % 60) }
        }
        (None, Err(_)) => "unknown".to_owned(),
    }
}

impl fmt::Display for KeepFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(age) => f.write_str(&show_age(*age)),
            Self::Forever => f.write_str(FOREVER),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::{option, prelude::*};

    use super::*;

    #[test]
    fn the_line_of_the_manual_says_what_it_says() {
        let line = "last=3,daily=30,weekly=12,monthly=12,yearly=7,within=7d,max_bytes=50GB,\
                    tag:pre-migration=90d,tag:pre-rollout=forever";
        let keep: Keep = line.parse().unwrap();
        assert_eq!((keep.last, keep.hourly, keep.daily, keep.yearly), (Some(3), None, Some(30), Some(7)));
        assert_eq!(keep.within, Some(SignedDuration::from_hours(168)));
        assert_eq!(keep.max_bytes, Some(50_000_000_000));
        assert_eq!(keep.tags.get("pre-rollout"), Some(&KeepFor::Forever));
        assert_eq!(keep.to_string(), line);
    }

    #[test]
    fn a_preset_can_be_changed_in_part() {
        let keep: Keep = "migrations, daily=7, zone=+02:00".parse().unwrap();
        assert_eq!((keep.daily, keep.weekly), (Some(7), Some(12)));
        assert_eq!(keep.to_string(), "daily=7,weekly=12,monthly=12,tag:pre-migration=90d,zone=+02:00");
        assert_eq!("everything".parse::<Keep>().unwrap(), Keep::default());
        assert_eq!(Keep::default().to_string(), "everything");
    }

    #[test]
    fn every_preset_reads_as_it_is_written() {
        for preset in PRESETS {
            let keep: Keep = preset.name.parse().unwrap();
            let written = if preset.policy.is_empty() { preset.name } else { preset.policy };
            assert_eq!(keep.to_string(), sorted_like_display(written), "{}", preset.name);
        }
    }

    fn sorted_like_display(policy: &str) -> String {
        let tags = policy.split(',').filter(|part| part.starts_with(TAG));
        let others = policy.split(',').filter(|part| !part.starts_with(TAG));
        others.chain(tags).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        for bad in [
            "",
            "dayly=3",
            "daily",
            "daily=",
            "daily=0",
            "daily=-1",
            "daily=many",
            "daily=3,daily=4",
            "daily=3,",
            "daily=3,staging",
            "within=soon",
            "within=0d",
            "max_bytes=lots",
            "tag:=7d",
            "tag:hot",
            "tag:hot=never",
            "zone=Middle/Earth,daily=3",
            "unheard-of",
        ] {
            let error = bad.parse::<Keep>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{bad:?}");
        }
        let error = "dayly=3".parse::<Keep>().unwrap_err();
        assert!(error.to_string().contains("\"dayly\""), "{error}");
        assert!(error.hint().unwrap().contains("migrations"), "{error:?}");
    }

    proptest! {
        #[test]
        fn a_policy_reads_back_as_it_was_written(
            counts in prop::collection::vec(option::of(1u32..), 6),
            within in option::of(1i64..4_000_000_000),
            max_bytes in option::of(1u64..),
            tags in prop::collection::btree_map("[a-z][a-z0-9:_ =-]{0,8}[a-z]", option::of(1i64..4_000_000_000), 0..4),
            zone in prop::sample::select(vec!["UTC", "+05:30", "-03:00", "+00:00:07", "Europe/Berlin"]),
        ) {
            let age = SignedDuration::from_secs;
            let rule = |kept: Option<i64>| kept.map_or(KeepFor::Forever, |seconds| KeepFor::For(age(seconds)));
            let keep = Keep {
                last: counts[0], hourly: counts[1], daily: counts[2],
                weekly: counts[3], monthly: counts[4], yearly: counts[5],
                within: within.map(age),
                tags: tags.into_iter().map(|(tag, kept)| (tag, rule(kept))).collect(),
                max_bytes,
                zone: super::zone(zone).unwrap(),
            };
            prop_assert_eq!(keep.to_string().parse::<Keep>().unwrap(), keep);
        }

        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in ".*") {
            let _ = text.parse::<Keep>();
            let _ = format!("daily=3,zone={text}").parse::<Keep>();
        }
    }
}
