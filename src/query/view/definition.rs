//! The query of a materialized view: what it may be, and what becomes of it when only some of its buckets are wanted.
//!
//! `SELECT .. FROM source [LEFT JOIN dimension ..] [WHERE ..] GROUP BY tumble(ts, '1 minute'), keys ..` becomes the same
//! query over `(SELECT *, <window starts> FROM source WHERE <times of the wanted buckets>)`. A shape is refused, with its
//! place and a way out, if a bucket's rows alone would not decide its result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Interval,
    JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, Spanned,
    Statement, TableFactor, Value, Visit, Visitor, visit_expressions_mut,
};

use super::START;
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::{Bucket, ColumnType, EVENT_DATE, Spans, parse_span, quoted_span};
use crate::fault::{Fault, Kind};
use crate::query::functions::rewrite_first_last;
use crate::query::names::{find, parse_one};
use crate::types::TableName;

/// A definition that has been understood.
pub struct Definition {
    /// With the bucket's columns in place of its call, and the source's relation still a table.
    query: Query,
    pub source: TableName,
    pub dimensions: Vec<TableName>,
    pub bucket: Bucket,
    pub time_column: String,
    /// As arrow_cast spells it.
    time_type: &'static str,
    pub start_column: String,
    pub end_column: String,
    /// The SELECT says where `event_date` stands.
    pub dated: bool,
}

fn refused(reason: &'static str, at: &impl Spanned, message: impl std::fmt::Display) -> Fault {
    let start = at.span().start;
    let place = if start.line > 0 {
        format!(" at Line: {}, Column: {}", start.line, start.column)
    } else {
        String::new()
    };
    Fault::invalid(reason, format!("{message}{place}"))
}

const DAY: i64 = 86_400_000_000;

const HOW: &str = "group by one of tumble(ts, '1 minute'), hop(ts, '5 seconds', '10 seconds'), time_bucket('1 day', ts)";

impl Definition {
    /// `schema`: where names without one are looked for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with place and way out; NOT_FOUND for a table that is not there.
    pub fn parse(sql: &str, schema: &str, snapshot: &Snapshot) -> Result<Definition, Fault> {
        let mut statement = parse_one(sql)?;
        qualify(&mut statement, schema);
        rewrite_first_last(&mut statement, snapshot)?;
        let Statement::Query(query) = statement else {
            return Err(Fault::invalid("invalid_view", "a view is a SELECT"));
        };
        let mut query = *query;
        check_query(&query)?;
        let SetExpr::Select(select) = &mut *query.body else {
            return Err(Fault::invalid(
                "invalid_view",
                "a view is one SELECT, without UNION, VALUES and the like",
            ));
        };
        let (source, dimensions) = relations(select, snapshot)?;
        let call = bucket_call(select)?;
        let (time, bucket) = bucket_of(&call)?;
        let (time_column, time_type) = time_of(&time, &call, source)?;
        let dated = put_date(select, &time_column, bucket, source)?;
        let source_has = |name: &str| {
            source
                .schema
                .fields()
                .iter()
                .any(|f| f.name().eq_ignore_ascii_case(name))
        };
        let (start_column, end_column) = put_columns(select, &call, bucket, &source_has)?;
        let found = Definition {
            source: source.name.clone(),
            dimensions,
            bucket,
            time_column,
            time_type,
            start_column,
            end_column,
            dated,
            query,
        };
        Ok(found)
    }

    /// The query over the rows of some windows; of all for None.
    ///
    /// # Errors
    /// None that a definition which was understood can cause.
    pub fn statement(&self, spans: Option<&Spans>) -> Result<Statement, Fault> {
        let table = format!("\"{}\".\"{}\"", self.source.schema(), self.source.table());
        let time = format!("\"{}\"", self.time_column);
        let literal = |at: i64| format!("arrow_cast({at}, '{}')", self.time_type);
        // One that reaches beyond what a time can be is no bound.
        let between = |column: &str, (first, end): (i64, i64)| {
            let from = (first > i64::MIN / 8).then(|| format!("{column} >= {}", literal(first)));
            let to = (end < i64::MAX / 8).then(|| format!("{column} < {}", literal(end)));
            let both: Vec<String> = from.into_iter().chain(to).collect();
            if both.is_empty() {
                "true".to_owned()
            } else {
                format!("({})", both.join(" AND "))
            }
        };
        let any = |column: &str, ranges: Vec<(i64, i64)>| {
            let each: Vec<String> = ranges.into_iter().map(|r| between(column, r)).collect();
            if each.is_empty() {
                "false".to_owned()
            } else {
                format!("({})", each.join(" OR "))
            }
        };
        let all = Spans::of([(i64::MIN, i64::MAX)]);
        let spans = spans.unwrap_or(&all);
        let times = Spans::of(spans.iter().map(|s| self.bucket.times(s)));
        let rows = format!(
            "{time} IS NOT NULL AND {}",
            any(&time, times.iter().collect())
        );
        let (step, size) = (quoted_span(self.bucket.step), quoted_span(self.bucket.size));
        let windowed = if self.bucket.step == self.bucket.size {
            format!("SELECT *, tumble({time}, {size}) AS \"{START}\" FROM {table} WHERE {rows}")
        } else {
            format!(
                "SELECT * FROM (SELECT *, unnest(hop({time}, {step}, {size})) AS \"{START}\" FROM {table} WHERE {rows}) WHERE {}",
                any(&format!("\"{START}\""), spans.iter().collect())
            )
        };
        let mut query = self.query.clone();
        if let SetExpr::Select(select) = &mut *query.body
            && let Some(from) = select.from.first_mut()
        {
            let name = match &from.relation {
                TableFactor::Table {
                    alias: Some(alias), ..
                } => alias.name.to_string(),
                _ => format!("\"{}\"", self.source.table()),
            };
            let derived = parse_one(&format!("SELECT 1 FROM ({windowed}) AS {name}"))?;
            if let Statement::Query(q) = derived
                && let SetExpr::Select(s) = *q.body
                && let Some(made) = s.from.into_iter().next()
            {
                from.relation = made.relation;
            }
        }
        Ok(Statement::Query(Box::new(query)))
    }
}

/// Gives tables without a schema the view's own.
fn qualify(statement: &mut Statement, schema: &str) {
    let _ = datafusion::sql::sqlparser::ast::visit_relations_mut(statement, |name| {
        if let [only] = name.0.as_slice()
            && let Some(ident) = only.as_ident()
        {
            *name = ObjectName::from(vec![Ident::with_quote('"', schema), ident.clone()]);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// What no bucket could answer alone.
fn check_query(query: &Query) -> Result<(), Fault> {
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
    let _ = query.visit(&mut finder);
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
        let known: Vec<String> = snapshot
            .tables
            .values()
            .map(|v| v.name.to_string())
            .collect();
        let asked = name.to_string().replace('"', "");
        let near = known
            .into_iter()
            .min_by_key(|k| crate::validate::distance(k, &asked));
        let near = near.map_or_else(String::new, |n| format!("; nearest table: {n}"));
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

fn relations<'a>(
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
fn bucket_call(select: &mut Select) -> Result<Expr, Fault> {
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
                    is_bucket(e)
                        && alias
                            .as_ref()
                            .is_some_and(|a| a.eq_ignore_ascii_case(&ident.value))
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

/// The bucketed expression and the windows.
fn bucket_of(expr: &Expr) -> Result<(Expr, Bucket), Fault> {
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

fn time_of(time: &Expr, call: &Expr, source: &TableView) -> Result<(String, &'static str), Fault> {
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
        .find(|f| f.name().eq_ignore_ascii_case(name))
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

fn start_expr() -> Expr {
    Expr::Identifier(Ident::with_quote('"', START))
}

fn end_expr(bucket: Bucket) -> Result<Expr, Fault> {
    expression(&format!(
        "\"{START}\" + INTERVAL {}",
        quoted_span(bucket.size)
    ))
}

/// Reads an expression of our own.
fn expression(text: &str) -> Result<Expr, Fault> {
    if let Statement::Query(query) = parse_one(&format!("SELECT {text}"))?
        && let SetExpr::Select(select) = *query.body
        && let Some(SelectItem::UnnamedExpr(expr)) = select.projection.into_iter().next()
    {
        return Ok(expr);
    }
    Err(Fault::internal("an expression of a view"))
}

/// Puts the day on which the window starts in the place of the word `event_date`, where that is the source's too: windows that
/// tumble within a day, by the time that the source's own `event_date` is made of. Does the SELECT have it?
fn put_date(
    select: &mut Select,
    time_column: &str,
    bucket: Bucket,
    source: &TableView,
) -> Result<bool, Fault> {
    let by = source
        .contract
        .as_ref()
        .and_then(|c| c.event_time.as_deref());
    let within = bucket.step == bucket.size && DAY % bucket.size == 0;
    if by != Some(time_column) || !within {
        return Ok(false);
    }
    let is_date =
        |e: &Expr| matches!(e, Expr::Identifier(i) if i.value.eq_ignore_ascii_case(EVENT_DATE));
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.retain(|key| !is_date(key));
    }
    let date = expression(&format!("CAST(\"{START}\" AS DATE)"))?;
    let mut found = false;
    for item in &mut select.projection {
        let named = match &*item {
            SelectItem::UnnamedExpr(e) => is_date(e),
            SelectItem::ExprWithAlias { expr, alias } => {
                is_date(expr) && alias.value.eq_ignore_ascii_case(EVENT_DATE)
            }
            _ => false,
        };
        if named {
            found = true;
            *item = SelectItem::ExprWithAlias {
                expr: date.clone(),
                alias: Ident::with_quote('"', EVENT_DATE),
            };
        }
    }
    Ok(found)
}

/// Puts the window's columns in the place of the bucket's call and of the words `window_start` and `window_end`; adds those
/// that the SELECT lacks. Returns the names under which start and end stand.
fn put_columns(
    select: &mut Select,
    call: &Expr,
    bucket: Bucket,
    source_has: &dyn Fn(&str) -> bool,
) -> Result<(String, String), Fault> {
    let call_text = call.to_string().to_ascii_lowercase();
    let is_call = |e: &Expr| e.to_string().to_ascii_lowercase() == call_text;
    let is_word = |e: &Expr, word: &str| matches!(e, Expr::Identifier(i) if i.value.eq_ignore_ascii_case(word));
    let end = end_expr(bucket)?;
    let (mut start_at, mut end_at) = (None, None);
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, alias) = match &*item {
            SelectItem::UnnamedExpr(e) => (e, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => continue,
        };
        let (made, name) = if is_call(expr) || is_word(expr, "window_start") {
            let name = alias.unwrap_or_else(|| "window_start".to_owned());
            start_at.get_or_insert((index, name.clone()));
            (start_expr(), name)
        } else if is_word(expr, "window_end") {
            let name = alias.unwrap_or_else(|| "window_end".to_owned());
            end_at.get_or_insert((index, name.clone()));
            (end.clone(), name)
        } else {
            continue;
        };
        *item = SelectItem::ExprWithAlias {
            expr: made,
            alias: Ident::with_quote('"', name),
        };
    }
    let mut inside = |expr: &mut Expr| {
        if is_call(expr) || (is_word(expr, "window_start") && !source_has("window_start")) {
            *expr = start_expr();
        } else if is_word(expr, "window_end") && !source_has("window_end") {
            *expr = end.clone();
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions_mut(&mut select.projection, &mut inside);
    let _ = visit_expressions_mut(&mut select.having, &mut inside);
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        let _ = visit_expressions_mut(keys, &mut inside);
        // The end is a function of the start: grouping by it, too, would say nothing.
        keys.retain(|key| *key != end);
    }
    let column = |expr: Expr, name: &str| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', name),
    };
    let (at, start_name) = start_at.unwrap_or_else(|| {
        select
            .projection
            .insert(0, column(start_expr(), "window_start"));
        if let Some((index, _)) = &mut end_at {
            *index += 1;
        }
        (0, "window_start".to_owned())
    });
    let end_name = end_at.map_or_else(
        || {
            select
                .projection
                .insert(at + 1, column(end.clone(), "window_end"));
            "window_end".to_owned()
        },
        |(_, name)| name,
    );
    Ok((start_name, end_name))
}
