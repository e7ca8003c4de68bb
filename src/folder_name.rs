//! How a name becomes the name of a folder or of a file, and back. The only place that does so for schemas, tables and alerts;
//! `partition_folder` does it for the values of partition columns.
//!
//! Letters and digits of every script stay as they are. Each byte of any other character is `-` and two hexadecimal digits:
//! `a b` is `a-20b`. The `%` of URLs would be the usual mark, but the Delta libraries for Rust and Python decode a `%20` in the
//! path of a table once too often, and then look for another folder. `-` needs no escape in URLs, object stores and file systems.
//!
//! No two names have the same folder. That of a plain word is the word itself, as in older servers.

use std::fmt::Write;

/// What file systems take for one name.
pub const BYTES_MAX: usize = 255;

/// What holds the log of a Delta table is no table.
const DELTA_LOG: &str = "_delta_log";

/// `[A-Za-z_][A-Za-z0-9_]*`: it needs no quotes in SQL, and its folder is called as it is.
pub fn is_word(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The folder of a name. It has no `.`, `/`, `~` or `%`, and begins with `_` only if the name is a word.
pub fn encoded(name: &str) -> String {
    if is_word(name) && name != DELTA_LOG {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        if is_kept(c, at == 0) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a String cannot fail.
            let _ = write!(out, "-{byte:02X}");
        }
    }
    out
}

/// The name whose folder this is. None: [`encoded`] makes no such folder.
pub fn decoded(folder: &str) -> Option<String> {
    let mut out = Vec::with_capacity(folder.len());
    let mut rest = folder.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'-' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    let name = String::from_utf8(out).ok()?;
    (encoded(&name) == folder).then_some(name)
}

/// Readers of folders skip those that begin with `_` or `.`.
fn is_kept(c: char, is_first: bool) -> bool {
    match c {
        '_' => !is_first,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        _ => !c.is_control() && !c.is_whitespace(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_folder_is_one_safe_part_of_a_path_and_leads_back_to_its_name(name in "\\PC{1,40}|[ -~\\x00-\\x1f]{1,60}") {
            let folder = encoded(&name);
            prop_assert_eq!(decoded(&folder), Some(name.clone()));
            prop_assert!(!folder.starts_with('_') || is_word(&name));
            prop_assert!(!folder.contains(['/', '\\', '.', '~', '%', ':', ' ', '"', '*', '?', '<', '>', '|', '#']), "{}", folder);
        }
    }

    #[test]
    fn plain_names_stay_and_hostile_ones_are_harmless() {
        for (name, folder) in [
            ("raw", "raw"),
            ("Cycle_2", "Cycle_2"),
            ("_old", "_old"),
            ("_o ld", "-5Fo-20ld"),
            ("Gr\u{f6}\u{df}e au\u{df}en", "Gr\u{f6}\u{df}e-20au\u{df}en"),
            (".", "-2E"),
            ("..", "-2E-2E"),
            ("../../etc/passwd", "-2E-2E-2F-2E-2E-2Fetc-2Fpasswd"),
            ("_delta_log", "-5Fdelta_log"),
            ("a~2", "a-7E2"),
            ("a b", "a-20b"),
            ("a%20b", "a-2520b"),
            ("a-20b", "a-2D20b"),
            ("a\u{a0}b", "a-C2-A0b"),
            ("\u{6771}\u{4eac} \u{1f600}", "\u{6771}\u{4eac}-20\u{1f600}"),
        ] {
            assert_eq!(encoded(name), folder);
            assert_eq!(decoded(folder).as_deref(), Some(name));
        }
        for none in ["a b", "a-2", "a-zz", "-61", "a-FF", "a-2f", DELTA_LOG] {
            assert_eq!(decoded(none), None, "{none}");
        }
    }
}
