//! Views that are stored queries, as queries meet them: planned when a statement names them, over its own snapshot, with names as
//! they were when the view was created.
//!
//! A view is a plan within the plan of the one that reads it, so filters reach its tables. What all views of a statement read
//! together is bounded: each level of views could double it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::caller::Caller;
use super::columns;
use super::errors::fault_of;
use super::prepare::Session;
use super::versions;
use super::world::{Broken, World};
use crate::catalog::defined::StoredView;
use crate::fault::{Fault, Kind};
use crate::sql::{TextLimits, parse_own};

/// The view as a table of the query.
///
/// # Errors
/// What planning its query meets, with the view's name; RESOURCE_EXHAUSTED `statement_too_large`.
pub(super) async fn provider(
    world: &World,
    view: &StoredView,
) -> Result<Arc<dyn TableProvider>, Fault> {
    let caller = Caller {
        schema: view.schema.as_str().into(),
        ..Caller::current()
    };
    let planned = caller.run(planned(world, view)).await;
    planned.map_err(|mut fault| {
        fault.message = format!("view {}: {}", view.name, fault.message);
        fault
    })
}

async fn planned(world: &World, view: &StoredView) -> Result<Arc<dyn TableProvider>, Fault> {
    let mut statement = parse_own(&view.sql)?;
    world.expanded.store(true, Ordering::Relaxed);
    let snapshot = versions::resolve(&mut statement, world.snapshot.without_temporary()).await?;
    let inner = World {
        snapshot,
        depth: world.depth + 1,
        ..world.clone()
    };
    // Its types are those that the whole query is planned with.
    let plan = Session::within(inner)
        .plan_statement(statement, &[])
        .await?;
    // Of two columns of one name, the first is the view's first.
    let mut shown: Vec<Option<String>> = columns::names(&plan).into_iter().map(Some).collect();
    let columns = view.columns.iter().map(|column| {
        let at = shown
            .iter()
            .position(|name| name.as_ref() == Some(&column.from));
        let at = at.ok_or_else(|| {
            Fault::new(
                Kind::NotFound,
                "column_not_found",
                format!(
                    "its query does not give a column any more, column={}; say CREATE OR REPLACE VIEW with the columns that it shall have",
                    column.from
                ),
            )
        })?;
        if let Some(taken) = shown.get_mut(at) {
            *taken = None;
        }
        let found = plan.schema().qualified_field(at);
        Ok(Expr::Column(Column::from(found)).alias(&column.name))
    });
    let columns = columns.collect::<Result<Vec<_>, Fault>>()?;
    let plan = LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(fault_of)?;
    Ok(Arc::new(ViewTable::new(plan, Some(view.to_ddl(false)))))
}

/// A view that cannot be planned is an error of the statement that reads it.
pub(super) fn refuse_broken(plan: &LogicalPlan) -> Result<(), Fault> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            let provider: &dyn std::any::Any = &*provider;
            if let Some(broken) = provider.downcast_ref::<Broken>() {
                found = Some(broken.fault.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(fault_of)?;
    found.map_or(Ok(()), Err)
}

/// What views over views read doubles where one is read twice: a plan over views is as large as a text may be.
///
/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`.
pub(super) fn refuse_large(plan: &LogicalPlan) -> Result<(), Fault> {
    let limit = TextLimits::current().relations;
    let mut found = 0;
    let walked = plan.apply_with_subqueries(|node| {
        found += usize::from(node.inputs().is_empty());
        Ok(if found > limit {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    walked.map_err(fault_of)?;
    if found <= limit {
        return Ok(());
    }
    Err(Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        format!(
            "the views that the statement reads have more than {limit} tables and views in all; read fewer of them, keep a part as a table or a materialized view, or raise query.relations_max"
        ),
    ))
}
