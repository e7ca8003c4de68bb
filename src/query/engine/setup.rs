//! Makes an engine: its runtime, the memory of queries and of upkeep, DataFusion's session with our rules, planners and functions.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::ScalarValue;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionConfig;

use super::super::boolean_texts::BooleanTexts;
use super::super::errors::fault_of;
use super::super::functions::{
    self, FieldPlanner, JoinPlanner, JsonPlanner, SpanPlanner, scalar_functions,
};
use super::super::kept::KeptPlans;
use super::super::meter::Budget;
use super::super::planning::{Planning, STACK_BYTES};
use super::super::shared::Shared;
use super::super::slices::SliceInputs;
use super::super::system_scan::SystemTableProvider;
use super::super::{CATALOG, PUBLIC, SYSTEM, SnapshotSource};
use super::super::{arithmetic, information_schema, optimizer_rules, rules, times};
use super::{Engine, EngineConfig};
use crate::fault::Fault;
use crate::threads::{Precedence, give_precedence};

/// Threads beside those that one query uses, so that a query that lets go of none holds up no other.
const SPARE_THREADS: usize = 2;

/// Threads for file reads, and for calls of functions that hold one for long.
const BLOCKING_THREADS: usize = 256;

impl Engine {
    /// # Errors
    /// The runtime or the spill folder cannot be made.
    pub fn new(config: EngineConfig, source: Arc<dyn SnapshotSource>) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1) + SPARE_THREADS)
            .max_blocking_threads(BLOCKING_THREADS + Planning::threads_max(config.threads))
            .thread_stack_size(STACK_BYTES)
            .thread_name("query")
            .on_thread_start(|| give_precedence(Precedence::Query))
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
        // It takes the ORDER BY below a LIMIT for one that nobody needs: `((SELECT .. ORDER BY a LIMIT 3) ORDER BY b) x`.
        options.sql_parser.enable_subquery_sort_elimination = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = false;
        // Its queue panics at a NaN.
        options.optimizer.enable_topk_aggregation = false;
        // It compares whether a column may be null, which `IS TRUE` makes better known on the way.
        options.execution.skip_physical_aggregate_schema_check = true;
        options.execution.time_zone = Some("UTC".to_owned());
        // Over a view it puts a struct's column beside itself under one name, which is an error then.
        options.optimizer.enable_leaf_expression_pushdown = false;
        // Ours is `extreme_filter`.
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let mut builder = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(environment)
            .with_default_features()
            // Lambdas copy the columns that they name once an element: not before that is bounded.
            .with_higher_order_functions(Vec::new())
            .with_analyzer_rules(rules::analyzer_rules())
            .with_optimizer_rules(optimizer_rules::logical_rules())
            .with_physical_optimizer_rules(optimizer_rules::physical_rules())
            .with_physical_optimizer_rule(Arc::new(SliceInputs));
        let planners = builder.expr_planners().get_or_insert_default();
        planners.insert(0, Arc::new(JoinPlanner::default()));
        planners.insert(0, Arc::new(SpanPlanner::default()));
        planners.insert(0, Arc::new(FieldPlanner));
        planners.insert(0, Arc::new(JsonPlanner::default()));
        planners.insert(0, Arc::new(rules::SignedCounts));
        planners.insert(0, Arc::new(rules::OpenTypes));
        planners.insert(0, Arc::new(BooleanTexts));
        planners.insert(0, Arc::new(times::DayPlanner));
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
        let mut others = information_schema::known();
        let system_tables = source.system_tables();
        for table in &system_tables {
            let fields = table.schema().fields().iter();
            let columns = fields.map(|f| f.name().clone()).collect();
            others.push((format!("{SYSTEM}.{}", table.name()), columns));
            let provider = Arc::new(SystemTableProvider(table.clone()));
            let _ = system.register_table(table.name().to_owned(), provider);
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
            kept: KeptPlans::default(),
            source,
            system_tables,
            timeout: config.timeout,
            value_bytes: config.value_bytes,
            batch_bytes: config.batch_bytes,
            pool: queries_pool,
            world: Arc::new(Shared {
                state: Arc::new(state),
                system,
                others: Arc::new(others),
                newest: Arc::default(),
            }),
        })
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
