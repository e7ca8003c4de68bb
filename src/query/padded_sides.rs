//! Constants on the side of an outer join that is filled up with nulls.
//!
//! `LEFT JOIN (SELECT .. WHERE v = 2.5) q`: DataFusion knows that `q.v` is one value in all rows of that side, and takes it for one value
//! above the join as well, where it is null in the rows without a partner. An order by it is then left out, and a group by it is
//! ended when the next row has another value. Here such a side does not tell what is constant in it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::pass_through::{PassThrough, PassThroughExec};

/// The first of the rules: those behind it ask what is constant and in order.
#[derive(Debug, Default)]
pub(super) struct PaddedSides;

impl PhysicalOptimizerRule for PaddedSides {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let Some(padded) = padded(&node) else {
                return Ok(Transformed::no(node));
            };
            let sides = node.children().into_iter().zip(padded);
            let mut hidden = false;
            let sides = sides.map(|(side, is_padded)| {
                if !is_padded || side.equivalence_properties().constants().is_empty() {
                    return side.clone();
                }
                hidden = true;
                PassThroughExec::over(side.clone(), WithoutConstants::of(side))
            });
            let sides: Vec<_> = sides.collect();
            Ok(match hidden {
                true => Transformed::yes(replace_children_if_necessary(node, sides)?),
                false => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "padded_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the left and the right side of an outer join are filled up with nulls; none: it is no such join.
fn padded(node: &Arc<dyn ExecutionPlan>) -> Option<[bool; 2]> {
    let join_type = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        *join.join_type()
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        *join.join_type()
    } else {
        node.downcast_ref::<SortMergeJoinExec>()?.join_type()
    };
    match join_type {
        JoinType::Left => Some([false, true]),
        JoinType::Right => Some([true, false]),
        JoinType::Full => Some([true, true]),
        _ => None,
    }
}

/// What its input is, but for the constants.
#[derive(Clone, Debug)]
struct WithoutConstants(Arc<PlanProperties>);

impl WithoutConstants {
    fn of(input: &Arc<dyn ExecutionPlan>) -> Self {
        let orders = input.equivalence_properties().oeq_class().iter().cloned();
        let known = EquivalenceProperties::new_with_orderings(input.schema(), orders);
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(known);
        WithoutConstants(Arc::new(properties))
    }
}

impl fmt::Display for WithoutConstants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for WithoutConstants {
    const NAME: &'static str = "WithoutConstantsExec";

    fn properties(&self) -> Option<&Arc<PlanProperties>> {
        Some(&self.0)
    }

    fn over(self, input: &Arc<dyn ExecutionPlan>) -> Self {
        Self::of(input)
    }

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}
