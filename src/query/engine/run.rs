//! Runs a query: planned on a planning thread, it goes on by itself and hands its batches to the reader, until it ends, its reader
//! goes, its time is over or someone cancels it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::common::config::ConfigNonZeroUsize;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use futures::{FutureExt, StreamExt};
use tokio::runtime::Handle;

use super::super::arithmetic::canonical_floats;
use super::super::columns::wire_of;
use super::super::context::QueryContext;
use super::super::errors::fault_of;
use super::super::kept::{KeptPlan, Question};
use super::super::limits::QueryLimits;
use super::super::metered::metered;
use super::super::planning::panicked;
use super::super::prepare::Session;
use super::super::result::{self, ResultStream};
use super::super::running::{self, State};
use super::super::schemas::PUBLIC;
use super::super::shared::Shared;
use super::super::task::task_context;
use super::super::width;
use super::super::wire::conform_to_wire;
use super::super::zorder::Curve;
use super::Engine;
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::{Fault, Kind};
use crate::sql::check_bytes;
use crate::types::Lsn;

/// What is to run. Large, so that it travels in a box.
enum ToRun {
    Asked(Box<Asked>),
    /// It was planned when its columns were told.
    Kept(Box<KeptPlan>),
}

/// A query as it was asked for.
struct Asked {
    caller: QueryContext,
    sql: String,
    /// The server has written the text itself.
    own: bool,
    snapshot: Snapshot,
    parameters: Vec<ScalarValue>,
    /// What upkeep has for itself, and its order of rows.
    upkeep: Option<(Arc<RuntimeEnv>, Option<Curve>)>,
    timeout: Duration,
}

impl Engine {
    /// Runs a query over a snapshot taken now, so that everything acked before is seen; or over that of the moment when the
    /// caller's query was told its columns ([`Engine::columns`]).
    ///
    /// # Errors
    /// INVALID_ARGUMENT or NOT_FOUND for what the SQL gets wrong; DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED, also later, when
    /// they end the stream.
    pub async fn query(
        &self,
        caller: &QueryContext,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<ResultStream, Fault> {
        check_bytes(sql)?;
        let parameters = parameters.unwrap_or_default();
        let kept = caller.query.as_ref().and_then(|id| {
            let question = Question::of(caller, sql, &parameters)?;
            self.kept.take(id, &question)
        });
        if let Some(kept) = kept {
            let limits = kept.limits.clone();
            let token = limits.client.clone();
            let guard = self.queries.begin_with(caller, sql, token)?;
            return self
                .start(sql.len(), ToRun::Kept(kept), guard, limits)
                .await;
        }
        let asked = Asked {
            sql: sql.to_owned(),
            own: false,
            snapshot: self.snapshot_of(caller),
            caller: caller.clone(),
            parameters,
            upkeep: None,
            timeout: self.timeout,
        };
        self.run(asked).await
    }

    /// [`Engine::query`] over a snapshot that someone has made, of a text that the server has written.
    pub async fn query_over(
        &self,
        caller: &QueryContext,
        snapshot: Snapshot,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<ResultStream, Fault> {
        let asked = Asked {
            sql: sql.to_owned(),
            own: true,
            snapshot,
            caller: caller.clone(),
            parameters: parameters.unwrap_or_default(),
            upkeep: None,
            timeout: self.timeout,
        };
        self.run(asked).await
    }

    /// Reads one table's pinned view for upkeep: in one thread, so that users' queries come first, and for as long as it
    /// takes up to `timeout`; `curve` is the query's function `zorder`. Memory and spilling are those of all queries.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn read_view(
        &self,
        view: TableView,
        sql: &str,
        curve: Option<Curve>,
        timeout: Duration,
    ) -> Result<ResultStream, Fault> {
        let asked = Asked {
            caller: QueryContext::server(),
            sql: sql.to_owned(),
            own: true,
            snapshot: Snapshot {
                read_point: Lsn::ZERO,
                schema: PUBLIC.into(),
                tables: Arc::new([(view.name.folded(), view)].into()),
                defined: Arc::default(),
            },
            parameters: Vec::new(),
            upkeep: Some((self.upkeep.clone(), curve)),
            timeout,
        };
        self.run(asked).await
    }

    /// Plans a query and lets it run; its plans live and die on query threads alone, whose stacks are made for them.
    async fn run(&self, asked: Asked) -> Result<ResultStream, Fault> {
        if let Some(feed) = self
            .subscribe(&asked.caller, &asked.snapshot, &asked.sql)
            .await?
        {
            return Ok(feed);
        }
        let guard = self.queries.begin(&asked.caller, &asked.sql)?;
        let mut limits = self.limits(guard.token(), asked.timeout);
        if asked.upkeep.is_some() {
            limits.meter = self.upkeep_budget.meter();
        }
        if !asked.own {
            guard.counted_by(&limits.meter);
            self.planning.check_size(&asked.sql, &limits).await?;
        }
        let bytes = asked.sql.len();
        self.start(bytes, ToRun::Asked(Box::new(asked)), guard, limits)
            .await
    }

    async fn start(
        &self,
        text_bytes: usize,
        to_run: ToRun,
        guard: running::Guard,
        limits: QueryLimits,
    ) -> Result<ResultStream, Fault> {
        guard.counted_by(&limits.meter);
        let (world, handle) = (self.world.clone(), self.handle.clone());
        let inner = limits.clone();
        let work = move || started(world, handle, to_run, guard, inner);
        self.planning.run(text_bytes, &limits, work).await
    }
}

/// How a plan runs whose types are known. DataFusion's own way is to analyze every plan, again.
///
/// # Errors
/// What the optimizer and the planner meet.
async fn physical_of(state: &SessionState, plan: LogicalPlan) -> DfResult<Arc<dyn ExecutionPlan>> {
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return state.create_physical_plan(&plan).await;
    }
    let plan = state.optimizer().optimize(plan, state, |_, _| {})?;
    let planner = state.query_planner().clone();
    planner.create_physical_plan(&plan, state).await
}

/// What was asked for as a plan, and its world.
async fn planned(
    world: &Shared,
    asked: Asked,
    limits: &QueryLimits,
) -> Result<(Session, LogicalPlan), Fault> {
    let (mut session, statement) = world
        .read(
            &asked.caller,
            &asked.sql,
            asked.own,
            asked.snapshot,
            Some(limits),
        )
        .await?;
    if let Some((environment, curve)) = asked.upkeep {
        session.state = SessionStateBuilder::new_from_existing(session.state)
            .with_runtime_env(environment)
            .build();
        let options = session.state.config_mut().options_mut();
        options.execution.target_partitions = 1;
        if let Some(curve) = curve {
            session
                .state
                .register_udf(curve.function())
                .map_err(fault_of)?;
        }
    }
    let plan = session.plan(statement, &asked.parameters).await?;
    Ok((session, plan))
}

/// Plans what was asked for and lets it run. On a planning thread.
async fn started(
    world: Arc<Shared>,
    handle: Handle,
    to_run: ToRun,
    mut guard: running::Guard,
    limits: QueryLimits,
) -> Result<ResultStream, Fault> {
    let (upkeep, mut session, plan, wire) = match to_run {
        ToRun::Kept(kept) => (false, kept.session, kept.plan, kept.wire),
        ToRun::Asked(asked) => {
            let upkeep = asked.upkeep.is_some();
            let (session, plan) = planned(&world, *asked, &limits).await?;
            let wire = wire_of(&plan);
            (upkeep, session, plan, wire)
        }
    };
    let physical = physical_of(&session.state, plan).await.map_err(fault_of)?;
    let physical = metered(physical).map_err(fault_of)?;
    // Upkeep writes rows as they are.
    let physical = match upkeep {
        true => physical,
        false => canonical_floats(physical).map_err(fault_of)?,
    };
    let rows = width::batch_rows(&physical);
    let execution = &mut session.state.config_mut().options_mut().execution;
    execution.batch_size = ConfigNonZeroUsize::try_new(rows).map_err(fault_of)?;
    let ended = Arc::new(AtomicBool::new(false));
    let pool = session.state.runtime_env().memory_pool.clone();
    let (tx, batches) = result::channel(pool, ended.clone());
    let batches = batches.counted_by(limits.meter.clone());
    let (schema, meter) = (wire.clone(), limits.meter.clone());
    let work = async move {
        let run = async {
            let context = task_context(&session.state, &physical);
            let mut stream =
                datafusion::physical_plan::execute_stream(physical, context).map_err(fault_of)?;
            while let Some(batch) = stream.next().await {
                let batch = batch
                    .map_err(fault_of)
                    .and_then(|b| conform_to_wire(&b, &schema))?;
                guard.add_rows(batch.num_rows());
                tx.send(batch).await?;
            }
            Ok(())
        };
        let run = AssertUnwindSafe(run).catch_unwind();
        // Nobody reads any more: the plan is dropped at its next await.
        let outcome = tokio::select! {
            done = run => done.unwrap_or_else(|panic| Err(panicked(&*panic))),
            () = tokio::time::sleep_until(limits.deadline) => Err(limits.expired()),
            () = limits.token.cancelled() => Err(running::cancelled()),
            () = limits.meter.ended() => Err(limits.meter.fault()),
            () = tx.closed() => Err(running::cancelled()),
        };
        // Functions that are under way look at it.
        limits.token.cancel();
        let Err(fault) = outcome else {
            ended.store(true, Ordering::Release);
            guard.ended(State::Finished);
            return;
        };
        guard.ended(match fault.kind {
            Kind::Cancelled => State::Cancelled,
            _ => State::Failed,
        });
        // Ended before the reader takes the news, who may be slow.
        drop(guard);
        tx.fail(fault).await;
    };
    handle.spawn(meter.watch(work));
    Ok(ResultStream { wire, batches })
}
