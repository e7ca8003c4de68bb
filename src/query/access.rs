//! `a.b[1].c['k']` in the form that DataFusion plans: names that stand in front as one name, fields behind a bracket in brackets.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Subscript, Value};

/// A name that a dot stands before.
fn dotted(access: &AccessExpr) -> Option<&Ident> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
        _ => None,
    }
}

/// Changes an access of fields and elements. Other expressions stay as they are.
pub(super) fn with_names_first(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    if let Expr::Identifier(first) = &**root {
        let behind = access_chain.iter().map_while(dotted).cloned();
        let names: Vec<Ident> = std::iter::once(first.clone()).chain(behind).collect();
        if names.len() > 1 {
            access_chain.drain(..names.len() - 1);
            **root = Expr::CompoundIdentifier(names);
        }
    }
    for access in access_chain.iter_mut() {
        if let Some(name) = dotted(access) {
            let index = Expr::value(Value::SingleQuotedString(name.value.clone()));
            *access = AccessExpr::Subscript(Subscript::Index { index });
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::parse_own_expr;

    #[test]
    fn names_come_first_and_fields_stand_in_brackets() {
        for (text, expected) in [
            ("a[1]", "a[1]"),
            ("t.a[1].b", "t.a[1]['b']"),
            ("s.t.a.b[1].c['k'].d", "s.t.a.b[1]['c']['k']['d']"),
            ("f(x)[1].y", "f(x)[1]['y']"),
            ("a.b", "a.b"),
        ] {
            let mut expr = parse_own_expr(text).unwrap();
            with_names_first(&mut expr);
            assert_eq!(expr.to_string(), expected, "{text}");
            if let Expr::CompoundFieldAccess { access_chain, .. } = &expr {
                assert!(access_chain.iter().all(|a| dotted(a).is_none()), "{text}");
            }
        }
    }
}
