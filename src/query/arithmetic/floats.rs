//! Brings floats to their one form ([`crate::floats`]) where a node of a plan makes them.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::physical_plan::{FileGroup, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;

use crate::cold::FloatsInOneForm;
use crate::floats::{holds_floats, one_form, one_form_32, one_form_64};
use crate::query::pass_through::{PassThrough, PassThroughExec, each_batch, each_column};

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

/// Whether it reads files alone that say that their floats are in their one form.
fn reads_one_form(node: &Arc<dyn ExecutionPlan>) -> bool {
    let scan = node.downcast_ref::<DataSourceExec>();
    let Some((config, _)) = scan.and_then(|s| s.downcast_to_file_source::<ParquetSource>()) else {
        return false;
    };
    let mut files = config.file_groups.iter().flat_map(FileGroup::iter);
    files.all(|file| file.extension::<FloatsInOneForm>().is_some())
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
        Ok(match makes_floats(&node) && !reads_one_form(&node) {
            true => Transformed::yes(PassThroughExec::over(node, OneForm)),
            false => Transformed::no(node),
        })
    });
    Ok(plan?.data)
}

/// Whether the node reads floats as they are stored.
pub(super) fn is_scan_of_floats(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.children().is_empty() && makes_floats(node)
}

#[derive(Clone, Debug)]
pub(super) struct OneForm;

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
        each_batch(input, in_one_form)
    }
}

/// The rows with all floats in their one form.
///
/// # Errors
/// None is known.
pub(in crate::query) fn in_one_form(batch: &RecordBatch) -> Result<RecordBatch> {
    each_column(batch, |column| Ok(one_form(column)))
}
