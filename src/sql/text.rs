//! What a statement's text may be, checked on its tokens before the parser builds a tree of them.
//!
//! The parser, the planner and the drop of what they made recurse as deep as the text nests, and a chain of operators
//! (`a + a + a`) nests once a term. Each door reads its text with [`tokenize`], which compares it with the limits of `text_limits`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::dialect::DIALECT;
use super::parameters;
use super::text_limits::{TextLimits, check_relations, too_deep, too_large};
use super::text_size::{AtMost, tokens_at_most};
use crate::fault::Fault;

/// A text's tokens without spaces and comments, each with its place; its parameters are numbered.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`, `parameters`; RESOURCE_EXHAUSTED `statement_too_large`.
pub fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, Fault> {
    check_bytes(sql)?;
    let limits = TextLimits::current();
    let AtMost { words, spaces } = tokens_at_most(sql);
    if words > limits.tokens.saturating_mul(2) {
        return Err(too_many_tokens("words and signs", words, limits.tokens));
    }
    if words + spaces > limits.tokens.saturating_mul(3) {
        return Err(too_many_tokens(
            "words, signs and spaces",
            words + spaces,
            limits.tokens,
        ));
    }
    let mut tokens = Vec::with_capacity(words + spaces);
    Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|e| Fault::invalid("syntax_error", e.to_string()))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    check(tokens.iter().map(|t| &t.token), &limits)?;
    parameters::number(&mut tokens, &limits)?;
    Ok(tokens)
}

fn too_many_tokens(of: &str, found: usize, limit: usize) -> Fault {
    let way_out = "send rows by bulk ingest or as bound parameters";
    too_large(
        &format!("too many {of}"),
        found,
        "tokens_max",
        limit,
        way_out,
    )
}

/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`.
pub(crate) fn check_bytes(sql: &str) -> Result<(), Fault> {
    let limits = TextLimits::current();
    if sql.len() > limits.bytes {
        return Err(too_large(
            "too many bytes",
            sql.len(),
            "text_bytes_max",
            limits.bytes,
            "send rows by bulk ingest or as bound parameters",
        ));
    }
    Ok(())
}

/// How deep the tree of what was read so far can be: operators on the way from the root to here.
#[derive(Default)]
struct Chains {
    here: Chain,
    /// Those of the brackets around it.
    outer: Vec<Chain>,
    /// Operators of `here` and `outer` together.
    length: usize,
}

/// The operators of one bracket.
#[derive(Default)]
struct Chain {
    /// Since the last comma.
    item: usize,
    /// Of the longest item.
    longest: usize,
}

impl Chains {
    fn add(&mut self, operators: usize) {
        self.here.item += operators;
        self.length += operators;
    }

    fn next_item(&mut self) {
        self.length -= self.here.item;
        self.here.longest = self.here.longest.max(self.here.item);
        self.here.item = 0;
    }

    fn open(&mut self) {
        self.outer.push(std::mem::take(&mut self.here));
    }

    /// What a bracket holds may be the left side of what follows it, so it counts on.
    fn close(&mut self) {
        self.next_item();
        let longest = self.here.longest;
        if let Some(outer) = self.outer.pop() {
            self.here = outer;
            self.add(longest);
        }
    }
}

/// One pass over the tokens.
fn check<'a>(tokens: impl Iterator<Item = &'a Token>, limits: &TextLimits) -> Result<(), Fault> {
    let (mut count, mut relations, mut angles) = (0usize, 0usize, 0usize);
    // `INT[][]`, a type within a type for each.
    let (mut lists, mut last) = (0usize, &Token::EOF);
    let mut chains = Chains::default();
    let mut before: Option<&Word> = None;
    for token in tokens {
        count += 1;
        let word = match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word),
            _ => None,
        };
        let mut terms = 0;
        match token {
            Token::LParen | Token::LBrace => chains.open(),
            Token::LBracket => {
                // `a[1][2]` nests like a chain.
                chains.add(1);
                chains.open();
            }
            Token::RParen | Token::RBracket | Token::RBrace => chains.close(),
            Token::Comma => chains.next_item(),
            Token::Lt if before.is_some_and(opens_type) => angles += 1,
            Token::Gt => {
                angles = angles.saturating_sub(1);
                terms = 1;
            }
            Token::ShiftRight => {
                angles = angles.saturating_sub(2);
                terms = 1;
            }
            Token::Word(_) => match word.map(|w| w.keyword) {
                Some(
                    Keyword::SELECT
                    | Keyword::JOIN
                    | Keyword::UNION
                    | Keyword::EXCEPT
                    | Keyword::INTERSECT
                    | Keyword::MINUS,
                ) => relations += 1,
                Some(
                    Keyword::AND
                    | Keyword::OR
                    | Keyword::XOR
                    | Keyword::NOT
                    | Keyword::IS
                    | Keyword::LIKE
                    | Keyword::ILIKE
                    | Keyword::SIMILAR
                    | Keyword::RLIKE
                    | Keyword::REGEXP
                    | Keyword::BETWEEN
                    | Keyword::IN
                    | Keyword::AT
                    | Keyword::COLLATE
                    | Keyword::DIV
                    | Keyword::OVERLAPS
                    | Keyword::CASE
                    | Keyword::ARRAY,
                ) => terms = 1,
                _ => {}
            },
            Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Period
            | Token::Placeholder(_)
            | Token::SemiColon
            | Token::EOF => {}
            // Every sign that is left is an operator or stands beside one.
            _ => terms = 1,
        }
        lists = match (last, token) {
            (Token::LBracket, Token::RBracket) => lists + 1,
            (Token::RBracket, Token::LBracket) => lists,
            _ => 0,
        };
        last = token;
        before = word;
        chains.add(terms);
        if chains.length > limits.terms {
            return Err(too_large(
                "too many operators in one expression",
                chains.length,
                "terms_max",
                limits.terms,
                "write IN (..) for a list of values",
            ));
        }
        if chains.outer.len().max(angles).max(lists) > limits.nesting {
            return Err(too_deep());
        }
    }
    if count > limits.tokens {
        return Err(too_many_tokens("words and signs", count, limits.tokens));
    }
    check_relations(relations, limits)
}

/// Words whose `<` opens a type within a type.
fn opens_type(word: &Word) -> bool {
    ["array", "struct", "map", "nested", "tuple"]
        .iter()
        .any(|known| word.value.eq_ignore_ascii_case(known))
}

/// A statement's first word, in lower case, behind comments and parentheses: cheap, every statement passes here.
pub fn first_word(sql: &str) -> String {
    let mut text = sql;
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
        text = if let Some(comment) = text.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if text.starts_with("/*") {
            behind_comment(text)
        } else {
            break;
        };
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_ascii_lowercase()
}

/// What follows the comment that `text` begins with. A comment may have others in it.
fn behind_comment(text: &str) -> &str {
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(mark) = rest.find(['/', '*']) {
        rest = rest.get(mark..).unwrap_or_default();
        let (step, change) = match rest.get(..2) {
            Some("/*") => (2, 1),
            Some("*/") => (2, -1),
            _ => (1, 0),
        };
        rest = rest.get(step..).unwrap_or_default();
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            return rest;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fault::Kind;

    fn check_text(sql: &str) -> Result<(), Fault> {
        tokenize(sql).map(drop)
    }

    #[test]
    fn what_nests_or_goes_on_for_too_long_is_refused_and_the_limit_is_named() {
        let chain = |term: &str, n: usize| format!("SELECT 1{}", term.repeat(n));
        for (sql, setting) in [
            (chain(" + 1", 10_001), "terms_max"),
            (chain("::int", 10_001), "terms_max"),
            (chain(" OR true", 10_001), "terms_max"),
            (chain(" IS NULL", 10_001), "terms_max"),
            (chain(" COLLATE x", 10_001), "terms_max"),
            (chain("[1]", 10_001), "terms_max"),
            (format!("SELECT {}1", "- ".repeat(10_001)), "terms_max"),
            (format!("SELECT {}true", "NOT ".repeat(10_001)), "terms_max"),
            (format!("SELECT {}1", "(".repeat(51)), "nesting_max"),
            (format!("SELECT {}1", "f(".repeat(51)), "nesting_max"),
            (format!("SELECT {}1", "[".repeat(51)), "nesting_max"),
            (format!("SELECT 1::{}", "ARRAY<".repeat(51)), "nesting_max"),
            (
                format!("SELECT 1::{}", "STRUCT<a INT, b ".repeat(51)),
                "nesting_max",
            ),
            (chain(" EXCEPT SELECT 1", 600), "relations_max"),
            (
                format!("SELECT * FROM t {}", "JOIN t ".repeat(1001)),
                "relations_max",
            ),
            (chain(",1", 150_000), "tokens_max"),
            ("x".repeat(2 << 20), "text_bytes_max"),
            (format!("SELECT {}?", "?,".repeat(65_535)), "parameters_max"),
        ] {
            let fault = check_text(&sql).unwrap_err();
            assert_eq!(fault.kind, Kind::Exhausted, "{}", &sql[..40.min(sql.len())]);
            assert!(fault.message.contains(setting), "{setting}: {fault}");
        }
        for sql in [
            chain(" + 1", 2000),
            chain("::int", 2000),
            chain(" OR a = 1", 2000),
            chain(" EXCEPT SELECT 1", 300),
            format!("SELECT 1 IN ({}1)", "-1,".repeat(60_000)),
            format!("CREATE TABLE t ({}b INT)", "a ARRAY<INT>, ".repeat(200)),
            format!("SELECT {}1{}", "(".repeat(49), ")".repeat(49)),
            "SELECT $1, $65534, ?, '$70000'".to_owned(),
        ] {
            check_text(&sql).unwrap();
        }
    }

    #[test]
    fn the_first_word_is_found_behind_comments() {
        for (sql, word) in [
            ("select 1", "select"),
            (" /* dbt */ -- x\n  INSERT INTO t", "insert"),
            ("((SELECT 1))", "select"),
            ("/* a /* b */ select */ DELETE FROM t", "delete"),
            ("/* open", ""),
            ("", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }

    #[test]
    fn a_text_of_spaces_is_refused_before_it_is_cut_into_tokens() {
        let spaces = 3 * TextLimits::DEFAULT.tokens;
        let fault = check_text(&format!("SELECT{}1", " ".repeat(spaces))).unwrap_err();
        assert_eq!(&*fault.reason, "statement_too_large");
        assert!(
            fault.message.contains("too many words, signs and spaces"),
            "{fault}"
        );
        check_text(&format!("SELECT{}1", " ".repeat(spaces / 2))).unwrap();
    }
}
