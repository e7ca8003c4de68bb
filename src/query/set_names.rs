//! A column of a result that asks a set, such as `x IN (SELECT ..)`, is called as it was written: the planner calls each of them `IN`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, Statement, Visitor, VisitorMut,
};

use crate::sql::{visit, visit_mut};

pub(super) fn keep(statement: &mut Statement) {
    let _ = visit_mut(statement, &mut Named);
}

struct Named;

impl VisitorMut for Named {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = &*item
                && asks_a_set(expr)
            {
                let written = expr.to_string().replace('"', "");
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::with_quote('"', written),
                };
            }
        }
        ControlFlow::Continue(())
    }
}

fn asks_a_set(expr: &Expr) -> bool {
    struct Sets;
    impl Visitor for Sets {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let asks = match expr {
                Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                    matches!(**right, Expr::Subquery(_))
                }
                Expr::InSubquery { .. } | Expr::Exists { .. } => true,
                _ => false,
            };
            match asks {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    visit(expr, &mut Sets).is_break()
}
