//! The names in the expressions of a statement that changes rows: how the query calls the tables, and whose columns a WHEN
//! clause of a MERGE sees.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, VisitMut, VisitorMut};

use super::When;
use crate::fault::Fault;

/// The one side that a WHEN clause of a MERGE has a row of.
#[derive(Clone, Debug)]
pub(super) struct OneSide {
    clause: &'static str,
    /// What the statement calls the side that has a row.
    seen: String,
    /// What it calls the other one.
    hidden: String,
}

impl OneSide {
    /// None: the clause has a row of both sides. `target` and `source`: what the statement calls them.
    pub(super) fn of(when: When, target: &str, source: &str) -> Option<Self> {
        let (clause, seen, hidden) = match when {
            When::Matched => return None,
            When::NotMatched => ("WHEN NOT MATCHED", source, target),
            When::NotMatchedBySource => ("WHEN NOT MATCHED BY SOURCE", target, source),
        };
        Some(OneSide {
            clause,
            seen: seen.to_owned(),
            hidden: hidden.to_owned(),
        })
    }

    fn refused(&self, name: &[Ident]) -> Fault {
        let name: Vec<&str> = name.iter().map(|part| part.value.as_str()).collect();
        Fault::invalid(
            "column_not_visible",
            format!(
                "{} has no row of {}, name={}; use columns of {} alone",
                self.clause,
                self.hidden,
                name.join("."),
                self.seen
            ),
        )
    }
}

/// The text of an expression as the query has it. `schema.table.column` becomes `table.column`, because the query gives the
/// tables their aliases. Where one side alone is visible, a column without a table is that side's. Names within a subquery
/// stay as they are: they are first of all those of its own FROM.
///
/// # Errors
/// INVALID_ARGUMENT `column_not_visible`: a column of the side that has no row.
pub(super) fn text(
    expr: &Expr,
    full_names: &[(String, String)],
    side: Option<&OneSide>,
) -> Result<String, Fault> {
    let mut expr = expr.clone();
    let mut names = Names {
        full_names,
        side,
        subqueries: 0,
    };
    match VisitMut::visit(&mut expr, &mut names) {
        ControlFlow::Continue(()) => Ok(expr.to_string()),
        ControlFlow::Break(fault) => Err(fault),
    }
}

struct Names<'a> {
    full_names: &'a [(String, String)],
    side: Option<&'a OneSide>,
    /// How many are around the place that is visited.
    subqueries: usize,
}

impl VisitorMut for Names<'_> {
    type Break = Fault;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Fault> {
        self.subqueries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Fault> {
        self.subqueries = self.subqueries.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Fault> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [.., schema, table, _] = idents.as_slice()
            && self.full_names.iter().any(|(s, t)| {
                s.eq_ignore_ascii_case(&schema.value) && t.eq_ignore_ascii_case(&table.value)
            })
        {
            idents.drain(..idents.len() - 2);
        }
        let Some(side) = self.side.filter(|_| self.subqueries == 0) else {
            return ControlFlow::Continue(());
        };
        match expr {
            Expr::Identifier(column) => {
                let table = Ident::with_quote('"', &side.seen);
                *expr = Expr::CompoundIdentifier(vec![table, column.clone()]);
            }
            Expr::CompoundIdentifier(idents) => {
                if let [table, _] = idents.as_slice()
                    && table.value.eq_ignore_ascii_case(&side.hidden)
                    && !side.hidden.eq_ignore_ascii_case(&side.seen)
                {
                    return ControlFlow::Break(side.refused(idents));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::parse_own_expr;

    fn read(when: When, expr: &str) -> Result<String, Fault> {
        let names = [("main".to_owned(), "orders".to_owned())];
        let side = OneSide::of(when, "t", "Source");
        text(&parse_own_expr(expr).unwrap(), &names, side.as_ref())
    }

    #[test]
    fn names_without_a_table_are_those_of_the_side_that_has_a_row() {
        for (when, given, expected) in [
            (When::Matched, "a + t.b", "a + t.b"),
            (
                When::NotMatched,
                "\"a\" + B",
                "\"Source\".\"a\" + \"Source\".B",
            ),
            (When::NotMatched, "source.a > 1", "source.a > 1"),
            (When::NotMatchedBySource, "a > 1000", "\"t\".a > 1000"),
            (When::NotMatchedBySource, "main.orders.a", "orders.a"),
            (
                When::NotMatched,
                "a IN (SELECT b FROM x WHERE t.c = b) AND c",
                "\"Source\".a IN (SELECT b FROM x WHERE t.c = b) AND \"Source\".c",
            ),
        ] {
            assert_eq!(read(when, given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn a_column_of_the_side_without_a_row_is_refused() {
        for (when, given, word) in [
            (When::NotMatched, "coalesce(T.a, 1)", "columns of Source"),
            (When::NotMatchedBySource, "SOURCE.a > 1", "columns of t"),
        ] {
            let fault = read(when, given).unwrap_err();
            assert_eq!(&*fault.reason, "column_not_visible", "{given}");
            assert!(fault.message.contains(word), "{fault}");
        }
    }
}
