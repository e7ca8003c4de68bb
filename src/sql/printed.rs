//! The text of a part of a statement, which can be read again. The parser's own text of a node leaves quotes alone that look as if
//! they were doubled already: of `'a''''b'`, which has two, it makes `'a''b'`, which has one.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, TableAlias, TableFactor,
    Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::visit_mut;

/// The node as text: reading it gives the same node.
pub fn printed<T: Clone + Display + VisitMut>(node: &T) -> String {
    let mut node = node.clone();
    let _ = visit_mut(&mut node, &mut Doubled);
    node.to_string()
}

/// Doubles quotes. Then all of them look doubled, and are left alone.
struct Doubled;

fn double(ident: &mut Ident) {
    if let Some(quote) = ident.quote_style
        && ident.value.contains(quote)
    {
        ident.value = ident.value.replace(quote, &format!("{quote}{quote}"));
    }
}

fn double_alias(alias: &mut TableAlias) {
    double(&mut alias.name);
    for column in &mut alias.columns {
        double(&mut column.name);
    }
}

impl VisitorMut for Doubled {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            double_alias(&mut cte.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                double(alias);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => alias.iter_mut().for_each(double_alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        for part in &mut name.0 {
            if let ObjectNamePart::Identifier(ident) = part {
                double(ident);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => double(ident),
            Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(double),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &mut value.value
            && text.contains('\'')
        {
            *text = text.replace('\'', "''");
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::parse_own_expr;

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for sql in [
            "'a''''b'",
            "'it''s'",
            "''''",
            "''''''",
            r"'a\''b'",
            r#""a""""b" || "c""d" || t."e""f""#,
            r#""a\""b""#,
            r#"x IN (SELECT "p""q" FROM "s""1"."t""""2")"#,
            r#"x IN (SELECT a AS "b""""c", d AS 'e''''f' FROM t AS "g""""h" ("i""""j"))"#,
            r#"x IN (WITH "w""""x" AS (SELECT 1) SELECT 2 FROM (SELECT 3) AS "y""""z", unnest(v) AS "u""""v")"#,
        ] {
            let read = parse_own_expr(sql).unwrap();
            let text = printed(&read);
            assert_eq!(parse_own_expr(&text).unwrap(), read, "{sql} as {text}");
        }
    }
}
