//! Bytes as files of text have them: hexadecimal, as `deltaplane sql --format csv` and `json` write them.

pub(super) const NOT_HEX: &str =
    "bytes are written as hexadecimal digits, two for each, as in 00ff or \\x00ff";

/// The bytes of a text; none if it is no such text.
pub(super) fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text
        .strip_prefix(b"\\x")
        .or_else(|| text.strip_prefix(b"0x"))
        .unwrap_or(text);
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |d: u8| {
        char::from(d)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_are_a_byte() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("00fF", Some(vec![0, 255])),
            ("\\x0a", Some(vec![10])),
            ("0x0a", Some(vec![10])),
            ("abc", None),
            ("0g", None),
        ] {
            assert_eq!(bytes(text.as_bytes()), expected, "{text}");
        }
    }
}
