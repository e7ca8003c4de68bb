//! The optimizer's rules: DataFusion's in their order, ours where each belongs, and looks at the statement's limits between them. Those of
//! the analyzer stand in `rules`.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

use super::aggregate_statistics::OwnStatistics;
use super::arithmetic::AboveScans;
use super::errors::external;
use super::extreme_filter::FilterExtremes;
use super::forgotten_orders::KnownOrders;
use super::functions::CheckArguments;
use super::lateral::LateralColumns;
use super::limits::QueryLimits;
use super::padded_sides::PaddedSides;
use super::pushdown::{AboveAggregates, AllRead, ByName, EachOnce, Unmark};
use super::rules::{
    ComparedInJoins, ComputedItems, EachMoment, LargeConstants, NamedKeys, OrderOfJoins,
    SmallerSideFirst, SumsOfOneType, TrueKeys,
};
use super::top_rows::WholeOrder;
use super::union_columns::UnionColumns;

/// Changes nothing and ends the planning of a statement that is to end.
#[derive(Debug, Default)]
struct Checkpoint;

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
pub(super) fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> =
        vec![Arc::new(LateralColumns), Arc::new(ComputedItems)];
    for (at, rule) in Optimizer::new().rules.into_iter().enumerate() {
        if at % RULES_BETWEEN == 0 {
            rules.push(Arc::new(Checkpoint));
        }
        let folds = rule.name() == LargeConstants::BEHIND;
        rules.push(match rule.name() {
            AboveAggregates::RULE => Arc::new(AboveAggregates(rule)),
            EachMoment::RULE => Arc::new(EachMoment(rule)),
            SumsOfOneType::RULE => Arc::new(SumsOfOneType(rule)),
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
    rules.push(Arc::new(ComputedItems));
    rules.push(Arc::new(SmallerSideFirst));
    rules.push(Arc::new(NamedKeys));
    rules.push(Arc::new(CheckArguments));
    rules
}

/// DataFusion's rule that brings the filters of running operators to the scans.
const FILTERS_TO_SCANS: &str = "FilterPushdown(Post)";

/// DataFusion's rule that moves filters towards the scans.
const FILTERS_DOWN: &str = "FilterPushdown";

/// [`logical_rules`] for physical plans.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(PaddedSides)];
    for (at, rule) in PhysicalOptimizer::new().rules.into_iter().enumerate() {
        if at % RULES_BETWEEN == 0 {
            rules.push(Arc::new(Checkpoint));
        }
        if rule.name() == FILTERS_TO_SCANS {
            rules.push(Arc::new(WholeOrder));
            rules.push(Arc::new(FilterExtremes));
        }
        match rule.name() {
            // The last: what looks at neighbours has been before it.
            FILTERS_TO_SCANS => rules.push(Arc::new(ByName(Arc::new(AllRead(rule))))),
            FILTERS_DOWN => rules.extend([Arc::new(ByName(rule)) as _, Arc::new(Unmark) as _]),
            KnownOrders::RULE => rules.push(Arc::new(KnownOrders(rule))),
            OwnStatistics::RULE => rules.push(Arc::new(OwnStatistics(rule))),
            EachOnce::RULE => rules.push(Arc::new(EachOnce(Arc::new(AboveScans(rule))))),
            _ => rules.push(rule),
        }
    }
    rules
}
