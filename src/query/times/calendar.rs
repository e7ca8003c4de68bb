//! `date_bin` and `date_trunc` for every year and every zone. DataFusion's count in nanoseconds, and its `date_bin` has the
//! boundaries of UTC in every zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Months, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::types::{NativeType, logical_date, logical_string};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, TypeSignatureClass, Volatility,
};

use super::zone::{Zone, ZoneClock};

/// `inner`: DataFusion's function of the name.
pub(super) fn wrapped(inner: Arc<ScalarUDF>) -> ScalarUDF {
    let signature = match inner.name() {
        "date_bin" => Signature::user_defined(inner.signature().volatility),
        _ => of_date_trunc(inner.signature().volatility),
    };
    ScalarUDF::from(Calendar { inner, signature })
}

/// DataFusion's, but that a date and a text become microseconds: nanoseconds end in 2262.
fn of_date_trunc(volatility: Volatility) -> Signature {
    let unit = || Coercion::new_exact(TypeSignatureClass::Native(logical_string()));
    let as_times = vec![
        TypeSignatureClass::Native(logical_string()),
        TypeSignatureClass::Native(logical_date()),
    ];
    let micros = NativeType::Timestamp(TimeUnit::Microsecond, None);
    let time = Coercion::new_implicit(TypeSignatureClass::Timestamp, as_times, micros);
    Signature::one_of(
        vec![
            TypeSignature::Coercible(vec![unit(), time]),
            TypeSignature::Coercible(vec![unit(), Coercion::new_exact(TypeSignatureClass::Time)]),
        ],
        volatility,
    )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Calendar {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl Calendar {
    fn of(&self) -> &dyn ScalarUDFImpl {
        self.inner.inner().as_ref()
    }

    /// None: as DataFusion does it.
    fn own(&self, args: &ScalarFunctionArgs) -> Result<Option<ColumnarValue>> {
        let (Some(ColumnarValue::Scalar(how)), Some(times)) = (args.args.first(), args.args.get(1))
        else {
            return Ok(None);
        };
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = times.data_type() else {
            return Ok(None);
        };
        let zone = zone.as_deref().map(Zone::named).transpose()?.flatten();
        let step = match (self.inner.name(), how) {
            ("date_trunc", how) => match Unit::named(how) {
                // Parts of a second are the same everywhere and always.
                Some(unit) => Step::Unit(unit),
                None => return Ok(None),
            },
            (_, ScalarValue::IntervalMonthDayNano(Some(stride))) => {
                let micros = stride.nanoseconds / 1_000;
                let whole = stride.months == 0 && stride.nanoseconds % 1_000 == 0;
                let days = i64::from(stride.days).checked_mul(DAY);
                let span = days.and_then(|days| days.checked_add(micros));
                match span {
                    Some(span) if whole && span > 0 => Step::Span(span),
                    _ if stride.months > 0 && stride.days == 0 && stride.nanoseconds == 0 => {
                        Step::Months(i64::from(stride.months))
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let origin = match args.args.get(2) {
            None => None,
            Some(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(at), _))) => {
                if at % 1_000 != 0 {
                    return Ok(None);
                }
                Some(at / 1_000)
            }
            Some(_) => return Ok(None),
        };
        let scalar = matches!(times, ColumnarValue::Scalar(_));
        let times = times.to_array(if scalar { 1 } else { args.number_rows })?;
        let made = begins(&times, step, zone, origin)?;
        Ok(Some(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(made),
        }))
    }
}

impl ScalarUDFImpl for Calendar {
    fn name(&self) -> &str {
        self.of().name()
    }

    fn aliases(&self) -> &[String] {
        self.of().aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.of().return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if self.inner.name() != "date_bin" {
            return self.of().coerce_types(types);
        }
        // Times stay in their unit: by its signature the engine would bring them to nanoseconds.
        let (2 | 3, [stride, times, origin @ ..]) = (types.len(), types) else {
            return plan_err!("date_bin takes an interval, a time and an origin");
        };
        let stride = match stride {
            DataType::Interval(_) | DataType::Utf8 | DataType::Null => {
                DataType::Interval(IntervalUnit::MonthDayNano)
            }
            other => return plan_err!("date_bin takes an interval first, not {other}"),
        };
        let times = match times {
            DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) => times.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            other => return plan_err!("date_bin takes a time, not {other}"),
        };
        let mut coerced = vec![stride, times];
        for origin in origin {
            coerced.push(match origin {
                DataType::Timestamp(_, zone) => {
                    DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())
                }
                DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Nanosecond),
                DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::Null => {
                    DataType::Timestamp(TimeUnit::Nanosecond, None)
                }
                other => return plan_err!("date_bin takes a time as its origin, not {other}"),
            });
        }
        Ok(coerced)
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.of().simplify(args, context)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        context: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.of().preimage(args, literal, context)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.of().output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.own(&args)? {
            Some(made) => Ok(made),
            None => self.of().invoke_with_args(args),
        }
    }
}

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

#[derive(Clone, Copy, Debug)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    fn named(how: &ScalarValue) -> Option<Unit> {
        let (ScalarValue::Utf8(Some(name))
        | ScalarValue::LargeUtf8(Some(name))
        | ScalarValue::Utf8View(Some(name))) = how
        else {
            return None;
        };
        Some(match name.to_ascii_lowercase().as_str() {
            "second" => Unit::Second,
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            "quarter" => Unit::Quarter,
            "year" => Unit::Year,
            _ => return None,
        })
    }

    /// Of those that are as long everywhere.
    fn span(self) -> Option<i64> {
        match self {
            Unit::Second => Some(1_000_000),
            Unit::Minute => Some(60_000_000),
            Unit::Hour => Some(3_600_000_000),
            Unit::Day => Some(DAY),
            _ => None,
        }
    }

    /// The begin of the unit that holds a local time.
    fn begin(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let date = local.date();
        let first = date.with_day(1)?;
        let date = match self {
            Unit::Week => date - TimeDelta::days(i64::from(date.weekday().num_days_from_monday())),
            Unit::Month => first,
            Unit::Quarter => first.with_month0(date.month0() / 3 * 3)?,
            Unit::Year => first.with_month0(0)?,
            _ => date,
        };
        let hour = match self {
            Unit::Hour => local.hour(),
            _ => 0,
        };
        Some(date.and_time(NaiveTime::from_hms_opt(hour, 0, 0)?))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Unit(Unit),
    Span(i64),
    Months(i64),
}

fn naive(micros: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_micros(micros)?.naive_utc())
}

impl Step {
    /// The last begin at or before a local time. `origin`: local as well.
    fn begin(self, local: i64, origin: i64) -> Option<i64> {
        match self {
            Step::Unit(unit) => match unit.span() {
                Some(span) => local.checked_sub(local.rem_euclid(span)),
                None => Some(unit.begin(naive(local)?)?.and_utc().timestamp_micros()),
            },
            Step::Span(span) => {
                let since = local.checked_sub(origin)?;
                local.checked_sub(since.rem_euclid(span))
            }
            Step::Months(step) => {
                let (at, first) = (naive(local)?, naive(origin)?);
                let months = |t: NaiveDateTime| i64::from(t.year()) * 12 + i64::from(t.month0());
                let mut count = (months(at) - months(first)).div_euclid(step) * step;
                let add = |count: i64| {
                    let by = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
                    match count < 0 {
                        true => first.checked_sub_months(by),
                        false => first.checked_add_months(by),
                    }
                };
                let mut begin = add(count)?;
                if begin > at {
                    count -= step;
                    begin = add(count)?;
                }
                Some(begin.and_utc().timestamp_micros())
            }
        }
    }

    /// How long it is at least.
    fn least(self) -> i64 {
        match self {
            Step::Unit(unit) => unit.span().unwrap_or(DAY),
            Step::Span(span) => span,
            Step::Months(_) => DAY,
        }
    }
}

fn begins(
    times: &ArrayRef,
    step: Step,
    zone: Option<Zone>,
    origin: Option<i64>,
) -> Result<ArrayRef> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let is_utc = zone.is_none();
    let mut clock = zone.map(ZoneClock::new);
    let origin = match (&mut clock, origin) {
        (Some(clock), Some(origin)) => clock.local(origin),
        (_, origin) => Some(origin.unwrap_or(0)),
    };
    let mut begin = |at: i64| {
        let origin = origin?;
        let Some(clock) = &mut clock else {
            return step.begin(at, origin);
        };
        let local = step.begin(clock.local(at)?, origin)?;
        clock.start(local, step.least(), at)
    };
    let mut begin = |at: i64| match begin(at) {
        Some(begin) => Ok(begin),
        None => exec_err!("a time beyond the calendar, microseconds={at}"),
    };
    let made: PrimitiveArray<TimestampMicrosecondType> = if times.null_count() > 0 {
        let made = times.iter().map(|at| at.map(&mut begin).transpose());
        made.collect::<Result<_>>()?
    } else if is_utc {
        begins_in_turn(times.values(), step.least(), begin)?.into()
    } else {
        let made: Result<Vec<i64>> = times.values().iter().map(|at| begin(*at)).collect();
        made?.into()
    };
    Ok(Arc::new(made.with_data_type(times.data_type().clone())))
}

/// The begin of each time. A time is mostly in the step of the one before it, and then nothing is divided. `least`: no step is shorter.
fn begins_in_turn(
    times: &[i64],
    least: i64,
    mut begin: impl FnMut(i64) -> Result<i64>,
) -> Result<Vec<i64>> {
    let mut made = Vec::with_capacity(times.len());
    let (mut first, mut end) = (0, 0);
    for at in times {
        if *at < first || *at >= end {
            first = begin(*at)?;
            end = first.saturating_add(least);
        }
        made.push(first);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn micros(text: &str) -> i64 {
        let at = DateTime::parse_from_rfc3339(text).unwrap();
        at.timestamp_micros()
    }

    #[test]
    fn times_in_any_order_begin_as_each_does_alone() {
        let times = [
            -1,
            0,
            59_999_999,
            60_000_000,
            179_999_999,
            60_000_000,
            -60_000_001,
            3 * DAY,
            40 * DAY,
            0,
        ];
        for step in [
            Step::Unit(Unit::Minute),
            Step::Unit(Unit::Week),
            Step::Span(7_000_000),
            Step::Months(1),
        ] {
            let alone = times.map(|at| step.begin(at, 0).unwrap());
            let begin = |at| Ok(step.begin(at, 0).unwrap());
            let in_turn = begins_in_turn(&times, step.least(), begin).unwrap();
            assert_eq!(in_turn, alone, "{step:?}");
        }
    }

    #[test]
    fn a_step_begins_at_local_midnight_also_on_days_of_23_and_25_hours() {
        let days = Step::Span(DAY);
        let hours = Step::Unit(Unit::Hour);
        // Step, instant, begin: in Berlin.
        let cases = [
            (
                days,
                "2026-03-29T12:00:00+02:00",
                "2026-03-29T00:00:00+01:00",
            ),
            (
                days,
                "2026-03-29T23:59:59+02:00",
                "2026-03-29T00:00:00+01:00",
            ),
            (
                days,
                "2026-03-30T00:00:00+02:00",
                "2026-03-30T00:00:00+02:00",
            ),
            (
                days,
                "2026-10-25T23:59:59+01:00",
                "2026-10-25T00:00:00+02:00",
            ),
            (
                hours,
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+02:00",
            ),
            (
                hours,
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T02:00:00+01:00",
            ),
            (
                Step::Span(2 * 3_600_000_000),
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T02:00:00+02:00",
            ),
            (
                Step::Span(6 * 3_600_000_000),
                "2026-03-29T13:00:00+02:00",
                "2026-03-29T12:00:00+02:00",
            ),
            (
                Step::Months(1),
                "2026-04-30T12:00:00+02:00",
                "2026-04-01T00:00:00+02:00",
            ),
            (
                Step::Unit(Unit::Week),
                "2026-03-29T12:00:00+02:00",
                "2026-03-23T00:00:00+01:00",
            ),
            (
                Step::Unit(Unit::Quarter),
                "2026-06-30T12:00:00+02:00",
                "2026-04-01T00:00:00+02:00",
            ),
            (
                Step::Unit(Unit::Year),
                "9999-12-31T12:00:00+01:00",
                "9999-01-01T00:00:00+01:00",
            ),
        ];
        let zone = Zone::named("Europe/Berlin").unwrap();
        for (step, at, begin) in cases {
            let times = PrimitiveArray::<TimestampMicrosecondType>::from(vec![micros(at)]);
            let times: ArrayRef = Arc::new(times.with_timezone("Europe/Berlin"));
            let found = begins(&times, step, zone, None).unwrap();
            let found = found.as_primitive::<TimestampMicrosecondType>().value(0);
            assert_eq!(found, micros(begin), "{step:?} {at}");
        }
    }

    #[test]
    fn months_are_counted_from_their_origin_on_both_sides_of_it() {
        let origin = micros("2020-01-31T00:00:00Z");
        for (at, begin) in [
            ("2020-01-31T00:00:00Z", "2020-01-31T00:00:00Z"),
            ("2020-02-28T00:00:00Z", "2020-01-31T00:00:00Z"),
            ("2020-02-29T00:00:00Z", "2020-02-29T00:00:00Z"),
            ("2019-12-30T00:00:00Z", "2019-11-30T00:00:00Z"),
        ] {
            let found = Step::Months(1).begin(micros(at), origin);
            assert_eq!(found, Some(micros(begin)), "{at}");
        }
    }
}
