//! Rows of files in which the fields of a null struct are null ([`crate::nested::with_null_fields`]): taking a field out of a struct
//! does not ask whether the struct is null.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;

use super::pass_through::{PassThrough, PassThroughExec};
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
        Box::pin(Changed { input })
    }
}

struct Changed {
    input: SendableRecordBatchStream,
}

fn changed(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(with_null_fields);
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns,
        &rows,
    )?)
}

impl Stream for Changed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.input.as_mut().poll_next(cx);
        next.map(|next| next.map(|batch| batch.and_then(|batch| changed(&batch))))
    }
}

impl RecordBatchStream for Changed {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
