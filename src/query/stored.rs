//! Views that are stored queries, as queries meet them: planned when a statement names them, over its own snapshot, with names as
//! they were when the view was created.
//!
//! A view is a plan within the plan of the one that reads it, so filters reach its tables. What all views of a statement read
//! together is bounded (`prepare`): each level of views could double it.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::Statement;

use super::columns;
use super::errors::fault_of;
use super::prepare::Session;
use super::versions;
use crate::catalog::defined::StoredView;
use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};
use crate::sql::parse_own;

/// The view's query, and the snapshot that it reads, which is in the view's schema.
///
/// # Errors
/// What its versions meet.
pub(super) async fn query(
    view: &StoredView,
    snapshot: Snapshot,
) -> Result<(Statement, Snapshot), Fault> {
    let mut statement = parse_own(&view.sql)?;
    let snapshot = versions::resolve(&mut statement, snapshot).await?;
    Ok((statement, snapshot))
}

/// The view as a table of the query that reads it. `session`: over the snapshot of the view's [`query`], which is `statement`.
///
/// # Errors
/// What planning it meets; NOT_FOUND `column_not_found`; RESOURCE_EXHAUSTED `statement_too_large`.
pub(super) async fn provider(
    view: &StoredView,
    session: &Session,
    statement: Statement,
) -> Result<Arc<dyn TableProvider>, Fault> {
    // Its types are those that the whole query is planned with.
    let plan = session.plan_statement(statement, &[]).await?;
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
