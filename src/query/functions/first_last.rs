//! `first(value, ts)` and `last(value, ts)`: the value of the earliest and of the latest event time, ties by order of ingest
//! where the table knows it. Written out as `first_value(value ORDER BY ts, _ingest_ts, _seq, value)`, which gives the same
//! answer whatever the order in which files are read.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Select, SetExpr,
    Statement, TableFactor, VisitMut, VisitorMut,
};

use super::lag_default;
use super::usual::usual;
use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::query::table_lookup;
use crate::sql::{each_expr_mut, parse_own_expr, visit_mut};
use crate::types::quote_name;

/// # Errors
/// INVALID_ARGUMENT for calls that are no aggregate of two arguments.
pub fn rewrite(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), Fault> {
    let mut rewriter = Rewriter {
        snapshot,
        error: None,
    };
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.error.map_or(Ok(()), Err)
}

struct Rewriter<'a> {
    snapshot: &'a Snapshot,
    error: Option<Fault>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    // Inner queries come first, so that each call is written out with the tables of its own SELECT: each part of a UNION has its own.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let arrival = arrival_columns(select, self.snapshot);
        self.write_out(select, &arrival);
        ControlFlow::Continue(())
    }

    // What stands behind the SELECT, or in no SELECT.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let arrival = match &*query.body {
            SetExpr::Select(select) => arrival_columns(select, self.snapshot),
            _ => String::new(),
        };
        self.write_out(&mut query.order_by, &arrival);
        self.write_out(&mut query.limit_clause, &arrival);
        if let SetExpr::Values(values) = &mut *query.body {
            self.write_out(values, &arrival);
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn write_out(&mut self, part: &mut impl VisitMut, arrival: &str) {
        each_expr_mut(part, |expr| {
            if let Expr::Function(call) = expr {
                match written_out(call, arrival) {
                    Ok(Some(new)) => *expr = new,
                    Ok(None) => {}
                    Err(fault) => self.error = self.error.take().or(Some(fault)),
                }
            }
        });
    }
}

/// What tells the order of ingest, ready to be appended; empty if no table or more than one knows it.
fn arrival_columns(select: &Select, snapshot: &Snapshot) -> String {
    let factors = select
        .from
        .iter()
        .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
    let mut found = Vec::new();
    for factor in factors {
        let TableFactor::Table { name, alias, .. } = factor else {
            continue;
        };
        if let Some(view) = table_lookup::find(snapshot, name)
            && ["_ingest_ts", "_seq"]
                .iter()
                .all(|c| view.schema.index_of(c).is_ok())
        {
            found.push(alias.as_ref().map_or_else(
                || quote_name(view.name.table()),
                |alias| alias.name.to_string(),
            ));
        }
    }
    match found.as_slice() {
        [one] => format!(", {one}.\"_ingest_ts\", {one}.\"_seq\""),
        _ => String::new(),
    }
}

fn written_out(call: &Function, arrival: &str) -> Result<Option<Expr>, Fault> {
    let name = call.name.to_string().to_ascii_lowercase();
    let (function, nulls) = match name.as_str() {
        "first" => ("first_value", "LAST"),
        "last" => ("last_value", "FIRST"),
        "lag" | "lead" => return lag_default::written_out(call, &name),
        _ => return usual(call, &name),
    };
    let wrong = || {
        Fault::invalid(
            "invalid_query",
            format!(
                "{name} takes a value and a time, and is no window function: {name}(temperature, ts); for windows use {function}(..) OVER (..)"
            ),
        )
    };
    let FunctionArguments::List(list) = &call.args else {
        return Err(wrong());
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(time)),
    ] = list.args.as_slice()
    else {
        return Err(wrong());
    };
    if call.over.is_some() || !list.clauses.is_empty() {
        return Err(wrong());
    }
    let filter = call
        .filter
        .as_ref()
        .map_or_else(String::new, |f| format!(" FILTER (WHERE {f})"));
    let text = format!(
        "{function}({value} ORDER BY {time} ASC NULLS {nulls}{arrival}, {value} ASC NULLS {nulls}){filter}"
    );
    parse_own_expr(&text).map(Some)
}
