//! A column of WITH RECURSIVE has the type of its first term, as in PostgreSQL. DataFusion casts the recursive term to it: 1.5 became
//! 1 beside a first term of whole numbers, and the recursion never ended.
//!
//! In the plan such a cast looks like one that is written. So the statement is planned a second time, with each recursive term as a
//! query within another one, whose columns then are cast by nobody else.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, RecursiveQuery};
use datafusion::sql::sqlparser::ast::{
    Query, SetExpr, SetOperator, Statement, TableFactor, VisitorMut,
};

use super::errors::external;
use super::given::as_written;
use super::sql_types::type_name;
use crate::fault::Fault;
use crate::sql::{parse_own, visit_mut};

/// Puts each recursive term into a query of its own. `columns`: how many of them a term has, by its name.
///
/// # Errors
/// INTERNAL: the query is not read.
pub(super) fn tell_terms(
    statement: &mut Statement,
    columns: &HashMap<String, usize>,
) -> Result<(), Fault> {
    let mut terms = Terms {
        columns,
        failed: None,
    };
    let _ = visit_mut(statement, &mut terms);
    terms.failed.map_or(Ok(()), Err)
}

struct Terms<'a> {
    columns: &'a HashMap<String, usize>,
    failed: Option<Fault>,
}

impl VisitorMut for Terms<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let recursive = query.with.iter_mut().filter(|with| with.recursive);
        for cte in recursive.flat_map(|with| &mut with.cte_tables) {
            let SetExpr::SetOperation {
                op: SetOperator::Union,
                right,
                ..
            } = cte.query.body.as_mut()
            else {
                continue;
            };
            let Some(count) = self.columns.get(&cte.alias.name.value) else {
                continue;
            };
            match within(right, *count) {
                Ok(outer) => *right = outer,
                Err(fault) => {
                    self.failed = Some(fault);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT * FROM (term) AS term(c0, c1, ..)`: two columns of the term may have one name.
fn within(term: &SetExpr, columns: usize) -> Result<Box<SetExpr>, Fault> {
    let names: Vec<String> = (0..columns).map(|n| format!("\"c{n}\"")).collect();
    let sql = format!(
        "SELECT * FROM (SELECT 1) AS \"term\" ({})",
        names.join(", ")
    );
    if let Statement::Query(mut outer) = parse_own(&sql)?
        && let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        *subquery.body = term.clone();
        return Ok(outer.body);
    }
    Err(Fault::internal("a query around a recursive term"))
}

/// # Errors
/// INVALID_ARGUMENT: a recursive term, of a plan of what [`tell_terms`] made, has values that its first term's type does not keep.
pub(super) fn check_terms(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::RecursiveQuery(query) = node
            && let LogicalPlan::Projection(term) = query.recursive_term.as_ref()
        {
            check(query, term)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn check(query: &RecursiveQuery, term: &Projection) -> Result<()> {
    for (expr, first) in term.expr.iter().zip(query.static_term.schema().fields()) {
        let mut expr = expr;
        while let Expr::Alias(alias) = expr {
            expr = &alias.expr;
        }
        let Expr::Cast(cast) = expr else {
            continue;
        };
        let (from, to) = (cast.expr.get_type(term.input.schema())?, first.data_type());
        if !keeps(&from, to) {
            return Err(external(refused(&query.name, first.name(), &from, to)));
        }
    }
    Ok(())
}

fn refused(name: &str, column: &str, from: &DataType, to: &DataType) -> Fault {
    let name = as_written(name);
    let (recursive, first) = (type_name(from), type_name(to));
    let mut text = format!(
        "WITH RECURSIVE {name}: the column has one type in the first term and another one in the recursive term, column={column}, first={first}, recursive={recursive}; write CAST(.. AS {recursive}) in the first term"
    );
    if !to.is_null() {
        text.push_str(&format!(
            ", or CAST(.. AS {first}) in the recursive one if what that drops is not needed"
        ));
    }
    Fault::invalid("invalid_query", text)
}

/// Whether a cast keeps each value, or ends with an error. What it does to floats is what a UNION does.
fn keeps(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Dictionary, Duration, FixedSizeList, Float64, Interval, LargeList, List,
        Struct, Time32, Time64, Timestamp,
    };
    if from == to || from.is_null() || to.is_string() {
        return true;
    }
    match (from, to) {
        (Dictionary(_, from), to) => keeps(from, to),
        (from, to) if from.is_integer() => to.is_numeric(),
        (from, Float64) => from.is_numeric(),
        (from, to) if from.is_decimal() && to.is_decimal() => {
            behind_point(from) <= behind_point(to)
        }
        (Date32 | Date64, Date32 | Date64 | Timestamp(..))
        | (Timestamp(..), Timestamp(..))
        | (Time32(_) | Time64(_), Time32(_) | Time64(_))
        | (Interval(_) | Duration(_), Interval(_)) => true,
        (
            List(from) | LargeList(from) | FixedSizeList(from, _),
            List(to) | LargeList(to) | FixedSizeList(to, _),
        ) => keeps(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            let mut pairs = from.iter().zip(to);
            from.len() == to.len() && pairs.all(|(f, t)| keeps(f.data_type(), t.data_type()))
        }
        (from, to) => from.is_binary() && to.is_binary(),
    }
}

fn behind_point(decimal: &DataType) -> Option<i8> {
    match decimal {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use crate::query::tests::{answer, engine_over, holds};

    #[tokio::test]
    async fn a_recursive_term_loses_nothing() {
        let engine = engine_over(Vec::new()).await;
        holds(&engine, &[
            ("WITH RECURSIVE r(n) AS (SELECT 1.0 UNION ALL SELECT n + 0.5 FROM r WHERE n < 2) SELECT * FROM r ORDER BY n", "1.0;1.5;2.0"),
            ("WITH RECURSIVE r(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT CAST(n + 1 AS INT) FROM r WHERE n < 3) SELECT sum(n) FROM r", "6"),
            // A cast that is written says that its loss is meant.
            ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT CAST(n + 1.5 AS BIGINT) FROM r WHERE n < 3) SELECT * FROM r ORDER BY n", "1;2;3"),
            ("WITH RECURSIVE r(n) AS (SELECT CAST(1 AS INT) UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r ORDER BY n", "1;2;3"),
            ("WITH RECURSIVE r(n, s, f) AS (SELECT 1, 'a', CAST(1 AS DOUBLE) UNION ALL SELECT n + 1, s || n, n FROM r WHERE n < 3) SELECT * FROM r ORDER BY n", "1,a,1.0;2,a1,1.0;3,a12,2.0"),
            ("WITH RECURSIVE r(a, b) AS (SELECT 1, 2.5 UNION ALL SELECT r.a + x.a, x.a FROM r JOIN (SELECT 1 AS a) x ON true WHERE r.a < 3) SELECT * FROM r ORDER BY a", "1,2.5;2,1.0;3,1.0"),
            ("WITH RECURSIVE d(t) AS (SELECT TIMESTAMP '2026-01-01' UNION ALL SELECT t + INTERVAL '12 hours' FROM d WHERE t < '2026-01-02') SELECT count(*), max(t) FROM d", "3,2026-01-02T00:00:00"),
            ("WITH RECURSIVE d(t) AS (SELECT DATE '2026-01-01' UNION ALL SELECT t + 1 FROM d WHERE t < '2026-01-03') SELECT count(*), max(t) FROM d", "3,2026-01-03"),
            ("WITH RECURSIVE a AS (SELECT 1 AS x), r(n) AS (SELECT NULL UNION ALL SELECT NULL FROM r WHERE false) SELECT count(*) FROM r, a", "1"),
        ])
        .await;
    }

    #[tokio::test]
    async fn a_recursive_term_that_would_lose_something_is_refused() {
        let engine = engine_over(Vec::new()).await;
        for (sql, parts) in [
            (
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 0.5 FROM r WHERE n < 3) SELECT * FROM r",
                [
                    "column=n, first=BIGINT, recursive=DOUBLE",
                    "write CAST(.. AS DOUBLE) in the first term",
                ],
            ),
            (
                "SELECT * FROM (WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 0.5 FROM r WHERE n < 3) SELECT * FROM r) x",
                ["first=BIGINT", "CAST(.. AS BIGINT) in the recursive one"],
            ),
            (
                "WITH r AS (SELECT 1 AS n) SELECT * FROM (WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 0.5 FROM r WHERE n < 3) SELECT * FROM r) x",
                ["WITH RECURSIVE r: ", "first=BIGINT"],
            ),
            (
                "SELECT 1 WHERE 2 IN (WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 0.5 FROM r WHERE n < 3) SELECT n FROM r)",
                ["first=BIGINT", "recursive=DOUBLE"],
            ),
            (
                "WITH RECURSIVE r(a, b) AS (SELECT 1, 2 UNION ALL SELECT r.a + 1, x.a FROM r JOIN (SELECT 1.5 AS a) x ON true WHERE r.a < 3) SELECT * FROM r",
                ["column=b", "recursive=DOUBLE"],
            ),
            (
                "WITH RECURSIVE d(t) AS (SELECT DATE '2026-01-01' UNION ALL SELECT t + INTERVAL '12 hours' FROM d WHERE t < '2026-01-03') SELECT * FROM d",
                ["first=DATE", "CAST(.. AS TIMESTAMP_NTZ)"],
            ),
            (
                "WITH RECURSIVE r(n) AS (SELECT CAST(1 AS DECIMAL(10,2)) UNION ALL SELECT n * CAST(1.5 AS DECIMAL(10,2)) FROM r WHERE n < 3) SELECT * FROM r",
                ["first=DECIMAL(10,2)", "recursive=DECIMAL(21,4)"],
            ),
        ] {
            let fault = answer(&engine, sql).await.unwrap_err();
            for part in parts {
                assert!(fault.message.contains(part), "{sql}: {fault}");
            }
        }
    }
}
