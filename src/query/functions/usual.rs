//! Functions under the names that other engines have for them, written out in those of this one.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

use super::clauses::percentile_disc;
use super::json::keys_of;
use super::to_char::in_percents;
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
        "count_if" | "countif" => "count_if(condition)",
        "mod" => "mod(number, by)",
        "sign" => "sign(number)",
        "if" => "if(condition, value, otherwise)",
        "nvl2" => "nvl2(asked, value, otherwise)",
        "gen_random_uuid" => "gen_random_uuid()",
        "len" => "len(text)",
        "isinf" => "isinf(number)",
        "strftime" => "strftime(time, '%Y-%m-%d')",
        "to_char" => "to_char(time, '%Y-%m-%d')",
        "dayname" => "dayname(time)",
        "monthname" => "monthname(time)",
        "last_day" => "last_day(time), the last day of its month",
        "epoch" => "epoch(time), seconds since 1970",
        "date_diff" | "datediff" => {
            "date_diff('day', from, to): how often a day begins between them; or 'second', 'minute', 'hour', 'week', 'month', 'quarter', 'year'"
        }
        _ if part_of_time(name).is_some() => "year(time), and likewise month, day, hour, ..",
        _ => return Ok(None),
    };
    let is_count = matches!(name, "count_if" | "countif");
    let wrong = || Fault::invalid("invalid_query", format!("it is {usage}"));
    let FunctionArguments::List(list) = &call.args else {
        return Err(wrong());
    };
    let arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let arguments: Vec<&Expr> = arguments.collect::<Option<_>>().ok_or_else(wrong)?;
    if call.over.is_some() && !is_count {
        return Err(Fault::invalid(
            "invalid_query",
            format!("{name} is no window function; it is {usage}"),
        ));
    }
    let over = call
        .over
        .as_ref()
        .map_or_else(String::new, |window| format!(" OVER {window}"));
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
        ("count_if" | "countif", [condition]) => {
            format!("count(*) FILTER (WHERE ({condition}){also}){over}")
        }
        ("mod", [number, by]) => format!("(({number}) % ({by}))"),
        ("sign", [number]) => format!("signum({number})"),
        ("if", [condition, value, otherwise]) => {
            format!("CASE WHEN {condition} THEN {value} ELSE {otherwise} END")
        }
        // DataFusion brings what is asked to the type of the values.
        ("nvl2", [asked, value, otherwise]) => {
            format!("CASE WHEN ({asked}) IS NOT NULL THEN {value} ELSE {otherwise} END")
        }
        ("len", [text]) => format!("length({text})"),
        ("isinf", [number]) => format!("(abs({number}) = CAST('inf' AS DOUBLE))"),
        ("to_char", [time, pattern]) => match in_percents(pattern)? {
            Some(pattern) => format!("to_char({time}, '{}')", pattern.replace('\'', "''")),
            None => return Ok(None),
        },
        ("strftime", [time, form]) => format!("to_char({time}, {form})"),
        ("dayname", [time]) => format!("to_char({time}, '%A')"),
        ("monthname", [time]) => format!("to_char({time}, '%B')"),
        ("last_day", [time]) => format!(
            "CAST(date_trunc('month', {time}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)"
        ),
        ("gen_random_uuid", []) => "uuid()".to_owned(),
        ("epoch", [time]) => format!("date_part('epoch', {time})"),
        ("date_diff" | "datediff", [Expr::Value(part), from, to]) => {
            let Value::SingleQuotedString(part) = &part.value else {
                return Err(wrong());
            };
            between(&part.to_ascii_lowercase(), from, to).ok_or_else(wrong)?
        }
        (name, [time]) if part_of_time(name).is_some() => {
            let part = part_of_time(name).unwrap_or_default();
            format!("date_part('{part}', {time})")
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

/// What `date_part` calls what the function of this name takes of a time.
fn part_of_time(name: &str) -> Option<&'static str> {
    Some(match name {
        "year" => "year",
        "quarter" => "quarter",
        "month" => "month",
        "week" | "weekofyear" => "week",
        "day" | "dayofmonth" => "day",
        "dayofweek" => "dow",
        "dayofyear" => "doy",
        "hour" => "hour",
        "minute" => "minute",
        "second" => "second",
        _ => return None,
    })
}

/// How often a part of time begins between two times, as in DuckDB: not how often it fits in.
fn between(part: &str, from: &Expr, to: &Expr) -> Option<String> {
    let months =
        |time: &Expr| format!("(date_part('year', {time}) * 12 + date_part('month', {time}) - 1)");
    // Whole numbers are cut, and none of these is below zero.
    let counted = |in_each: u32| {
        let of = |time: &Expr| format!("CAST({} AS BIGINT) / {in_each}", months(time));
        format!("({} - {})", of(to), of(from))
    };
    let seconds = match part {
        "month" => return Some(counted(1)),
        "quarter" => return Some(counted(3)),
        "year" => return Some(counted(12)),
        "week" => 604_800,
        "day" => 86_400,
        "hour" => 3600,
        "minute" => 60,
        "second" => 1,
        _ => return None,
    };
    let begins = |time: &Expr| format!("date_part('epoch', date_trunc('{part}', {time}))");
    // A day on which clocks change is an hour shorter or longer.
    Some(format!(
        "CAST(round(({} - {}) / {seconds}) AS BIGINT)",
        begins(to),
        begins(from)
    ))
}
