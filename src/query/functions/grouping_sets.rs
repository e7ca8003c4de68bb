//! `ROLLUP (k, t.K)`: a column that comes twice in a grouping set is one column. Names are the tables' own here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, Statement, VisitorMut};

use crate::sql::visit_mut;

/// A column groups by its values, however often it is named.
pub fn each_column_once(statement: &mut Statement) {
    let _ = visit_mut(statement, &mut OnceEach);
}

struct OnceEach;

impl VisitorMut for OnceEach {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        once_each(select);
        ControlFlow::Continue(())
    }
}

/// A CUBE of more has over 250 grouping sets.
const CUBE_MAX: usize = 8;

/// Of more columns DataFusion refuses grouping sets.
const COLUMNS_MAX: usize = 64;

/// `t.k` and `k`. Were there a `k` of another table as well, the name alone would be ambiguous.
fn is_same(one: &Expr, other: &Expr) -> bool {
    match (one, other) {
        (Expr::Identifier(column), Expr::CompoundIdentifier(whole))
        | (Expr::CompoundIdentifier(whole), Expr::Identifier(column)) => {
            whole.last().is_some_and(|last| last.value == column.value)
        }
        (Expr::Identifier(one), Expr::Identifier(other)) => one.value == other.value,
        _ => one == other,
    }
}

fn distinct(exprs: &mut dyn Iterator<Item = &Expr>) -> Vec<Expr> {
    let mut once: Vec<Expr> = Vec::new();
    for expr in exprs {
        if !once.iter().any(|known| is_same(known, expr)) {
            once.push(expr.clone());
        }
    }
    once
}

fn comes_again(parts: &[Vec<Expr>]) -> bool {
    let all = parts.iter().flatten();
    let count = all.clone().count();
    count <= COLUMNS_MAX && distinct(&mut all.clone()).len() < count
}

fn once_each(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else {
        return;
    };
    for key in keys {
        match key {
            Expr::GroupingSets(sets) => {
                for set in sets.iter_mut().filter(|set| set.len() <= COLUMNS_MAX) {
                    *set = distinct(&mut set.iter());
                }
            }
            Expr::Rollup(parts) if comes_again(parts) => {
                let sets = (0..=parts.len()).rev();
                let sets = sets.map(|n| distinct(&mut parts.iter().take(n).flatten()));
                *key = Expr::GroupingSets(sets.collect());
            }
            Expr::Cube(parts) if comes_again(parts) && parts.len() <= CUBE_MAX => {
                let sets = (0..1_usize << parts.len()).rev().map(|chosen| {
                    let parts = parts.iter().enumerate();
                    let parts = parts.filter(|(at, _)| chosen >> at & 1 == 1);
                    distinct(&mut parts.flat_map(|(_, part)| part))
                });
                *key = Expr::GroupingSets(sets.collect());
            }
            _ => {}
        }
    }
}
