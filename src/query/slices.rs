//! Keeps operators from making much of one batch: their input comes in slices.
//!
//! A nested-loop join must not hold a thread. It joins a whole batch of its right side with all rows of its left one
//! before it looks up: with 3 million rows on the left over a minute, in which neither a cancel nor a time limit is heard and
//! other queries wait. Given its right side in small slices, and a pause between them, it looks up every second or so.
//!
//! A long constant must not be repeated for each row of a large batch, nor wide rows for each element of a long list: the
//! slices are such that what comes of one stays below [`SLICE_BYTES`], or is a single row.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::unnest::UnnestExec;
use futures::Stream;

use super::longest_row::{LongestRow, can_be_long, slice_bytes};
use super::pass_through::{PassThrough, PassThroughExec};

/// Below a tenth of a batch the join takes many left rows at once, so that small slices cost it little.
const SLICE_ROWS: usize = 64;
/// What an operator makes of one slice, by estimate.
const SLICE_BYTES: usize = 4 << 20;
/// Constants below need no slices: a batch of them is no larger than a batch of ordinary texts.
const CONSTANT_BYTES: usize = 4 << 10;
/// Work between two pauses.
const STRETCH: Duration = Duration::from_millis(20);

/// Puts [`Slices`] below the right side of each nested-loop join, below operators with long constants or subqueries' values, and
/// below `unnest`.
#[derive(Debug, Default)]
pub(super) struct SliceInputs;

/// How large a slice is.
#[derive(Clone, Debug, PartialEq)]
enum Size {
    Rows(usize),
    /// So many that the elements of these list columns, each with a row beside it, are not too many.
    Elements(Vec<usize>),
    /// So many that what stands beside every row is not too much: the values of these subqueries, whose length is known when
    /// the plan runs, and constants of so many bytes.
    Beside(Vec<Arc<dyn PhysicalExpr>>, usize),
    /// So many that the longest row of a join's left side, which has been read whole by then, may stand beside each. No more
    /// than this.
    BesideLeft(LongestRow, usize),
}

/// Bytes of the long constants in the plan's node that has most of them.
pub(super) fn long_constants(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let mut most = 0;
    plan.apply(|node| {
        let bytes = constant_bytes(node)?;
        if bytes >= CONSTANT_BYTES {
            most = most.max(bytes);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(most)
}

/// Bytes of the constants in a node's expressions.
fn constant_bytes(node: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let mut bytes = 0;
    node.apply_expressions(&mut |root: &Arc<dyn PhysicalExpr>| {
        root.apply(|expr| {
            if let Some(literal) = expr.downcast_ref::<Literal>() {
                bytes += literal.value().size();
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(bytes)
}

/// The subqueries among a node's expressions whose one value may be of any length.
fn subqueries(node: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    let mut found = vec![];
    node.apply_expressions(&mut |root: &Arc<dyn PhysicalExpr>| {
        root.apply(|expr| {
            if expr.downcast_ref::<ScalarSubqueryExpr>().is_some() {
                let type_ = expr.return_field(&Schema::empty())?;
                if type_.data_type().primitive_width().is_none() {
                    found.push(expr.clone());
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether rows of this plan may be long in a way that no statistics tell: with a subquery's value beside them, or with lists
/// or gathered texts that a join repeats.
pub(super) fn long_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let lists = |child: &Arc<dyn ExecutionPlan>| {
        let schema = child.schema();
        schema.fields().iter().any(|f| f.data_type().is_nested())
    };
    plan.exists(|node| {
        if node.name().ends_with("JoinExec") {
            for child in node.children() {
                if lists(child) || child.exists(|below| Ok(gathers_texts(below)))? {
                    return Ok(true);
                }
            }
        }
        Ok(!subqueries(node)?.is_empty())
    })
}

/// Whether this node makes one text of many rows' texts.
fn gathers_texts(node: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
        return false;
    };
    let mut made = aggregate.aggr_expr().iter().map(|a| a.field());
    made.any(|field| can_be_long(field.data_type()))
}

/// The node with its inputs in slices; the node itself if it needs none.
fn sliced(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let children: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
    if children.is_empty() {
        return Ok(Transformed::no(node));
    }
    let slice = |child: &Arc<dyn ExecutionPlan>, size: Size| -> Arc<dyn ExecutionPlan> {
        PassThroughExec::over(child.clone(), Slices(size))
    };
    let reads_left_first = matches!(
        node.name(),
        "NestedLoopJoinExec" | "CrossJoinExec" | "HashJoinExec"
    );
    if let (true, [left, right]) = (reads_left_first, children.as_slice()) {
        let most = match node.name() {
            "NestedLoopJoinExec" => SLICE_ROWS,
            _ => usize::MAX,
        };
        let children = match (LongestRow::can_be_long(left), most) {
            (true, _) => {
                let longest = LongestRow::default();
                let measured = PassThroughExec::over(left.clone(), longest.clone());
                vec![measured, slice(right, Size::BesideLeft(longest, most))]
            }
            (false, SLICE_ROWS) => vec![left.clone(), slice(right, Size::Rows(most))],
            (false, _) => return Ok(Transformed::no(node)),
        };
        return replace_children_if_necessary(node, children).map(Transformed::yes);
    }
    if let (Some(unnest), [child]) = (node.downcast_ref::<UnnestExec>(), children.as_slice()) {
        let lists = unnest.list_column_indices().iter();
        let lists = lists.map(|l| l.index_in_input_schema).collect();
        let children = vec![slice(child, Size::Elements(lists))];
        return replace_children_if_necessary(node, children).map(Transformed::yes);
    }
    let constants = constant_bytes(&node)?;
    let beside = subqueries(&node)?;
    let size = match beside.is_empty() {
        true if constants < CONSTANT_BYTES => return Ok(Transformed::no(node)),
        true => rows_beside(constants),
        false => Size::Beside(beside, constants),
    };
    let children = children.iter().map(|c| slice(c, size.clone()));
    replace_children_if_necessary(node, children.collect()).map(Transformed::yes)
}

impl PhysicalOptimizerRule for SliceInputs {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sliced = plan.transform_up(sliced)?;
        Ok(sliced.data)
    }

    fn name(&self) -> &str {
        "slice_inputs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Gives the input's rows in slices, with pauses.
#[derive(Clone, Debug)]
pub(super) struct Slices(Size);

impl fmt::Display for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Size::Rows(rows) => write!(f, "{}: rows={rows}", Self::NAME),
            Size::Elements(lists) => write!(f, "{}: lists={lists:?}", Self::NAME),
            Size::Beside(values, _) => write!(f, "{}: subqueries={}", Self::NAME, values.len()),
            Size::BesideLeft(..) => write!(f, "{}: beside the left side", Self::NAME),
        }
    }
}

impl PassThrough for Slices {
    const NAME: &'static str = "SliceExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        Box::pin(Sliced {
            input,
            size: self.0.clone(),
            rest: None,
            since: Instant::now(),
        })
    }
}

struct Sliced {
    input: SendableRecordBatchStream,
    size: Size,
    rest: Option<RecordBatch>,
    /// When the stream paused last.
    since: Instant,
}

impl Sliced {
    /// The next slice of what is left.
    fn slice(&mut self) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        let rows = batch.num_rows();
        if let Size::Beside(values, constants) = &self.size {
            // The subqueries have run when the first rows of the plan beside them are here.
            let bytes: usize = values.iter().map(|v| value_bytes(v, &batch)).sum();
            self.size = rows_beside(bytes + constants);
        }
        let take = match &self.size {
            Size::Rows(rows) => *rows,
            Size::Elements(lists) => fitting(&batch, lists),
            Size::Beside(..) => rows,
            Size::BesideLeft(longest, most) => fitting_beside(longest.bytes()).min(*most),
        };
        if rows <= take {
            return Some(batch);
        }
        self.rest = Some(batch.slice(take, rows - take));
        Some(batch.slice(0, take))
    }
}

/// The slice for rows with so many bytes of constants beside each.
fn rows_beside(bytes: usize) -> Size {
    Size::Rows(fitting_beside(bytes))
}

/// Rows of a slice with so many bytes beside each.
fn fitting_beside(bytes: usize) -> usize {
    match bytes < CONSTANT_BYTES {
        true => usize::MAX,
        false => (SLICE_BYTES / bytes).max(1),
    }
}

/// Bytes of an expression that has one value for all rows; none if it has no value yet.
fn value_bytes(value: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> usize {
    match value.evaluate(batch) {
        Ok(ColumnarValue::Scalar(scalar)) => scalar.size(),
        Ok(ColumnarValue::Array(_)) | Err(_) => 0,
    }
}

/// Rows from the batch's begin whose lists, each element with the row's other values beside it, stay below the limit.
fn fitting(batch: &RecordBatch, lists: &[usize]) -> usize {
    let rows = batch.num_rows();
    let others = batch.columns().iter().enumerate();
    let others = others.filter(|(at, _)| !lists.contains(at));
    let bytes: usize = others.map(|(_, c)| slice_bytes(c)).sum();
    let width = bytes / rows.max(1) + 16;
    let lengths: Vec<ArrayRef> = lists
        .iter()
        .filter_map(|at| length(batch.columns().get(*at)?).ok())
        .filter_map(|lengths| cast(&lengths, &DataType::Int64).ok())
        .collect();
    let lengths: Vec<&Int64Array> = lengths
        .iter()
        .filter_map(|l| l.as_primitive_opt())
        .collect();
    let mut made = 0;
    for row in 0..rows {
        let longest = lengths
            .iter()
            .filter(|l| l.is_valid(row))
            .map(|l| l.value(row));
        let elements = usize::try_from(longest.max().unwrap_or(0)).unwrap_or(0);
        made += elements.max(1).saturating_mul(width);
        if made > SLICE_BYTES {
            return row.max(1);
        }
    }
    rows.max(1)
}

impl Stream for Sliced {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.since.elapsed() >= STRETCH {
            self.since = Instant::now();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(slice) = self.slice() {
            return Poll::Ready(Some(Ok(slice)));
        }
        match self.input.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(batch))) => {
                self.rest = Some(batch);
                Poll::Ready(self.slice().map(Ok))
            }
            other => {
                if other.is_pending() {
                    self.since = Instant::now();
                }
                other
            }
        }
    }
}

impl RecordBatchStream for Sliced {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
