//! Does a query that is kept as text need a column? Told from the text alone: the tables that it reads may not be there now.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, Select, SelectItem, TableFactor, Value,
    Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{parse_one, tokenize, visit};
use crate::types::SameName;

/// A function that takes names of columns as texts.
const TAKES_TEXTS: &str = "last_seen";
/// Functions that give columns of the table which they are told.
const GIVES_COLUMNS: [&str; 3] = ["latest", TAKES_TEXTS, "table_changes"];

/// Does the name stand in the text, as a word of its own or in quotes?
pub fn names_it(sql: &str, name: &str) -> bool {
    let tokens = tokenize(sql).unwrap_or_default();
    let is = |t: &Token| matches!(t, Token::Word(word) if word.value.is_same_name(name));
    tokens.iter().any(|t| is(&t.token))
}

/// Does the query name the column, or take all columns of what it reads? A column of that name of another table counts as well,
/// and so does a text that cannot be read.
pub fn needs_column(sql: &str, column: &str) -> bool {
    let (Ok(tokens), Ok(statement)) = (tokenize(sql), parse_one(sql)) else {
        return true;
    };
    // `NATURAL JOIN` compares all columns that are called alike, and `TABLE t` gives all.
    let words = [column, "NATURAL", "TABLE"];
    let names = tokens.iter().any(|t| match &t.token {
        Token::Word(word) => words.iter().any(|w| word.value.is_same_name(w)),
        _ => false,
    });
    names || visit(&statement, &mut Takes { column }).is_break()
}

/// Finds what takes columns without their names: a `*` that stands for columns, which `FROM t` alone has, too, once it is parsed;
/// names that an alias gives to all columns of a table, by their places; and texts that are a column's name.
struct Takes<'a> {
    column: &'a str,
}

impl Takes<'_> {
    /// A text that is computed may be any.
    fn may_be_named(&self, argument: &FunctionArg) -> bool {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(text) => text.is_same_name(self.column),
                Value::DollarQuotedString(text) => text.value.is_same_name(self.column),
                _ => true,
            },
            _ => true,
        }
    }
}

impl Visitor for Takes<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut items = select.projection.iter();
        let all = items.any(|item| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        });
        found(all)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, alias, args) = match factor {
            TableFactor::Table {
                name, alias, args, ..
            } => (name, alias, args.as_ref().map(|a| a.args.as_slice())),
            TableFactor::Function {
                name, alias, args, ..
            } => (name, alias, Some(args.as_slice())),
            // A query's columns stand in its SELECT.
            TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => return ControlFlow::Continue(()),
            // `PIVOT` and the like take the columns that are left.
            _ => return ControlFlow::Break(()),
        };
        let function = name.0.last().and_then(ObjectNamePart::as_ident);
        let is = |own: &str| function.is_some_and(|f| f.value.eq_ignore_ascii_case(own));
        // The columns of other functions are no table's.
        let of_table = args.is_none() || GIVES_COLUMNS.into_iter().any(is);
        let by_place = of_table && alias.as_ref().is_some_and(|a| !a.columns.is_empty());
        let mut texts = args.unwrap_or_default().iter().skip(1);
        found(by_place || (is(TAKES_TEXTS) && texts.any(|text| self.may_be_named(text))))
    }
}

fn found(yes: bool) -> ControlFlow<()> {
    match yes {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_needs_the_columns_that_it_names_and_with_a_star_all() {
        for sql in [
            "SELECT A FROM t",
            "SELECT max(\"a\") FROM t",
            "SELECT b FROM t WHERE t.a > 1",
            "SELECT b FROM t JOIN u USING (a)",
            "SELECT b FROM t NATURAL JOIN u",
            "SELECT * FROM t",
            "SELECT b, t.* FROM t",
            "SELECT DISTINCT * EXCLUDE (b) FROM t",
            "SELECT b FROM (SELECT b, * FROM t) x",
            "SELECT b FROM (FROM t) x",
            "FROM t",
            "SELECT b FROM u UNION TABLE t",
            "WITH x AS (SELECT 1 AS n) SELECT b FROM u UNION FROM t",
            "SELECT last FROM last_seen('public.t', 'A')",
            "SELECT last FROM last_seen('public.t', $$a$$)",
            "SELECT last FROM Last_Seen('public.t', E'\\x61')",
            "SELECT last FROM last_seen('public.t', lower('A'))",
            "SELECT last FROM last_seen('public.t', 'b', ('a'))",
            "SELECT x FROM t AS q(x, y)",
            "SELECT x FROM latest('public.t') AS q(x, y)",
            "SELECT x FROM u JOIN LATERAL (SELECT x FROM t q(x)) p ON true",
            "SELECT n FROM u UNION SELECT x FROM last_seen('public.t', 'b') AS q(x, y)",
            "SELECT 'not closed",
        ] {
            assert!(needs_column(sql, "a"), "{sql}");
        }
        for sql in [
            "SELECT count(*), b * 2, (b) * 3 FROM t",
            "SELECT 'a', b FROM t -- a",
            "FROM t SELECT b",
            "SELECT last FROM last_seen('public.t', 'b') AS q",
            "SELECT x FROM (SELECT b FROM t) AS q(x)",
            "WITH q(x) AS (SELECT b FROM t) SELECT x FROM q",
            "SELECT b, x FROM t, UNNEST(b) AS u(x)",
            "SELECT b, n FROM t, range(1, 3) AS r(n)",
            "SELECT x FROM t AS q JOIN (u CROSS JOIN v) ON b = 1",
            "SELECT extract(year FROM b) FROM t WHERE b IS DISTINCT FROM 1",
        ] {
            assert!(!needs_column(sql, "a"), "{sql}");
        }
    }
}
