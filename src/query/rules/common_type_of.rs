//! The type in which values of different types meet, where the engine's own choice loses something.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::Expr;

use crate::query::times::cast_as_read;

/// Digits of a DECIMAL.
const DIGITS_MAX: u8 = 38;

const DAY: &str = "2026-01-01";

/// The type in which values of `types` are compared or put into one column, as in PostgreSQL; none where the engine's choice is the same.
///
/// - A decimal meets a floating-point number as DOUBLE. The engine takes DECIMAL(30,15), to which 1e-20 is 0 and NaN an error.
/// - Times meet in microseconds, which is what tables keep. The engine takes nanoseconds, in which the years before 1677 and
///   after 2262 are errors.
/// - A time with a zone keeps it beside a date or a time without one, which are taken as UTC.
pub(super) fn common_type(types: &[DataType]) -> Option<DataType> {
    if types.iter().any(DataType::is_decimal) && types.iter().any(DataType::is_floating) {
        let numbers = types.iter().all(|t| t.is_numeric() || t.is_null());
        return numbers.then_some(DataType::Float64);
    }
    let mut zone = None;
    let mut times = false;
    for data_type in types {
        match data_type {
            DataType::Timestamp(_, of) => {
                times = true;
                zone = zone.or(of.clone());
            }
            DataType::Date32 | DataType::Date64 | DataType::Null => {}
            _ => return None,
        }
    }
    let common = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let differ = types.iter().any(|t| *t != common && !t.is_null());
    (times && differ).then_some(common)
}

/// The type in which values of `types` stand in one place of a function: [`common_type`], and bytes beside anything that can be bytes,
/// which the engine's functions do not take.
pub(in crate::query) fn chosen_type(types: &[DataType]) -> Option<DataType> {
    let bytes = types.iter().find(|t| t.is_binary());
    let can_be = |t: &DataType| t.is_binary() || t.is_string() || t.is_null();
    if let Some(bytes) = bytes
        && types.iter().all(can_be)
    {
        return types.iter().any(|t| t != bytes).then(|| bytes.clone());
    }
    common_type(types)
}

/// The type of times beside constant texts that are times, each of which is read as a day if it is one; none if anything else is
/// among them.
pub(super) fn read_as_times<'e>(
    exprs: impl IntoIterator<Item = &'e Expr>,
    types: &[DataType],
) -> Option<DataType> {
    let is_time = |t: &DataType| {
        matches!(
            t,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
        )
    };
    if !types.iter().any(is_time) || !types.iter().any(DataType::is_string) {
        return None;
    }
    let read = exprs.into_iter().zip(types).map(|(expr, type_)| {
        if !type_.is_string() {
            return (is_time(type_) || type_.is_null()).then(|| type_.clone());
        }
        let Expr::Literal(value, _) = expr else {
            return None;
        };
        let Some(text) = value.try_as_str()? else {
            return Some(DataType::Null);
        };
        let target = match text.trim().len() <= DAY.len() {
            true => DataType::Date32,
            false => DataType::Timestamp(TimeUnit::Microsecond, None),
        };
        cast_as_read(value, &target).is_ok().then_some(target)
    });
    let read = read.collect::<Option<Vec<_>>>()?;
    common_type(&read).or_else(|| read.into_iter().find(is_time))
}

/// As [`common_type`], for two sides of a comparison, where a text beside a time is read as one.
pub(super) fn compared_type(types: &[DataType]) -> Option<DataType> {
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..));
    if types.iter().any(is_time) && types.iter().any(DataType::is_string) {
        let times: Vec<DataType> = types.iter().filter(|t| !t.is_string()).cloned().collect();
        let all = times.iter().find_map(|t| match t {
            DataType::Timestamp(_, zone) => Some(zone.clone()),
            _ => None,
        });
        return common_type(&times)
            .or_else(|| all.map(|zone| DataType::Timestamp(TimeUnit::Microsecond, zone)));
    }
    common_type(types)
}

/// A constant like `0.1` as the decimal that is written there, for the comparison with a decimal: exact, and the column stays
/// as it is, so that files can be left out by it. None if it is none, or has too many digits beside `precision` and `scale`.
pub(super) fn as_decimal(expr: &Expr, precision: u8, scale: i8) -> Option<Expr> {
    let value = match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value,
        Expr::Negative(inner) => match &**inner {
            Expr::Literal(ScalarValue::Float64(Some(value)), _) => -value,
            _ => return None,
        },
        _ => return None,
    };
    // Rust writes the shortest digits that are this number, and no exponent.
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = u8::try_from(whole.trim_start_matches(['-', '0']).len()).ok()?;
    let fraction_digits = i8::try_from(fraction.len()).ok()?;
    let common_scale = fraction_digits.max(scale);
    let before = digits.max(precision.checked_sub_signed(scale)?);
    if scale < 0 || before.checked_add_signed(common_scale)? > DIGITS_MAX {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let precision = digits.checked_add_signed(fraction_digits)?.max(1);
    let value = ScalarValue::Decimal128(Some(unscaled), precision, fraction_digits);
    Some(Expr::Literal(value, None))
}

/// A cast of a constant to a decimal, with the digits that are written there: 1.005 becomes 1.01, and the double beside it, which is
/// a little less, 1.00.
pub(super) fn of_written_decimal(mut cast: Expr) -> Transformed<Expr> {
    let (value, to) = match &mut cast {
        Expr::Cast(cast) => (&mut cast.expr, cast.field.data_type()),
        Expr::TryCast(cast) => (&mut cast.expr, cast.field.data_type()),
        _ => return Transformed::no(cast),
    };
    if to.is_decimal()
        && let Some(written) = as_decimal(value, 1, 0)
    {
        **value = written;
        return Transformed::yes(cast);
    }
    Transformed::no(cast)
}
