//! Where in a statement's text an error is.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::fault::Fault;
use crate::sql::tokenize;

/// The planner's errors name a word and no place: the first such word in the text is it.
/// `behind`: a keyword that the word stands behind.
pub fn with_place(mut fault: Fault, sql: &str, behind: Option<&str>) -> Fault {
    if fault.message.contains("Line: ") {
        return fault;
    }
    let named = ["named ", "function=", "column=", "table=", "table '"]
        .iter()
        .find_map(|before| fault.message.split(before).nth(1));
    let word = named
        .unwrap_or_default()
        .trim_start_matches(['"', '\''])
        .split(['"', '\'', ' ', ',', ';'])
        .next()
        .unwrap_or_default();
    // Of a name with its schema, or the table before it, the last part.
    let word = word.trim_end_matches('.');
    let word = word.rsplit('.').next().unwrap_or_default();
    let place = place_of(sql, behind, word);
    fault.message.push_str(&place);
    fault
}

/// Where a word stands first, behind a keyword if one is given; nothing if it does not.
pub fn place_of(sql: &str, behind: Option<&str>, word: &str) -> String {
    let tokens = tokenize(sql).unwrap_or_default();
    let is = |token: &Token, word: &str| matches!(token, Token::Word(w) if w.value.eq_ignore_ascii_case(word));
    let from = behind.and_then(|keyword| tokens.iter().position(|t| is(&t.token, keyword)));
    let found = tokens
        .iter()
        .skip(from.unwrap_or(0))
        .find(|t| is(&t.token, word));
    found.map_or_else(String::new, |token| {
        let at = token.span.start;
        format!(" at Line: {}, Column: {}", at.line, at.column)
    })
}
