//! Which columns are a key of a plan's rows. DataFusion leaves out what a key decides: columns of a GROUP BY and of an ORDER BY, a whole
//! DISTINCT; and it adds what a key of a subquery decides to a GROUP BY. It takes columns for keys that are none:
//!
//! - A key of one side of a join, `p.a` of `m JOIN (SELECT DISTINCT a ..) p`, decides the columns of `p` alone. Above
//!   `GROUP BY m.k, p.a` it is said to decide `m.k` (`aggregate_functional_dependencies`).
//! - A key of a LATERAL subquery, or of another correlated one, holds for one of the rows around it.
//! - UNNEST has several rows for one of its input, and a recursive query more rows than its first part. Both keep the input's keys.
//!
//! Such columns are hidden below the node that takes them for a key: [`another`] is the same value, and no key.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Dependency, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::query::functions::another;

/// DataFusion's rule that makes a GROUP BY of a DISTINCT, and with it a key.
#[derive(Debug)]
pub(in crate::query) struct TrueKeys(pub Arc<dyn OptimizerRule + Send + Sync>);

impl TrueKeys {
    pub(in crate::query) const RULE: &'static str = "replace_distinct_aggregate";
}

impl OptimizerRule for TrueKeys {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match may_have_wrong_keys(&plan)? {
            true => with_true_keys(plan, &|node| self.0.rewrite(node, config)),
            false => plan.transform_up_with_subqueries(|node| self.0.rewrite(node, config)),
        }
    }
}

/// Plans the tables of a FROM as DataFusion does, with true keys: what is grouped by a column of a subquery is grouped by no other.
#[derive(Default)]
pub(in crate::query) struct KeysOfRelations {
    /// The next relation is the one that was just asked for.
    planning: AtomicBool,
}

impl fmt::Debug for KeysOfRelations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysOfRelations")
    }
}

impl RelationPlanner for KeysOfRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if self.planning.swap(false, Ordering::Relaxed) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        self.planning.store(true, Ordering::Relaxed);
        let mut plan = context.plan(relation)?;
        let keys = plan.schema().functional_dependencies();
        if keys.is_empty() {
            // There is nothing to group by that decides anything.
        } else if !plan.all_out_ref_exprs().is_empty() {
            // What is a key of the rows for one row around is none of the rows for all of them.
            let (schema, input) = (plan.schema().clone(), plan);
            plan = hiding(Arc::new(input), &first_columns(&schema, |_| true))?;
        } else if may_have_wrong_keys(&plan)? {
            plan = with_true_keys(plan, &|node| Ok(Transformed::no(node)))?.data;
        }
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

/// A key comes from a GROUP BY or a DISTINCT, and is taken for too much by another node.
fn may_have_wrong_keys(plan: &LogicalPlan) -> Result<bool> {
    let (mut groups, mut others) = (0_usize, 0_usize);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => groups += 1,
            LogicalPlan::Unnest(_) | LogicalPlan::RecursiveQuery(_) => others += 1,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(groups > 1 || (groups == 1 && others > 0))
}

type Next<'a> = dyn Fn(LogicalPlan) -> Result<Transformed<LogicalPlan>> + 'a;

/// From below: a node's keys follow from those of its inputs, so each node above one that has changed is made anew.
fn with_true_keys(plan: LogicalPlan, next: &Next<'_>) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_subqueries(|inner| with_true_keys(inner, next))?;
    let plan = plan.transform_sibling(|plan| {
        let plan = plan.map_children(|child| with_true_keys(child, next))?;
        match plan.transformed {
            true => plan.map_data(LogicalPlan::recompute_schema),
            false => Ok(plan),
        }
    })?;
    let plan = plan.transform_parent(hidden_below)?;
    plan.transform_parent(next)
}

/// A node whose input hides what the node would take for a key.
fn hidden_below(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let input = match &node {
        LogicalPlan::Aggregate(Aggregate { input, .. })
        | LogicalPlan::Distinct(Distinct::All(input)) => input,
        LogicalPlan::Distinct(Distinct::On(distinct)) => &distinct.input,
        LogicalPlan::Unnest(unnest) => &unnest.input,
        LogicalPlan::RecursiveQuery(query) => &query.static_term,
        _ => return Ok(Transformed::no(node)),
    };
    let keys = input.schema();
    if keys.functional_dependencies().is_empty() {
        return Ok(Transformed::no(node));
    }
    let wrong = match &node {
        LogicalPlan::Aggregate(aggregate) => decides_too_much(keys, &aggregate.group_expr),
        LogicalPlan::Distinct(Distinct::On(distinct)) => decides_too_much(keys, &distinct.on_expr),
        LogicalPlan::Distinct(Distinct::All(_)) => {
            let columns = keys.columns().into_iter().map(Expr::Column);
            decides_too_much(keys, &columns.collect::<Vec<_>>())
        }
        _ => first_columns(keys, |_| true),
    };
    if wrong.is_empty() {
        return Ok(Transformed::no(node));
    }
    let hiding = Arc::new(hiding(input.clone(), &wrong)?);
    let mut first = true;
    // The recursive part of a query has the columns, and keys are those of the first part.
    let node = node.map_children(|child| {
        Ok(match std::mem::take(&mut first) {
            true => Transformed::yes(hiding.as_ref().clone()),
            false => Transformed::no(child),
        })
    })?;
    node.map_data(LogicalPlan::recompute_schema)
}

/// A column of each key that is among the columns of a group, occurs more than once, and does not decide all of the group.
fn decides_too_much(input: &DFSchema, group: &[Expr]) -> BTreeSet<usize> {
    let group: HashSet<String> = group.iter().map(|e| e.schema_name().to_string()).collect();
    let names = input.field_names();
    let is_of_group = |at: &usize| names.get(*at).is_some_and(|name| group.contains(name));
    first_columns(input, |key| {
        let decided: HashSet<&String> =
            key.targets.iter().filter_map(|at| names.get(*at)).collect();
        key.occurs_again
            && key.columns.iter().all(is_of_group)
            && !group.iter().all(|name| decided.contains(name))
    })
}

struct Key<'a> {
    columns: &'a [usize],
    targets: &'a [usize],
    occurs_again: bool,
}

fn first_columns(input: &DFSchema, wrong: impl Fn(&Key<'_>) -> bool) -> BTreeSet<usize> {
    let keys = input.functional_dependencies().iter().map(|key| Key {
        columns: &key.source_indices,
        targets: &key.target_indices,
        occurs_again: key.mode == Dependency::Multi,
    });
    let wrong = keys.filter(wrong);
    wrong
        .filter_map(|key| key.columns.first().copied())
        .collect()
}

/// The same rows, in which some columns are no part of a key.
fn hiding(input: Arc<LogicalPlan>, columns: &BTreeSet<usize>) -> Result<LogicalPlan> {
    let schema = input.schema().clone();
    let all = schema.iter().enumerate().map(|(at, (relation, field))| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        match columns.contains(&at) {
            true => {
                let hidden = another().call(vec![column]);
                hidden.alias_qualified(relation.cloned(), field.name())
            }
            false => column,
        }
    });
    Projection::try_new(all.collect(), input).map(LogicalPlan::Projection)
}
