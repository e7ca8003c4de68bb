//! Joins in which a null equals a null (`ON a.k IS NOT DISTINCT FROM b.k`, INTERSECT) beside joins in which it does not.
//!
//! DataFusion keeps that for a join as a whole. Two of its rules put comparisons of one kind into a join of the other: the one that
//! puts the tables of several joins in another order takes the kind of the outermost for all of them, and the one that finds the
//! comparisons among a join's conditions adds `a.v = b.v` to a join in which nulls are equal. Rows are lost or made by it. Here each
//! of the two is kept to joins of one kind.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Filter, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's rule that finds the comparisons among the conditions of a join.
#[derive(Debug)]
pub(in crate::query) struct ComparedInJoins(pub Rule);

impl ComparedInJoins {
    pub(in crate::query) const RULE: &'static str = "extract_equijoin_predicate";
}

impl OptimizerRule for ComparedInJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let before = match &plan {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
                join.on.len()
            }
            _ => return self.0.rewrite(plan, config),
        };
        let rewritten = self.0.rewrite(plan, config)?;
        rewritten.map_data(|plan| match plan {
            LogicalPlan::Join(mut join) => {
                // A comparison of nulls is not true.
                let added = join.on.iter().skip(before);
                let known = added.map(|(left, _)| left.clone().is_not_null());
                join.filter = conjunction(join.filter.into_iter().chain(known));
                Ok(LogicalPlan::Join(join))
            }
            other => Ok(other),
        })
    }
}

/// DataFusion's rule that puts the tables of inner joins in an order in which each is compared with one before it.
#[derive(Debug)]
pub(in crate::query) struct OrderOfJoins(pub Rule);

impl OrderOfJoins {
    pub(in crate::query) const RULE: &'static str = "eliminate_cross_join";
}

impl OptimizerRule for OrderOfJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !has_equal_nulls(&plan)? {
            return self.0.rewrite(plan, config);
        }
        let plan = apart(plan)?;
        plan.transform_data(|plan| self.0.rewrite(plan, config))
    }
}

/// Whether nulls are equal in an inner join; none of any other plan.
fn nulls(plan: &LogicalPlan) -> Option<NullEquality> {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Some(join.null_equality),
        _ => None,
    }
}

fn has_equal_nulls(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        found |= nulls(plan) == Some(NullEquality::NullEqualsNull);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// The plan with a projection of all columns between joins of two kinds, and between conditions and a join in which nulls are equal.
/// The rule goes through none.
fn apart(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(filter)
            if nulls(&filter.input) == Some(NullEquality::NullEqualsNull) =>
        {
            let input = all_columns(filter.input);
            let filter = Filter::try_new(filter.predicate, input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner => {
            let own = join.null_equality;
            let mut touched = false;
            for side in [&mut join.left, &mut join.right] {
                if nulls(side).is_some_and(|kind| kind != own) {
                    *side = all_columns(side.clone());
                    touched = true;
                }
            }
            Ok(Transformed::new_transformed(
                LogicalPlan::Join(join),
                touched,
            ))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn all_columns(plan: Arc<LogicalPlan>) -> Arc<LogicalPlan> {
    let schema = plan.schema().clone();
    Arc::new(LogicalPlan::Projection(Projection::new_from_schema(
        plan, schema,
    )))
}
