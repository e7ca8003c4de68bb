//! The forms in which times are sent, to microseconds UTC: epoch seconds with a fraction, whole numbers of a declared unit,
//! ISO-8601 text with a zone, and local text whose zone the contract names, daylight saving included.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use deltaplane_client::time::written_out;

use crate::clock::Micros;
use crate::dataset::{Column, ColumnType, EpochUnit};

/// A local time that comes twice, in the hour when clocks go back, is the second one if that is about when it arrived.
const LIVE: Micros = 30 * 60 * 1_000_000;

/// None: no form of its own, the plain cast does it. A value that is no time becomes null.
pub(super) fn convert(
    column: &Column,
    sent: &ArrayRef,
    arrived: Micros,
) -> Option<Result<ArrayRef, ArrowError>> {
    if column.data_type != ColumnType::Timestamp {
        return None;
    }
    let zone: Option<Tz> = column.timezone.as_deref().and_then(|z| z.parse().ok());
    let converted = match (sent.data_type(), column.time_unit, zone) {
        (DataType::Float64 | DataType::Float32 | DataType::Float16, ..) => {
            cast(sent, &DataType::Float64).map(|s| epoch_seconds(&s))
        }
        (number, Some(unit), _) if number.is_integer() => epoch(sent, unit),
        // Numbers as text, as a CSV brings them.
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Some(unit), zone) => {
            cast(sent, &DataType::Utf8).map(|texts| {
                let zone = zone.unwrap_or(Tz::UTC);
                let one = |text: &str| {
                    let number = || number(text.trim(), unit);
                    // What looks like a day is tried as one first; the answer is the same either way.
                    if text.as_bytes().get(4) == Some(&b'-') {
                        parse(text, zone, arrived).or_else(number)
                    } else {
                        number().or_else(|| parse(text, zone, arrived))
                    }
                };
                texts.as_string::<i32>().iter().map(|t| one(t?)).collect()
            })
        }
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _, Some(zone)) => {
            cast(sent, &DataType::Utf8).map(|texts| {
                let texts = texts.as_string::<i32>();
                texts
                    .iter()
                    .map(|text| parse(text?, zone, arrived))
                    .collect()
            })
        }
        (DataType::Timestamp(_, None), _, Some(zone)) => {
            cast(sent, &DataType::Timestamp(TimeUnit::Microsecond, None)).map(|times| {
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let local = |t: i64| DateTime::from_timestamp_micros(t).map(|t| t.naive_utc());
                times
                    .iter()
                    .map(|t| instant(local(t?)?, zone, arrived))
                    .collect()
            })
        }
        _ => return None,
    };
    let utc = |times: TimestampMicrosecondArray| Arc::new(times.with_timezone("UTC")) as ArrayRef;
    Some(converted.map(utc))
}

/// Seconds since 1970 with a fraction.
fn epoch_seconds(seconds: &ArrayRef) -> TimestampMicrosecondArray {
    let seconds = seconds.as_primitive::<Float64Type>();
    seconds.iter().map(|s| seconds_micros(s?)).collect()
}

fn seconds_micros(seconds: f64) -> Option<Micros> {
    let micros = (seconds * 1e6).round();
    // 2^63 as a double; beyond it, and for NaN, there is no such instant.
    (micros.abs() < 9.223_372_036_854_775e18).then_some(micros as i64)
}

fn epoch(sent: &ArrayRef, unit: EpochUnit) -> Result<TimestampMicrosecondArray, ArrowError> {
    let numbers = cast(sent, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok(numbers.iter().map(|n| micros(n?, unit)).collect())
}

/// Whole numbers of any unit; seconds may have a fraction.
fn number(text: &str, unit: EpochUnit) -> Option<Micros> {
    match text.parse::<i64>() {
        Ok(number) => micros(number, unit),
        Err(_) if unit == EpochUnit::S => seconds_micros(text.parse().ok()?),
        Err(_) => None,
    }
}

fn micros(n: i64, unit: EpochUnit) -> Option<Micros> {
    match unit {
        EpochUnit::S => n.checked_mul(1_000_000),
        EpochUnit::Ms => n.checked_mul(1_000),
        EpochUnit::Us => Some(n),
        EpochUnit::Ns => Some(n.div_euclid(1_000)),
    }
}

fn parse(text: &str, zone: Tz, arrived: Micros) -> Option<Micros> {
    let text = text.trim();
    if let Some((time, zulu)) = written_out(text.as_bytes()) {
        return if zulu || zone == Tz::UTC {
            Some(time)
        } else {
            instant(
                DateTime::from_timestamp_micros(time)?.naive_utc(),
                zone,
                arrived,
            )
        };
    }
    // Arrow's parser takes the written-out forms, many times as fast as one that is led by a format.
    if let Ok(time) = string_to_datetime(&Utc, text) {
        return if zone == Tz::UTC || names_zone(text) {
            Some(time.timestamp_micros())
        } else {
            instant(time.naive_utc(), zone, arrived)
        };
    }
    let local = SHORT_FORMS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            day.and_hms_opt(0, 0, 0)
        })?;
    instant(local, zone, arrived)
}

/// With months, days and hours of one digit too.
const SHORT_FORMS: [&str; 2] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
const DAY: usize = "2026-01-01".len();

/// Is there `Z`, an offset or a zone's name behind the clock?
fn names_zone(text: &str) -> bool {
    let clock = text.as_bytes().get(DAY + 1..).unwrap_or_default();
    clock
        .iter()
        .any(|b| b.is_ascii_alphabetic() || matches!(b, b'+' | b'-'))
}

/// None for a local time that the zone never had: clocks went forward over it.
fn instant(local: NaiveDateTime, zone: Tz, arrived: Micros) -> Option<Micros> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) => Some(time.timestamp_micros()),
        LocalResult::Ambiguous(first, second) => {
            let (first, second) = (first.timestamp_micros(), second.timestamp_micros());
            Some(if (arrived - second).abs() <= LIVE {
                second
            } else {
                first
            })
        }
        LocalResult::None => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn berlin(text: &str, arrived: &str) -> Option<String> {
        let arrived = DateTime::parse_from_rfc3339(arrived).unwrap();
        let micros = parse(text, Tz::Europe__Berlin, arrived.timestamp_micros())?;
        Some(
            DateTime::from_timestamp_micros(micros)
                .unwrap()
                .to_rfc3339(),
        )
    }

    #[test]
    fn berlin_time_is_right_over_both_changes() {
        let cases = [
            (
                "2026-07-01 12:00:00.250",
                "2026-07-01T10:00:00Z",
                Some("2026-07-01T10:00:00.250+00:00"),
            ),
            (
                "2026-01-15 12:00:00.000",
                "2026-01-15T11:00:00Z",
                Some("2026-01-15T11:00:00+00:00"),
            ),
            // Forward, 29 March 2026: 02:00 becomes 03:00.
            (
                "2026-03-29 01:59:59.999",
                "2026-03-29T01:00:00Z",
                Some("2026-03-29T00:59:59.999+00:00"),
            ),
            ("2026-03-29 02:30:00.000", "2026-03-29T01:00:00Z", None),
            (
                "2026-03-29 03:00:00.000",
                "2026-03-29T01:00:00Z",
                Some("2026-03-29T01:00:00+00:00"),
            ),
            // Back, 25 October 2026: 03:00 becomes 02:00, so 02:30 comes twice.
            (
                "2026-10-25 02:30:00.000",
                "2026-10-25T00:30:01Z",
                Some("2026-10-25T00:30:00+00:00"),
            ),
            (
                "2026-10-25 02:30:00.000",
                "2026-10-25T01:30:01Z",
                Some("2026-10-25T01:30:00+00:00"),
            ),
            // A replay of old rows takes the first.
            (
                "2026-10-25 02:30:00.000",
                "2026-11-25T01:30:01Z",
                Some("2026-10-25T00:30:00+00:00"),
            ),
            (
                "2026-10-25T02:30:00+01:00",
                "2026-11-25T01:30:01Z",
                Some("2026-10-25T01:30:00+00:00"),
            ),
            (
                "2026-10-25 02:30:00 Europe/London",
                "2026-11-25T01:30:01Z",
                Some("2026-10-25T02:30:00+00:00"),
            ),
            (
                " 2026-7-1 3:04:05",
                "2026-11-25T01:30:01Z",
                Some("2026-07-01T01:04:05+00:00"),
            ),
            (
                "2026-07-01",
                "2026-11-25T01:30:01Z",
                Some("2026-06-30T22:00:00+00:00"),
            ),
            ("25.10.2026 02:30", "2026-11-25T01:30:01Z", None),
            ("2026-02-30 02:30:00", "2026-11-25T01:30:01Z", None),
        ];
        for (text, arrived, expected) in cases {
            assert_eq!(
                berlin(text, arrived).as_deref(),
                expected,
                "{text} at {arrived}"
            );
        }
    }
}
