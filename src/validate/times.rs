//! The forms in which times are sent, to microseconds UTC: numbers of a declared unit, numbers with a fraction, which count
//! seconds unless a unit is declared, ISO-8601 text with a zone, and local text whose zone the contract names, daylight saving
//! included. Dates and times without a zone are what stands in the text, whatever offset stands behind it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use deltaplane_client::time::written_out;

use super::partition::DAYS;
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
    match column.data_type {
        ColumnType::Timestamp => instants(column, sent, arrived),
        ColumnType::TimestampNtz if is_text(sent.data_type()) => {
            Some(cast(sent, &DataType::Utf8).map(|texts| {
                let texts = texts.as_string::<i32>().iter();
                let clocks = texts.map(|t| Some(clock(t?.trim())?.and_utc().timestamp_micros()));
                Arc::new(clocks.collect::<TimestampMicrosecondArray>()) as ArrayRef
            }))
        }
        ColumnType::Date if is_text(sent.data_type()) => {
            Some(cast(sent, &DataType::Utf8).map(|texts| {
                let texts = texts.as_string::<i32>().iter();
                Arc::new(texts.map(|t| day(t?.trim())).collect::<Date32Array>()) as ArrayRef
            }))
        }
        _ => None,
    }
}

/// Dates and times of the years 1 to 9999, which are what Delta's texts can say: readers refuse a whole table whose statistics name another
/// one. The others become null.
pub(super) fn of_calendar(values: &ArrayRef) -> ArrayRef {
    const DAY: i64 = 86_400_000_000;
    let (first, last) = (*DAYS.start(), *DAYS.end());
    if let Some(days) = values.as_primitive_opt::<Date32Type>() {
        if days.values().iter().all(|day| DAYS.contains(day)) {
            return values.clone();
        }
        return Arc::new(days.unary_opt::<_, Date32Type>(|day| DAYS.contains(&day).then_some(day)));
    }
    let Some(times) = values.as_primitive_opt::<TimestampMicrosecondType>() else {
        return values.clone();
    };
    let within = i64::from(first) * DAY..(i64::from(last) + 1) * DAY;
    if times.values().iter().all(|at| within.contains(at)) {
        return values.clone();
    }
    let kept =
        times.unary_opt::<_, TimestampMicrosecondType>(|at| within.contains(&at).then_some(at));
    Arc::new(kept.with_data_type(times.data_type().clone()))
}

/// What a user does about a value that is no time; empty if the value says it.
pub(super) fn hint(column: &Column, sent: &DataType, value: &str) -> String {
    let is_number = is_text(sent) && value.trim().parse::<i64>().is_ok();
    if column.data_type == ColumnType::Timestamp && column.time_unit.is_none() && is_number {
        return format!(
            "; what a whole number counts is said by the property deltaplane.timeUnit.{} (s, ms, us or ns)",
            column.name
        );
    }
    if matches!(
        sent,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
    ) {
        return "; a table holds the years 1 to 9999".to_owned();
    }
    String::new()
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn instants(
    column: &Column,
    sent: &ArrayRef,
    arrived: Micros,
) -> Option<Result<ArrayRef, ArrowError>> {
    let zone: Option<Tz> = column.timezone.as_deref().and_then(|z| z.parse().ok());
    let converted = match (sent.data_type(), column.time_unit, zone) {
        (float, unit, _) if float.is_floating() => cast(sent, &DataType::Float64).map(|numbers| {
            let numbers = numbers.as_primitive::<Float64Type>().iter();
            let unit = unit.unwrap_or(EpochUnit::S);
            numbers.map(|n| float_micros(n?, unit)).collect()
        }),
        (number, Some(unit), _) if number.is_integer() => epoch(sent, unit),
        (text, unit, zone) if is_text(text) => cast(sent, &DataType::Utf8).map(|texts| {
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
        }),
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

/// A number with a fraction, since 1970.
fn float_micros(number: f64, unit: EpochUnit) -> Option<Micros> {
    let micros = match unit {
        EpochUnit::S => (number * 1e6).round(),
        EpochUnit::Ms => (number * 1e3).round(),
        EpochUnit::Us => number.round(),
        // As whole nanoseconds are cut.
        EpochUnit::Ns => (number / 1e3).floor(),
    };
    // 2^63 as a double; beyond it, and for NaN, there is no such instant.
    (micros.abs() < 9.223_372_036_854_775e18).then_some(micros as i64)
}

fn epoch(sent: &ArrayRef, unit: EpochUnit) -> Result<TimestampMicrosecondArray, ArrowError> {
    let numbers = cast(sent, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok(numbers.iter().map(|n| micros(n?, unit)).collect())
}

/// Numbers as text, as a CSV brings them: as if they had come as numbers. Without a unit only those with a fraction.
fn number(text: &str, unit: Option<EpochUnit>) -> Option<Micros> {
    let unit = match text.parse::<i64>() {
        Ok(number) => return micros(number, unit?),
        Err(_) => unit.unwrap_or(EpochUnit::S),
    };
    let is_number = text.bytes().any(|b| b == b'.')
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    float_micros(text.parse().ok().filter(|_| is_number)?, unit)
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
    if let Some(time) = written(text) {
        return if zone == Tz::UTC || zone_at(text).is_some() {
            Some(time.timestamp_micros())
        } else {
            instant(time.naive_utc(), zone, arrived)
        };
    }
    instant(short(text)?, zone, arrived)
}

/// An instant that is written out, also without seconds, and with a comma before the fraction.
fn written(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = string_to_datetime(&Utc, text) {
        return Some(time);
    }
    string_to_datetime(&Utc, &with_seconds(text)?).ok()
}

/// A time without seconds, or with a comma before their fraction, as one that is written in full; none for anything else.
pub fn with_seconds(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.get(13) != Some(&b':') || bytes.len() < MINUTE || !text.is_ascii() {
        return None;
    }
    let (minute, rest) = text.split_at(MINUTE);
    match rest.as_bytes() {
        [] | [b'Z' | b'z' | b'+' | b'-' | b' ', ..] => Some(format!("{minute}:00{rest}")),
        [b':', _, _, b',', ..] => Some(format!("{minute}{}", rest.replacen(',', ".", 1))),
        _ => None,
    }
}

/// The time in a text without the zone or the offset behind it, and with seconds, which is what a day and a time without a zone are read
/// from; none for a text that has neither, and for one that is no time.
pub fn without_zone(text: &str) -> Option<String> {
    let at = zone_at(text)?;
    written(text)?;
    let local = text.get(..at)?.trim_end();
    Some(with_seconds(local).unwrap_or_else(|| local.to_owned()))
}

/// With months, days and hours of one digit too.
fn short(text: &str) -> Option<NaiveDateTime> {
    SHORT_FORMS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            day.and_hms_opt(0, 0, 0)
        })
}

const SHORT_FORMS: [&str; 4] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
];
const DAY: usize = "2026-01-01".len();
const MINUTE: usize = "2026-01-01T00:00".len();

/// The clock as it stands in a text, without the zone behind it.
fn clock(text: &str) -> Option<NaiveDateTime> {
    if let Some((time, _)) = written_out(text.as_bytes()) {
        return Some(DateTime::from_timestamp_micros(time)?.naive_utc());
    }
    let local = without_zone(text);
    match written(local.as_deref().unwrap_or(text)) {
        Some(time) => Some(time.naive_utc()),
        None => short(text),
    }
}

/// The day as it stands in a text, with or without a clock behind it.
fn day(text: &str) -> Option<i32> {
    match text.find(['T', 't', ' ']) {
        Some(_) => Some(clock(text)?.date().to_epoch_days()),
        None => Date32Type::parse(text),
    }
}

/// Where `Z`, an offset or a zone's name begins, behind the clock.
fn zone_at(text: &str) -> Option<usize> {
    let clock = text.as_bytes().get(DAY + 1..)?;
    let at = clock
        .iter()
        .position(|b| b.is_ascii_alphabetic() || matches!(b, b'+' | b'-'))?;
    Some(DAY + 1 + at)
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

    /// What a column of the type makes of the values; None is a row that goes to quarantine.
    fn converted(column: &Column, sent: ArrayRef) -> Vec<Option<i64>> {
        let values = convert(column, &sent, 0).unwrap().unwrap();
        let long = cast(&values, &DataType::Int64).unwrap();
        long.as_primitive::<Int64Type>().iter().collect()
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(arrow::array::StringArray::from(values.to_vec()))
    }

    #[test]
    fn a_number_counts_the_declared_unit_with_and_without_a_fraction_as_number_and_as_text() {
        for (unit, whole, fraction) in [
            (EpochUnit::S, "1502902504", "1502902504.5"),
            (EpochUnit::Ms, "1502902504000", "1502902504500.0"),
            (EpochUnit::Us, "1502902504000000", "1502902504500000.25"),
            (
                EpochUnit::Ns,
                "1502902504000000000",
                "1502902504500000000.5",
            ),
        ] {
            let mut column = Column::new("ts", ColumnType::Timestamp);
            column.time_unit = Some(unit);
            let expected = [Some(1_502_902_504_000_000), Some(1_502_902_504_500_000)];
            let numbers: Vec<f64> = [whole, fraction].map(|n| n.parse().unwrap()).to_vec();
            let numbers: ArrayRef = Arc::new(arrow::array::Float64Array::from(numbers));
            assert_eq!(converted(&column, numbers), expected, "{unit:?}");
            assert_eq!(
                converted(&column, texts(&[whole, fraction])),
                expected,
                "{unit:?}"
            );
        }
        // Without a unit a fraction means seconds, and a whole number could mean anything.
        let column = Column::new("ts", ColumnType::Timestamp);
        let got = converted(
            &column,
            texts(&["1502902504.5", "1502902504", "1.5.5", "inf", "e"]),
        );
        assert_eq!(got, [Some(1_502_902_504_500_000), None, None, None, None]);
        assert!(hint(&column, &DataType::Utf8, "1502902504").contains("deltaplane.timeUnit.ts"));
        assert_eq!(hint(&column, &DataType::Utf8, "yesterday"), "");
    }

    #[test]
    fn iso_times_need_no_seconds() {
        let column = Column::new("ts", ColumnType::Timestamp);
        let ten_twenty = Some(1_767_262_800_000_000);
        for (text, expected) in [
            ("2026-01-01T10:20Z", ten_twenty),
            ("2026-01-01 10:20", ten_twenty),
            ("2026-01-01 10:20Z", ten_twenty),
            ("2026-01-01T12:20+02:00", ten_twenty),
            ("2026-01-01 05:20 -05:00", ten_twenty),
            ("2026-01-01 10:20:00,000", ten_twenty),
            ("2026-1-1 10:20", ten_twenty),
            ("2026-01-01T10:2", Some(1_767_261_720_000_000)),
            ("2026-01-01T10:20X", None),
            ("2026-01-01T10:60", None),
            ("2026-01-01T10:20:", None),
            ("2026-01-01T10:20:5,1,2", None),
        ] {
            assert_eq!(converted(&column, texts(&[text])), [expected], "{text}");
        }
    }

    #[test]
    fn a_date_and_a_time_without_zone_are_what_stands_in_the_text() {
        let date = Column::new("d", ColumnType::Date);
        let first = Some(20_454);
        for (text, expected) in [
            ("2026-01-01", first),
            ("2026-01-01T23:30:00-05:00", first),
            ("2026-01-01 00:30:00+08:00", first),
            ("2026-01-01T23:30Z", first),
            (" 2026-01-01 23:59:59.999999999 ", first),
            ("2026-1-1", first),
            ("2026-1-1 7:08:09", first),
            ("2026-01-01 rubbish", None),
            ("2026-02-30T00:00:00Z", None),
        ] {
            let sent = texts(&[text]);
            let values = convert(&date, &sent, 0).unwrap().unwrap();
            let got: Vec<Option<i32>> = values.as_primitive::<Date32Type>().iter().collect();
            assert_eq!(got, [expected], "{text}");
        }
        let clock = Column::new("t", ColumnType::TimestampNtz);
        let got = converted(
            &clock,
            texts(&[
                "2026-01-01T23:30:00-05:00",
                "2026-01-01 23:30",
                "2026-01-01T23:30:00.000Z",
                "x",
            ]),
        );
        let late = Some(1_767_310_200_000_000);
        assert_eq!(got, [late, late, late, None]);
    }
}
