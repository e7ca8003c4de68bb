//! Local times of a zone and the instants that they are.
//!
//! PostgreSQL's rule (`DetermineTimeZoneOffset`): a local time that the clock leaves out is read with the offset from before the
//! change, so that it lands behind the gap; one that comes twice is read with the offset from after the change, which is the
//! standard time.

use arrow::array::timezone::Tz;
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, offset::LocalResult};
use datafusion::common::{Result, exec_err};

/// Offsets change at full quarters of an hour, since zones have whole minutes.
const QUARTER: i64 = 900;
const MICROS: i64 = 1_000_000;
/// Samoa left out a whole day.
const GAP_QUARTERS: i32 = 25 * 4;

/// A zone with a clock that is changed now and then.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Zone(Tz);

impl Zone {
    /// None: the zone is UTC, or at a fixed offset, where every local time is one instant.
    ///
    /// # Errors
    /// No such zone.
    pub(in crate::query) fn named(name: &str) -> Result<Option<Zone>> {
        if ["utc", "z", "etc/utc", "+00:00"].contains(&name.to_ascii_lowercase().as_str()) {
            return Ok(None);
        }
        match name.parse() {
            Ok(zone) => Ok(Some(Zone(zone))),
            Err(_) => exec_err!(
                "no such time zone, zone={name}; it is a name such as 'Europe/Berlin', 'UTC' or an offset such as '+02:00'"
            ),
        }
    }

    /// In seconds, at an instant in seconds since 1970.
    fn offset(self, seconds: i64) -> Option<i64> {
        let at = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        let offset = self.0.offset_from_utc_datetime(&at).fix();
        Some(i64::from(offset.local_minus_utc()))
    }

    /// The instants that show this local time, the earlier one first: both the same where it comes once, or not at all.
    fn instants(self, local: i64) -> Option<(i64, i64)> {
        let naive = |micros| Some(DateTime::from_timestamp_micros(micros)?.naive_utc());
        let at = naive(local)?;
        let minus = |offset: i64| local.checked_sub(offset.checked_mul(MICROS)?);
        let seconds = |offset: &<Tz as TimeZone>::Offset| i64::from(offset.fix().local_minus_utc());
        match self.0.offset_from_local_datetime(&at) {
            LocalResult::Single(offset) => {
                let at = minus(seconds(&offset))?;
                Some((at, at))
            }
            LocalResult::Ambiguous(one, other) => {
                let (a, b) = (minus(seconds(&one))?, minus(seconds(&other))?);
                Some((a.min(b), a.max(b)))
            }
            LocalResult::None => {
                let at = minus(self.before(at)?)?;
                Some((at, at))
            }
        }
    }

    /// The offset before the gap that a local time is in.
    fn before(self, local: NaiveDateTime) -> Option<i64> {
        (1..=GAP_QUARTERS).find_map(|quarters| {
            let earlier = local - TimeDelta::minutes(15) * quarters;
            let offset = match self.0.offset_from_local_datetime(&earlier) {
                LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => offset,
                LocalResult::None => return None,
            };
            Some(i64::from(offset.fix().local_minus_utc()))
        })
    }
}

/// A zone that remembers the last quarter of an hour, because times mostly come one after the other.
#[derive(Debug)]
pub(in crate::query) struct ZoneClock {
    zone: Zone,
    quarter: i64,
    /// In microseconds; none while nothing is remembered.
    offset: Option<i64>,
}

impl ZoneClock {
    pub(in crate::query) fn new(zone: Zone) -> Self {
        ZoneClock {
            zone,
            quarter: 0,
            offset: None,
        }
    }

    /// What the clock shows at an instant, as microseconds since 1970; none beyond the years that have a calendar.
    pub(in crate::query) fn local(&mut self, instant: i64) -> Option<i64> {
        let seconds = instant.div_euclid(MICROS);
        let quarter = seconds.div_euclid(QUARTER);
        if let Some(offset) = self.offset
            && self.quarter == quarter
        {
            return instant.checked_add(offset);
        }
        let offset = self.zone.offset(seconds)?;
        let first = self.zone.offset(quarter.checked_mul(QUARTER)?)?;
        let last = self
            .zone
            .offset(quarter.checked_mul(QUARTER)? + QUARTER - 1)?;
        let micros = offset.checked_mul(MICROS)?;
        self.quarter = quarter;
        // In former centuries a zone was changed at any second.
        self.offset = (first == last).then_some(micros);
        instant.checked_add(micros)
    }

    /// The instant at which the clock shows a local time, by PostgreSQL's rule.
    pub(in crate::query) fn instant(&self, local: i64) -> Option<i64> {
        self.zone.instants(local).map(|(_, later)| later)
    }

    /// The start of the span of local time that holds an instant, given by its local time. Where that comes twice, spans that are
    /// no longer than what is repeated come twice as well; a longer one begins with the first.
    pub(in crate::query) fn start(&self, local: i64, span: i64, instant: i64) -> Option<i64> {
        let (earlier, later) = self.zone.instants(local)?;
        let twice = later - earlier >= span;
        Some(if twice && instant >= later {
            later
        } else {
            earlier
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn micros(text: &str) -> i64 {
        let at = DateTime::parse_from_rfc3339(&format!("{text}Z")).unwrap();
        at.timestamp_micros()
    }

    fn clock(name: &str) -> ZoneClock {
        ZoneClock::new(Zone::named(name).unwrap().unwrap())
    }

    #[test]
    fn a_local_time_is_the_instant_that_postgresql_takes() {
        // Zone, local time, instant.
        let cases = [
            (
                "Europe/Berlin",
                "2026-03-29T01:59:59",
                "2026-03-29T00:59:59",
            ),
            (
                "Europe/Berlin",
                "2026-03-29T02:30:00",
                "2026-03-29T01:30:00",
            ),
            (
                "Europe/Berlin",
                "2026-03-29T03:00:00",
                "2026-03-29T01:00:00",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T01:30:00",
                "2026-10-24T23:30:00",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T02:30:00",
                "2026-10-25T01:30:00",
            ),
            (
                "America/New_York",
                "2026-03-08T02:30:00",
                "2026-03-08T07:30:00",
            ),
            (
                "America/New_York",
                "2026-11-01T01:30:00",
                "2026-11-01T06:30:00",
            ),
            (
                "America/Sao_Paulo",
                "2018-11-04T00:00:00",
                "2018-11-04T03:00:00",
            ),
            (
                "Australia/Lord_Howe",
                "2026-10-04T02:15:00",
                "2026-10-03T15:45:00",
            ),
            ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00"),
            ("+02:00", "9999-12-31T23:59:59", "9999-12-31T21:59:59"),
        ];
        for (zone, local, instant) in cases {
            let found = clock(zone).instant(micros(local));
            assert_eq!(found, Some(micros(instant)), "{local} in {zone}");
        }
    }

    #[test]
    fn a_clock_that_remembers_shows_what_one_without_memory_does() {
        for name in ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"] {
            let mut remembers = clock(name);
            for minute in -3_000..3_000 {
                let at = micros("2026-03-29T01:00:00") + minute * 60 * MICROS;
                let fresh = clock(name).local(at);
                assert_eq!(remembers.local(at), fresh, "{name} {minute}");
                // A time of day that comes once leads back.
                let back = remembers.zone.instants(fresh.unwrap()).unwrap();
                assert!(back.0 == at || back.1 == at, "{name} {minute}");
            }
        }
        assert!(Zone::named("Mars/Olympus").is_err());
        assert!(Zone::named("utc").unwrap().is_none());
    }
}
