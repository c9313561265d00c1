//! Hours, days, weeks, months and years of a time zone, and which artifact holds each.

use std::{collections::HashMap, fmt};

use jiff::{Zoned, tz::Offset};

/// A kind of period that a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Kind {
    /// The rule that counts these.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// One period of a calendar: a local day is from midnight to midnight, however many hours that takes; a week is an
/// ISO 8601 week; the hour that a clock shows twice is two hours. What a kind does not tell apart is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Period {
    kind: Kind,
    year: i16,
    /// The month, or the week.
    part: i8,
    day: i8,
    hour: i8,
    offset: Offset,
}

impl Period {
    /// The period that an instant lies in.
    pub(super) fn of(kind: Kind, local: &Zoned) -> Self {
        let year = Self { kind, year: local.year(), part: 0, day: 0, hour: 0, offset: Offset::UTC };
        let month = Self { part: local.month(), ..year };
        let day = Self { day: local.day(), ..month };
        match kind {
            Kind::Hour => Self { hour: local.hour(), offset: local.offset(), ..day },
            Kind::Day => day,
            Kind::Week => {
                let week = local.date().iso_week_date();
                Self { year: week.year(), part: week.week(), ..year }
            }
            Kind::Month => month,
            Kind::Year => year,
        }
    }
}

/// As people write it: `2026-11-18`, `2026-W47`, `2026-11`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, year, part, day, hour, offset } = self;
        match kind {
            Kind::Hour => write!(f, "{year:04}-{part:02}-{day:02} {hour:02}:00 {offset}"),
            Kind::Day => write!(f, "{year:04}-{part:02}-{day:02}"),
            Kind::Week => write!(f, "{year:04}-W{part:02}"),
            Kind::Month => write!(f, "{year:04}-{part:02}"),
            Kind::Year => write!(f, "{year:04}"),
        }
    }
}

/// One period and the artifact that holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) period: Period,
    pub(super) holder: usize,
}

/// The periods that hold a candidate, newest first, and for each candidate the place of its period.
///
/// Candidates come newest first. The newest of a period holds it, but one that `gives_way` only where there is no
/// other.
pub(super) fn slots(
    candidates: &[usize],
    period_of: impl Fn(usize) -> Period,
    gives_way: impl Fn(usize) -> bool,
) -> (Vec<Slot>, Vec<usize>) {
    let (mut slots, mut places): (Vec<Slot>, HashMap<Period, usize>) = Default::default();
    let mut place_of_each = Vec::with_capacity(candidates.len());
    for &candidate in candidates {
        let period = period_of(candidate);
        let place = *places.entry(period).or_insert(slots.len());
        match slots.get_mut(place) {
            None => slots.push(Slot { period, holder: candidate }),
            Some(slot) if gives_way(slot.holder) && !gives_way(candidate) => slot.holder = candidate,
            Some(_) => {}
        }
        place_of_each.push(place);
    }
    (slots, place_of_each)
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("time zones: apt-get install tzdata")
    }

    fn period(kind: Kind, instant: &str, zone: TimeZone) -> String {
        Period::of(kind, &instant.parse::<Timestamp>().unwrap().to_zoned(zone)).to_string()
    }

    #[test]
    fn half_past_midnight_belongs_to_the_local_day() {
        assert_eq!(period(Kind::Day, "2026-07-01T22:30:00Z", berlin()), "2026-07-02");
        assert_eq!(period(Kind::Day, "2026-07-01T22:30:00Z", TimeZone::UTC), "2026-07-01");
        assert_eq!(period(Kind::Month, "2026-06-30T22:30:00Z", berlin()), "2026-07");
        assert_eq!(period(Kind::Year, "2026-12-31T23:30:00Z", berlin()), "2027");
    }

    #[test]
    fn days_of_23_and_25_hours_are_one_day_each() {
        for (day, first, last) in [
            ("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"),
            ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"),
        ] {
            assert_eq!(period(Kind::Day, first, berlin()), day);
            assert_eq!(period(Kind::Day, last, berlin()), day);
        }
    }

    #[test]
    fn the_hour_a_clock_shows_twice_is_two_hours() {
        let first = period(Kind::Hour, "2026-10-25T00:30:00Z", berlin());
        let second = period(Kind::Hour, "2026-10-25T01:30:00Z", berlin());
        assert_eq!((first.as_str(), second.as_str()), ("2026-10-25 02:00 +02", "2026-10-25 02:00 +01"));
    }

    #[test]
    fn weeks_are_iso_weeks() {
        assert_eq!(period(Kind::Week, "2027-01-03T12:00:00Z", TimeZone::UTC), "2026-W53");
        assert_eq!(period(Kind::Week, "2024-12-30T12:00:00Z", TimeZone::UTC), "2025-W01");
    }
}
