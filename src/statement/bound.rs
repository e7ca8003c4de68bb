//! What a statement was bound to: rows of parameters, each of which is one execution. An update bound to many rows is one
//! statement still: it happens whole or not at all, and has one count.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use crate::fault::{Fault, Kind};

/// Rows of parameters, by position. A statement without parameters is bound to nothing.
#[derive(Clone, Debug, Default)]
pub struct Bound(Option<RecordBatch>);

impl Bound {
    pub const NOTHING: &'static Bound = &Bound(None);

    /// A batch without columns binds nothing: some drivers send one with every update.
    pub fn new(rows: Option<RecordBatch>) -> Self {
        Bound(rows.filter(|r| r.num_columns() > 0))
    }

    pub fn batch(&self) -> Option<&RecordBatch> {
        self.0.as_ref()
    }

    /// How often the statement is to be executed.
    pub fn executions(&self) -> usize {
        self.0.as_ref().map_or(1, RecordBatch::num_rows)
    }

    /// The parameters of one execution, as the query engine takes them.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: a type that has no SQL value.
    pub fn row(&self, row: usize) -> Result<Option<Vec<ScalarValue>>, Fault> {
        let Some(batch) = self.0.as_ref().filter(|b| row < b.num_rows()) else {
            return Ok(None);
        };
        let values = batch
            .columns()
            .iter()
            .map(|c| ScalarValue::try_from_array(c, row));
        let values = values.collect::<Result<Vec<_>, _>>();
        values
            .map(Some)
            .map_err(|e| Fault::invalid("parameters", e.strip_backtrace()))
    }

    /// The parameters of a statement that is executed once.
    ///
    /// # Errors
    /// UNIMPLEMENTED: it was bound to several rows.
    pub fn once(&self) -> Result<Option<Vec<ScalarValue>>, Fault> {
        if self.executions() > 1 {
            return Err(Fault::new(
                Kind::Unimplemented,
                "not_implemented",
                format!(
                    "this statement takes one row of parameters at a time, {} were bound; execute it once a row, or use INSERT or bulk ingest",
                    self.executions()
                ),
            ));
        }
        self.row(0)
    }
}
