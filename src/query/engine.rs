//! Plans and runs queries on a runtime of their own, within a memory and a time limit.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::config::ConfigNonZeroUsize;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionConfig;
use futures::{FutureExt, StreamExt};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::arithmetic::{self, canonical_floats};
use super::caller::Caller;
use super::columns::{self, wire_of};
use super::errors::fault_of;
use super::functions::{self, JoinPlanner, JsonPlanner, SpanPlanner, scalar_functions};
use super::limits::{self, QueryLimits};
use super::meter::{Budget, Meter, Metered};
use super::metered::metered;
use super::parameters::check_count;
use super::planning::{self, Planning, STACK_BYTES, panicked};
use super::prepare::{Planned, Shared};
use super::provider::SystemTable;
use super::result::{self, ResultStream};
use super::rules;
use super::running::{self, Queries, State};
use super::scanned::Scanned;
use super::times;
use super::view::Definition;
use super::wire::conform_to_wire;
use super::zorder::Curve;
use super::{CATALOG, PUBLIC, SYSTEM, SnapshotSource};
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::Spans;
use crate::fault::{Fault, Kind};
use crate::sql::check_bytes;
use crate::types::Lsn;

/// Threads beside those that one query uses, so that a query that lets go of none holds up no other.
const SPARE_THREADS: usize = 2;

/// A refresh of a view is bounded by its work, not by a reader's patience.
const GATHER_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Threads for file reads, and for calls of functions that hold one for long.
const BLOCKING_THREADS: usize = 256;

/// Text that is read in some tens of microseconds.
const BRIEF_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub threads: usize,
    pub memory_bytes: usize,
    /// What [`Engine::read_view`] has for itself.
    pub upkeep_bytes: usize,
    pub timeout: Duration,
    pub spill_dir: PathBuf,
    pub spill_bytes: u64,
    /// One value that a function makes.
    pub value_bytes: u64,
    /// What one call of a function makes.
    pub batch_bytes: u64,
}

pub struct Engine {
    /// None only while it is being dropped, which a runtime may not be from within another.
    runtime: Option<Runtime>,
    handle: Handle,
    planning: Planning,
    pub(super) world: Arc<Shared>,
    /// The memory that upkeep may take.
    upkeep: Arc<RuntimeEnv>,
    /// What statements hold in fact.
    budget: Arc<Budget>,
    /// The same of upkeep. What its operators say of themselves is its limit, not this.
    upkeep_budget: Arc<Budget>,
    pub(super) source: Arc<dyn SnapshotSource>,
    system_tables: Vec<(&'static str, SchemaRef)>,
    timeout: Duration,
    value_bytes: u64,
    batch_bytes: u64,
    /// The memory of all queries together.
    pub(super) pool: Arc<dyn MemoryPool>,
    pub(super) queries: Queries,
}

/// A query as it was asked for.
struct Asked {
    sql: String,
    /// The server has written the text itself.
    own: bool,
    snapshot: Snapshot,
    parameters: Vec<ScalarValue>,
    /// What upkeep has for itself, and its order of rows.
    upkeep: Option<(Arc<RuntimeEnv>, Option<Curve>)>,
    timeout: Duration,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// # Errors
    /// The runtime or the spill folder cannot be made.
    pub fn new(config: EngineConfig, source: Arc<dyn SnapshotSource>) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1) + SPARE_THREADS)
            .max_blocking_threads(BLOCKING_THREADS + Planning::threads_max(config.threads))
            .thread_stack_size(STACK_BYTES)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|e| Fault::internal(format!("query runtime: {e}")))?;
        let top = std::num::NonZeroUsize::MIN.saturating_add(2);
        // Operators spill before the statement is ended for what they do not count.
        let counted = config.memory_bytes / 4 * 3;
        let pool = TrackConsumersPool::new(FairSpillPool::new(counted), top);
        let queries_pool: Arc<dyn MemoryPool> = Arc::new(pool);
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![config.spill_dir]))
            .with_max_temp_directory_size(config.spill_bytes);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(queries_pool.clone())
            .with_disk_manager_builder(spill)
            .build_arc()
            .map_err(|e| Fault::internal(format!("query environment: {e}")))?;
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.upkeep_bytes), top);
        let upkeep = RuntimeEnvBuilder::from_runtime_env(&environment)
            .with_memory_pool(Arc::new(pool))
            .build_arc()
            .map_err(|e| Fault::internal(format!("upkeep's environment: {e}")))?;
        let mut session = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
            .with_create_default_catalog_and_schema(false)
            .with_target_partitions(config.threads.max(1));
        let options = session.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = false;
        // Its queue panics at a NaN.
        options.optimizer.enable_topk_aggregation = false;
        // It compares whether a column may be null, which `IS TRUE` makes better known on the way.
        options.execution.skip_physical_aggregate_schema_check = true;
        options.execution.time_zone = Some("UTC".to_owned());
        // Ours is `extreme_filter`.
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let mut builder = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(environment)
            .with_default_features()
            // Lambdas copy the columns that they name once an element: not before that is bounded.
            .with_higher_order_functions(Vec::new())
            .with_analyzer_rules(rules::analyzer_rules())
            .with_optimizer_rules(limits::optimizer_rules())
            .with_physical_optimizer_rules(limits::physical_rules())
            .with_physical_optimizer_rule(Arc::new(super::slices::SliceInputs));
        let planners = builder.expr_planners().get_or_insert_default();
        planners.insert(0, Arc::new(JoinPlanner::default()));
        planners.insert(0, Arc::new(SpanPlanner::default()));
        planners.insert(0, Arc::new(JsonPlanner::default()));
        planners.insert(0, Arc::new(rules::SignedCounts));
        planners.insert(0, Arc::new(times::PartPlanner::default()));
        let mut state = builder.build();
        // Tools show it as the server's version; it would be DataFusion's.
        let _ = state.register_udf(Arc::new(version()));
        for function in scalar_functions() {
            // Their names are new, so nothing is replaced.
            let _ = state.register_udf(function);
        }
        functions::bound(&mut state).map_err(fault_of)?;
        arithmetic::register(&mut state).map_err(fault_of)?;
        times::register(&mut state).map_err(fault_of)?;
        let system: Arc<MemorySchemaProvider> = Arc::default();
        let mut others = super::information_schema::known();
        let system_tables = source.system_tables();
        for (name, schema) in &system_tables {
            let columns = schema.fields().iter().map(|f| f.name().clone()).collect();
            others.push((format!("{SYSTEM}.{name}"), columns));
            let table = SystemTable::new(name, schema.clone(), source.clone());
            let _ = system.register_table((*name).to_owned(), Arc::new(table));
        }
        let handle = runtime.handle().clone();
        Ok(Engine {
            runtime: Some(runtime),
            planning: Planning::new(handle.clone(), config.threads),
            handle,
            upkeep,
            budget: Budget::new("memory.query_bytes_max", config.memory_bytes as u64),
            upkeep_budget: Budget::new("memory.upkeep_bytes_max", u64::MAX),
            queries: source.queries(),
            source,
            system_tables,
            timeout: config.timeout,
            value_bytes: config.value_bytes,
            batch_bytes: config.batch_bytes,
            pool: queries_pool,
            world: Arc::new(Shared {
                state,
                system,
                others: Arc::new(others),
                newest: Arc::default(),
            }),
        })
    }

    pub fn snapshot(&self) -> Snapshot {
        self.source.snapshot()
    }

    /// Tables of the schema `system` with their columns.
    pub fn system_tables(&self) -> &[(&'static str, SchemaRef)] {
        &self.system_tables
    }

    /// Memory for rows that a statement holds, within that of all queries.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// The limits of a statement that begins now.
    pub(super) fn limits(&self, token: CancellationToken, timeout: Duration) -> QueryLimits {
        QueryLimits {
            token: token.child_token(),
            client: token,
            deadline: Instant::now() + timeout,
            timeout,
            value_bytes: self.value_bytes,
            batch_bytes: self.batch_bytes,
            constants: Arc::new(MemoryConsumer::new("constants").register(&self.pool)),
            pool: self.pool.clone(),
            meter: Meter::current().unwrap_or_else(|| self.budget.meter()),
        }
    }

    /// A statement of several parts: the memory of its queries and of the rows that it keeps is one statement's.
    pub fn metered<F: Future>(&self, statement: F) -> Metered<F> {
        self.budget.meter().watch(statement)
    }

    /// Reads a statement's text on a thread that is made for it, in the present caller's name and within the time of a query; a
    /// brief one here, in less time than the thread takes to wake up.
    ///
    /// # Errors
    /// What `read` meets; DEADLINE_EXCEEDED.
    pub async fn understand<T: Send + 'static>(
        &self,
        sql: &str,
        read: impl FnOnce(&str) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        check_bytes(sql)?;
        if sql.len() <= BRIEF_BYTES {
            let read = AssertUnwindSafe(|| read(sql));
            return catch_unwind(read).unwrap_or_else(|panic| Err(panicked(&*panic)));
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        let text = sql.to_owned();
        let work = async move { read(&text) };
        self.planning.run(sql.len(), &limits, work).await
    }

    /// Runs work that plans a statement on a thread that is made for it.
    ///
    /// # Errors
    /// What the work meets; DEADLINE_EXCEEDED.
    pub(super) async fn plan_within_timeout<T: Send + 'static>(
        &self,
        text_bytes: usize,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let limits = self.limits(CancellationToken::new(), self.timeout);
        self.planning.run(text_bytes, &limits, work).await
    }

    /// Understands a query without running it, before anything is bound to it.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan(&self, sql: &str) -> Result<Planned, Fault> {
        self.plan_known(sql, BTreeMap::new()).await
    }

    /// [`Engine::plan`] of a query that is a part of something larger. `known`: types of parameters, from 1, that it tells.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan_known(
        &self,
        sql: &str,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        check_bytes(sql)?;
        self.understood(self.own_snapshot(), sql, false, known)
            .await
    }

    /// [`Engine::plan_known`] over a snapshot that someone has made, of a text that the server has written.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan_over(
        &self,
        snapshot: Snapshot,
        sql: &str,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        self.understood(snapshot, sql, true, known).await
    }

    async fn understood(
        &self,
        snapshot: Snapshot,
        sql: &str,
        own: bool,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        if let Some(planned) = self.plan_subscription(&snapshot, sql).await? {
            return Ok(planned);
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        let (world, text, inner) = (self.world.clone(), sql.to_owned(), limits.clone());
        let work = async move {
            let (session, statement) = world.read(&text, own, snapshot, Some(&inner)).await?;
            session.described(statement, &known).await
        };
        self.planning.run(sql.len(), &limits, work).await
    }

    /// The columns of the rows that a query gives with these values of its parameters. Runs nothing.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn columns(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<SchemaRef, Fault> {
        check_bytes(sql)?;
        let snapshot = self.own_snapshot();
        if let Some(planned) = self.plan_subscription(&snapshot, sql).await? {
            check_count(0, parameters.len())?;
            return Ok(planned.wire);
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        let (world, text, inner) = (self.world.clone(), sql.to_owned(), limits.clone());
        let work = async move {
            let (session, statement) = world.read(&text, false, snapshot, Some(&inner)).await?;
            let plan = session.plan(statement, &parameters).await?;
            Ok(wire_of(&plan))
        };
        self.planning.run(sql.len(), &limits, work).await
    }

    /// Runs a query over a snapshot taken now, so that everything acked before is seen.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or NOT_FOUND for what the SQL gets wrong; DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED, also later, when
    /// they end the stream.
    pub async fn query(
        &self,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<ResultStream, Fault> {
        check_bytes(sql)?;
        let asked = Asked {
            sql: sql.to_owned(),
            own: false,
            snapshot: self.own_snapshot(),
            parameters: parameters.unwrap_or_default(),
            upkeep: None,
            timeout: self.timeout,
        };
        self.run(asked).await
    }

    /// [`Engine::query`] over a snapshot that someone has made, of a text that the server has written.
    pub async fn query_over(
        &self,
        snapshot: Snapshot,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<ResultStream, Fault> {
        let asked = Asked {
            sql: sql.to_owned(),
            own: true,
            snapshot,
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
            sql: sql.to_owned(),
            own: true,
            snapshot: Snapshot {
                read_point: Lsn::ZERO,
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
        if let Some(feed) = self.subscribe(&asked.snapshot, &asked.sql).await? {
            return Ok(feed);
        }
        let guard = self.queries.begin(&Caller::current(), &asked.sql)?;
        let mut limits = self.limits(guard.token(), asked.timeout);
        if asked.upkeep.is_some() {
            limits.meter = self.upkeep_budget.meter();
        }
        guard.counted_by(&limits.meter);
        let (world, handle, bytes) = (self.world.clone(), self.handle.clone(), asked.sql.len());
        let work = started(world, handle, asked, guard, limits.clone());
        self.planning.run(bytes, &limits, work).await
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// What a query of the present caller reads.
    fn own_snapshot(&self) -> Snapshot {
        let snapshot = self.source.snapshot();
        match Caller::current().own {
            Some(own) => own.over(&snapshot),
            None => snapshot,
        }
    }

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
        let work = async move {
            let session = world.session(snapshot, None, Some(&inner));
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
        let work = async move {
            let session = world.session(snapshot, None, Some(&inner));
            let plan = super::view::computed(
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
        let work = async move {
            let (session, statement) = world.read(&sql, true, snapshot, Some(&inner)).await?;
            let plan = session.plan(statement, &[]).await?;
            Ok((session.state, plan))
        };
        Ok(self.gather(limits, work).await?.0)
    }

    /// Plans, and gathers the plan's rows with one thread, for as long as it takes.
    async fn gather(
        &self,
        limits: QueryLimits,
        plan: impl Future<Output = Result<(SessionState, LogicalPlan), Fault>> + Send + 'static,
    ) -> Result<(Vec<RecordBatch>, Scanned), Fault> {
        let (handle, meter) = (self.handle.clone(), limits.meter.clone());
        let work = async move {
            let (mut state, plan) = plan.await?;
            state.config_mut().options_mut().execution.target_partitions = 1;
            let physical = state.create_physical_plan(&plan).await.map_err(fault_of)?;
            let physical = metered(physical)
                .and_then(canonical_floats)
                .map_err(fault_of)?;
            Ok(handle.spawn(meter.watch(async move {
                let rows = collect(physical.clone(), state.task_ctx()).await?;
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

/// Plans what was asked for and lets it run. On a planning thread.
async fn started(
    world: Arc<Shared>,
    handle: Handle,
    asked: Asked,
    mut guard: running::Guard,
    limits: QueryLimits,
) -> Result<ResultStream, Fault> {
    let (mut session, statement) = world
        .read(&asked.sql, asked.own, asked.snapshot, Some(&limits))
        .await?;
    let upkeep = asked.upkeep.is_some();
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
    let wire = wire_of(&plan);
    let physical = session
        .state
        .create_physical_plan(&plan)
        .await
        .map_err(fault_of)?;
    drop(plan);
    let physical = metered(physical).map_err(fault_of)?;
    // Upkeep writes rows as they are.
    let physical = match upkeep {
        true => physical,
        false => canonical_floats(physical).map_err(fault_of)?,
    };
    let rows = super::width::batch_rows(&physical);
    let execution = &mut session.state.config_mut().options_mut().execution;
    execution.batch_size = ConfigNonZeroUsize::try_new(rows).map_err(fault_of)?;
    let ended = Arc::new(AtomicBool::new(false));
    let pool = session.state.runtime_env().memory_pool.clone();
    let (tx, batches) = result::channel(pool, ended.clone());
    let batches = batches.counted_by(limits.meter.clone());
    let (schema, meter) = (wire.clone(), limits.meter.clone());
    let work = async move {
        let run = async {
            let mut stream =
                datafusion::physical_plan::execute_stream(physical, session.state.task_ctx())
                    .map_err(fault_of)?;
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
                    let asker = super::functions::of_caller::NAMES.contains(&name);
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

/// `version()`: this server's.
fn version() -> ScalarUDF {
    let text = concat!("deltaplane ", env!("CARGO_PKG_VERSION"));
    let value = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::from(text)));
    create_udf(
        "version",
        Vec::new(),
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(value),
    )
}
