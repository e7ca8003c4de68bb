//! Rows of files in which the fields of a null struct are null ([`crate::nested::with_null_fields`]): taking a field out of a struct
//! does not ask whether the struct is null.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;

use super::pass_through::{PassThrough, PassThroughExec, each_batch, each_column};
use crate::nested::{hides_fields, with_null_fields};

/// The scan of files, with that done to its rows if they need it.
pub(super) fn over(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let schema = scan.schema();
    match schema.fields().iter().any(|f| hides_fields(f.data_type())) {
        true => PassThroughExec::over(scan, NullFields),
        false => scan,
    }
}

#[derive(Clone, Debug)]
struct NullFields;

impl fmt::Display for NullFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for NullFields {
    const NAME: &'static str = "NullFieldsExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        each_batch(input, changed)
    }
}

fn changed(batch: &RecordBatch) -> Result<RecordBatch> {
    each_column(batch, |column| Ok(with_null_fields(column)?))
}
