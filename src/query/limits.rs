//! What one statement may take, where its parts can see it: carried in the session's options, which reach every function's
//! call and every rule of the optimizer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, config_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aggregate_statistics::OwnStatistics;
use super::arithmetic::AboveScans;
use super::errors::external;
use super::extreme_filter::FilterExtremes;
use super::functions::CheckArguments;
use super::lateral::LateralColumns;
use super::meter::Meter;
use super::pushdown::{AboveAggregates, ByName, EachOnce, Unmark};
use super::rules::{ComparedInJoins, EachMoment, LargeConstants, OrderOfJoins, TrueKeys};
use super::running;
use super::union_columns::UnionColumns;
use crate::fault::{Fault, Kind};

/// Between two looks at whether memory has come back.
const PAUSE: Duration = Duration::from_millis(5);

/// The limits of one statement. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct QueryLimits {
    /// Cancelled when the statement is to end; its parts look at it.
    pub token: CancellationToken,
    /// The parent of `token`: cancelled by the client, or because it is gone, and not by an end that the statement comes to.
    pub client: CancellationToken,
    pub deadline: Instant,
    pub timeout: Duration,
    /// `query.value_bytes_max`
    pub value_bytes: u64,
    /// `query.batch_bytes_max`
    pub batch_bytes: u64,
    pub pool: Arc<dyn MemoryPool>,
    /// What the statement holds in fact.
    pub meter: Arc<Meter>,
    /// Values that are constants of the plan, and live as long.
    pub constants: Arc<MemoryReservation>,
}

impl QueryLimits {
    /// Those of the statement that the options belong to; none for a session of the server's own.
    pub(super) fn of(options: &ConfigOptions) -> Option<&QueryLimits> {
        options.extensions.get::<QueryLimits>()
    }

    /// Memory of its own within that of all queries.
    pub(super) fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// # Errors
    /// CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED: the statement is to end.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.token.is_cancelled() {
            return Err(running::cancelled());
        }
        if Instant::now() >= self.deadline {
            return Err(self.expired());
        }
        self.meter.check()
    }

    /// [`QueryLimits::check`], and a wait for statements that were told to end while all together hold too much: planning would
    /// take more beside what they still hold. For a thread of planning's own, which this blocks.
    ///
    /// # Errors
    /// As [`QueryLimits::check`].
    pub(super) fn check_in_planning(&self) -> Result<(), Fault> {
        self.check()?;
        while self.meter.waits() {
            std::thread::sleep(PAUSE);
            self.check()?;
        }
        Ok(())
    }

    pub(super) fn expired(&self) -> Fault {
        Fault::new(
            Kind::Deadline,
            "query_timeout",
            format!(
                "the query ran longer than {:?}; narrow it, or raise query.timeout",
                self.timeout
            ),
        )
    }
}

impl ExtensionOptions for QueryLimits {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        config_err!("no such option: {key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

impl ConfigExtension for QueryLimits {
    const PREFIX: &'static str = "deltaplane";
}

/// Changes nothing and ends the planning of a statement that is to end.
#[derive(Debug, Default)]
pub(super) struct Checkpoint;

fn check(options: &ConfigOptions) -> Result<()> {
    QueryLimits::of(options)
        .map_or(Ok(()), QueryLimits::check_in_planning)
        .map_err(external)
}

impl OptimizerRule for Checkpoint {
    fn name(&self) -> &str {
        "checkpoint"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        check(&config.options())?;
        Ok(Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for Checkpoint {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check(options)?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "checkpoint"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Between two looks at the clock: behind each rule the optimizer checks the whole plan.
const RULES_BETWEEN: usize = 4;

/// DataFusion's rules, with looks at the clock between them.
pub(super) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(LateralColumns)];
    for (at, rule) in Optimizer::new().rules.into_iter().enumerate() {
        if at % RULES_BETWEEN == 0 {
            rules.push(Arc::new(Checkpoint));
        }
        let folds = rule.name() == LargeConstants::BEHIND;
        rules.push(match rule.name() {
            AboveAggregates::RULE => Arc::new(AboveAggregates(rule)),
            EachMoment::RULE => Arc::new(EachMoment(rule)),
            TrueKeys::RULE => Arc::new(TrueKeys(rule)),
            ComparedInJoins::RULE => Arc::new(ComparedInJoins(rule)),
            OrderOfJoins::RULE => Arc::new(OrderOfJoins(rule)),
            _ => rule,
        });
        if folds {
            rules.push(Arc::new(LargeConstants));
        }
    }
    rules.push(Arc::new(UnionColumns));
    rules.push(Arc::new(CheckArguments));
    rules
}

/// DataFusion's rule that brings the filters of running operators to the scans.
const FILTERS_TO_SCANS: &str = "FilterPushdown(Post)";

/// DataFusion's rule that moves filters towards the scans.
const FILTERS_DOWN: &str = "FilterPushdown";

/// [`optimizer_rules`] of physical plans.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for (at, rule) in PhysicalOptimizer::new().rules.into_iter().enumerate() {
        if at % RULES_BETWEEN == 0 {
            rules.push(Arc::new(Checkpoint));
        }
        if rule.name() == FILTERS_TO_SCANS {
            rules.push(Arc::new(FilterExtremes));
        }
        match rule.name() {
            // The last: what looks at neighbours has been before it.
            FILTERS_TO_SCANS => rules.push(Arc::new(ByName(rule))),
            FILTERS_DOWN => rules.extend([Arc::new(ByName(rule)) as _, Arc::new(Unmark) as _]),
            OwnStatistics::RULE => rules.push(Arc::new(OwnStatistics(rule))),
            EachOnce::RULE => rules.push(Arc::new(EachOnce(Arc::new(AboveScans(rule))))),
            _ => rules.push(rule),
        }
    }
    rules
}
