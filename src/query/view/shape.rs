//! What a view's query may be: the tables that it reads and the one bucket by which it groups. Everything else is refused, with
//! its place and a way out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Interval,
    JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, Value,
    Visitor,
};

use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::{Bucket, ColumnType, parse_span};
use crate::fault::{Fault, Kind};
use crate::query::nearest::nearest_table;
use crate::query::table_lookup::{find, find_view};
use crate::query::times::Zone;
use crate::sql::visit;
use crate::types::{SameName, TableName};

fn refused(reason: &'static str, at: &impl Spanned, message: impl std::fmt::Display) -> Fault {
    let start = at.span().start;
    let place = if start.line > 0 {
        format!(" at Line: {}, Column: {}", start.line, start.column)
    } else {
        String::new()
    };
    Fault::invalid(reason, format!("{message}{place}"))
}

const HOW: &str = "group by one of tumble(ts, '1 minute'), hop(ts, '5 seconds', '10 seconds'), time_bucket('1 day', ts)";

/// What no bucket could answer alone.
pub(super) fn check_query(query: &Query) -> Result<(), Fault> {
    struct Finder {
        queries: usize,
        fault: Option<Fault>,
    }
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.queries += 1;
            if self.queries == 2 {
                self.fault = Some(refused(
                    "invalid_view",
                    query,
                    "a view has no subquery and no WITH; make a view of the inner query and read that",
                ));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(Function { over: Some(_), .. }) = expr {
                self.fault.get_or_insert_with(|| {
                    refused(
                        "invalid_view",
                        expr,
                        "a view has no window function: its rows come bucket by bucket; use it in a query on the view",
                    )
                });
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder {
        queries: 0,
        fault: None,
    };
    let _ = visit(query, &mut finder);
    if let Some(fault) = finder.fault {
        return Err(fault);
    }
    if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return Err(Fault::invalid(
            "invalid_view",
            "a view has no ORDER BY and no LIMIT; say them in the query on the view",
        ));
    }
    if let SetExpr::Select(select) = &*query.body
        && (select.distinct.is_some() || select.qualify.is_some() || select.top.is_some())
    {
        return Err(refused(
            "invalid_view",
            &**select,
            "a view has no DISTINCT, TOP and QUALIFY; GROUP BY makes its rows distinct",
        ));
    }
    Ok(())
}

fn table_of<'a>(factor: &TableFactor, snapshot: &'a Snapshot) -> Result<&'a TableView, Fault> {
    let TableFactor::Table {
        name, args: None, ..
    } = factor
    else {
        return Err(refused(
            "invalid_view",
            factor,
            "a view reads tables and views by their name",
        ));
    };
    find(snapshot, name).ok_or_else(|| {
        if let Some(view) = find_view(snapshot, name) {
            let problem = format!(
                "a materialized view reads tables and materialized views, view={}; write its query out",
                view.name
            );
            return refused("invalid_view", name, problem);
        }
        let known = snapshot.tables.values().map(|v| v.name.to_string());
        let asked = name.to_string().replace('"', "");
        let near = nearest_table(&asked, known);
        let fault = refused(
            "table_not_found",
            name,
            format!("no such table, table={asked}{near}"),
        );
        Fault {
            kind: Kind::NotFound,
            ..fault
        }
    })
}

pub(super) fn relations<'a>(
    select: &Select,
    snapshot: &'a Snapshot,
) -> Result<(&'a TableView, Vec<TableName>), Fault> {
    let [from] = select.from.as_slice() else {
        return Err(refused(
            "invalid_view",
            select,
            "a view reads one table FROM which its buckets come; join others to it with LEFT JOIN",
        ));
    };
    let source = table_of(&from.relation, snapshot)?;
    let mut dimensions = Vec::new();
    for join in &from.joins {
        let (JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)) = &join.join_operator
        else {
            return Err(refused(
                "invalid_view",
                &join.relation,
                "a view joins by LEFT JOIN or JOIN: others make rows that no bucket holds",
            ));
        };
        if matches!(on, JoinConstraint::Natural | JoinConstraint::None) {
            return Err(refused(
                "invalid_view",
                &join.relation,
                "a join of a view says ON or USING",
            ));
        }
        let dimension = table_of(&join.relation, snapshot)?;
        if dimension.name.folded() == source.name.folded()
            || dimension
                .contract
                .as_ref()
                .is_some_and(|c| c.view.is_some())
        {
            return Err(refused(
                "invalid_view",
                &join.relation,
                "a view joins tables that describe its source, neither the source itself nor a view",
            ));
        }
        dimensions.push(dimension.name.clone());
    }
    Ok((source, dimensions))
}

fn called<'a>(expr: &'a Expr, names: &[&str]) -> Option<&'a Function> {
    match expr {
        Expr::Function(f) if names.contains(&f.name.to_string().to_ascii_lowercase().as_str()) => {
            Some(f)
        }
        _ => None,
    }
}

const BUCKETS: [&str; 6] = [
    "tumble",
    "hop",
    "time_bucket",
    "date_bin",
    "date_trunc",
    "day",
];

fn is_bucket(expr: &Expr) -> bool {
    called(expr, &BUCKETS).is_some()
}

/// The one bucket of the GROUP BY, whose ordinals and aliases have become what they stand for.
pub(super) fn bucket_call(select: &mut Select) -> Result<Expr, Fault> {
    let items: Vec<(Option<String>, Expr)> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::UnnamedExpr(e) => Some((None, e.clone())),
            SelectItem::ExprWithAlias { expr, alias } => {
                Some((Some(alias.value.clone()), expr.clone()))
            }
            _ => None,
        })
        .collect();
    if items.len() != select.projection.len() {
        return Err(refused(
            "invalid_view",
            &*select,
            "a view names its columns: no * in its SELECT",
        ));
    }
    let at = refused(
        "no_bucket",
        &*select,
        format!("the view has no time bucket; {HOW}"),
    );
    let GroupByExpr::Expressions(keys, modifiers) = &mut select.group_by else {
        return Err(at);
    };
    if !modifiers.is_empty() {
        return Err(at);
    }
    for key in keys.iter_mut() {
        let stands_for = match &*key {
            Expr::Value(v) => match &v.value {
                Value::Number(n, _) => n
                    .to_string()
                    .parse::<usize>()
                    .ok()
                    .and_then(|n| items.get(n.checked_sub(1)?))
                    .map(|(_, e)| e.clone()),
                _ => None,
            },
            Expr::Identifier(ident) => items
                .iter()
                .find(|(alias, e)| {
                    is_bucket(e) && alias.as_ref().is_some_and(|a| a.is_same_name(&ident.value))
                })
                .map(|(_, e)| e.clone()),
            _ => None,
        };
        if let Some(expr) = stands_for {
            *key = expr;
        }
    }
    let mut buckets = keys.iter().filter(|k| is_bucket(k));
    match (buckets.next(), buckets.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(second)) => Err(refused(
            "two_buckets",
            second,
            "a view has one time bucket; make a second view, or a view of this one",
        )),
        (None, _) => Err(at),
    }
}

fn arguments(call: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &call.args else {
        return Vec::new();
    };
    let exprs = list.args.iter().filter_map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    });
    exprs.collect()
}

/// A constant span of time; none if the expression is no constant.
fn span_in(expr: &Expr) -> Option<Result<i64, String>> {
    match expr {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(parse_span(text)),
            _ => None,
        },
        Expr::Interval(Interval {
            value,
            leading_field,
            ..
        }) => {
            let Expr::Value(v) = &**value else {
                return None;
            };
            let text = match &v.value {
                Value::SingleQuotedString(text) => text.clone(),
                Value::Number(n, _) => n.to_string(),
                _ => return None,
            };
            let unit = leading_field
                .as_ref()
                .map_or_else(String::new, |f| f.to_string());
            Some(parse_span(&format!("{text} {unit}")))
        }
        _ => None,
    }
}

fn is_zone(expr: &Expr) -> bool {
    match expr {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Zone::named(text).is_ok(),
            _ => false,
        },
        _ => false,
    }
}

/// The bucketed expression and the windows.
pub(super) fn bucket_of(expr: &Expr) -> Result<(Expr, Bucket), Fault> {
    let wrong = |problem: &str| refused("invalid_bucket", expr, format!("{problem}; {HOW}"));
    let Some(call) = called(expr, &BUCKETS) else {
        return Err(wrong("not a bucket"));
    };
    let name = call.name.to_string().to_ascii_lowercase();
    let arguments = arguments(call);
    if name == "day" || name == "date_trunc" {
        let (unit, time) = match (name.as_str(), arguments.as_slice()) {
            ("day", [time]) => ("1 day".to_owned(), *time),
            ("date_trunc", [Expr::Value(unit), time]) => match &unit.value {
                Value::SingleQuotedString(unit)
                    if ["second", "minute", "hour", "day"]
                        .contains(&unit.to_ascii_lowercase().as_str()) =>
                {
                    (format!("1 {unit}"), *time)
                }
                _ => {
                    return Err(wrong(
                        "date_trunc makes buckets by second, minute, hour and day",
                    ));
                }
            },
            _ => return Err(wrong("not a bucket")),
        };
        let size = parse_span(&unit).map_err(|p| wrong(&p))?;
        return Ok((time.clone(), Bucket { step: size, size }));
    }
    let mut spans = Vec::new();
    let mut times = Vec::new();
    for argument in arguments {
        match span_in(argument) {
            Some(Err(_)) if is_zone(argument) => {
                return Err(wrong("a view has the buckets of UTC; leave the zone out"));
            }
            Some(span) => {
                spans.push(span.map_err(|problem| refused("invalid_bucket", argument, problem))?)
            }
            None => times.push(argument.clone()),
        }
    }
    if spans.contains(&0) {
        return Err(refused(
            "bucket_of_zero",
            expr,
            "a bucket of zero length holds no row; give it one, such as '1 minute'",
        ));
    }
    let [time] = times.as_slice() else {
        return Err(wrong("a bucket takes one time column and constant spans"));
    };
    let bucket = match (name.as_str(), spans.as_slice()) {
        ("hop", [step, size]) => Bucket {
            step: *step,
            size: *size,
        },
        ("tumble" | "time_bucket" | "date_bin", [size]) => Bucket {
            step: *size,
            size: *size,
        },
        _ => return Err(wrong("a wrong number of spans")),
    };
    if bucket.size % bucket.step != 0 || bucket.size / bucket.step > 1_000 {
        return Err(wrong(
            "the size of a hop is a multiple of its step (step first, then size), at most 1000 times as long",
        ));
    }
    Ok((time.clone(), bucket))
}

pub(super) fn time_of(
    time: &Expr,
    call: &Expr,
    source: &TableView,
) -> Result<(String, &'static str), Fault> {
    let name = match time {
        Expr::Identifier(ident) => &ident.value,
        Expr::CompoundIdentifier(idents) if !idents.is_empty() => &idents[idents.len() - 1].value,
        _ => {
            return Err(refused(
                "invalid_bucket",
                call,
                "a bucket is made of a column of times, not of an expression",
            ));
        }
    };
    let columns = || {
        let names: Vec<&str> = source
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        names.join(", ")
    };
    let field = source
        .schema
        .fields()
        .iter()
        .find(|f| f.name().is_same_name(name))
        .ok_or_else(|| {
            refused(
                "column_not_found",
                time,
                format!(
                    "no such column, table={}, column={name}; columns: {}",
                    source.name,
                    columns()
                ),
            )
        })?;
    // Only rows that a view's own buckets order tell how far it is complete.
    if let Some(contract) = &source.contract
        && let Some(below) = &contract.view
        && below.start_column != *field.name()
    {
        return Err(refused(
            "invalid_bucket",
            time,
            format!(
                "a view of a view makes its buckets of the start of the windows below, column={}",
                below.start_column
            ),
        ));
    }
    let data_type = field.data_type();
    if *data_type == ColumnType::Timestamp.to_arrow() {
        Ok((
            field.name().clone(),
            "Timestamp(Microsecond, Some(\"UTC\"))",
        ))
    } else if *data_type == ColumnType::TimestampNtz.to_arrow() {
        Ok((field.name().clone(), "Timestamp(Microsecond, None)"))
    } else {
        Err(refused(
            "invalid_bucket",
            time,
            format!("a bucket is made of a TIMESTAMP, column={name} is {data_type}"),
        ))
    }
}
