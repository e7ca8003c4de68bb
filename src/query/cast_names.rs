//! Expressions that differ in a cast alone, `sum(v::INT), sum(v::BIGINT)`.
//!
//! The planner names a column by its expression without the casts in it, and every `x IN (SELECT ..)` only `IN`. So it takes two different columns of an
//! aggregate for one name, and refuses them. And it takes the name of another result for that of a grouped cast:
//! `SELECT ts::date AS day, max(ts) AS ts .. GROUP BY 1 ORDER BY ts` was ordered by the day. Such a statement is planned again with each
//! cast, and each such condition, in the argument of a function that has a name of its own and gives its argument back.

use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TryCast};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, VisitorMut,
};

use super::functions::NAMED;
use crate::fault::Fault;
use crate::sql::{parse_own_expr, visit_mut};

/// Does the planner say that two columns have one name?
pub(super) fn is_one_name(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => matches!(
            **schema,
            SchemaError::DuplicateQualifiedField { .. }
                | SchemaError::DuplicateUnqualifiedField { .. }
        ),
        DataFusionError::Plan(message) => message.contains("require unique expression names"),
        _ => false,
    }
}

/// Will the planner's rules say so later? Of an expression without its casts, and of the column that it is a cast of.
pub(super) fn has_one_name(plan: &LogicalPlan) -> bool {
    let walked = plan.apply_with_subqueries(|node| {
        let shared = match node {
            LogicalPlan::Aggregate(aggregate) => {
                let mut seen = HashSet::new();
                !aggregate
                    .schema
                    .field_names()
                    .into_iter()
                    .all(|name| seen.insert(name))
            }
            _ => false,
        };
        Ok(match shared {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    matches!(walked, Ok(TreeNodeRecursion::Stop))
}

/// Names all casts and sets of a statement. Says whether there are any.
///
/// # Errors
/// INTERNAL: the function is not read.
pub(super) fn tell_apart(statement: &mut Statement) -> Result<bool, Fault> {
    let mut named = Named {
        // The argument is replaced; the second is a name, in quotes.
        of_cast: parse_own_expr(&format!("\"{NAMED}\"(x)"))?,
        count: 0,
        failed: None,
    };
    let _ = visit_mut(statement, &mut named);
    match named.failed {
        Some(fault) => Err(fault),
        None => Ok(named.count > 0),
    }
}

/// Is a result called as the column that another one, a grouped cast, is a cast of, and may the order mean either?
pub(super) fn is_called_as_a_cast(plan: &LogicalPlan) -> bool {
    let mut ordered = false;
    let mut casts = HashSet::new();
    let mut called = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Sort(_) => ordered = true,
            LogicalPlan::Projection(projection) => {
                called.extend(projection.expr.iter().filter_map(alias));
            }
            LogicalPlan::Aggregate(aggregate) => {
                casts.extend(aggregate.group_expr.iter().filter_map(cast_column));
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok()
        && ordered
        && called.iter().any(|(name, of)| {
            let mut casts = casts.iter().filter(|cast| cast.name == *name);
            // Its own cast may be called so.
            casts.any(|cast| Some(cast.flat_name()) != *of)
        })
}

/// The name that an alias gives, and the column that it gives it to.
fn alias(expr: &Expr) -> Option<(String, Option<String>)> {
    let Expr::Alias(alias) = expr else {
        return None;
    };
    let of = match &*alias.expr {
        Expr::Column(column) => Some(column.flat_name()),
        _ => None,
    };
    Some((alias.name.clone(), of))
}

fn cast_column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => match &**expr {
            Expr::Column(column) => Some(column.clone()),
            inner => cast_column(inner),
        },
        _ => None,
    }
}

struct Named {
    of_cast: SqlExpr,
    count: usize,
    failed: Option<Fault>,
}

impl VisitorMut for Named {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        let call = match &*expr {
            SqlExpr::Cast { .. } | SqlExpr::TypedString(_) => Ok(self.of_cast.clone()),
            SqlExpr::InSubquery { .. } | SqlExpr::Exists { .. } => {
                parse_own_expr(&format!("\"{NAMED}\"(x, '{}')", short_name(expr)))
            }
            _ => return ControlFlow::Continue(()),
        };
        match call {
            Ok(mut call) => {
                if let Some(argument) = argument(&mut call) {
                    std::mem::swap(argument, expr);
                    std::mem::swap(expr, &mut call);
                    self.count += 1;
                }
                ControlFlow::Continue(())
            }
            Err(fault) => {
                self.failed = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

/// The same for what is written in the same way, and as short for a set with many sets in it: each of these has such a name already, and
/// names that repeat the text would double it with each level.
fn short_name(expr: &SqlExpr) -> String {
    struct Hashed([DefaultHasher; 2]);
    impl Write for Hashed {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            for hasher in &mut self.0 {
                hasher.write(part.as_bytes());
            }
            Ok(())
        }
    }
    let [one, mut other] = [DefaultHasher::new(), DefaultHasher::new()];
    other.write_u8(1);
    let mut hashed = Hashed([one, other]);
    // A hasher takes everything.
    let _ = write!(hashed, "{expr}");
    let [one, other] = hashed.0.map(|hasher| hasher.finish());
    format!("set_{one:016x}{other:016x}")
}

fn argument(call: &mut SqlExpr) -> Option<&mut SqlExpr> {
    let SqlExpr::Function(call) = call else {
        return None;
    };
    let FunctionArguments::List(list) = &mut call.args else {
        return None;
    };
    match list.args.first_mut() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use crate::sql::parse_own;

    #[test]
    fn names_of_sets_within_sets_are_short() {
        let mut set = String::from("(SELECT 1)");
        for _ in 0..30 {
            set = format!("(SELECT 'a' IN ('b') WHERE v IN {set} AND 'c' = 'c')");
        }
        let sql = format!("SELECT v IN {set}, EXISTS {set} FROM t");
        let mut statement = parse_own(&sql).unwrap();
        assert!(super::tell_apart(&mut statement).unwrap());
        let named = statement.to_string();
        assert!(
            named.len() < 6 * sql.len(),
            "{} of {}",
            named.len(),
            sql.len()
        );
    }

    #[test]
    fn a_set_has_one_name_wherever_it_is_written() {
        let mut statement =
            parse_own("SELECT v IN (SELECT 1), V in (SELECT 2) FROM t GROUP BY v IN (SELECT 1)")
                .unwrap();
        super::tell_apart(&mut statement).unwrap();
        let named = statement.to_string();
        let names: Vec<&str> = named.split("'set_").skip(1).map(|s| &s[..32]).collect();
        assert_eq!(names.len(), 3, "{named}");
        assert_eq!(names[0], names[2]);
        assert_ne!(names[0], names[1]);
    }
}
