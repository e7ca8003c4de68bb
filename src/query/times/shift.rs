//! `t + INTERVAL '1 day'` in a zone: months and days move the local time, the rest moves the instant. Arrow's addition ends with an
//! error where the local time that it comes to is left out by the clock.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Days, Months, NaiveDateTime};

use super::zone::{Zone, ZoneClock};

/// Whether these are microseconds in a zone with a clock that is changed, and an interval.
pub(in crate::query) fn is_zoned(time: &DataType, interval: &DataType) -> bool {
    let DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) = time else {
        return false;
    };
    let interval = matches!(
        interval,
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)
    );
    interval && matches!(Zone::named(zone), Ok(Some(_)))
}

/// Times with intervals added, or taken away; of types that [`is_zoned`] is true for.
///
/// # Errors
/// `ArithmeticOverflow`: beyond the calendar.
pub(in crate::query) fn shifted(
    times: &dyn Datum,
    intervals: &dyn Datum,
    back: bool,
) -> Result<ArrayRef, ArrowError> {
    let ((times, one_time), (intervals, one_interval)) = (times.get(), intervals.get());
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    let Some(zone) = times.timezone().map(Zone::named).transpose()?.flatten() else {
        let text = "no zone with a clock that is changed".to_owned();
        return Err(ArrowError::InvalidArgumentError(text));
    };
    let mut clock = ZoneClock::new(zone);
    let rows = if one_time {
        intervals.len()
    } else {
        times.len()
    };
    let mut made = Vec::with_capacity(rows);
    for row in 0..rows {
        let time = if one_time { 0 } else { row };
        let interval = if one_interval { 0 } else { row };
        if times.is_null(time) || intervals.is_null(interval) {
            made.push(None);
            continue;
        }
        let shifted = one(
            &mut clock,
            times.value(time),
            intervals.value(interval),
            back,
        );
        let shifted = shifted.ok_or_else(|| ArrowError::ArithmeticOverflow(String::new()))?;
        made.push(Some(shifted));
    }
    let made: PrimitiveArray<TimestampMicrosecondType> = made.into_iter().collect();
    Ok(Arc::new(made.with_data_type(times.data_type().clone())))
}

fn one(clock: &mut ZoneClock, at: i64, by: IntervalMonthDayNano, back: bool) -> Option<i64> {
    let sign = if back { -1i64 } else { 1 };
    let mut instant = at;
    if by.months != 0 || by.days != 0 {
        let local = DateTime::from_timestamp_micros(clock.local(at)?)?.naive_utc();
        let local = moved(
            local,
            sign * i64::from(by.months),
            sign * i64::from(by.days),
        )?;
        instant = clock.instant(local.and_utc().timestamp_micros())?;
    }
    instant.checked_add((by.nanoseconds / 1_000).checked_mul(sign)?)
}

fn moved(local: NaiveDateTime, months: i64, days: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let local = match months < 0 {
        true => local.checked_sub_months(count)?,
        false => local.checked_add_months(count)?,
    };
    match days < 0 {
        true => local.checked_sub_days(Days::new(days.unsigned_abs())),
        false => local.checked_add_days(Days::new(days.unsigned_abs())),
    }
}
