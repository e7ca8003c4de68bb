//! `SELECT min(ts), max(ts) FROM t` leaves out files and row groups that cannot move either value: the least and the greatest
//! value that were seen so far are a filter for what is still to be read.
//!
//! DataFusion 55 makes such a filter itself (`AggregateExec`'s dynamic filter), and it is turned off, because rows that are wanted
//! do not pass it. It leaves an aggregate out of the filter as long as its value is null, so that a file that lacks one column
//! makes the filter ask for the others alone; and it leaves out an aggregate of an expression, as in `min(a), max(a + b)`.
//! Here there is no filter until all values are known, and none where an aggregate is not of a column.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion_functions_aggregate_common::min_max::{max_batch, min_batch};
use futures::Stream;
use parking_lot::Mutex;

/// Puts [`ExtremeFilterExec`] below aggregates of all rows. Stands in front of the rule that brings filters to the scans.
#[derive(Debug, Default)]
pub(super) struct FilterExtremes;

impl PhysicalOptimizerRule for FilterExtremes {
    fn name(&self) -> &str {
        "filter_extremes"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let Some(wanted) = wanted(&node) else {
                return Ok(Transformed::no(node));
            };
            let below = node.children().into_iter().cloned();
            let below = below.map(|child| ExtremeFilterExec::over(child, wanted.clone()));
            let below = below.collect();
            replace_children_if_necessary(node, below).map(Transformed::yes)
        });
        Ok(plan?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The columns whose extremes a node computes, and nothing else; none where there is no filter.
fn wanted(node: &Arc<dyn ExecutionPlan>) -> Option<Vec<Extreme>> {
    let aggregate = node.downcast_ref::<AggregateExec>()?;
    let first = matches!(
        aggregate.mode(),
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    if !first || !aggregate.group_expr().is_true_no_grouping() {
        return None;
    }
    if aggregate.filter_expr().iter().any(Option::is_some) {
        return None;
    }
    let of = aggregate.aggr_expr().iter().map(|function| {
        let arguments = function.expressions();
        let [argument] = arguments.as_slice() else {
            return None;
        };
        let column = argument.downcast_ref::<Column>()?;
        let most = match function.fun().name() {
            "max" => true,
            "min" => false,
            _ => return None,
        };
        let schema = aggregate.input().schema();
        let type_ = schema.fields().get(column.index())?.data_type().clone();
        let bounded = type_.is_numeric() || type_.is_temporal();
        bounded.then(|| Extreme {
            column: column.clone(),
            most,
        })
    });
    of.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}

#[derive(Clone, Debug, PartialEq)]
struct Extreme {
    column: Column,
    /// The greatest, or the least.
    most: bool,
}

impl Extreme {
    /// None: a batch of nulls.
    fn of(&self, batch: &RecordBatch) -> Result<Option<ScalarValue>> {
        let values = batch.column(self.column.index());
        if values.null_count() == values.len() {
            return Ok(None);
        }
        let found = match self.most {
            true => max_batch(values)?,
            false => min_batch(values)?,
        };
        Ok((!found.is_null()).then_some(found))
    }

    fn is_better(&self, new: &ScalarValue, old: &ScalarValue) -> bool {
        let order = new.partial_cmp(old);
        order.is_some_and(|order| {
            if self.most {
                order.is_gt()
            } else {
                order.is_lt()
            }
        })
    }

    /// Rows that could move the value.
    fn beyond(&self, known: &ScalarValue) -> Arc<dyn PhysicalExpr> {
        let operator = if self.most {
            Operator::Gt
        } else {
            Operator::Lt
        };
        let column = Arc::new(self.column.clone());
        Arc::new(BinaryExpr::new(column, operator, lit(known.clone())))
    }
}

/// What all partitions have seen.
#[derive(Debug)]
struct Seen {
    wanted: Vec<Extreme>,
    best: Mutex<Vec<Option<ScalarValue>>>,
    filter: Arc<DynamicFilterPhysicalExpr>,
}

impl Seen {
    fn add(&self, batch: &RecordBatch) -> Result<()> {
        let mut found = Vec::with_capacity(self.wanted.len());
        for extreme in &self.wanted {
            found.push(extreme.of(batch)?);
        }
        let mut best = self.best.lock();
        let mut moved = false;
        for ((extreme, known), new) in self.wanted.iter().zip(best.iter_mut()).zip(found) {
            if let Some(new) = new
                && known
                    .as_ref()
                    .is_none_or(|old| extreme.is_better(&new, old))
            {
                *known = Some(new);
                moved = true;
            }
        }
        if !moved {
            return Ok(());
        }
        // A value that nobody has seen yet: any row may be wanted.
        let Some(known) = best.iter().cloned().collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let any = self.wanted.iter().zip(&known).map(|(e, v)| e.beyond(v));
        let any = any.reduce(|l, r| Arc::new(BinaryExpr::new(l, Operator::Or, r)));
        match any {
            Some(any) => self.filter.update(any),
            None => Ok(()),
        }
    }
}

/// Passes its input's batches on, and offers a filter to the scans below.
#[derive(Debug)]
struct ExtremeFilterExec {
    input: Arc<dyn ExecutionPlan>,
    seen: Arc<Seen>,
}

impl ExtremeFilterExec {
    fn over(input: Arc<dyn ExecutionPlan>, wanted: Vec<Extreme>) -> Arc<dyn ExecutionPlan> {
        let columns = wanted.iter().map(|e| Arc::new(e.column.clone()) as _);
        let filter = DynamicFilterPhysicalExpr::new(columns.collect(), lit(true));
        Arc::new(ExtremeFilterExec {
            input,
            seen: Arc::new(Seen {
                best: Mutex::new(vec![None; wanted.len()]),
                wanted,
                filter: Arc::new(filter),
            }),
        })
    }
}

impl DisplayAs for ExtremeFilterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for ExtremeFilterExec {
    fn name(&self) -> &str {
        "ExtremeFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            // The scans below have the filter.
            (Some(input), true) => Ok(Arc::new(ExtremeFilterExec {
                input,
                seen: self.seen.clone(),
            })),
            _ => internal_err!("ExtremeFilterExec has one input"),
        }
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(input.clone()),
            _ => internal_err!("ExtremeFilterExec has one input"),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let mut below = ChildFilterDescription::from_child(&filters, &self.input)?;
        if phase == FilterPushdownPhase::Post {
            below = below.with_self_filter(self.seen.filter.clone());
        }
        Ok(FilterDescription::new().with_child(below))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Watched {
            input: self.input.execute(partition, context)?,
            seen: self.seen.clone(),
            batches: 0,
        }))
    }
}

/// One batch of so many is looked at. What was seen of some rows bounds the answer as well, if less tightly, and a look costs as much as
/// the aggregate itself.
const LOOKED_AT: usize = 8;

struct Watched {
    input: SendableRecordBatchStream,
    seen: Arc<Seen>,
    batches: usize,
}

impl Stream for Watched {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.input.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(batch))) = &next {
            if self.batches.is_multiple_of(LOOKED_AT) {
                self.seen.add(batch)?;
            }
            self.batches += 1;
        }
        next
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr as Dynamic;

    use super::*;

    fn batch(a: Vec<Option<i64>>, b: Vec<Option<i64>>) -> RecordBatch {
        let column = |v| Arc::new(Int64Array::from(v)) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([("a", column(a), true), ("b", column(b), true)])
            .unwrap()
    }

    fn seen(batches: &[RecordBatch]) -> String {
        let of = |name: &str, at, most| Extreme {
            column: Column::new(name, at),
            most,
        };
        let wanted = vec![of("a", 0, false), of("a", 0, true), of("b", 1, true)];
        let columns = wanted.iter().map(|e| Arc::new(e.column.clone()) as _);
        let seen = Seen {
            best: Mutex::new(vec![None; wanted.len()]),
            filter: Arc::new(Dynamic::new(columns.collect(), lit(true))),
            wanted,
        };
        for batch in batches {
            seen.add(batch).unwrap();
        }
        seen.filter.current().unwrap().to_string()
    }

    #[test]
    fn there_is_no_filter_until_every_value_is_known() {
        let none = batch(vec![Some(3), Some(5)], vec![None, None]);
        assert_eq!(seen(&[]), "true");
        assert_eq!(seen(std::slice::from_ref(&none)), "true");
        let more = batch(vec![Some(4)], vec![Some(7)]);
        let all = "a@0 < 3 OR a@0 > 5 OR b@1 > 7";
        assert_eq!(seen(&[none.clone(), more.clone()]), all);
        assert_eq!(seen(&[more.clone(), none.clone(), none]), all);
        let empty = batch(vec![], vec![]);
        assert_eq!(seen(&[more, empty]), "a@0 < 4 OR a@0 > 4 OR b@1 > 7");
    }
}
