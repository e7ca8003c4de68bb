//! What the server asks for itself, mostly for materialized views: the rows are gathered whole, and no reader waits for them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use tokio_util::sync::CancellationToken;

use super::super::arithmetic::canonical_floats;
use super::super::columns;
use super::super::context::QueryContext;
use super::super::errors::fault_of;
use super::super::functions::of_caller;
use super::super::limits::QueryLimits;
use super::super::metered::metered;
use super::super::planning::{self, panicked};
use super::super::scanned::Scanned;
use super::super::task::task_context;
use super::super::view::{self, Definition};
use super::Engine;
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::Spans;
use crate::fault::Fault;

/// A refresh of a view is bounded by its work, not by a reader's patience.
const GATHER_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// What a view's definition gives, over all rows: its columns as the plan has them.
    ///
    /// # Errors
    /// As a query's; INVALID_ARGUMENT `not_deterministic` for a function whose answer is not decided by the rows.
    pub async fn describe_view(
        &self,
        definition: &Definition,
        snapshot: &Snapshot,
    ) -> Result<SchemaRef, Fault> {
        let limits = self.limits(CancellationToken::new(), self.timeout);
        let (world, snapshot) = (self.world.clone(), snapshot.clone());
        let statement = definition.statement(None)?;
        let inner = limits.clone();
        let work = move || async move {
            let session = world.session(&QueryContext::server(), snapshot, None, Some(&inner));
            let plan = session.plan_statement(statement, &[]).await?;
            deterministic(&plan)?;
            columns::each_once(&plan)?;
            // Types are what the optimizer's coercion makes of them.
            let plan = session.state.optimize(&plan).map_err(fault_of)?;
            Ok(Arc::new(plan.schema().as_arrow().clone()))
        };
        self.planning.run(0, &limits, work).await
    }

    /// The rows of some of a view's windows, as columns of its table, from what the snapshot has of its source.
    ///
    /// # Errors
    /// As a query's.
    pub async fn compute_view(
        &self,
        view: &TableView,
        snapshot: Snapshot,
        spans: &Spans,
    ) -> Result<(Vec<RecordBatch>, Scanned), Fault> {
        let limits = self.limits(CancellationToken::new(), GATHER_TIMEOUT);
        let (world, view, spans) = (self.world.clone(), view.clone(), spans.clone());
        let inner = limits.clone();
        let work = move || async move {
            let session = world.session(&QueryContext::server(), snapshot, None, Some(&inner));
            let plan = view::computed(
                &session.state,
                &view,
                &session.snapshot,
                &session.others,
                &spans,
            );
            let plan = plan.await.map_err(fault_of)?;
            Ok((session.state, plan))
        };
        self.gather(limits, work).await
    }

    /// A query of the server's own, over a snapshot of its making.
    ///
    /// # Errors
    /// As a query's.
    pub async fn rows_of(&self, sql: &str, snapshot: Snapshot) -> Result<Vec<RecordBatch>, Fault> {
        let limits = self.limits(CancellationToken::new(), GATHER_TIMEOUT);
        let (world, sql, inner) = (self.world.clone(), sql.to_owned(), limits.clone());
        let work = move || async move {
            let (session, statement) = world
                .read(&QueryContext::server(), &sql, true, snapshot, Some(&inner))
                .await?;
            let plan = session.plan(statement, &[]).await?;
            Ok((session.state, plan))
        };
        Ok(self.gather(limits, work).await?.0)
    }

    /// Plans, and gathers the plan's rows with one thread, for as long as it takes.
    async fn gather<F: Future<Output = Result<(SessionState, LogicalPlan), Fault>>>(
        &self,
        limits: QueryLimits,
        plan: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(Vec<RecordBatch>, Scanned), Fault> {
        let (handle, meter) = (self.handle.clone(), limits.meter.clone());
        let work = move || async move {
            let (mut state, plan) = plan().await?;
            state.config_mut().options_mut().execution.target_partitions = 1;
            let physical = state.create_physical_plan(&plan).await.map_err(fault_of)?;
            let physical = metered(physical)
                .and_then(canonical_floats)
                .map_err(fault_of)?;
            Ok(handle.spawn(meter.watch(async move {
                let rows = collect(physical.clone(), task_context(&state, &physical)).await?;
                Ok::<_, DataFusionError>((rows, Scanned::of(&physical)))
            })))
        };
        // Also what runs by then ends with its caller.
        let _gone = limits.client.clone().drop_guard();
        let task = self.planning.run(0, &limits, work).await?;
        let _abort = AbortOnDrop(task.abort_handle());
        match task.await {
            Ok(done) => done.map_err(fault_of),
            Err(error) if error.is_panic() => Err(panicked(&*error.into_panic())),
            Err(_) => Err(planning::stopping()),
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Refuses functions that give another answer to the same rows.
fn deterministic(plan: &LogicalPlan) -> Result<(), Fault> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::logical_expr::{Expr, Volatility};
    let mut found = None;
    let walked = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::ScalarFunction(call) = e {
                    let name = call.func.name();
                    let clock = matches!(name, "now" | "current_date" | "current_time" | "today");
                    let asker = of_caller::NAMES.contains(&name);
                    if clock || asker || call.func.signature().volatility == Volatility::Volatile {
                        found = Some(name.to_owned());
                        return Ok(TreeNodeRecursion::Stop);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(fault_of)?;
    match found {
        None => Ok(()),
        Some(name) => Err(Fault::invalid(
            "not_deterministic",
            format!(
                "a view's rows are decided by its source's rows alone, function={name} gives another answer each time; use it in a query on the view"
            ),
        )),
    }
}
