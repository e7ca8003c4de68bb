//! `lag(v, 1, v)`: a default that is more than a constant, which DataFusion does not take. Where there is no row so far before, there is none
//! for a constant either.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    NullTreatment,
};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, printed};

/// The call without its default, and what it gives where that is due; none: it has no such default.
///
/// # Errors
/// INTERNAL: what is written here is no expression.
pub(super) fn written_out(call: &Function, name: &str) -> Result<Option<Expr>, Fault> {
    let (Some(over), FunctionArguments::List(list)) = (&call.over, &call.args) else {
        return Ok(None);
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(rows)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(default)),
    ] = list.args.as_slice()
    else {
        return Ok(None);
    };
    if is_constant(default) {
        return Ok(None);
    }
    let leaves_nulls = list.clauses.iter().any(|clause| {
        matches!(
            clause,
            FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls)
        )
    }) || call.null_treatment == Some(NullTreatment::IgnoreNulls);
    let (value, rows, default) = (printed(value), printed(rows), printed(default));
    let over = printed(over);
    let text = match leaves_nulls {
        // Every row that it finds has a value.
        true => {
            format!("coalesce({name}({value}, {rows}) IGNORE NULLS OVER {over}, {default})")
        }
        false => format!(
            "CASE WHEN {name}(1, {rows}) OVER {over} IS NULL THEN {default} ELSE {name}({value}, {rows}) OVER {over} END"
        ),
    };
    parse_own_expr(&text).map(Some)
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. } => is_constant(inner),
        _ => false,
    }
}
