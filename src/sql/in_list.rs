//! `x IN ((SELECT ..), y)`: a list whose first value is a subquery. sqlparser reads what begins with `IN ((SELECT` as one query.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// What goes on with a query whose first part stands in parentheses.
const OF_A_QUERY: [Keyword; 8] = [
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::MINUS,
    Keyword::INTERSECT,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
];

/// None: what follows is no such list.
pub(super) fn parse(parser: &mut Parser<'_>, left: &Expr) -> Option<Result<Expr, ParserError>> {
    let Token::Word(first) = &parser.peek_token_ref().token else {
        return None;
    };
    let negated = first.keyword == Keyword::NOT;
    if !negated && first.keyword != Keyword::IN {
        return None;
    }
    // There are no spaces among the tokens.
    let token = |at: usize| parser.peek_nth_token_no_skip(at).token;
    let start = usize::from(negated);
    let within = matches!(token(start), Token::Word(word) if word.keyword == Keyword::IN);
    if !within || token(start + 1) != Token::LParen || token(start + 2) != Token::LParen {
        return None;
    }
    let list = match token(behind_the_first(parser, start + 2)?) {
        Token::RParen => false,
        Token::Word(word) => !OF_A_QUERY.contains(&word.keyword),
        _ => true,
    };
    list.then(|| read(parser, left, negated))
}

/// The token behind the parenthesis that closes the one at a place. None: the text ends before it.
fn behind_the_first(parser: &Parser<'_>, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = open;
    loop {
        match parser.peek_nth_token_no_skip(at).token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::EOF => return None,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn read(parser: &mut Parser<'_>, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    if negated {
        parser.expect_keyword_is(Keyword::NOT)?;
    }
    parser.expect_keyword_is(Keyword::IN)?;
    parser.expect_token(&Token::LParen)?;
    let list = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::InList {
        expr: Box::new(left.clone()),
        list,
        negated,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use datafusion::sql::sqlparser::ast::Expr;

    use super::super::parser::parse_own_expr;

    #[test]
    fn a_subquery_may_begin_a_list_and_a_query_stays_one() {
        for (text, values) in [
            ("x IN ((SELECT 1), 3)", 2),
            ("x NOT IN ((SELECT 1), 3)", 2),
            ("x IN ((SELECT 1) + 1, 3)", 2),
            ("x IN ((SELECT 1) + 1)", 1),
            ("x IN (((SELECT 1)), 3, 4)", 3),
            ("x IN ((WITH w AS (SELECT 1) SELECT * FROM w), 3)", 2),
            ("x IN ((1), (3))", 2),
            ("x IN (3, (SELECT 1))", 2),
        ] {
            match parse_own_expr(text).unwrap() {
                Expr::InList { list, .. } => assert_eq!(list.len(), values, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [
            "x IN ((SELECT 1))",
            "x IN ((SELECT 1) UNION ALL (SELECT 2))",
            "x NOT IN ((SELECT 1) ORDER BY 1 LIMIT 1)",
            "x IN (SELECT 1)",
        ] {
            let read = parse_own_expr(text).unwrap();
            assert!(matches!(read, Expr::InSubquery { .. }), "{text}: {read:?}");
        }
        for text in ["x IN ((SELECT 1), 3", "x IN ((", "x IN ((SELECT 1),)"] {
            parse_own_expr(text).unwrap_err();
        }
        // In the places of the operators around it.
        let all = parse_own_expr("a OR NOT x IN ((SELECT 1), 3) AND b").unwrap();
        assert_eq!(all.to_string(), "a OR NOT x IN ((SELECT 1), 3) AND b");
        assert!(matches!(all, Expr::BinaryOp { .. }), "{all:?}");
    }
}
