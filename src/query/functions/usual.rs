//! Functions under the names that other engines have for them, written out in those of this one.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

use super::clauses::percentile_disc;
use super::json::keys_of;
use crate::fault::Fault;
use crate::sql::parse_own_expr;

/// None: it is no such name.
///
/// # Errors
/// INVALID_ARGUMENT, with how the function is called.
pub(super) fn usual(call: &Function, name: &str) -> Result<Option<Expr>, Fault> {
    let usage = match name {
        "approx_percentile" => "approx_percentile(value, 0.95)",
        "approx_count_distinct" => "approx_count_distinct(value)",
        "max_by" | "arg_max" => "max_by(value, by): the value of the row with the greatest by",
        "min_by" | "arg_min" => "min_by(value, by): the value of the row with the least by",
        "percentile_disc" => "percentile_disc(0.95) WITHIN GROUP (ORDER BY value)",
        "json_extract" | "json_extract_string" | "json_extract_scalar" | "get_json_object" => {
            "json_extract(json, '$.key[0]'), and json_extract_string for the text of it"
        }
        _ => return Ok(None),
    };
    let wrong = || Fault::invalid("invalid_query", format!("it is {usage}"));
    let FunctionArguments::List(list) = &call.args else {
        return Err(wrong());
    };
    let arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let arguments: Vec<&Expr> = arguments.collect::<Option<_>>().ok_or_else(wrong)?;
    if call.over.is_some() {
        return Err(Fault::invalid(
            "invalid_query",
            format!("{name} is no window function; it is {usage}"),
        ));
    }
    let also = call
        .filter
        .as_ref()
        .map_or_else(String::new, |f| format!(" AND ({f})"));
    let filter = call
        .filter
        .as_ref()
        .map_or_else(String::new, |f| format!(" FILTER (WHERE {f})"));
    let text = match (name, arguments.as_slice()) {
        ("approx_percentile", [value, part]) => {
            format!("approx_percentile_cont({part}) WITHIN GROUP (ORDER BY {value}){filter}")
        }
        ("approx_count_distinct", [value]) => format!("approx_distinct({value}){filter}"),
        // Of rows that are alike in `by` the least value is taken, so that the answer does not depend on the order of files.
        ("max_by" | "min_by" | "arg_max" | "arg_min", [value, by]) => {
            // An order that names one thing twice is none.
            if value == by {
                let extreme = if name.ends_with("max") || name.starts_with("max") {
                    "max"
                } else {
                    "min"
                };
                return parse_own_expr(&format!("{extreme}({value}){filter}")).map(Some);
            }
            let order = if name.ends_with("max") || name.starts_with("max") {
                "DESC"
            } else {
                "ASC"
            };
            // DuckDB's names leave out rows without a value, too.
            let known = if name.starts_with("arg") {
                format!(" AND {value} IS NOT NULL")
            } else {
                String::new()
            };
            format!(
                "first_value({value} ORDER BY {by} {order} NULLS LAST, {value} ASC NULLS LAST) FILTER (WHERE {by} IS NOT NULL{known}{also})"
            )
        }
        ("percentile_disc", [part]) => {
            return percentile_disc(part, &call.within_group, call.filter.as_deref()).map(Some);
        }
        (_, [json, Expr::Value(path)]) if name.contains("json") => {
            let Value::SingleQuotedString(path) = &path.value else {
                return Err(wrong());
            };
            let function = if name == "json_extract" {
                "json_get_json"
            } else {
                "json_as_text"
            };
            format!("{function}({json}, {})", keys_of(path)?.join(", "))
        }
        _ => return Err(wrong()),
    };
    parse_own_expr(&text).map(Some)
}
