//! How many tokens a text can have, told before the tokenizer makes them: each takes a hundred times a byte's memory.

/// The most tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtMost {
    /// Words, names, literals and signs.
    pub words: usize,
    /// Spaces, ends of lines and comments, each of which is a token too.
    pub spaces: usize,
}

/// A bound from above for the tokenizer's count, as a rule close to it. A run of letters and digits is a word, or two if a
/// digit begins it (`1a`); all else outside quotes and comments is a sign a character.
///
/// Whether a quote opens or closes a text is told from the quotes before it. Where an escape, a dollar, three quotes in a row or
/// an operator at a comment's begin could make the tokenizer see that otherwise, all that follows is counted.
pub(super) fn tokens_at_most(sql: &str) -> AtMost {
    let mut certain =
        !sql.contains(['\\', '$']) && !["'''", "\"\"\"", "```"].iter().any(|q| sql.contains(q));
    let mut found = AtMost::default();
    let mut rest = sql.chars().peekable();
    let mut within = false;
    // A comment may begin here: after an operator its first character may be the operator's last.
    let mut apart = true;
    while let Some(c) = rest.next() {
        let word = c.is_ascii_alphanumeric() || c == '_';
        if word {
            found.words += usize::from(!within) * (1 + usize::from(c.is_ascii_digit()));
        } else if c.is_whitespace() {
            found.spaces += 1;
        } else if !certain {
            found.words += 1;
        } else if matches!(c, '#' | '@')
            && rest.peek().is_some_and(|n| matches!(n, '\'' | '"' | '`'))
        {
            // A name may begin with both.
            found.words += 1;
            certain = false;
        } else if matches!(c, '\'' | '"' | '`') {
            found.words += 1;
            let _ = rest.by_ref().find(|end| *end == c);
        } else if c == '-' && rest.peek() == Some(&'-') && apart {
            found.spaces += 1;
            let _ = rest.by_ref().find(|end| *end == '\n');
        } else if c == '/' && rest.peek() == Some(&'*') && apart {
            found.spaces += 1;
            rest.next();
            skip_comment(&mut rest);
        } else {
            found.words += 1;
            certain &= !(matches!(c, '-' | '/') && matches!(rest.peek(), Some('-' | '*')));
        }
        within = word;
        apart = word || c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '\'' | '"');
    }
    found
}

/// To the end of a comment that may have others in it.
fn skip_comment(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut depth = 1;
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('/', Some('*')) => {
                rest.next();
                depth += 1;
            }
            ('*', Some('/')) => {
                rest.next();
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::DIALECT;
    use super::*;
    use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
    use proptest::prelude::*;

    /// Words and spaces that the tokenizer makes, of what it reads before it meets an error.
    fn made(sql: &str) -> (usize, usize) {
        let mut tokens = vec![];
        let _ = Tokenizer::new(&DIALECT, sql).tokenize_with_location_into_buf(&mut tokens);
        let spaces = tokens
            .iter()
            .filter(|t| matches!(t.token, Token::Whitespace(_)));
        let spaces = spaces.count();
        (tokens.len() - spaces, spaces)
    }

    #[test]
    fn ordinary_texts_are_counted_closely() {
        for (sql, words, spaces) in [
            ("SELECT a, b FROM t", 6, 4),
            ("SELECT 'it''s, one text' -- and, a comment\n", 3, 3),
            ("SELECT /* a /* nested */ , , one */ \"a, column\"", 2, 3),
            ("SELECT 1 /*! , 2 */", 3, 3),
            ("", 0, 0),
        ] {
            assert_eq!(tokens_at_most(sql), AtMost { words, spaces }, "{sql}");
        }
    }

    const PIECES: [&str; 52] = [
        "'", "\"", "`", "''", "'''", "\\", "$", "$$", "$a$", "E'", "R'", "b'", "B\"", "U&'", "N'",
        "x'", "--", "/*", "*/", "\n", "\r", " ", "\t", ",", ",,,,", "a", "1", "1a1a", "0x1g",
        "1e5", "1.2.3", ".5", "::", "->>", "<=>", "é", "€€", "😀", "\0", "#", "@v", "{", "}",
        "q'[", "!", "%", "?", "?1", "&&", "_", "/", "*",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_tokenizer_never_makes_more(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..12)) {
            let sql = pieces.concat();
            let (words, spaces) = made(&sql);
            let most = tokens_at_most(&sql);
            prop_assert!(words + spaces <= most.words + most.spaces, "{:?}: {} and {}, {:?}", sql, words, spaces, most);
        }
    }
}
