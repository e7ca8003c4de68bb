//! Subqueries that DataFusion answers otherwise than the standard does, written as others before names are resolved.
//!
//! - `x > ALL (SELECT ..)` and `x > ANY (SELECT ..)`: DataFusion compares within the subquery, where a column's name means the
//!   subquery's own column. The extremes of the values decide as well, with their count and that of the nulls.
//! - `EXISTS (SELECT count(*) ..)` and `x IN (SELECT count(*) ..)` that name columns of the query around them: an aggregate without
//!   GROUP BY has one row also where it has no rows to count, which a join with groups does not give.
//!
//! `rules::subquery_values` tells the values of the other `IN` and `EXISTS` apart, once names are resolved.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr,
    Statement, Visitor, VisitorMut,
};

use super::functions::AGGREGATES;
use crate::fault::Fault;
use crate::sql::{check_bytes, parse_own_expr, visit, visit_mut};

/// # Errors
/// INVALID_ARGUMENT: an operator that has no such form.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut rewriter = Rewriter::default();
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.failed.map_or(Ok(()), Err)
}

/// Innermost first.
#[derive(Default)]
struct Rewriter {
    /// The columns of the results of the queries around, as they were written, where they have no other name.
    written: Vec<Vec<Option<String>>>,
    failed: Option<Fault>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let written = match &*query.body {
            SetExpr::Select(select) => select.projection.iter().map(written).collect(),
            _ => Vec::new(),
        };
        self.written.push(written);
        ControlFlow::Continue(())
    }

    /// A column keeps the name that it would have had.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let written = self.written.pop().unwrap_or_default();
        if let SetExpr::Select(select) = &mut *query.body {
            for (item, written) in select.projection.iter_mut().zip(written) {
                if let (SelectItem::UnnamedExpr(expr), Some(written)) = (&mut *item, written) {
                    *item = SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias: Ident::with_quote('"', written.replace('"', "")),
                    };
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let made = rewritten(expr).and_then(|text| match text {
            // A set stands in it several times: sets within sets multiply.
            Some(text) => check_bytes(&text).and_then(|()| parse_own_expr(&text).map(Some)),
            None => Ok(None),
        });
        match made {
            Ok(Some(made)) => *expr = made,
            Ok(None) => {}
            Err(fault) => self.failed = self.failed.take().or(Some(fault)),
        }
        ControlFlow::Continue(())
    }
}

/// A column without a name that asks a set, as text.
fn written(item: &SelectItem) -> Option<String> {
    let SelectItem::UnnamedExpr(expr) = item else {
        return None;
    };
    let mut sets = Sets(false);
    let _ = visit(expr, &mut sets);
    sets.0.then(|| expr.to_string())
}

/// Whether a set is asked.
struct Sets(bool);

impl Visitor for Sets {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0 |= match expr {
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                matches!(**right, Expr::Subquery(_))
            }
            Expr::InSubquery { .. } | Expr::Exists { .. } => true,
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: &Expr) -> Result<Option<String>, Fault> {
    Ok(match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => match &**right {
            Expr::Subquery(set) => Some(any(left, compare_op, set)?),
            _ => None,
        },
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => match &**right {
            Expr::Subquery(set) => Some(every(left, compare_op, set)?),
            _ => None,
        },
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => is_in(expr, subquery, *negated),
        Expr::Exists { subquery, negated } => exists(subquery, *negated),
        _ => None,
    })
}

/// An aggregate of the values of a set. It stands in the set's own SELECT where it can, because that may name columns of the query
/// around it, and DataFusion does not find these through a name of a derived table's column.
fn of(aggregate: &str, set: &Query) -> String {
    let Some((select, value)) = plain(set) else {
        return format!("(SELECT {aggregate} FROM ({set}) AS \"__set\"(\"__value\"))");
    };
    let aggregate = aggregate.replace("\"__value\"", &format!("({value})"));
    let mut asked = select.clone();
    // Neither the extremes nor whether there is a row, or a null, depend on it.
    asked.distinct = None;
    // An identifier without quotes is written as it is.
    asked.projection = vec![SelectItem::UnnamedExpr(Expr::Identifier(Ident::new(
        aggregate,
    )))];
    format!("({asked})")
}

/// A set of one value a row of its tables, and the value.
fn plain(set: &Query) -> Option<(&Select, &Expr)> {
    let SetExpr::Select(select) = &*set.body else {
        return None;
    };
    let select: &Select = select;
    let cut = set.with.is_some() || set.limit_clause.is_some() || set.fetch.is_some();
    let distinct = matches!(select.distinct, None | Some(Distinct::Distinct));
    if cut || !distinct || groups(select) || select.having.is_some() {
        return None;
    }
    if select.qualify.is_some() || select.top.is_some() {
        return None;
    }
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => {
            let calls = Calls::of(value);
            (!calls.aggregate && !calls.of_rows).then_some((select, value))
        }
        _ => None,
    }
}

fn groups(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::Expressions(keys, modifiers) => !keys.is_empty() || !modifiers.is_empty(),
        GroupByExpr::All(_) => true,
    }
}

/// Rows, values that are not null, and whether there is a null on either side.
struct Counts {
    none: String,
    unknown: String,
}

fn counts(x: &Expr, set: &Query) -> Counts {
    let (rows, values) = (of("count(*)", set), of("count(\"__value\")", set));
    Counts {
        none: format!("{rows} = 0"),
        unknown: format!("({x}) IS NULL OR {values} < {rows}"),
    }
}

fn no_such(op: &BinaryOperator, word: &str) -> Fault {
    Fault::invalid(
        "invalid_query",
        format!("{word} takes =, <>, <, <=, > or >=, operator={op}"),
    )
}

/// What decides `x op value` for all values, or for one: the extreme that is hardest to meet, or easiest.
fn extreme(op: &BinaryOperator, hardest: bool) -> Option<&'static str> {
    match (op, hardest) {
        (BinaryOperator::Gt | BinaryOperator::GtEq, true)
        | (BinaryOperator::Lt | BinaryOperator::LtEq, false) => Some("max(\"__value\")"),
        (BinaryOperator::Lt | BinaryOperator::LtEq, true)
        | (BinaryOperator::Gt | BinaryOperator::GtEq, false) => Some("min(\"__value\")"),
        _ => None,
    }
}

fn differs(x: &Expr, set: &Query) -> String {
    let (least, most) = (of("min(\"__value\")", set), of("max(\"__value\")", set));
    format!("({x}) <> {least} OR ({x}) <> {most}")
}

fn any(x: &Expr, op: &BinaryOperator, set: &Query) -> Result<String, Fault> {
    let Counts { none, unknown } = counts(x, set);
    let holds = match op {
        BinaryOperator::Eq => {
            let plain = || format!("({x}) IN ({set})");
            return Ok(is_in(x, set, false).unwrap_or_else(plain));
        }
        BinaryOperator::NotEq => differs(x, set),
        op => match extreme(op, false) {
            Some(extreme) => format!("({x}) {op} {}", of(extreme, set)),
            None => return Err(no_such(op, "ANY")),
        },
    };
    Ok(format!(
        "(CASE WHEN {none} THEN false WHEN {holds} THEN true WHEN {unknown} THEN NULL ELSE false END)"
    ))
}

fn every(x: &Expr, op: &BinaryOperator, set: &Query) -> Result<String, Fault> {
    let Counts { none, unknown } = counts(x, set);
    let fails = match op {
        BinaryOperator::NotEq => {
            let plain = || format!("({x}) NOT IN ({set})");
            return Ok(is_in(x, set, true).unwrap_or_else(plain));
        }
        BinaryOperator::Eq => differs(x, set),
        op => match extreme(op, true) {
            Some(extreme) => format!("NOT (({x}) {op} {})", of(extreme, set)),
            None => return Err(no_such(op, "ALL")),
        },
    };
    Ok(format!(
        "(CASE WHEN {none} THEN true WHEN {fails} THEN false WHEN {unknown} THEN NULL ELSE true END)"
    ))
}

fn is_in(x: &Expr, set: &Query, negated: bool) -> Option<String> {
    let not = if negated { "NOT " } else { "" };
    let row = one_row(set)?;
    let same = format!("({x}) = ({set})");
    match row.having {
        None => Some(format!("({not}({same}))")),
        Some(_) => Some(format!("({not}({} AND {same}))", kept(row)?)),
    }
}

fn exists(set: &Query, negated: bool) -> Option<String> {
    let not = if negated { "NOT " } else { "" };
    let row = one_row(set)?;
    match row.having {
        None => Some(if negated { "false" } else { "true" }.to_owned()),
        Some(_) => Some(format!("({not}({}))", kept(row)?)),
    }
}

/// Whether the one row of an aggregate passes its HAVING; none if that cannot be asked alone.
fn kept(row: &Select) -> Option<String> {
    let named = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { .. });
    if row.projection.iter().any(named) {
        return None;
    }
    let mut asked = row.clone();
    asked.projection = vec![SelectItem::UnnamedExpr(asked.having.take()?)];
    Some(format!("({asked}) IS TRUE"))
}

/// The SELECT of an aggregate over all rows, which has one row, or none where its HAVING leaves it out.
fn one_row(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let select: &Select = select;
    let cut = query.limit_clause.is_some() || query.fetch.is_some();
    if groups(select) || cut || select.qualify.is_some() || select.top.is_some() {
        return None;
    }
    let mut aggregates = select.having.is_some();
    for item in &select.projection {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => return None,
        };
        aggregates |= Calls::of(expr).aggregate;
    }
    aggregates.then_some(select)
}

/// What an expression calls in its own query.
#[derive(Default)]
struct Calls {
    depth: usize,
    /// An aggregate of all rows.
    aggregate: bool,
    /// A window function, or one that makes rows.
    of_rows: bool,
}

impl Calls {
    fn of(expr: &Expr) -> Calls {
        let mut calls = Calls::default();
        let _ = visit(expr, &mut calls);
        calls
    }
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && self.depth == 0
        {
            let name = call.name.to_string().to_ascii_lowercase();
            let known = AGGREGATES.split_whitespace().any(|known| known == name);
            self.aggregate |= known && call.over.is_none();
            self.of_rows |= call.over.is_some() || name == "unnest";
        }
        ControlFlow::Continue(())
    }
}
