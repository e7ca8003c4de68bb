//! The window's columns in a view's SELECT: where its bucket, `window_start`, `window_end` and `event_date` stand.

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Select, SelectItem, SetExpr, Statement,
};

use super::START;
use crate::catalog::view::TableView;
use crate::dataset::{Bucket, EVENT_DATE, quoted_span};
use crate::fault::Fault;
use crate::sql::{each_expr_mut, parse_own};
use crate::types::SameName;

const DAY: i64 = 86_400_000_000;

fn start_expr() -> Expr {
    Expr::Identifier(Ident::with_quote('"', START))
}

fn end_expr(bucket: Bucket) -> Result<Expr, Fault> {
    expression(&format!(
        "\"{START}\" + INTERVAL {}",
        quoted_span(bucket.size)
    ))
}

/// Reads an expression of our own.
fn expression(text: &str) -> Result<Expr, Fault> {
    if let Statement::Query(query) = parse_own(&format!("SELECT {text}"))?
        && let SetExpr::Select(select) = *query.body
        && let Some(SelectItem::UnnamedExpr(expr)) = select.projection.into_iter().next()
    {
        return Ok(expr);
    }
    Err(Fault::internal("an expression of a view"))
}

/// Puts the day on which the window starts in the place of the word `event_date`, where that is the source's too: windows that
/// tumble within a day, by the time that the source's own `event_date` is made of. Does the SELECT have it?
pub(super) fn put_date(
    select: &mut Select,
    time_column: &str,
    bucket: Bucket,
    source: &TableView,
) -> Result<bool, Fault> {
    let by = source
        .contract
        .as_ref()
        .and_then(|c| c.event_time.as_deref());
    let within = bucket.step == bucket.size && DAY % bucket.size == 0;
    if by != Some(time_column) || !within {
        return Ok(false);
    }
    let is_date = |e: &Expr| matches!(e, Expr::Identifier(i) if i.value.is_same_name(EVENT_DATE));
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.retain(|key| !is_date(key));
    }
    let date = expression(&format!("CAST(\"{START}\" AS DATE)"))?;
    let mut found = false;
    for item in &mut select.projection {
        let named = match &*item {
            SelectItem::UnnamedExpr(e) => is_date(e),
            SelectItem::ExprWithAlias { expr, alias } => {
                is_date(expr) && alias.value.is_same_name(EVENT_DATE)
            }
            _ => false,
        };
        if named {
            found = true;
            *item = SelectItem::ExprWithAlias {
                expr: date.clone(),
                alias: Ident::with_quote('"', EVENT_DATE),
            };
        }
    }
    Ok(found)
}

/// Puts the window's columns in the place of the bucket's call and of the words `window_start` and `window_end`; adds those
/// that the SELECT lacks. Returns the names under which start and end stand.
pub(super) fn put_columns(
    select: &mut Select,
    call: &Expr,
    bucket: Bucket,
    source_has: &dyn Fn(&str) -> bool,
) -> Result<(String, String), Fault> {
    let call_text = call.to_string().to_ascii_lowercase();
    let is_call = |e: &Expr| e.to_string().to_ascii_lowercase() == call_text;
    let is_word =
        |e: &Expr, word: &str| matches!(e, Expr::Identifier(i) if i.value.is_same_name(word));
    let end = end_expr(bucket)?;
    let (mut start_at, mut end_at) = (None, None);
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, alias) = match &*item {
            SelectItem::UnnamedExpr(e) => (e, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => continue,
        };
        let (made, name) = if is_call(expr) || is_word(expr, "window_start") {
            let name = alias.unwrap_or_else(|| "window_start".to_owned());
            start_at.get_or_insert((index, name.clone()));
            (start_expr(), name)
        } else if is_word(expr, "window_end") {
            let name = alias.unwrap_or_else(|| "window_end".to_owned());
            end_at.get_or_insert((index, name.clone()));
            (end.clone(), name)
        } else {
            continue;
        };
        *item = SelectItem::ExprWithAlias {
            expr: made,
            alias: Ident::with_quote('"', name),
        };
    }
    let mut inside = |expr: &mut Expr| {
        if is_call(expr) || (is_word(expr, "window_start") && !source_has("window_start")) {
            *expr = start_expr();
        } else if is_word(expr, "window_end") && !source_has("window_end") {
            *expr = end.clone();
        }
    };
    each_expr_mut(&mut select.projection, &mut inside);
    each_expr_mut(&mut select.having, &mut inside);
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        each_expr_mut(keys, &mut inside);
        // The end is a function of the start: grouping by it, too, would say nothing.
        keys.retain(|key| *key != end);
    }
    let column = |expr: Expr, name: &str| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', name),
    };
    let (at, start_name) = start_at.unwrap_or_else(|| {
        select
            .projection
            .insert(0, column(start_expr(), "window_start"));
        if let Some((index, _)) = &mut end_at {
            *index += 1;
        }
        (0, "window_start".to_owned())
    });
    let end_name = end_at.map_or_else(
        || {
            select
                .projection
                .insert(at + 1, column(end.clone(), "window_end"));
            "window_end".to_owned()
        },
        |(_, name)| name,
    );
    Ok((start_name, end_name))
}
