//! Plans and runs queries on a runtime of their own, within a memory and a time limit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue, SchemaError};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{SQLOptions, SessionConfig};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Stream, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::functions::{scalar_functions, write_out};
use super::latest::Newest;
use super::names::{self, Resolved};
use super::provider::SystemTable;
use super::running::{self, Queries, State};
use super::scanned::Scanned;
use super::view::Definition;
use super::wire::{conform_to_wire, wire_schema};
use super::world::World;
use super::zorder::Curve;
use super::{CATALOG, PUBLIC, SYSTEM, SnapshotSource};
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::Spans;
use crate::fault::{Fault, Kind};
use crate::types::Lsn;

/// Batches between a query and the stream that sends it.
const BATCHES_AHEAD: usize = 4;

/// Threads beside those that one query uses, so that a query that lets go of none holds up no other.
const SPARE_THREADS: usize = 2;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub threads: usize,
    pub memory_bytes: usize,
    /// What [`Engine::read_view`] has for itself.
    pub upkeep_bytes: usize,
    pub timeout: Duration,
    pub spill_dir: PathBuf,
    pub spill_bytes: u64,
}

pub struct Engine {
    /// None only while it is being dropped, which a runtime may not be from within another.
    runtime: Option<Runtime>,
    pub(super) state: SessionState,
    /// The same, with the memory that upkeep may take.
    upkeep: Arc<RuntimeEnv>,
    pub(super) source: Arc<dyn SnapshotSource>,
    system: Arc<MemorySchemaProvider>,
    /// Tables beside the snapshot's, with their columns, for the resolution of names.
    others: Arc<Vec<(String, Vec<String>)>>,
    timeout: Duration,
    pub(super) queries: Queries,
    newest: Arc<Newest>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A statement that has been understood and not run.
#[derive(Clone, Debug)]
pub struct Planned {
    pub wire: SchemaRef,
    /// One nullable field a parameter, in order.
    pub parameters: SchemaRef,
}

/// A running query. Dropping it cancels the query.
pub struct ResultStream {
    pub wire: SchemaRef,
    pub batches: Batches,
}

/// The batches of a running query. An end that the query did not tell (the server stops, an operator panics) is an error,
/// and never a shorter result.
pub struct Batches {
    receiver: mpsc::Receiver<Result<RecordBatch, Fault>>,
    /// Set by the query when all of its rows have been sent.
    ended: Arc<AtomicBool>,
}

impl Batches {
    pub(super) fn new(
        receiver: mpsc::Receiver<Result<RecordBatch, Fault>>,
        ended: Arc<AtomicBool>,
    ) -> Self {
        Batches { receiver, ended }
    }

    pub async fn recv(&mut self) -> Option<Result<RecordBatch, Fault>> {
        match self.receiver.recv().await {
            Some(batch) => Some(batch),
            None if self.ended.swap(true, Ordering::AcqRel) => None,
            None => Some(Err(Fault::new(
                Kind::Unavailable,
                "query_broken_off",
                "the query ended before its last row; the server is stopping, or its log says why; run it again",
            ))),
        }
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch, Fault>> {
        futures::stream::unfold(self, |mut batches| async move {
            let batch = batches.recv().await?;
            Some((batch, batches))
        })
    }
}

impl ResultStream {
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Fault> {
        let mut all = Vec::new();
        while let Some(batch) = self.batches.recv().await {
            all.push(batch?);
        }
        Ok(all)
    }
}

impl Engine {
    /// # Errors
    /// The runtime or the spill folder cannot be made.
    pub fn new(config: EngineConfig, source: Arc<dyn SnapshotSource>) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1) + SPARE_THREADS)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|e| Fault::internal(format!("query runtime: {e}")))?;
        let top = std::num::NonZeroUsize::MIN.saturating_add(2);
        let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), top);
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![config.spill_dir]))
            .with_max_temp_directory_size(config.spill_bytes);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
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
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_target_partitions(config.threads.max(1));
        let options = session.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = false;
        options.execution.time_zone = Some("UTC".to_owned());
        let mut state = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(environment)
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(super::slices::SliceProbes))
            .build();
        // Tools show it as the server's version; it would be DataFusion's.
        let _ = state.register_udf(Arc::new(version()));
        for function in scalar_functions() {
            // Their names are new, so nothing is replaced.
            let _ = state.register_udf(function);
        }
        let system: Arc<MemorySchemaProvider> = Arc::default();
        let mut others = information_schema();
        for (name, batch) in source.system_tables() {
            let columns = batch
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect();
            others.push((format!("{SYSTEM}.{name}"), columns));
            let table = SystemTable::new(name, batch.schema(), source.clone());
            let _ = system.register_table(name.to_owned(), Arc::new(table));
        }
        Ok(Engine {
            runtime: Some(runtime),
            state,
            upkeep,
            system,
            others: Arc::new(others),
            queries: source.queries(),
            source,
            timeout: config.timeout,
            newest: Arc::default(),
        })
    }

    pub fn snapshot(&self) -> Snapshot {
        self.source.snapshot()
    }

    pub fn system_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        self.source.system_tables()
    }

    /// Understands a query without running it.
    pub async fn plan(&self, sql: &str) -> Result<Planned, Fault> {
        self.plan_over(self.own_snapshot(), sql).await
    }

    /// [`Engine::plan`] over a snapshot that someone has made.
    pub async fn plan_over(&self, snapshot: Snapshot, sql: &str) -> Result<Planned, Fault> {
        if let Some(planned) = self.plan_subscription(&snapshot, sql).await? {
            return Ok(planned);
        }
        let (session, statement) = self.read(sql, snapshot).await?;
        let (plan, parameters) = session.plan(statement).await?;
        Ok(Planned {
            wire: wire_schema(plan.schema().as_arrow()),
            parameters,
        })
    }

    /// Runs a query over a snapshot taken now, so that everything acked before is seen.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or NOT_FOUND for what the SQL gets wrong; what goes wrong later ends the stream:
    /// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED.
    pub async fn query(
        &self,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<ResultStream, Fault> {
        self.query_over(self.own_snapshot(), sql, parameters, &BTreeMap::new())
            .await
    }

    /// [`Engine::query`] over a snapshot that someone has made. `types`: those of parameters, from 1, that the text alone
    /// does not tell.
    pub async fn query_over(
        &self,
        snapshot: Snapshot,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
        types: &BTreeMap<usize, DataType>,
    ) -> Result<ResultStream, Fault> {
        if let Some(feed) = self.subscribe(&snapshot, sql).await? {
            return Ok(feed);
        }
        let guard = self.queries.begin(&Caller::current(), sql)?;
        let read = self.read(sql, snapshot).await?;
        self.start(read, parameters, types, guard, self.timeout)
            .await
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
        let guard = self.queries.begin(&Caller::current(), sql)?;
        let snapshot = Snapshot {
            read_point: Lsn::ZERO,
            tables: Arc::new([(view.name.folded(), view)].into()),
        };
        let (mut session, statement) = self.read(sql, snapshot).await?;
        session.state = SessionStateBuilder::new_from_existing(session.state)
            .with_runtime_env(self.upkeep.clone())
            .build();
        let options = session.state.config_mut().options_mut();
        options.execution.target_partitions = 1;
        if let Some(curve) = curve {
            session
                .state
                .register_udf(curve.function())
                .map_err(fault_of)?;
        }
        let read = (session, statement);
        self.start(read, None, &BTreeMap::new(), guard, timeout)
            .await
    }

    async fn start(
        &self,
        (session, statement): (Session, Statement),
        parameters: Option<Vec<ScalarValue>>,
        types: &BTreeMap<usize, DataType>,
        mut guard: running::Guard,
        timeout: Duration,
    ) -> Result<ResultStream, Fault> {
        let deadline = tokio::time::Instant::now() + timeout;
        let (mut plan, fields) = session.plan(statement).await?;
        let wire = wire_schema(plan.schema().as_arrow());
        let given = parameters.unwrap_or_default();
        if given.len() != fields.fields().len() {
            return Err(Fault::invalid(
                "parameters",
                format!(
                    "the statement has {} parameters, {} were bound",
                    fields.fields().len(),
                    given.len()
                ),
            ));
        }
        if !given.is_empty() {
            let cast = given
                .into_iter()
                .zip(fields.fields())
                .zip(1usize..)
                .map(|((v, f), n)| v.cast_to(types.get(&n).unwrap_or(f.data_type())));
            let values: Vec<ScalarValue> = cast.collect::<Result<_, _>>().map_err(fault_of)?;
            plan = plan
                .with_param_values(ParamValues::from(values))
                .map_err(fault_of)?;
        }
        let (tx, receiver) = mpsc::channel(BATCHES_AHEAD);
        let ended = Arc::new(AtomicBool::new(false));
        let batches = Batches {
            receiver,
            ended: ended.clone(),
        };
        let schema = wire.clone();
        let token = guard.token();
        let work = async move {
            let rows = &guard;
            let run = async {
                let physical = session
                    .state
                    .create_physical_plan(&plan)
                    .await
                    .map_err(fault_of)?;
                let mut stream =
                    datafusion::physical_plan::execute_stream(physical, session.state.task_ctx())
                        .map_err(fault_of)?;
                while let Some(batch) = stream.next().await {
                    let batch = batch
                        .map_err(fault_of)
                        .and_then(|b| conform_to_wire(&b, &schema))?;
                    rows.add_rows(batch.num_rows());
                    if tx.send(Ok(batch)).await.is_err() {
                        return Err(running::cancelled());
                    }
                }
                Ok(())
            };
            // Nobody reads any more: the plan is dropped at its next await.
            let outcome = tokio::select! {
                done = tokio::time::timeout_at(deadline, run) => done,
                () = token.cancelled() => Ok(Err(running::cancelled())),
                () = tx.closed() => Ok(Err(running::cancelled())),
            };
            let fault = match outcome {
                Ok(Ok(())) => {
                    ended.store(true, Ordering::Release);
                    guard.ended(State::Finished);
                    return;
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::new(
                    Kind::Deadline,
                    "query_timeout",
                    format!(
                        "the query ran longer than {timeout:?}; narrow it, or raise query.timeout"
                    ),
                ),
            };
            guard.ended(match fault.kind {
                Kind::Cancelled => State::Cancelled,
                _ => State::Failed,
            });
            // Ended before the reader takes the news, who may be slow.
            drop(guard);
            let _ = tx.send(Err(fault)).await;
        };
        self.spawn(work);
        Ok(ResultStream { wire, batches })
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// What a query of the present caller reads.
    fn own_snapshot(&self) -> Snapshot {
        let snapshot = self.source.snapshot();
        match Caller::current().own {
            Some(own) => own.over(&snapshot),
            None => snapshot,
        }
    }

    /// The statement as a query, and all that it may read.
    pub(super) async fn read(
        &self,
        sql: &str,
        snapshot: Snapshot,
    ) -> Result<(Session, Statement), Fault> {
        if let Some(asked) = super::history::parse(sql)? {
            let table = super::history::answer(&asked, &snapshot)?;
            let session = self.session(snapshot, Some(Arc::new(table)));
            let statement = names::parse_one("SELECT * FROM \"described@log\"")?;
            return Ok((session, statement));
        }
        let mut statement = super::describe::as_query(
            names::parse_one(&super::describe::as_known(sql))?,
            &snapshot,
        )?;
        let snapshot = super::versions::resolve(&mut statement, snapshot).await?;
        Ok((self.session(snapshot, None), statement))
    }

    /// `described`: a table of this one statement.
    fn session(&self, snapshot: Snapshot, described: Option<Arc<dyn TableProvider>>) -> Session {
        let world = World {
            base: self.state.clone(),
            described,
            snapshot,
            system: self.system.clone(),
            others: self.others.clone(),
            newest: self.newest.clone(),
        };
        Session {
            state: world.session(),
            snapshot: world.snapshot,
            others: self.others.clone(),
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
        let session = self.session(snapshot.clone(), None);
        let plan = session.plan_statement(definition.statement(None)?).await?.0;
        deterministic(&plan)?;
        // Types are what the optimizer's coercion makes of them.
        let plan = session.state.optimize(&plan).map_err(fault_of)?;
        Ok(Arc::new(plan.schema().as_arrow().clone()))
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
        let session = self.session(snapshot, None);
        let plan = super::view::computed(
            &session.state,
            view,
            &session.snapshot,
            &session.others,
            spans,
        );
        let plan = plan.await.map_err(fault_of)?;
        self.gather(session.state, plan).await
    }

    /// A query of the server's own, over a snapshot of its making.
    ///
    /// # Errors
    /// As a query's.
    pub async fn rows_of(&self, sql: &str, snapshot: Snapshot) -> Result<Vec<RecordBatch>, Fault> {
        let (session, statement) = self.read(sql, snapshot).await?;
        let (plan, _) = session.plan(statement).await?;
        let (rows, _) = self.gather(session.state, plan).await?;
        Ok(rows)
    }

    /// Runs a plan on the engine's runtime, with one thread, and gathers its rows.
    async fn gather(
        &self,
        mut state: SessionState,
        plan: LogicalPlan,
    ) -> Result<(Vec<RecordBatch>, Scanned), Fault> {
        state.config_mut().options_mut().execution.target_partitions = 1;
        let Some(runtime) = &self.runtime else {
            return Err(Fault::new(
                Kind::Unavailable,
                "stopping",
                "the server is stopping",
            ));
        };
        let work = runtime.spawn(async move {
            let physical = state.create_physical_plan(&plan).await?;
            let rows =
                datafusion::physical_plan::collect(physical.clone(), state.task_ctx()).await?;
            Ok((rows, Scanned::of(&physical)))
        });
        let abort = AbortOnDrop(work.abort_handle());
        let done = work
            .await
            .map_err(|e| Fault::new(Kind::Unavailable, "stopping", format!("query ended: {e}")))?;
        drop(abort);
        done.map_err(fault_of)
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
                    if clock || call.func.signature().volatility == Volatility::Volatile {
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

/// One statement's view of the world.
pub(super) struct Session {
    pub(super) state: SessionState,
    snapshot: Snapshot,
    others: Arc<Vec<(String, Vec<String>)>>,
}

impl Session {
    pub(super) async fn plan(
        &self,
        statement: Statement,
    ) -> Result<(LogicalPlan, SchemaRef), Fault> {
        if !matches!(statement, Statement::Query(_) | Statement::Explain { .. }) {
            return Err(Fault::new(
                Kind::Unimplemented,
                "unsupported_statement",
                "this statement is not supported; known: SELECT, WITH, VALUES, EXPLAIN, SUBSCRIBE, SHOW TABLES, SHOW CREATE TABLE, DESCRIBE, DESCRIBE HISTORY, DESCRIBE DETAIL, INSERT, UPDATE, DELETE, MERGE, RESTORE TABLE, CREATE TABLE, CREATE MATERIALIZED VIEW, CREATE ALERT, ALTER TABLE, DROP TABLE",
            ));
        }
        self.plan_statement(statement).await
    }

    async fn plan_statement(
        &self,
        mut statement: Statement,
    ) -> Result<(LogicalPlan, SchemaRef), Fault> {
        write_out(&mut statement, &self.snapshot)?;
        let Resolved {
            statement,
            parameters,
            counts,
        } = names::resolve(statement, &self.snapshot, &self.others)?;
        let plan = self
            .state
            .statement_to_plan(DfStatement::Statement(Box::new(statement)))
            .await
            .map_err(|e| self.name_hint(fault_of(e)))?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(fault_of)?;
        // The optimizer's coercion is what gives a bare `?` the type of what it is compared with.
        let types = plan.get_parameter_types().map_err(fault_of)?;
        let fields = (1..=parameters).map(|n| {
            let inferred = types.get(&format!("${n}")).cloned().flatten();
            let data_type = match inferred {
                _ if counts.contains(&n) => DataType::Int64,
                Some(DataType::Null) | None => DataType::Utf8,
                Some(DataType::Utf8View | DataType::LargeUtf8) => DataType::Utf8,
                Some(other) => other,
            };
            Field::new(format!("${n}"), data_type, true)
        });
        let fields = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok((plan, fields))
    }

    /// Says which table may have been meant.
    fn name_hint(&self, mut fault: Fault) -> Fault {
        if fault.kind == Kind::NotFound {
            let names = self.snapshot.tables.values().map(|v| v.name.to_string());
            let asked = fault
                .message
                .split('\'')
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches("deltaplane.")
                .to_owned();
            let near = names.min_by_key(|n| crate::validate::distance(n, &asked));
            if let Some(near) = near {
                fault.message.push_str(&format!("; nearest table: {near}"));
            }
        }
        fault
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

fn information_schema() -> Vec<(String, Vec<String>)> {
    let columns = |list: &str| list.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        (
            "information_schema.tables".to_owned(),
            columns("table_catalog table_schema table_name table_type"),
        ),
        (
            "information_schema.columns".to_owned(),
            columns(
                "table_catalog table_schema table_name column_name ordinal_position column_default is_nullable data_type",
            ),
        ),
        (
            "information_schema.schemata".to_owned(),
            columns("catalog_name schema_name schema_owner"),
        ),
    ]
}

/// DataFusion's errors as answers to "what now?". What a user can cause is never internal.
pub fn fault_of(error: DataFusionError) -> Fault {
    let root = error.find_root();
    let text = root.strip_backtrace();
    let text = text.lines().next().unwrap_or_default().to_owned();
    match root {
        DataFusionError::External(e) if e.is::<Fault>() => e
            .downcast_ref::<Fault>()
            .cloned()
            .unwrap_or_else(|| Fault::internal(text)),
        DataFusionError::SchemaError(e, _) => match e.as_ref() {
            SchemaError::FieldNotFound { .. } => Fault::invalid("column_not_found", text),
            _ => Fault::invalid("ambiguous_name", text),
        },
        DataFusionError::ResourcesExhausted(_) => Fault::new(
            Kind::Exhausted,
            "query_memory",
            format!("{text}; narrow the query, or raise memory.query_bytes_max"),
        ),
        DataFusionError::Plan(_) if text.contains("not found") && text.contains("table") => {
            Fault::new(Kind::NotFound, "table_not_found", text)
        }
        DataFusionError::SQL(..) => Fault::invalid("syntax_error", text),
        DataFusionError::NotImplemented(_) => {
            Fault::new(Kind::Unimplemented, "not_implemented", text)
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            Fault::invalid("execution", text)
        }
        DataFusionError::Plan(_) | DataFusionError::Configuration(_) => {
            Fault::invalid("invalid_query", text)
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            Fault::new(Kind::Unavailable, "store_unavailable", text)
        }
        DataFusionError::ParquetError(_) => Fault::new(Kind::Corrupt, "file_damaged", text),
        _ => Fault::internal(text),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_result_that_is_broken_off_is_an_error_and_not_a_short_result() {
        for told in [true, false] {
            let (tx, receiver) = mpsc::channel(2);
            let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
            tx.send(Ok(batch)).await.unwrap();
            drop(tx);
            let batches = Batches {
                receiver,
                ended: Arc::new(AtomicBool::new(told)),
            };
            let wire = Arc::new(Schema::empty());
            let result = ResultStream { wire, batches }.collect().await;
            assert_eq!(result.is_ok(), told);
        }
    }
}
