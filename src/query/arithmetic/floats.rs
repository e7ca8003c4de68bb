//! Brings floats to their one form ([`crate::floats`]) where a node of a plan makes them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;
use futures::Stream;

use crate::floats::{holds_floats, one_form, one_form_32, one_form_64};
use crate::query::pass_through::{PassThrough, PassThroughExec};

pub(in crate::query) fn scalar_in_one_form(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(v)) => ScalarValue::Float64(Some(one_form_64(v))),
        ScalarValue::Float32(Some(v)) => ScalarValue::Float32(Some(one_form_32(v))),
        other => other,
    }
}

/// Whether a constant is in its one form already.
pub(super) fn is_in_one_form(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(v)) => one_form_64(*v).to_bits() == v.to_bits(),
        ScalarValue::Float32(Some(v)) => one_form_32(*v).to_bits() == v.to_bits(),
        _ => true,
    }
}

fn has_floats(schema: &Schema) -> bool {
    let mut fields = schema.fields().iter();
    fields.any(|f| holds_floats(f.data_type()))
}

/// Whether floats of any form can come out of this node although its expressions make none.
fn makes_floats(node: &Arc<dyn ExecutionPlan>) -> bool {
    if !has_floats(&node.schema()) {
        return false;
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let partial = matches!(
            aggregate.mode(),
            AggregateMode::Partial | AggregateMode::PartialReduce
        );
        return !partial;
    }
    match node.name() {
        "WindowAggExec" | "BoundedWindowAggExec" => true,
        _ => node.children().is_empty() && node.downcast_ref::<EmptyExec>().is_none(),
    }
}

/// The plan with floats in their one form behind its scans, aggregates and window functions. For a plan that runs now, so that
/// EXPLAIN does not show it.
///
/// # Errors
/// A node that cannot take an input back; none is known.
pub(in crate::query) fn canonical_floats(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        Ok(match makes_floats(&node) {
            true => Transformed::yes(PassThroughExec::over(node, OneForm)),
            false => Transformed::no(node),
        })
    });
    Ok(plan?.data)
}

#[derive(Clone, Debug)]
struct OneForm;

impl fmt::Display for OneForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for OneForm {
    const NAME: &'static str = "CanonicalFloatsExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        Box::pin(Changed { input })
    }
}

struct Changed {
    input: SendableRecordBatchStream,
}

impl Stream for Changed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.input.as_mut().poll_next(cx);
        next.map(|next| next.map(|batch| batch.and_then(|batch| in_one_form(&batch))))
    }
}

impl RecordBatchStream for Changed {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// The rows with all floats in their one form.
///
/// # Errors
/// None is known.
pub(in crate::query) fn in_one_form(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(one_form).collect();
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns,
        &rows,
    )?)
}
