//! Walks over parsed statements.
//!
//! The parser's walks are generic over the visitor, and each visitor makes the compiler write the whole grammar out once
//! more. Here they have one type for reading and one for writing, which call the visitor that is wanted through a table of
//! functions: the code of one walk stands in the program, not that of forty.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};

struct Reading<'a>(&'a mut dyn Visitor<Break = ()>);

struct Writing<'a>(&'a mut dyn VisitorMut<Break = ()>);

macro_rules! forwarded {
    ($($name:ident: $node:ty),* $(,)?) => {
        impl Visitor for Reading<'_> {
            type Break = ();
            $(fn $name(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$name(node)
            })*
        }

        impl VisitorMut for Writing<'_> {
            type Break = ();
            $(fn $name(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.0.$name(node)
            })*
        }
    };
}

forwarded! {
    pre_visit_query: Query,
    post_visit_query: Query,
    pre_visit_select: Select,
    post_visit_select: Select,
    pre_visit_relation: ObjectName,
    post_visit_relation: ObjectName,
    pre_visit_table_factor: TableFactor,
    post_visit_table_factor: TableFactor,
    pre_visit_expr: Expr,
    post_visit_expr: Expr,
    pre_visit_statement: Statement,
    post_visit_statement: Statement,
    pre_visit_value: ValueWithSpan,
    post_visit_value: ValueWithSpan,
}

/// Each node of `node`, until the visitor breaks off.
#[expect(clippy::disallowed_methods, reason = "the one walk that reads")]
pub(crate) fn visit(node: &impl Visit, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()> {
    node.visit(&mut Reading(visitor))
}

/// As [`visit`]; the visitor may change what it is given.
#[expect(clippy::disallowed_methods, reason = "the one walk that writes")]
pub(crate) fn visit_mut(
    node: &mut impl VisitMut,
    visitor: &mut dyn VisitorMut<Break = ()>,
) -> ControlFlow<()> {
    node.visit(&mut Writing(visitor))
}

struct Each<F>(F);

impl<F: FnMut(&Expr)> Visitor for Each<F> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        (self.0)(expr);
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&mut Expr)> VisitorMut for Each<F> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        (self.0)(expr);
        ControlFlow::Continue(())
    }
}

/// Each expression, before those within it.
pub(crate) fn each_expr(node: &impl Visit, seen: impl FnMut(&Expr)) {
    let _ = visit(node, &mut Each(seen));
}

/// Each expression, after those within it.
pub(crate) fn each_expr_mut(node: &mut impl VisitMut, changed: impl FnMut(&mut Expr)) {
    let _ = visit_mut(node, &mut Each(changed));
}
