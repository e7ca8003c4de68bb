//! `INTERVAL '1 day 02:03:04'`: hours, minutes and seconds as a clock shows them, which arrow's reader of intervals does not take.

use datafusion::sql::sqlparser::ast::{Expr, Interval, Value};

/// Writes the clock's part out, `1 day 2 hours 3 minutes 4 seconds`.
pub(super) fn write_out(expr: &mut Expr) {
    let Expr::Interval(Interval {
        value,
        leading_field: None,
        ..
    }) = expr
    else {
        return;
    };
    if let Expr::Value(value) = &mut **value
        && let Value::SingleQuotedString(text) = &mut value.value
        && let Some(written) = written(text)
    {
        *text = written;
    }
}

/// None: the text has no such part at its end.
fn written(text: &str) -> Option<String> {
    let text = text.trim_end();
    let (before, clock) = match text.rsplit_once(char::is_whitespace) {
        Some((before, clock)) => (before, clock),
        None => ("", text),
    };
    let (sign, clock) = match clock.strip_prefix('-') {
        Some(clock) => ("-", clock),
        None => ("", clock.strip_prefix('+').unwrap_or(clock)),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let whole = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let within = |part: &str| part.parse::<f64>().is_ok_and(|n| n < 60.0);
    let (full, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_clock = [hours, minutes, full, fraction].into_iter().all(whole);
    (is_clock && within(minutes) && within(seconds)).then(|| {
        format!("{before} {sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
            .trim_start()
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn a_clock_is_written_out() {
        for (text, expected) in [
            ("02:03:04", Some("02 hours 03 minutes 04 seconds")),
            (
                "1 day -02:03",
                Some("1 day -02 hours -03 minutes -0 seconds"),
            ),
            ("36:00:00.5", Some("36 hours 00 minutes 00.5 seconds")),
            ("1 day", None),
            ("02:60:00", None),
            ("2:3:", None),
            ("", None),
        ] {
            assert_eq!(written(text).as_deref(), expected, "{text}");
        }
    }
}
