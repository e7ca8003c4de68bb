//! Nested types in the column lists of `CREATE TABLE` and `ALTER TABLE`. sqlparser's dialects read some of their spellings each, and
//! NOT NULL within a type none of them: so such a type becomes one word with its text before the parser sees it, and
//! `types` reads the text.

use crate::types::quote_name;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// The word that stands for a nested type, with the type's text as its argument.
pub(super) const FOLDED: &str = "__nested";

const HEADS: [&str; 4] = ["ARRAY", "LIST", "STRUCT", "MAP"];
/// What a column's name stands behind.
const BEFORE_NAMES: [&str; 4] = ["COLUMN", "COLUMNS", "ADD", "EXISTS"];

fn word(token: Option<&TokenWithSpan>) -> Option<&Word> {
    match &token?.token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

fn is_one_of(word: &Word, words: &[&str]) -> bool {
    word.quote_style.is_none() && words.iter().any(|w| w.eq_ignore_ascii_case(&word.value))
}

/// Tokens of a statement, with each nested type of a column in one word.
pub(super) fn folded(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let end = match names_column(&out) {
            true => type_end(&tokens, at),
            false => None,
        };
        let Some(end) = end else {
            out.push(token.clone());
            at += 1;
            continue;
        };
        let parts = tokens.get(at..end).unwrap_or_default();
        let text: Vec<String> = parts.iter().map(text_of).collect();
        let span = token.span;
        let stands = |token| TokenWithSpan { token, span };
        out.push(stands(Token::make_word(FOLDED, None)));
        out.push(stands(Token::LParen));
        out.push(stands(Token::SingleQuotedString(text.join(" "))));
        out.push(stands(Token::RParen));
        at = end;
    }
    out
}

/// A quote within a quoted name stands twice, which the token's own text leaves out.
fn text_of(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => quote_name(&word.value),
        other => other.to_string(),
    }
}

/// Do the tokens so far end with the name of a column whose type comes next?
fn names_column(before: &[TokenWithSpan]) -> bool {
    let mut last = before.iter().rev();
    match word(last.next()) {
        Some(name) if !is_one_of(name, &BEFORE_NAMES) => {}
        _ => return false,
    }
    match last.next().map(|t| &t.token) {
        Some(Token::LParen | Token::Comma) => true,
        Some(Token::Word(word)) => is_one_of(word, &BEFORE_NAMES),
        _ => false,
    }
}

/// Where the nested type ends that begins here.
fn type_end(tokens: &[TokenWithSpan], start: usize) -> Option<usize> {
    word(tokens.get(start)).filter(|w| is_one_of(w, &HEADS))?;
    let opens = tokens.get(start + 1).map(|t| &t.token);
    if !matches!(opens, Some(Token::Lt | Token::LParen)) {
        // A type that says nothing of its parts, which `types` refuses.
        return Some(start + 1);
    }
    let mut depth = 0i64;
    let mut at = start + 1;
    loop {
        match &tokens.get(at)?.token {
            Token::Lt | Token::LParen => depth += 1,
            Token::Gt | Token::RParen => depth -= 1,
            Token::ShiftRight => depth -= 2,
            // `<>` of an empty struct.
            Token::Neq => {}
            Token::ShiftLeft => depth += 2,
            Token::EOF | Token::SemiColon => return None,
            _ => {}
        }
        at += 1;
        if depth <= 0 {
            break;
        }
    }
    while matches!(tokens.get(at).map(|t| &t.token), Some(Token::LBracket)) {
        let close = tokens
            .iter()
            .skip(at)
            .position(|t| t.token == Token::RBracket)?;
        at += close + 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::tokenize;

    #[test]
    fn types_of_columns_become_a_word_and_nothing_else_does() {
        let text = |sql: &str| {
            let tokens = folded(tokenize(sql).unwrap());
            let words = tokens.iter().filter(|t| t.token != Token::EOF);
            let words: Vec<String> = words.map(|t| t.token.to_string()).collect();
            words.join(" ")
        };
        for (sql, expected) in [
            (
                "CREATE TABLE t (a ARRAY<STRUCT<b INT, c MAP<STRING,INT>>>[] NOT NULL, array INT)",
                "CREATE TABLE t ( a __nested ( 'ARRAY < STRUCT < b INT , c MAP < STRING , INT >> > [ ]' ) NOT NULL , array INT )",
            ),
            (
                "ALTER TABLE t ADD COLUMN map MAP(STRING, INT), ADD \"list\" LIST<INT>",
                "ALTER TABLE t ADD COLUMN map __nested ( 'MAP ( STRING , INT )' ) , ADD \"list\" __nested ( 'LIST < INT >' )",
            ),
            (
                "ALTER TABLE t ADD COLUMN array INT",
                "ALTER TABLE t ADD COLUMN array INT",
            ),
            (
                "CREATE TABLE t (a ARRAY)",
                "CREATE TABLE t ( a __nested ( 'ARRAY' ) )",
            ),
            (
                "CREATE TABLE t (a ARRAY<INT",
                "CREATE TABLE t ( a ARRAY < INT",
            ),
        ] {
            assert_eq!(text(sql), expected, "{sql}");
        }
    }
}
