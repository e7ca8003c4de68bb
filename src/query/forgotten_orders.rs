//! Orders that DataFusion forgets.
//!
//! The planner leaves out a sort where the rows are known to be in the order already. A rule that changes the plan behind it, or the node above,
//! may no longer know that, and the last rule, which looks whether each node has what it needs, refuses the plan. Two kinds of it:
//!
//! - Unions whose inputs are all in one order: rows that are not committed yet beside those that are, with a filter `a = b` below both.
//!   Where `a = b` holds, an order by one is an order by the other, and DataFusion keeps one of the two for both. A union keeps that
//!   order and not the equality. Its rows are in order, and the last rule is told so.
//! - Constants of one side of a join, and aggregates that were turned round and have another name since. What is not known to be in
//!   order is sorted.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::pass_through::{PassThrough, PassThroughExec};

/// Of one class of equal expressions not more are looked at.
const EQUALS_MAX: usize = 16;

/// DataFusion's rule that looks whether each node has what it needs, told what is equal in all inputs of a union. What is not known to be
/// in order even then is sorted.
#[derive(Debug)]
pub(super) struct KnownOrders(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl KnownOrders {
    /// The rule's name.
    pub(super) const RULE: &'static str = "SanityCheckPlan";
}

impl PhysicalOptimizerRule for KnownOrders {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let told = Arc::clone(&plan).transform_up(|node| {
            Ok(match Equals::of(&node)? {
                Some(equals) => Transformed::yes(PassThroughExec::over(node, equals)),
                None => Transformed::no(node),
            })
        })?;
        let sorted = told.data.transform_up(over_sorted)?;
        let checked = self.0.optimize(sorted.data, options)?;
        // The rule changes nothing, and to run the plan nothing need be told.
        match (sorted.transformed, told.transformed) {
            (true, _) => untold(checked),
            (false, true) => Ok(plan),
            (false, false) => Ok(checked),
        }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// A union's properties, with what is equal in each of its inputs, and the orders that all of them have.
#[derive(Clone, Debug)]
struct Equals(Arc<PlanProperties>);

impl Equals {
    /// None: it is no union, or one in whose inputs nothing is equal.
    fn of(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Equals>> {
        let inputs = node.children();
        let any_equal = |input: &&Arc<dyn ExecutionPlan>| !classes(input).is_empty();
        if node.downcast_ref::<UnionExec>().is_none() || !inputs.iter().any(any_equal) {
            return Ok(None);
        }
        let schema = node.schema();
        let mut properties = node.properties().equivalence_properties().clone();
        for (one, other) in equal_in_all(&inputs, &schema)? {
            properties.add_equal_conditions(one, other)?;
        }
        properties.add_orderings(orders_of_all(&inputs, &schema)?);
        let properties = PlanProperties::clone(node.properties()).with_eq_properties(properties);
        Ok(Some(Equals(Arc::new(properties))))
    }
}

/// The node over inputs that are sorted, where they are not known to be in the order that it needs.
fn over_sorted(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let inputs = node.children().into_iter();
    let mut any = false;
    let inputs = inputs.zip(node.required_input_ordering());
    let inputs = inputs.map(|(input, needed)| {
        let needed = needed.map(OrderingRequirements::into_single);
        let known = input.equivalence_properties();
        Ok(match needed {
            Some(needed) if !known.ordering_satisfy_requirement(needed.clone())? => {
                any = true;
                let parts = input.output_partitioning().partition_count();
                let sort = SortExec::new(LexOrdering::from(needed), Arc::clone(input));
                Arc::new(sort.with_preserve_partitioning(parts > 1)) as _
            }
            _ => Arc::clone(input),
        })
    });
    let inputs = inputs.collect::<Result<_>>()?;
    if !any {
        return Ok(Transformed::no(node));
    }
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    node.replace_children(inputs, anew).map(Transformed::yes)
}

fn untold(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|plan| {
        Ok(match plan.children().as_slice() {
            [union] if plan.name() == Equals::NAME => Transformed::yes(Arc::clone(union)),
            _ => Transformed::no(plan),
        })
    })?;
    Ok(plan.data)
}

/// Expressions that are equal in each row.
type Class = Vec<Arc<dyn PhysicalExpr>>;

type Pair = (Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>);

/// What is equal in an input.
fn classes(input: &Arc<dyn ExecutionPlan>) -> Vec<Class> {
    let classes = input.equivalence_properties().eq_group().iter();
    let classes = classes.map(|class| class.iter().take(EQUALS_MAX).cloned().collect());
    classes.filter(|class: &Class| class.len() > 1).collect()
}

/// The expression of a union's column for that of an input's, and the other way round: they have the same places and other names.
fn named_as_in(schema: &SchemaRef, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let renamed = Arc::clone(expr).transform_up(|expr| {
        let column = expr.downcast_ref::<Column>();
        let field = column.and_then(|column| schema.fields().get(column.index()).zip(Some(column)));
        Ok(match field {
            Some((field, column)) => {
                Transformed::yes(Arc::new(Column::new(field.name(), column.index())) as _)
            }
            None => Transformed::no(expr),
        })
    });
    renamed.map(|done| done.data)
}

/// Pairs of expressions of the union's columns that are equal in each input.
fn equal_in_all(inputs: &[&Arc<dyn ExecutionPlan>], schema: &SchemaRef) -> Result<Vec<Pair>> {
    let named = |class: Class| class.iter().map(|e| named_as_in(schema, e)).collect();
    let inputs = inputs
        .iter()
        .map(|input| classes(input).into_iter().map(named).collect());
    let inputs: Vec<Vec<Class>> = inputs.collect::<Result<_>>()?;
    let mut pairs = Vec::new();
    let Some((first, others)) = inputs.split_first() else {
        return Ok(pairs);
    };
    for class in first {
        for (at, one) in class.iter().enumerate() {
            let both = |other: &&Arc<dyn PhysicalExpr>| {
                let holds = |class: &Class| class.contains(one) && class.contains(other);
                others.iter().all(|classes| classes.iter().any(holds))
            };
            let other = class.iter().take(at).find(both);
            pairs.extend(other.map(|other| (Arc::clone(other), Arc::clone(one))));
        }
    }
    Ok(pairs)
}

/// Orders by the union's columns in which all inputs are, each by what is equal in it.
fn orders_of_all(
    inputs: &[&Arc<dyn ExecutionPlan>],
    schema: &SchemaRef,
) -> Result<Vec<LexOrdering>> {
    let mut found: Vec<LexOrdering> = Vec::new();
    for input in inputs {
        let equal = classes(input);
        for order in input.equivalence_properties().oeq_class().iter() {
            for nth in 0..EQUALS_MAX {
                let Some(order) = by_nth_columns(order, &equal, nth) else {
                    break;
                };
                let order = named_order(schema, &order)?;
                if !found.contains(&order) && all_in_order(inputs, &order)? {
                    found.push(order);
                }
            }
        }
    }
    Ok(found)
}

/// The order by the nth column that is equal to what it is by, for each part of it that has so many.
fn by_nth_columns(order: &LexOrdering, equal: &[Class], nth: usize) -> Option<LexOrdering> {
    let mut any = nth == 0;
    let parts = order.iter().map(|part| {
        let class = equal.iter().find(|class| class.contains(&part.expr));
        let mut columns = class.into_iter().flatten();
        let column = columns
            .by_ref()
            .filter(|e| e.downcast_ref::<Column>().is_some())
            .nth(nth);
        any |= column.is_some();
        PhysicalSortExpr {
            expr: Arc::clone(column.unwrap_or(&part.expr)),
            options: part.options,
        }
    });
    let order = LexOrdering::new(parts.collect::<Vec<_>>());
    order.filter(|_| any)
}

fn named_order(schema: &SchemaRef, order: &LexOrdering) -> Result<LexOrdering> {
    let parts = order.iter().map(|part| {
        let expr = named_as_in(schema, &part.expr)?;
        Ok(PhysicalSortExpr {
            expr,
            options: part.options,
        })
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    LexOrdering::new(parts).ok_or_else(|| internal_datafusion_err!("an order by nothing"))
}

fn all_in_order(inputs: &[&Arc<dyn ExecutionPlan>], order: &LexOrdering) -> Result<bool> {
    for input in inputs {
        let order = named_order(&input.schema(), order)?;
        if !input.equivalence_properties().ordering_satisfy(order)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl fmt::Display for Equals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for Equals {
    const NAME: &'static str = "KnownOrders";

    fn properties(&self) -> Option<&Arc<PlanProperties>> {
        Some(&self.0)
    }

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}
