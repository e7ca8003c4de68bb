//! A view as a plan: `stored where clean` united with `definition where dirty or open`, over one snapshot.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DataFusionError, Result, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::parser::Statement as DfStatement;

use super::{Definition, SPANS_MAX, Stale};
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::{Contract, Spans, ViewSpec};
use crate::fault::Fault;
use crate::query::prepare::resolved;
use crate::query::provider::SnapshotTable;

fn external(fault: Fault) -> DataFusionError {
    DataFusionError::Plan(format!("view: {}", fault.message))
}

fn parts(view: &TableView) -> Result<(&Contract, &ViewSpec)> {
    let contract = view.contract.as_deref();
    contract
        .and_then(|c| Some((c, c.view.as_ref()?)))
        .ok_or_else(|| DataFusionError::Internal("not a view".to_owned()))
}

/// The view as a table of the query: inlined before it is optimised, so that filters reach both halves.
pub(crate) async fn provider(
    state: &SessionState,
    view: &TableView,
    snapshot: &Snapshot,
    others: &[(String, Vec<String>)],
) -> Result<Arc<dyn TableProvider>> {
    let (contract, spec) = parts(view)?;
    let Some(stale) = Stale::of(view, snapshot) else {
        return Ok(Arc::new(SnapshotTable::new(view.clone())));
    };
    // One set of windows for both halves: what is computed is not taken from the store.
    let spans = stale.computed().coarse(SPANS_MAX);
    let now_computed = computed(state, view, snapshot, others, &spans).await?;
    if spans
        .iter()
        .any(|(first, end)| first < i64::MIN / 8 && end > i64::MAX / 8)
    {
        return Ok(Arc::new(ViewTable::new(
            now_computed,
            Some(contract.to_ddl()),
        )));
    }
    let stored = SnapshotTable::new(view.clone());
    let stored = LogicalPlanBuilder::scan("stored", provider_as_source(Arc::new(stored)), None)?
        .filter(outside(&spec.start_column, &spans))?;
    let stored = stored.project(columns(contract))?;
    let plan = stored.union(now_computed)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, Some(contract.to_ddl()))))
}

fn columns(contract: &Contract) -> Vec<Expr> {
    let schema = contract.table_schema();
    let columns = schema
        .fields()
        .iter()
        .map(|f| Expr::Column(Column::from_name(f.name())));
    columns.collect()
}

fn instant(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(
        Some(micros),
        Some("UTC".into()),
    ))
}

/// Rows whose window is in none of the spans.
fn outside(start: &str, spans: &Spans) -> Expr {
    let start = Expr::Column(Column::from_name(start));
    let each = spans.iter().map(|(first, end)| {
        let before = start.clone().lt(instant(first));
        if end == i64::MAX {
            before
        } else {
            before.or(start.clone().gt_eq(instant(end)))
        }
    });
    each.reduce(Expr::and).unwrap_or_else(|| lit(true))
}

/// The rows of the definition's windows in `spans` (at most [`SPANS_MAX`] of them), as columns of the view's table. `snapshot` decides what of the source is
/// read.
pub(crate) async fn computed(
    state: &SessionState,
    view: &TableView,
    snapshot: &Snapshot,
    others: &[(String, Vec<String>)],
    spans: &Spans,
) -> Result<LogicalPlan> {
    let (contract, spec) = parts(view)?;
    let definition =
        Definition::parse(&spec.sql, view.name.schema(), snapshot).map_err(external)?;
    let statement = definition.statement(Some(spans)).map_err(external)?;
    let plan = planned(state, statement, snapshot, others).await?;
    let made: Vec<String> = plan
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let schema: Arc<Schema> = contract.table_schema();
    let columns = schema.fields().iter().map(|field| {
        let own = made.iter().any(|name| name == field.name());
        let from = if own {
            Expr::Column(Column::from_name(field.name()))
        } else {
            // The one column that the server fills: the date of the window's start.
            cast(
                Expr::Column(Column::from_name(&spec.start_column)),
                DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            )
        };
        cast(from, field.data_type().clone()).alias(field.name())
    });
    LogicalPlanBuilder::from(plan)
        .project(columns.collect::<Vec<_>>())?
        .build()
}

pub(super) async fn planned(
    state: &SessionState,
    statement: datafusion::sql::sqlparser::ast::Statement,
    snapshot: &Snapshot,
    others: &[(String, Vec<String>)],
) -> Result<LogicalPlan> {
    let (statement, _) = resolved(statement, snapshot, others).map_err(external)?;
    state
        .statement_to_plan(DfStatement::Statement(Box::new(statement)))
        .await
}
