//! Keys that rows are ordered or grouped by, and aggregates that compare intervals.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprSchemable, LogicalPlan, Projection,
    WindowFrameBound, WindowFrameUnits,
};

use super::functions::length;
use crate::query::arithmetic::first_of;

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

/// The length in the place of an interval. Was it one?
pub(super) fn by_length(key: &mut Expr, schema: &DFSchema) -> bool {
    let Ok(type_ @ DataType::Interval(_)) = key.get_type(schema) else {
        return false;
    };
    let bare = key.clone().unalias();
    *key = length(bare, &type_);
    true
}

pub(super) fn all_by_length(keys: &mut [SortExpr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for key in keys {
        changed |= by_length(&mut key.expr, schema);
    }
    changed
}

/// Partitions and order of a window. An order with distances (`RANGE '1 hour' PRECEDING`) keeps its type.
pub(super) fn window(call: &mut WindowFunction, schema: &DFSchema) -> bool {
    let params = &mut call.params;
    let mut changed = false;
    for key in &mut params.partition_by {
        changed |= by_length(key, schema);
    }
    let frame = &params.window_frame;
    let has_distance = |bound: &WindowFrameBound| {
        !matches!(bound, WindowFrameBound::CurrentRow) && !bound.is_unbounded()
    };
    let distances = frame.units == WindowFrameUnits::Range
        && (has_distance(&frame.start_bound) || has_distance(&frame.end_bound));
    if !distances {
        changed |= all_by_length(&mut params.order_by, schema);
    }
    changed
}

/// An aggregate's order, `count(DISTINCT ..)`, and `min` and `max`, which are the first and the last by length.
pub(super) fn aggregate(mut call: AggregateFunction, schema: &DFSchema) -> (Expr, bool) {
    let mut changed = all_by_length(&mut call.params.order_by, schema);
    let name = call.func.name();
    let of_interval = |call: &AggregateFunction| match call.params.args.as_slice() {
        [value] => is_interval(value, schema),
        _ => false,
    };
    if matches!(name, "min" | "max") && of_interval(&call) {
        let ascending = name == "min";
        if let Some(value) = call.params.args.pop() {
            let mut by = value.clone();
            by_length(&mut by, schema);
            // Of intervals of one length the same is taken, whatever the order in which files are read.
            let order = [by, value.clone()].map(|by| SortExpr::new(by, ascending, false));
            let first = first_of(value, Vec::from(order), call.params.filter.take());
            return (first, true);
        }
    }
    if call.params.distinct && name == "count" {
        for value in &mut call.params.args {
            changed |= by_length(value, schema);
        }
    }
    (Expr::AggregateFunction(call), changed)
}

/// `GROUP BY`: groups by length, and of each group one of its intervals.
pub(super) fn grouped(aggregate: Aggregate) -> Result<(LogicalPlan, bool)> {
    let input = aggregate.input.schema().clone();
    let asks_for_sets = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(call) => call.func.name() == "grouping",
        _ => false,
    };
    let sets = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    if !aggregate.group_expr.iter().any(|e| is_interval(e, &input))
        || aggregate.group_expr.iter().any(sets)
        || aggregate.aggr_expr.iter().any(asks_for_sets)
    {
        return Ok((LogicalPlan::Aggregate(aggregate), false));
    }
    let Aggregate {
        input: rows,
        mut group_expr,
        mut aggr_expr,
        schema,
        ..
    } = aggregate;
    let mut shown: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    for (n, (key, shown)) in group_expr.iter_mut().zip(&mut shown).enumerate() {
        let value = key.clone().unalias();
        if !by_length(key, &input) {
            continue;
        }
        *key = key.clone().alias(format!("__length_{n}"));
        let name = format!("__interval_{n}");
        let order = vec![SortExpr::new(value.clone(), true, false)];
        aggr_expr.push(first_of(value, order, None).alias(&name));
        let (relation, field) = schema.qualified_field(n);
        *shown = Expr::Column(Column::new_unqualified(name))
            .alias_qualified(relation.cloned(), field.name());
    }
    let groups = Aggregate::try_new(rows, group_expr, aggr_expr)?;
    let groups = Arc::new(LogicalPlan::Aggregate(groups));
    let shown = Projection::try_new(shown, groups)?;
    Ok((LogicalPlan::Projection(shown), true))
}

/// `DISTINCT`, as a `GROUP BY` of all columns, and `DISTINCT ON`.
pub(super) fn distinct(distinct: Distinct) -> Result<(LogicalPlan, bool)> {
    match distinct {
        Distinct::All(rows) => {
            let has_interval = |plan: &LogicalPlan| {
                let mut fields = plan.schema().fields().iter();
                fields.any(|f| matches!(f.data_type(), DataType::Interval(_)))
            };
            if !has_interval(&rows) {
                return Ok((LogicalPlan::Distinct(Distinct::All(rows)), false));
            }
            let keys = rows.schema().columns().into_iter().map(Expr::Column);
            let keys = keys.collect();
            grouped(Aggregate::try_new(rows, keys, Vec::new())?)
        }
        Distinct::On(DistinctOn {
            mut on_expr,
            select_expr,
            mut sort_expr,
            input,
            schema,
        }) => {
            let rows = input.schema().clone();
            let mut changed = false;
            for key in &mut on_expr {
                changed |= by_length(key, &rows);
            }
            if let Some(keys) = &mut sort_expr {
                changed |= all_by_length(keys, &rows);
            }
            let on = DistinctOn {
                on_expr,
                select_expr,
                sort_expr,
                input,
                schema,
            };
            Ok((LogicalPlan::Distinct(Distinct::On(on)), changed))
        }
    }
}
