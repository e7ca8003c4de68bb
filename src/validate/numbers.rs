//! Numbers that Arrow's casts would change in silence: a fraction in a column of whole numbers, and a text whose number is
//! beyond a double.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::error::ArrowError;

const SAFE: CastOptions<'static> = CastOptions {
    safe: true,
    format_options: arrow::util::display::FormatOptions::new(),
};
/// Up to here each whole number is a double of its own; beyond it a double stands for several.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// None: the plain cast does it. A value that the column cannot hold becomes null.
pub(super) fn convert(target: &DataType, sent: &ArrayRef) -> Option<Result<ArrayRef, ArrowError>> {
    let is_text = matches!(
        sent.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    if target.is_integer() && sent.data_type().is_floating() {
        return Some(whole_doubles(target, sent));
    }
    if target.is_integer() && is_text {
        return Some(whole_texts(target, sent));
    }
    if let DataType::Decimal128(..) = target
        && is_text
    {
        return Some(decimal_texts(target, sent));
    }
    if target.is_floating() && is_text {
        return Some(finite_texts(target, sent));
    }
    None
}

fn whole_doubles(target: &DataType, sent: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let doubles = cast(sent, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    let whole: Int64Array = doubles.iter().map(|v| whole(v?)).collect();
    cast_with_options(&whole, target, &SAFE)
}

fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// `2.0` and `1e3` are whole numbers, too: a data frame whose column has a gap writes them so.
fn whole_texts(target: &DataType, sent: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let plain = cast_with_options(sent, target, &SAFE)?;
    if plain.null_count() == sent.null_count() {
        return Ok(plain);
    }
    let texts = cast(sent, &DataType::Utf8)?;
    let long = cast(&plain, &DataType::Int64)?;
    let long = long.as_primitive::<Int64Type>();
    let texts = texts.as_string::<i32>();
    let numbers = long
        .iter()
        .zip(texts)
        .map(|(number, text)| number.or_else(|| whole_text(text?.trim())));
    cast_with_options(&numbers.collect::<Int64Array>(), target, &SAFE)
}

fn whole_text(text: &str) -> Option<i64> {
    if let Some((number, fraction)) = text.split_once('.')
        && fraction.bytes().all(|b| b == b'0')
    {
        return number.parse().ok();
    }
    // The words that `parse` takes beside numbers are no whole ones.
    whole(text.parse().ok()?)
}

/// `1e3` and `1.5e-1` are numbers of a DECIMAL as well: the text without its exponent is cast as any other.
fn decimal_texts(target: &DataType, sent: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let plain = cast_with_options(sent, target, &SAFE)?;
    if plain.null_count() == sent.null_count() {
        return Ok(plain);
    }
    let texts = cast(sent, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let written: StringArray = texts
        .iter()
        .map(|text| {
            text.map(|text| without_exponent(text.trim()).unwrap_or_else(|| text.to_owned()))
        })
        .collect();
    cast_with_options(&written, target, &SAFE)
}

/// `1.5e-3` is `0.0015`. None: it has no exponent, or one that no DECIMAL reaches.
fn without_exponent(text: &str) -> Option<String> {
    const EXPONENT_MAX: usize = 76;
    let (number, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    if shift > EXPONENT_MAX {
        return None;
    }
    // Where the point stands among the digits, between zeros before and behind them.
    let (padded, point) = if exponent < 0 {
        (format!("{}{digits}", "0".repeat(shift)), whole.len())
    } else {
        (
            format!("{digits}{}", "0".repeat(shift)),
            whole.len() + shift,
        )
    };
    let (whole, fraction) = padded.split_at_checked(point)?;
    Some(format!("{sign}0{whole}.{fraction}0"))
}

fn finite_texts(target: &DataType, sent: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let plain = cast_with_options(sent, target, &SAFE)?;
    let doubles = cast(&plain, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    if doubles.iter().flatten().all(f64::is_finite) {
        return Ok(plain);
    }
    let texts = cast(sent, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let kept = doubles.iter().zip(texts).map(|(number, text)| {
        let is_word = text.is_none_or(|t| !t.bytes().any(|b| b.is_ascii_digit()));
        number.filter(|n| n.is_finite() || is_word)
    });
    cast(&kept.collect::<Float64Array>(), target)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::datatypes::{Decimal128Type, Float32Type, Int8Type};

    use super::*;

    #[test]
    fn whole_numbers_are_taken_in_every_spelling_and_fractions_in_none() {
        for (text, expected) in [
            ("17", Some(17)),
            ("2.0", Some(2)),
            ("-3.", Some(-3)),
            ("1e3", Some(1000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775807.00", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("3.5", None),
            ("1e300", None),
            ("NaN", None),
            ("inf", None),
            (".0", None),
            ("x", None),
        ] {
            let sent: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
            let got = convert(&DataType::Int64, &sent).unwrap().unwrap();
            let got: Vec<Option<i64>> = got.as_primitive::<Int64Type>().iter().collect();
            assert_eq!(got, [expected, None], "{text}");
        }
        for (number, expected) in [
            (2.0, Some(2)),
            (-0.0, Some(0)),
            (3.5, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (300.0, None),
        ] {
            let sent: ArrayRef = Arc::new(Float64Array::from(vec![Some(number), None]));
            let got = convert(&DataType::Int8, &sent).unwrap().unwrap();
            let got: Vec<Option<i8>> = got.as_primitive::<Int8Type>().iter().collect();
            assert_eq!(got, [expected, None], "{number}");
        }
        // Which whole number the sender had cannot be said any more.
        let sent: ArrayRef = Arc::new(Float64Array::from(vec![1e16]));
        assert_eq!(
            convert(&DataType::Int64, &sent)
                .unwrap()
                .unwrap()
                .null_count(),
            1
        );
    }

    #[test]
    fn a_decimal_may_have_an_exponent() {
        for (text, expected) in [
            ("1e3", Some(100_000)),
            ("1.5e-1", Some(15)),
            ("-12.5E1", Some(-12_500)),
            ("+1e0", Some(100)),
            ("1e-2", Some(1)),
            ("1e8", None),
            ("1e400", None),
            ("e3", None),
            ("1e", None),
            ("1e3x", None),
            ("7.25", Some(725)),
        ] {
            let sent: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
            let got = convert(&DataType::Decimal128(9, 2), &sent)
                .unwrap()
                .unwrap();
            let got: Vec<Option<i128>> = got.as_primitive::<Decimal128Type>().iter().collect();
            assert_eq!(got, [expected, None], "{text}");
        }
    }

    #[test]
    fn a_number_beyond_the_type_is_no_infinity_and_the_word_is() {
        for (text, is_kept) in [
            ("1e400", false),
            ("-1e400", false),
            ("inf", true),
            ("NaN", true),
            ("1e300", true),
        ] {
            let sent: ArrayRef = Arc::new(StringArray::from(vec![text]));
            let got = convert(&DataType::Float64, &sent).unwrap().unwrap();
            assert_eq!(got.null_count() == 0, is_kept, "{text}");
        }
        let sent: ArrayRef = Arc::new(StringArray::from(vec!["1e300", "0.1"]));
        let got = convert(&DataType::Float32, &sent).unwrap().unwrap();
        let got: Vec<Option<f32>> = got.as_primitive::<Float32Type>().iter().collect();
        assert_eq!(got, [None, Some(0.1)]);
    }
}
