//! Tokens to sqlparser's trees, within the limits on nesting and relations.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Select, SelectFlavor, SelectItem, Statement, TableFactor, UtilityOption,
    Visitor, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::DIALECT;
use super::ignored;
use super::list_sizes;
use super::parameters;
use super::syntax_error::syntax;
use super::text::tokenize;
use super::text_limits::{self, TextLimits};
use super::versions;
use super::visit::{visit, visit_mut};
use crate::fault::{Fault, Kind};

/// One statement; a trailing `;` is welcome.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`, with line and column as the parser gives them.
pub fn parse_one(sql: &str) -> Result<Statement, Fault> {
    parse_tokens(tokenize(sql)?)
}

/// Refuses a text that is larger than a statement may be. Whatever else is wrong with it stays for its reader.
///
/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`; INVALID_ARGUMENT `parameters`.
pub(crate) fn check_size(sql: &str) -> Result<(), Fault> {
    match parse_one(sql) {
        Err(fault) if fault.reason != "syntax_error" => Err(fault),
        _ => Ok(()),
    }
}

/// As many times as much is what an EXPLAIN of a relation counts.
const EXPLAINED: usize = 5;

/// [`parse_one`] for tokens that someone has changed.
pub fn parse_tokens(tokens: Vec<TokenWithSpan>) -> Result<Statement, Fault> {
    let limits = TextLimits::current();
    let mut statement = parse(tokens, limits.nesting)?;
    explained_as_asked(&mut statement)?;
    list_sizes::check(&statement)?;
    let mut found = relations(&statement);
    if let Statement::Explain { .. } = statement {
        // Each level of a plan is written as many times as there are steps, and set in as far as it is deep.
        found = found.saturating_mul(EXPLAINED);
    }
    text_limits::check_relations(found, &limits)?;
    Ok(statement)
}

/// `EXPLAIN (ANALYZE, VERBOSE false) ..` in PostgreSQL's form, which the planner does not look at.
///
/// # Errors
/// UNIMPLEMENTED `not_implemented` for the other options.
fn explained_as_asked(statement: &mut Statement) -> Result<(), Fault> {
    let Statement::Explain {
        analyze,
        verbose,
        options: options @ Some(_),
        ..
    } = statement
    else {
        return Ok(());
    };
    for option in options.take().into_iter().flatten() {
        let on = match option.arg.as_ref().map(ToString::to_string) {
            None => true,
            Some(arg) => match arg.to_ascii_lowercase().as_str() {
                "true" | "on" | "1" => true,
                "false" | "off" | "0" => false,
                _ => return Err(unknown_option(&option)),
            },
        };
        match option.name.value.to_ascii_lowercase().as_str() {
            "analyze" => *analyze = on,
            "verbose" => *verbose = on,
            // What is on or off by itself here.
            "costs" | "settings" | "buffers" | "wal" | "timing" | "summary" if !on => {}
            _ => return Err(unknown_option(&option)),
        }
    }
    Ok(())
}

fn unknown_option(option: &UtilityOption) -> Fault {
    Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!(
            "EXPLAIN ({option}) is not supported; say EXPLAIN, EXPLAIN VERBOSE or EXPLAIN ANALYZE"
        ),
    )
}

/// Text that the server has written itself, out of a statement that was read: it may be several times as long and as deep.
///
/// # Errors
/// As [`parse_one`], but for the text's limits.
pub(crate) fn parse_own(sql: &str) -> Result<Statement, Fault> {
    parse_own_tokens(tokens_of_own(sql)?)
}

/// [`parse_own`] for tokens.
///
/// # Errors
/// As [`parse_own`].
pub(crate) fn parse_own_tokens(tokens: Vec<TokenWithSpan>) -> Result<Statement, Fault> {
    parse(tokens, own_nesting())
}

/// The tokens of a text that the server has written itself.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(crate) fn tokens_of_own(sql: &str) -> Result<Vec<TokenWithSpan>, Fault> {
    let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location();
    let mut tokens = tokens.map_err(|e| syntax(e.to_string()))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    parameters::number(&mut tokens, &TextLimits::current())?;
    Ok(tokens)
}

/// [`parse_own`] of one expression.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(crate) fn parse_own_expr(text: &str) -> Result<Expr, Fault> {
    parser(tokens_of_own(text)?, own_nesting())
        .parse_expr()
        .map_err(fault)
}

/// A type, out of a statement that was read.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub fn parse_type(text: &str) -> Result<DataType, Fault> {
    let mut parser = parser(tokens_of_own(text)?, own_nesting());
    let found = parser.parse_data_type().map_err(fault)?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(found),
        other => Err(syntax(format!(
            "expected the end of the type before {other}"
        ))),
    }
}

fn own_nesting() -> usize {
    TextLimits::current().nesting * 2 + 50
}

/// The expression that tokens begin with, and how many of them it takes.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`; RESOURCE_EXHAUSTED `statement_too_large`.
pub fn expression(tokens: &[TokenWithSpan]) -> Result<(Expr, usize), Fault> {
    let mut parser = parser(tokens.to_vec(), TextLimits::current().nesting);
    let found = parser.parse_expr().map_err(fault)?;
    Ok((found, parser.index()))
}

fn parser(tokens: Vec<TokenWithSpan>, nesting: usize) -> Parser<'static> {
    Parser::new(&DIALECT)
        .with_recursion_limit(nesting)
        .with_tokens_with_locations(tokens)
}

fn fault(error: ParserError) -> Fault {
    match error {
        ParserError::RecursionLimitExceeded => text_limits::too_deep(),
        e => syntax(e.to_string().replace("sql parser error: ", "")),
    }
}

/// `SELECT top FROM t` asks for a column, since `TOP n` is another engine's LIMIT: sqlparser takes the word for that in any dialect.
fn top_is_a_name(tokens: &mut [TokenWithSpan]) {
    for at in 1..tokens.len() {
        let number_follows = tokens
            .get(at + 1)
            .is_some_and(|next| matches!(next.token, Token::Number(..) | Token::LParen));
        let selected = matches!(&tokens[at - 1].token, Token::Word(word)
            if matches!(word.keyword, Keyword::SELECT | Keyword::DISTINCT | Keyword::ALL));
        if let Token::Word(word) = &mut tokens[at].token
            && word.keyword == Keyword::TOP
            && selected
            && !number_follows
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// `WITH r AS [NOT] MATERIALIZED (..)` tells PostgreSQL's planner what to do and changes no result. sqlparser knows it in that
/// dialect alone.
fn without_hints(tokens: &mut Vec<TokenWithSpan>) {
    let word = |at: Option<usize>| match at.and_then(|at| tokens.get(at)).map(|t| &t.token) {
        Some(Token::Word(word)) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let hint = |at: usize| {
        let query = [
            Keyword::SELECT,
            Keyword::WITH,
            Keyword::VALUES,
            Keyword::FROM,
        ];
        let opens = tokens.get(at + 1).is_some_and(|t| t.token == Token::LParen);
        if word(Some(at)) != Keyword::MATERIALIZED || !opens || !query.contains(&word(Some(at + 2)))
        {
            return None;
        }
        match (word(at.checked_sub(2)), word(at.checked_sub(1))) {
            (_, Keyword::AS) => Some(at..at + 1),
            (Keyword::AS, Keyword::NOT) => Some(at - 1..at + 1),
            _ => None,
        }
    };
    let hints: Vec<_> = (0..tokens.len()).filter_map(hint).collect();
    for hint in hints.into_iter().rev() {
        tokens.drain(hint);
    }
}

fn parse(mut tokens: Vec<TokenWithSpan>, nesting: usize) -> Result<Statement, Fault> {
    top_is_a_name(&mut tokens);
    without_hints(&mut tokens);
    let mut statements = parser(versions::rewrite(tokens)?, nesting)
        .parse_statements()
        .map_err(fault)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(mut statement), true) => {
            ignored::check(&statement)?;
            let _ = visit_mut(&mut statement, &mut Selected);
            Ok(statement)
        }
        (None, _) => Err(Fault::invalid(
            "syntax_error",
            "no statement; send one SQL statement",
        )),
        (Some(_), false) => Err(Fault::invalid(
            "syntax_error",
            "more than one statement; send them one by one",
        )),
    }
}

/// `FROM t` without a SELECT gives all columns.
struct Selected;

impl VisitorMut for Selected {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
            select.flavor = SelectFlavor::Standard;
            select.projection = vec![all];
        }
        ControlFlow::Continue(())
    }
}

/// Tables in FROM, and `*` that stand for the columns of some: neither is a word that the tokens show.
fn relations(statement: &Statement) -> usize {
    struct Counted(usize);
    impl Visitor for Counted {
        type Break = ();
        fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let all = |item: &&SelectItem| {
                matches!(
                    item,
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
                )
            };
            self.0 += select.projection.iter().filter(all).count();
            ControlFlow::Continue(())
        }
    }
    let mut counted = Counted(0);
    let _ = visit(statement, &mut counted);
    counted.0
}

/// One statement, and how many parameters it has.
///
/// # Errors
/// As [`parse_one`].
pub fn parse_numbered(sql: &str) -> Result<(Statement, usize), Fault> {
    let tokens = tokenize(sql)?;
    let count = parameters::parameters(&tokens);
    Ok((parse_tokens(tokens)?, count))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_hint_to_another_planner_is_left_out() {
        let plain =
            parse_one("WITH a AS (SELECT 1), b AS (VALUES (2)) SELECT * FROM a, b").unwrap();
        let hinted = "WITH a AS MATERIALIZED (SELECT 1), b AS NOT MATERIALIZED (VALUES (2)) SELECT * FROM a, b";
        assert_eq!(parse_one(hinted).unwrap().to_string(), plain.to_string());
        let alias = "SELECT x FROM t AS materialized (x)";
        assert_eq!(parse_one(alias).unwrap().to_string(), alias);
    }
}
