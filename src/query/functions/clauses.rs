//! Clauses of a query that DataFusion does not plan, in words that it does: `FETCH FIRST n ROWS ONLY` is a LIMIT, `ORDER BY ALL`
//! the numbers of the results, a number in `ROLLUP (1)` the result that it stands for, HAVING without GROUP BY a condition on the one group of all rows, and `LIKE 'a!%' ESCAPE '!'` a pattern whose
//! escape is the backslash.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, Query,
    Select, SelectItem, SetExpr, Statement, TableFactor, Value, ValueWithSpan, VisitorMut,
};

use super::{clock_spans, rows_in, series_of_times, tuples};
use crate::fault::{Fault, Kind};
use crate::sql::{parse_own_expr, syntax, visit_mut};

/// # Errors
/// UNIMPLEMENTED for the clauses' other forms, INVALID_ARGUMENT for a query with two limits.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut rewriter = Rewriter(None);
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.0.map_or(Ok(()), Err)
}

struct Rewriter(Option<Fault>);

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let done = fetch(query).and_then(|()| order_by_all(query));
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = &*query.body
            && let Some(Distinct::On(_)) = select.distinct
            && let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            once_each(keys);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        grouped_by_number(select);
        having_of_all_rows(select);
        match rows_in::rewrite(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match series_of_times::write_out(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        clock_spans::write_out(expr);
        match escaped_otherwise(expr).and_then(|()| tuples::write_out(expr)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

/// A key that comes again orders nothing, and DataFusion's DISTINCT ON counts the keys.
fn once_each(keys: &mut Vec<OrderByExpr>) {
    let mut seen: Vec<Expr> = Vec::new();
    keys.retain(|key| {
        let new = !seen.contains(&key.expr);
        if new {
            seen.push(key.expr.clone());
        }
        new
    });
}

/// Within ROLLUP, CUBE and GROUPING SETS, as DataFusion does it outside of them.
fn grouped_by_number(select: &mut Select) {
    let Select {
        group_by: GroupByExpr::Expressions(keys, _),
        projection,
        ..
    } = select
    else {
        return;
    };
    for key in keys {
        let (Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets)) = key else {
            continue;
        };
        for key in sets.iter_mut().flatten() {
            let Expr::Value(ValueWithSpan {
                value: Value::Number(number, _),
                ..
            }) = key
            else {
                continue;
            };
            let item = number.parse::<usize>().ok();
            let item = item.and_then(|n| projection.get(n.checked_sub(1)?));
            if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
                item
            {
                *key = expr.clone();
            }
        }
    }
}

/// DataFusion makes the one group of all rows where there is an aggregate; HAVING is enough for it, as `HAVING 3 > 1` shows. The condition that
/// is added depends on the group, and none is simplified away: that of no rows at all is asked for its value by itself.
fn having_of_all_rows(select: &mut Select) {
    let groups = match &select.group_by {
        GroupByExpr::Expressions(keys, modifiers) => !keys.is_empty() || !modifiers.is_empty(),
        GroupByExpr::All(_) => true,
    };
    if groups {
        return;
    }
    if let Some(condition) = select.having.take() {
        let always = parse_own_expr("count(*) >= 0");
        select.having = Some(match always {
            Ok(always) => Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(condition))),
                op: BinaryOperator::And,
                right: Box::new(always),
            },
            Err(_) => condition,
        });
    }
}

/// DataFusion knows one escape, the backslash.
fn escaped_otherwise(expr: &mut Expr) -> Result<(), Fault> {
    let (Expr::Like {
        pattern,
        escape_char,
        ..
    }
    | Expr::ILike {
        pattern,
        escape_char,
        ..
    }) = expr
    else {
        return Ok(());
    };
    let Some(ValueWithSpan {
        value: Value::SingleQuotedString(sign),
        ..
    }) = escape_char
    else {
        return Ok(());
    };
    if sign == "\\" {
        *escape_char = None;
        return Ok(());
    }
    let mut chars = sign.chars();
    let quoted = match (chars.next(), chars.next()) {
        // Without an escape every backslash is itself.
        (None, _) => {
            **pattern = parse_own_expr(&format!("replace({pattern}, '\\', '\\\\')"))?;
            *escape_char = None;
            return Ok(());
        }
        (Some('\''), None) => "''".to_owned(),
        (Some(one), None) => one.to_string(),
        _ => {
            return Err(syntax(format!(
                "ESCAPE takes one character, or '' for none, escape='{sign}'"
            )));
        }
    };
    let mut text = format!("replace({pattern}, '\\', '\\\\')");
    let itself = match quoted.as_str() {
        wildcard @ ("%" | "_") => format!("\\{wildcard}"),
        other => other.to_owned(),
    };
    // The escape of the escape waits aside, so that what follows it is not read as escaped.
    for (from, to) in [
        (format!("{quoted}{quoted}"), "\u{1}".to_owned()),
        (format!("{quoted}%"), "\\%".to_owned()),
        (format!("{quoted}_"), "\\_".to_owned()),
        ("\u{1}".to_owned(), itself),
    ] {
        text = format!("replace({text}, '{from}', '{to}')");
    }
    **pattern = parse_own_expr(&text)?;
    *escape_char = None;
    Ok(())
}

fn refused<T>(text: &str) -> Result<T, Fault> {
    Err(Fault::new(Kind::Unimplemented, "not_implemented", text))
}

fn fetch(query: &mut Query) -> Result<(), Fault> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties {
        return refused(
            "FETCH FIRST .. WITH TIES is not supported; say QUALIFY rank() OVER (ORDER BY ..) <= n",
        );
    }
    if fetch.percent {
        return refused(
            "FETCH FIRST n PERCENT is not supported; say QUALIFY percent_rank() OVER (ORDER BY ..) < n",
        );
    }
    let rows = match fetch.quantity {
        Some(rows) => rows,
        None => parse_own_expr("1")?,
    };
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(rows),
                offset: None,
                limit_by: Vec::new(),
            });
        }
        Some(LimitClause::LimitOffset {
            limit: limit @ None,
            ..
        }) => *limit = Some(rows),
        Some(_) => {
            return Err(syntax(
                "LIMIT and FETCH FIRST in one query; say one of them",
            ));
        }
    }
    Ok(())
}

fn order_by_all(query: &mut Query) -> Result<(), Fault> {
    let Some(order_by) = &mut query.order_by else {
        return Ok(());
    };
    let OrderByKind::All(options) = order_by.kind else {
        return Ok(());
    };
    let Some(results) = results(&query.body) else {
        return refused("ORDER BY ALL beside a * is not supported; name the results to order by");
    };
    let numbers = (1..=results).map(|n| {
        Ok(OrderByExpr {
            expr: parse_own_expr(&n.to_string())?,
            options,
            with_fill: None,
        })
    });
    order_by.kind = OrderByKind::Expressions(numbers.collect::<Result<_, Fault>>()?);
    Ok(())
}

/// How many results a query has; none: a `*` hides it.
fn results(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => {
            let counted = |item: &SelectItem| {
                !matches!(
                    item,
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
                )
            };
            let items = &select.projection;
            items.iter().all(counted).then_some(items.len())
        }
        SetExpr::Query(query) => results(&query.body),
        SetExpr::SetOperation { left, .. } => results(left),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

/// `percentile_disc(p) WITHIN GROUP (ORDER BY v)`: the first value at or above the part `p` of all, by the list of them in order.
///
/// # Errors
/// INVALID_ARGUMENT: the part is no number of 0 to 1, or the call has another form.
pub(super) fn percentile_disc(
    part: &Expr,
    within_group: &[OrderByExpr],
    filter: Option<&Expr>,
) -> Result<Expr, Fault> {
    let wrong = || {
        Fault::invalid(
            "invalid_query",
            "it is percentile_disc(0.95) WITHIN GROUP (ORDER BY value), with a part of 0 to 1",
        )
    };
    let [ordered] = within_group else {
        return Err(wrong());
    };
    let number: f64 = part.to_string().parse().map_err(|_| wrong())?;
    if !(0.0..=1.0).contains(&number) {
        return Err(wrong());
    }
    let value = &ordered.expr;
    let also = filter.map_or_else(String::new, |f| format!(" AND ({f})"));
    let text = format!(
        "array_element(array_agg({ordered}) FILTER (WHERE {value} IS NOT NULL{also}), CAST(greatest(ceil({number:?} * count({value}) FILTER (WHERE {value} IS NOT NULL{also})), 1) AS BIGINT))",
        ordered = format_args!("{value} ORDER BY {ordered}"),
    );
    parse_own_expr(&text)
}
