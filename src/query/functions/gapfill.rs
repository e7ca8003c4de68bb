//! `time_bucket_gapfill('1 minute', ts [, zone] [, start, finish])` in a GROUP BY: a row for every bucket, also for those that no row of
//! the table is in. `locf(..)` carries the last value into the gap, `interpolate(..)` draws a line over it; other
//! aggregates are null there.
//!
//! The query is written out: groups first, then each group's buckets up to the next group of the same keys
//! (`bucket_series`), then window functions over those. The table is read once.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query, Select,
    SelectItem, SetExpr, Spanned, Statement, Value, VisitorMut,
};

use crate::fault::Fault;
use crate::sql::{each_expr_mut, parse_own, parse_own_expr, printed, visit_mut};
use crate::types::{SameName, quote_name};

const NAME: &str = "time_bucket_gapfill";
const USAGE: &str = "SELECT time_bucket_gapfill('1 minute', ts) AS minute, k, locf(avg(x)) AS x FROM t GROUP BY 1, 2";

/// # Errors
/// INVALID_ARGUMENT for a query that cannot be filled.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut rewriter = Rewriter(None);
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.0.map_or(Ok(()), Err)
}

struct Rewriter(Option<Fault>);

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.fill(&mut query.body);
        ControlFlow::Continue(())
    }
}

impl Rewriter {
    /// Each SELECT of a query, which may be parts of a UNION. Those in parentheses are queries of their own.
    fn fill(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => match filled(select) {
                Ok(Some(made)) => *body = *made,
                Ok(None) => {}
                Err(fault) => self.0 = self.0.take().or(Some(fault)),
            },
            SetExpr::SetOperation { left, right, .. } => {
                self.fill(left);
                self.fill(right);
            }
            _ => {}
        }
    }
}

fn called<'a>(expr: &'a Expr, name: &str) -> Option<&'a Function> {
    match expr {
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case(name) => Some(f),
        _ => None,
    }
}

fn arguments(call: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &call.args else {
        return Vec::new();
    };
    let exprs = list.args.iter().filter_map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    });
    exprs.collect()
}

fn wrong(at: &impl Spanned, problem: &str) -> Fault {
    let start = at.span().start;
    Fault::invalid(
        "invalid_query",
        format!(
            "{problem}: {USAGE} at Line: {}, Column: {}",
            start.line, start.column
        ),
    )
}

/// The query written out; none if it fills no gaps.
fn filled(select: &Select) -> Result<Option<Box<SetExpr>>, Fault> {
    let items: Option<Vec<(String, Expr)>> = select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(e) => Some((name_of(e), e.clone())),
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr.clone())),
            _ => None,
        })
        .collect();
    let GroupByExpr::Expressions(keys, _) = &select.group_by else {
        return Ok(None);
    };
    let fills = |e: &Expr| called(e, NAME).is_some();
    let Some(items) = items else {
        return match keys.iter().find(|k| fills(k)) {
            Some(key) => Err(wrong(key, "name the columns, without *")),
            None => Ok(None),
        };
    };
    let meant = |key: &Expr| -> Expr {
        let item = match key {
            Expr::Value(v) => match &v.value {
                Value::Number(n, _) => n
                    .to_string()
                    .parse::<usize>()
                    .ok()
                    .and_then(|n| items.get(n.checked_sub(1)?)),
                _ => None,
            },
            Expr::Identifier(ident) => items
                .iter()
                .find(|(name, e)| fills(e) && name.is_same_name(&ident.value)),
            _ => None,
        };
        item.map_or_else(|| key.clone(), |(_, e)| e.clone())
    };
    let keys: Vec<Expr> = keys.iter().map(meant).collect();
    let Some(bucket) = keys.iter().find(|k| fills(k)).cloned() else {
        return Ok(None);
    };
    let call = called(&bucket, NAME).map(arguments).unwrap_or_default();
    let (span, time, zone, ends) = match call.as_slice() {
        [span, time] => (span, time, None, None),
        [span, time, zone] => (span, time, Some(zone), None),
        [span, time, start, finish] => (span, time, None, Some((start, finish))),
        [span, time, zone, start, finish] => (span, time, Some(zone), Some((start, finish))),
        _ => {
            return Err(wrong(
                &bucket,
                "time_bucket_gapfill takes a span, a time and, if wished, a zone, and start and finish",
            ));
        }
    };
    check_span(span, &bucket)?;
    let zone = zone.map_or_else(String::new, |zone| format!(", {zone}"));
    let keys: Vec<Expr> = keys.into_iter().filter(|k| !fills(k)).collect();
    let key_names: Vec<String> = (0..keys.len()).map(|i| format!("\"__k{i}\"")).collect();

    let mut values: Vec<Expr> = Vec::new();
    let partition = if key_names.is_empty() {
        String::new()
    } else {
        format!("PARTITION BY {} ", key_names.join(", "))
    };
    let mut outer = Vec::new();
    for (name, expr) in &items {
        let made = if *expr == bucket {
            "\"__t\"".to_owned()
        } else if let Some(index) = keys.iter().position(|k| k == expr) {
            key_names[index].clone()
        } else {
            let mut expr = expr.clone();
            let mut found = false;
            let mut fault = None;
            each_expr_mut(&mut expr, |e| {
                let kind = ["locf", "interpolate"]
                    .into_iter()
                    .find(|kind| called(e, kind).is_some());
                let Some(kind) = kind else {
                    return;
                };
                let inner = called(e, kind).map(arguments).unwrap_or_default();
                let [value] = inner.as_slice() else {
                    fault = Some(wrong(e, "locf and interpolate take one aggregate"));
                    return;
                };
                let v = format!("\"__v{}\"", values.len());
                values.push((*value).clone());
                found = true;
                match parse_own_expr(&over_gaps(kind, &v, &partition)) {
                    Ok(made) => *e = made,
                    Err(error) => fault = Some(error),
                }
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
            if found {
                printed(&expr)
            } else {
                values.push(expr);
                format!("\"__v{}\"", values.len() - 1)
            }
        };
        outer.push(format!("{made} AS {}", quote_name(name)));
    }

    let mut groups = select.clone();
    let mut columns = vec![format!("time_bucket({span}, {time}{zone}) AS \"__b\"")];
    columns.extend(
        keys.iter()
            .zip(&key_names)
            .map(|(k, n)| format!("{k} AS {n}")),
    );
    columns.extend(
        values
            .iter()
            .enumerate()
            .map(|(i, v)| format!("{v} AS \"__v{i}\"")),
    );
    let head = parse_own(&format!(
        "SELECT {} GROUP BY time_bucket({span}, {time}{zone}){}",
        columns.join(", "),
        keys.iter().map(|k| format!(", {k}")).collect::<String>()
    ))?;
    if let Statement::Query(query) = head
        && let SetExpr::Select(head) = *query.body
    {
        groups.projection = head.projection;
        groups.group_by = head.group_by;
    }
    let own = std::iter::once("\"__b\"".to_owned()).chain(key_names.iter().cloned());
    let own: Vec<String> = own
        .chain((0..values.len()).map(|i| format!("\"__v{i}\"")))
        .collect();
    let own = own.join(", ");
    // Behind the bucket's begin and before its end: a local day has no fixed length.
    let within = "\"__b\" + INTERVAL '1 microsecond'";
    let (from, until) = match ends {
        None => ("\"__b\"".to_owned(), within.to_owned()),
        Some((start, finish)) => (
            format!("CASE WHEN \"__p\" IS NULL THEN least(\"__b\", {start}) ELSE \"__b\" END"),
            format!("greatest({within}, {finish})"),
        ),
    };
    let neighbours = format!(
        "SELECT {own}, lead(\"__b\") OVER ({partition}ORDER BY \"__b\") AS \"__n\", lag(\"__b\") OVER ({partition}ORDER BY \"__b\") AS \"__p\" FROM ({groups})"
    );
    let series = format!(
        "SELECT {own}, unnest(bucket_series({from}, coalesce(\"__n\", {until}), {span})) AS \"__t\" FROM ({neighbours})"
    );
    let shown: Vec<String> = (0..values.len())
        .map(|i| format!("CASE WHEN \"__t\" = \"__b\" THEN \"__v{i}\" END AS \"__v{i}\""))
        .collect();
    let shown: Vec<String> = std::iter::once("\"__t\"".to_owned())
        .chain(key_names.iter().cloned())
        .chain(shown)
        .collect();
    let text = format!(
        "SELECT {} FROM (SELECT {} FROM ({series}))",
        outer.join(", "),
        shown.join(", ")
    );
    match parse_own(&text)? {
        Statement::Query(query) => Ok(Some(query.body)),
        _ => Err(wrong(&bucket, "gaps cannot be filled here")),
    }
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(idents) => {
            idents.last().map_or_else(String::new, |i| i.value.clone())
        }
        Expr::Function(f) => f.name.to_string(),
        other => other.to_string().replace('"', ""),
    }
}

/// Is the span one that the buckets can have?
fn check_span(span: &Expr, at: &Expr) -> Result<(), Fault> {
    let text = match span {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let text = text.ok_or_else(|| wrong(at, "the span is a text such as '1 minute'"))?;
    let span = crate::dataset::parse_span(text).map_err(|problem| wrong(at, &problem));
    span.map(|_| ())
}

/// A column of values with gaps, as the function fills them.
fn over_gaps(kind: &str, v: &str, partition: &str) -> String {
    let before = format!(
        "OVER ({partition}ORDER BY \"__t\" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    );
    if kind == "locf" {
        return format!("last_value({v}) IGNORE NULLS {before}");
    }
    let after = format!(
        "OVER ({partition}ORDER BY \"__t\" ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"
    );
    let at = format!("CASE WHEN {v} IS NOT NULL THEN CAST(\"__t\" AS BIGINT) END");
    let (v0, v1) = (
        format!("last_value({v}) IGNORE NULLS {before}"),
        format!("first_value({v}) IGNORE NULLS {after}"),
    );
    let (t0, t1) = (
        format!("last_value({at}) IGNORE NULLS {before}"),
        format!("first_value({at}) IGNORE NULLS {after}"),
    );
    format!(
        "CASE WHEN {v} IS NOT NULL THEN {v} ELSE {v0} + ({v1} - {v0}) * CAST(CAST(\"__t\" AS BIGINT) - {t0} AS DOUBLE) / CAST({t1} - {t0} AS DOUBLE) END"
    )
}
