//! A result may hold two columns of one name (`SELECT ts, ts::date`, `SELECT count(*), count(*)`, `SELECT *, ts`), which the
//! planner refuses. In the SELECTs that give a statement's result, a later column of a name gets a marked one, by which no
//! name of the statement can mean it; `columns` takes the mark off again. Elsewhere such a name would be ambiguous where it is
//! used, and stays an error.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableAlias, VisitorMut,
};

use super::columns::MARK;
use crate::sql::visit_mut;

/// What the planner would call a column, as far as the text alone tells it.
#[derive(PartialEq)]
struct Called {
    name: String,
    /// With what is written before it, `t.ts`. Columns of two relations may have one name.
    qualified: Option<String>,
}

/// Marks the later ones of columns that would have one name. `is_column`: does FROM give a column of this name?
pub(super) fn mark(select: &mut Select, is_column: impl Fn(&str) -> bool) {
    let all = select.projection.iter().any(|item| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    });
    if select.projection.len() < 2 {
        return;
    }
    let mut seen: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        let called = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => Called {
                name: alias.value.to_lowercase(),
                qualified: None,
            },
            SelectItem::UnnamedExpr(expr) => called(expr),
            _ => continue,
        };
        let before = seen.entry(called.name.clone()).or_default();
        let again = before.iter().any(|other| {
            other.is_none() || called.qualified.is_none() || *other == called.qualified
        });
        if again || all && is_column(&called.name) {
            give_mark(item, at);
        }
        before.push(called.qualified);
    }
}

/// In the right sides of set operations, whose columns are called as those of the left side, wherever the operation stands.
pub(super) fn mark_right_sides(body: &mut SetExpr) {
    if let SetExpr::SetOperation { left, right, .. } = body {
        mark_right_sides(left);
        mark_all(right);
    }
}

/// In a query whose columns get other names, `(SELECT id, id FROM t) v (a, b)`.
pub(super) fn mark_named(query: &mut Query, alias: &TableAlias) {
    if !alias.columns.is_empty() {
        mark_all(&mut query.body);
    }
}

fn mark_all(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => mark(select, |_| false),
        SetExpr::SetOperation { left, right, .. } => {
            mark_all(left);
            mark_all(right);
        }
        _ => {}
    }
}

/// Marks all results that have no name of their own, for a statement in which the planner calls two of them alike that are written in
/// two ways: `strpos(a, b), position(b IN a)`. Says whether there are any.
pub(super) fn mark_unnamed(statement: &mut Statement) -> bool {
    match statement {
        Statement::Query(query) => mark_unnamed_in(&mut query.body),
        Statement::Explain { statement, .. } => mark_unnamed(statement),
        _ => false,
    }
}

fn mark_unnamed_in(body: &mut SetExpr) -> bool {
    let mut found = false;
    match body {
        SetExpr::Select(select) => {
            for (at, item) in select.projection.iter_mut().enumerate() {
                let is_column =
                    |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                if matches!(item, SelectItem::UnnamedExpr(expr) if !is_column(expr)) {
                    give_mark(item, at);
                    found = true;
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            found |= mark_unnamed_in(left);
            found |= mark_unnamed_in(right);
        }
        SetExpr::Query(query) => found = mark_unnamed_in(&mut query.body),
        _ => {}
    }
    found
}

fn give_mark(item: &mut SelectItem, at: usize) {
    let taken = match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            alias.value.push_str(&format!("{MARK}{at}"));
            alias.quote_style = Some('"');
            return;
        }
        SelectItem::UnnamedExpr(expr) => std::mem::replace(expr, Expr::Identifier(Ident::new(""))),
        _ => return,
    };
    *item = SelectItem::ExprWithAlias {
        expr: taken,
        alias: Ident::with_quote('"', format!("{MARK}{at}")),
    };
}

fn called(expr: &Expr) -> Called {
    match expr {
        Expr::Identifier(ident) => Called {
            name: ident.value.to_lowercase(),
            qualified: None,
        },
        Expr::CompoundIdentifier(idents) => {
            let parts: Vec<String> = idents.iter().map(|i| i.value.to_lowercase()).collect();
            Called {
                name: parts.last().cloned().unwrap_or_default(),
                qualified: Some(parts.join(".")),
            }
        }
        // Of a subquery: its one column.
        Expr::Subquery(query) => Called {
            qualified: None,
            ..of_first(&query.body).unwrap_or_else(|| plainly(expr))
        },
        // A cast does not stand in a name.
        Expr::Nested(inner) => called(inner),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            ..
        } => Called {
            qualified: None,
            ..called(expr)
        },
        other => plainly(other),
    }
}

fn plainly(expr: &Expr) -> Called {
    Called {
        name: without_casts(expr).to_string().to_lowercase(),
        qualified: None,
    }
}

/// The first column of a query.
fn of_first(body: &SetExpr) -> Option<Called> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::ExprWithAlias { alias, .. } => Some(Called {
                name: alias.value.to_lowercase(),
                qualified: None,
            }),
            SelectItem::UnnamedExpr(expr) => Some(called(expr)),
            _ => None,
        },
        SetExpr::Query(query) => of_first(&query.body),
        SetExpr::SetOperation { left, .. } => of_first(left),
        _ => None,
    }
}

fn without_casts(expr: &Expr) -> Expr {
    struct Uncast;
    impl VisitorMut for Uncast {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
                let inner = std::mem::replace(&mut **inner, Expr::Identifier(Ident::new("")));
                *expr = inner;
            }
            ControlFlow::Continue(())
        }
    }
    let mut bare = expr.clone();
    let _ = visit_mut(&mut bare, &mut Uncast);
    bare
}
