//! Finds a value within a text of JSON, without a tree of it: the text is walked once a key, and what is found is a piece of it.

/// Values within values.
const DEPTH_MAX: usize = 128;

/// A step into a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    Name(&'a str),
    Index(i64),
}

/// The piece of the text that the keys lead to; none if it is not there, or the text up to there is no JSON.
pub(super) fn find<'a>(text: &'a str, keys: impl IntoIterator<Item = Key<'a>>) -> Option<&'a str> {
    let mut found = whole(text)?;
    for key in keys {
        found = member(found, key)?;
    }
    Some(found)
}

fn whole(text: &str) -> Option<&str> {
    Scanner::new(text).value(0)
}

/// Of two members of one name the last counts, as in PostgreSQL.
fn member<'a>(text: &'a str, key: Key<'_>) -> Option<&'a str> {
    let mut found = None;
    let mut index = 0;
    each(text, |name, value| {
        let here = match (key, name) {
            (Key::Name(wanted), Some(name)) => is_name(name, wanted),
            (Key::Index(wanted), None) => index == wanted,
            _ => false,
        };
        index += 1;
        if here {
            found = Some(value);
        }
    })?;
    found
}

fn is_name(quoted: &str, wanted: &str) -> bool {
    if quoted.contains('\\') {
        return text_of(quoted).as_deref() == Some(wanted);
    }
    let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"'));
    inner == Some(wanted)
}

/// A text in its quotes as the text that it is.
pub(super) fn text_of(quoted: &str) -> Option<String> {
    serde_json::from_str(quoted).ok()
}

/// Steps through an object's members, with their names in quotes, or a list's values. None: it is neither, or no JSON.
pub(super) fn each<'a>(
    text: &'a str,
    mut step: impl FnMut(Option<&'a str>, &'a str),
) -> Option<()> {
    let mut scanner = Scanner::new(text);
    let object = match scanner.next()? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let end = if object { b'}' } else { b']' };
    if scanner.peek()? == end {
        return Some(());
    }
    loop {
        let name = if object {
            let name = scanner.string()?;
            if scanner.next()? != b':' {
                return None;
            }
            Some(name)
        } else {
            None
        };
        let value = scanner.value(1)?;
        step(name, value);
        match scanner.next()? {
            b',' => {}
            other if other == end => return Some(()),
            _ => return None,
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte(self.at)
    }

    fn next(&mut self) -> Option<u8> {
        let found = self.peek()?;
        self.at += 1;
        Some(found)
    }

    /// A text with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }

    fn value(&mut self, depth: usize) -> Option<&'a str> {
        if depth > DEPTH_MAX {
            return None;
        }
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => return self.string(),
            b'{' | b'[' => {
                let end = if first == b'{' { b'}' } else { b']' };
                self.at += 1;
                if self.peek()? == end {
                    self.at += 1;
                    return self.text.get(start..self.at);
                }
                loop {
                    if first == b'{' {
                        self.string()?;
                        if self.next()? != b':' {
                            return None;
                        }
                    }
                    self.value(depth + 1)?;
                    match self.next()? {
                        b',' => {}
                        other if other == end => break,
                        _ => return None,
                    }
                }
            }
            _ => {
                while matches!(
                    self.byte(self.at),
                    Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.')
                ) {
                    self.at += 1;
                }
                let word = self.text.get(start..self.at)?;
                let known = matches!(word, "true" | "false" | "null")
                    || (word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                        && word.parse::<f64>().is_ok_and(f64::is_finite));
                return known.then_some(word);
            }
        }
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#" {"s": "it\"s \u00e4", "n": -1.50e2, "l": [ {"v": 2.5}, true, [] ], "a": 1, "a": {"b": null}, "\u0061b": "x"} "#;

    #[test]
    fn a_value_is_a_piece_of_the_text() {
        use Key::{Index, Name};
        for (keys, expected) in [
            (vec![Name("n")], Some("-1.50e2")),
            (vec![Name("l"), Index(0)], Some(r#"{"v": 2.5}"#)),
            (vec![Name("l"), Index(0), Name("v")], Some("2.5")),
            (vec![Name("l"), Index(2)], Some("[]")),
            (vec![Name("l"), Index(3)], None),
            (vec![Name("l"), Index(-1)], None),
            (vec![Name("l"), Name("v")], None),
            (vec![Name("a"), Name("b")], Some("null")),
            (vec![Name("ab")], Some("\"x\"")),
            (vec![Name("x")], None),
            (vec![Index(0)], None),
        ] {
            assert_eq!(find(TEXT, keys.iter().copied()), expected, "{keys:?}");
        }
        assert_eq!(
            find(TEXT, [Name("s")]).and_then(text_of).as_deref(),
            Some("it\"s ä")
        );
    }

    #[test]
    fn what_is_no_json_has_no_values() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            " ",
            "no json",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "\"open",
            "\"a\\",
            "nul",
            "--1",
            "1.2.3",
            "+1",
            "NaN",
            "1e999",
            "'a'",
            &deep,
        ] {
            assert_eq!(find(text, []), None, "{}", text.get(..20).unwrap_or(text));
            assert_eq!(find(text, [Key::Name("a")]), None);
        }
    }
}
