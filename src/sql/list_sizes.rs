//! Lists of a statement for which planning grows faster than they do. They are counted before anything is made of them, because a
//! planner that is in the middle of one rule hears nothing of `query.timeout`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, OrderByKind, Query, Select, Statement, Visitor,
    WindowSpec, WindowType,
};

use super::visit::visit;
use crate::fault::{Fault, Kind};

/// What a query gives: a second of planning.
const RESULTS_MAX: usize = 10_000;
/// Of ORDER BY, GROUP BY and PARTITION BY: two seconds.
const KEYS_MAX: usize = 1000;
/// What ROLLUP, CUBE and GROUPING SETS come to; DataFusion writes them out.
const GROUPING_SETS_MAX: usize = 4096;

/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`, with the list.
pub(super) fn check(statement: &Statement) -> Result<(), Fault> {
    let mut checker = Checker(None);
    let _ = visit(statement, &mut checker);
    checker.0.map_or(Ok(()), Err)
}

/// The first fault that was found.
struct Checker(Option<Fault>);

impl Checker {
    fn flow(&mut self, checked: Result<(), Fault>) -> ControlFlow<()> {
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

impl Visitor for Checker {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let order = query.order_by.as_ref().map(|order| &order.kind);
        let keys = match order {
            Some(OrderByKind::Expressions(keys)) => keys.len(),
            _ => 0,
        };
        self.flow(at_most(keys, KEYS_MAX, "expressions in ORDER BY"))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let results = select.projection.len();
        let checked = at_most(results, RESULTS_MAX, "results of a SELECT");
        self.flow(checked.and_then(|()| grouped(&select.group_by)))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let Some(WindowType::WindowSpec(WindowSpec {
            partition_by,
            order_by,
            ..
        })) = &function.over
        else {
            return ControlFlow::Continue(());
        };
        let keys = partition_by.len() + order_by.len();
        self.flow(at_most(keys, KEYS_MAX, "expressions in OVER"))
    }
}

fn grouped(group_by: &GroupByExpr) -> Result<(), Fault> {
    let GroupByExpr::Expressions(keys, modifiers) = group_by else {
        return Ok(());
    };
    at_most(keys.len(), KEYS_MAX, "expressions in GROUP BY")?;
    let subsets = |parts: usize| {
        u32::try_from(parts)
            .ok()
            .and_then(|parts| 2_usize.checked_pow(parts))
            .unwrap_or(usize::MAX)
    };
    let of_keys = keys.iter().map(|key| match key {
        Expr::Cube(parts) => subsets(parts.len()),
        Expr::Rollup(parts) => parts.len() + 1,
        Expr::GroupingSets(sets) => sets.len(),
        _ => 1,
    });
    let of_modifiers = modifiers.iter().map(|modifier| match modifier {
        GroupByWithModifier::Cube => subsets(keys.len()),
        GroupByWithModifier::Rollup => keys.len() + 1,
        GroupByWithModifier::Totals => 1,
        GroupByWithModifier::GroupingSets(Expr::GroupingSets(sets)) => sets.len(),
        GroupByWithModifier::GroupingSets(_) => 1,
    });
    let sets = of_keys
        .chain(of_modifiers)
        .fold(1, |all: usize, some| all.saturating_mul(some));
    at_most(
        sets,
        GROUPING_SETS_MAX,
        "grouping sets; name those that are needed in GROUPING SETS (..)",
    )
}

fn at_most(found: usize, limit: usize, what: &str) -> Result<(), Fault> {
    if found <= limit {
        return Ok(());
    }
    let (what, way_out) = what
        .split_once("; ")
        .unwrap_or((what, "split the statement into several"));
    let found = match found {
        usize::MAX => "more than can be counted".to_owned(),
        found => found.to_string(),
    };
    Err(Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        format!("the statement has too many {what}, found={found}, limit={limit}; {way_out}"),
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::parse_one;

    #[test]
    fn lists_for_which_planning_has_no_end_are_refused_as_they_are_read() {
        let many = |n: usize| {
            let all: Vec<String> = (0..n).map(|n| format!("id + {n}")).collect();
            all.join(", ")
        };
        let at_limit = [
            format!("SELECT {} FROM t", many(10_000)),
            format!("SELECT 1 FROM t ORDER BY {}", many(1000)),
            format!("SELECT 1 FROM t GROUP BY CUBE ({})", many(12)),
            format!("SELECT 1 FROM t GROUP BY CUBE ({}), CUBE (a)", many(11)),
        ];
        for sql in at_limit {
            parse_one(&sql).unwrap();
        }
        let over = [
            (format!("SELECT {} FROM t", many(10_001)), "results"),
            (
                format!("SELECT 1 FROM t ORDER BY {}", many(1001)),
                "ORDER BY",
            ),
            (
                format!(
                    "DELETE FROM t WHERE id IN (SELECT 1 FROM t GROUP BY {})",
                    many(1001)
                ),
                "GROUP BY",
            ),
            (
                format!("SELECT sum(1) OVER (PARTITION BY {}) FROM t", many(1001)),
                "OVER",
            ),
            (
                format!("SELECT 1 FROM t GROUP BY CUBE ({})", many(13)),
                "grouping sets",
            ),
            (
                format!(
                    "SELECT 1 FROM t GROUP BY ROLLUP (a, b), CUBE ({})",
                    many(11)
                ),
                "grouping sets",
            ),
            (
                format!(
                    "SELECT 1 FROM (SELECT 2 FROM t GROUP BY cube({})) q",
                    many(70)
                ),
                "more than can be counted",
            ),
        ];
        for (sql, what) in over {
            let fault = parse_one(&sql).unwrap_err();
            assert_eq!(fault.reason, "statement_too_large", "{fault}");
            assert!(fault.to_string().contains(what), "{fault}");
        }
    }
}
