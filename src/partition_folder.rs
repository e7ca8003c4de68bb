//! How the values of partition columns are spelled in a table's folders: `column=value`, percent-encoded as Hive and Spark do
//! it. The values stand in the Delta log as well, but some readers take them from the folders, so a value that a folder's
//! name cannot hold has no place in a partition column.

/// The value that stands for NULL.
pub const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// What file systems take for one name.
const NAME_BYTES_MAX: usize = 255;

/// The folder of a value; none is NULL. A value that does not fit is cut, because rows of older servers may have one:
/// [`problem`] keeps it out of new rows.
pub fn folder(column: &str, value: Option<&str>) -> String {
    let mut out = escaped(column, NAME_BYTES_MAX);
    out.push('=');
    match value {
        Some(value) => out.push_str(&escaped(value, NAME_BYTES_MAX.saturating_sub(out.len()))),
        None => out.push_str(NULL),
    }
    out
}

/// What the values of other types than texts take at most, and [`NULL`].
const VALUE_BYTES: usize = 64;

/// Why a column cannot be one of a table's partitions, and what to do; none if it can.
pub fn column_problem(column: &str) -> Option<String> {
    let most = NAME_BYTES_MAX - VALUE_BYTES - 1;
    let bytes = escaped(column, usize::MAX).len();
    (bytes > most).then(|| {
        format!(
            "its name takes {bytes} bytes in the names of folders, and {most} are allowed for a partition column; rename it, or partition by another one"
        )
    })
}

/// Why a text cannot be the value of a partition column, and what to do; none if it can.
pub fn problem(column: &str, value: &str) -> Option<String> {
    if value.is_empty() {
        return Some(
            "is an empty text, which Delta reads as NULL; send NULL or another text".to_owned(),
        );
    }
    if value == NULL {
        return Some(
            "is the word for NULL in the names of folders; send NULL or another text".to_owned(),
        );
    }
    // No character takes more than three times its bytes.
    if 3 * (value.len() + column.len()) < NAME_BYTES_MAX {
        return None;
    }
    let bytes = escaped(column, usize::MAX).len() + 1 + escaped(value, usize::MAX).len();
    (bytes > NAME_BYTES_MAX).then(|| {
        format!(
            "takes {bytes} bytes as the name of a folder, and file systems take {NAME_BYTES_MAX}; send a shorter text, or keep it in a column without partitions"
        )
    })
}

/// The column or value that a part of a folder's name spells.
pub fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text
            .get(at + 1..at + 3)
            .filter(|d| *byte == b'%' && d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Letters beyond ASCII stay as they are. Of ASCII only what is safe in every file system, store and URL does.
fn escaped(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let is_safe = match c.is_ascii() {
            true => c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
            false => !c.is_control(),
        };
        let mut utf8 = [0; 4];
        let utf8 = c.encode_utf8(&mut utf8);
        let bytes = if is_safe { utf8.len() } else { 3 * utf8.len() };
        if out.len() + bytes > bytes_max {
            break;
        }
        match is_safe {
            true => out.push(c),
            false => utf8
                .bytes()
                .for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Readers that take the value from the folder's name read the value that was written.
        #[test]
        fn a_folder_spells_its_value(column in "[a-z_]{1,20}", value in "\\PC{0,40}|[ -~\\x00-\\x1f]{0,60}") {
            let folder = folder(&column, Some(&value));
            prop_assert!(folder.len() <= NAME_BYTES_MAX);
            prop_assert!(!folder.contains('/'));
            let (name, spelled) = folder.split_once('=').unwrap_or_default();
            prop_assert_eq!(unescaped(name), column.clone());
            if problem(&column, &value).is_none() {
                prop_assert_eq!(unescaped(spelled), value);
            }
        }
    }

    #[test]
    fn folders_are_as_hive_and_spark_name_them_but_for_spaces() {
        for (value, expected) in [
            ("Halle 1", "site=Halle%201"),
            ("a/b=c%", "site=a%2Fb%3Dc%25"),
            ("K\u{f6}ln \u{1f600}", "site=K\u{f6}ln%20\u{1f600}"),
            ("..", "site=.."),
            ("a\u{85}\n", "site=a%C2%85%0A"),
        ] {
            assert_eq!(folder("site", Some(value)), expected);
            assert_eq!(problem("site", value), None, "{value}");
        }
        assert_eq!(folder("site", None), "site=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(unescaped("100%"), "100%");
    }

    #[test]
    fn what_a_folder_cannot_hold_is_told_with_the_way_out() {
        assert_eq!(column_problem(&"\u{1f600}".repeat(47)), None);
        let long = column_problem(&"\u{1f600}".repeat(48)).unwrap_or_default();
        assert!(long.contains("192 bytes"), "{long}");
        assert_eq!(problem("site", &"x".repeat(250)), None);
        for (value, word) in [
            (String::new(), "NULL"),
            (NULL.to_owned(), "word for NULL"),
            ("x".repeat(251), "256 bytes"),
            ("/".repeat(84), "257 bytes"),
            ("\u{6771}".repeat(84), "257 bytes"),
        ] {
            let problem = problem("site", &value).unwrap_or_default();
            assert!(problem.contains(word), "{problem}");
            assert!(folder("site", Some(&value)).len() <= NAME_BYTES_MAX);
        }
    }
}
