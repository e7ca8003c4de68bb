//! Values that are the same but for the last digits of their floats. serde_json reads a number of 17 digits as one of its
//! neighbours, for lack of its feature `float_roundtrip`: so a float may be another one after it was written as JSON.

use std::fmt::Debug;

fn number(text: &str) -> (Option<f64>, &str) {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let is_float = number.contains(['.', 'e']) && number.contains(|c: char| c.is_ascii_digit());
    match number.parse().ok().filter(|_| is_float) {
        Some(number) => (Some(number), rest),
        None => (None, text),
    }
}

fn is_same(mut one: &str, mut other: &str) -> bool {
    loop {
        let ((a, rest_one), (b, rest_other)) = (number(one), number(other));
        match (a, b) {
            // Equal, or both beyond all floats.
            (Some(a), Some(b)) if a == b || (a - b).abs() <= a.abs() * 1e-15 => {
                (one, other) = (rest_one, rest_other);
                continue;
            }
            (None, None) => {}
            _ => return false,
        }
        let (mut a, mut b) = (one.chars(), other.chars());
        match (a.next(), b.next()) {
            (None, None) => return true,
            (a, b) if a != b => return false,
            _ => (one, other) = (a.as_str(), b.as_str()),
        }
    }
}

/// What was read of a value that was written must be this value.
pub(crate) fn assert_same<T: PartialEq + Debug>(written: &T, read: &T) {
    if written != read {
        let (written, read) = (format!("{written:?}"), format!("{read:?}"));
        assert!(is_same(&written, &read), "written {written}, read {read}");
    }
}

#[test]
fn only_the_last_digits_may_differ() {
    for (one, other, same) in [
        ("a 0.3", "a 0.30000000000000004", true),
        ("[1.5, 2e10]", "[1.5, 20000000000.0]", true),
        ("sql 1e999", "sql 1e999", true),
        ("a 0.3", "a 0.4", false),
        ("a 1", "a 2", false),
        ("a 1.0", "b 1.0", false),
        ("1.0", "1.0 ", false),
    ] {
        assert_eq!(is_same(one, other), same, "{one} {other}");
    }
}
