//! The batches that an ingest's stream brings, and their parts, with the memory that each takes.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;

use crate::catalog::Shared;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::flight::decode::{Bounds, Decoded, Decoder, broken, expand};
use crate::flight::put_input::PutInput;

/// The batches of a stream, one by one.
pub(super) struct Batches {
    pub(super) input: PutInput,
    decoder: Decoder,
    /// Of the newest message: the connection is charged for them already.
    pub(super) message_bytes: u64,
}

impl Batches {
    pub(super) fn new(shared: &Shared, input: PutInput) -> Self {
        let decoder = Decoder::within(Bounds::of_messages(&shared.config.limits))
            .charged_to(input.connection().clone());
        Batches {
            input,
            decoder,
            message_bytes: 0,
        }
    }

    /// The schema, which comes before all batches.
    pub(super) async fn schema(&mut self) -> Result<SchemaRef, Fault> {
        while let Some(data) = self.message().await? {
            match data {
                Decoded::Schema(schema) => return Ok(schema),
                Decoded::Nothing => {}
                Decoded::Batch(_) | Decoded::Dictionary => break,
            }
        }
        Err(Fault::invalid(
            "empty_stream",
            "the stream ended before a schema came; send a schema and batches",
        ))
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        while let Some(data) = self.message().await? {
            if let Decoded::Batch(batch) = data {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    async fn message(&mut self) -> Result<Option<Decoded>, Fault> {
        match self.input.next().await {
            None => Ok(None),
            Some(Ok(data)) => {
                self.message_bytes = data.data_body.len() as u64;
                self.decoder.message(&data).map(Some)
            }
            Some(Err(status)) => Err(broken(&status)),
        }
    }
}

/// Some rows of a batch, and the memory that they take in the table's columns.
pub(super) struct Part {
    pub rows: RecordBatch,
    pub bytes: u64,
}

/// A batch in parts that can be judged one by one: bulk ingest takes batches with any number of rows.
///
/// # Errors
/// RESOURCE_EXHAUSTED `batch_too_large`: a part takes too much memory in the table's columns.
pub(super) fn parts(
    shared: &Shared,
    contract: &Contract,
    batch: &RecordBatch,
) -> impl Iterator<Item = Result<Part, Fault>> {
    let limits = &shared.config.limits;
    let (step, rows) = (limits.batch_rows_max, batch.num_rows());
    (0..rows.max(1)).step_by(step).map(move |from| {
        let rows = batch.slice(from, step.min(rows - from));
        let bytes = expand::check(&rows, contract, limits.batch_memory_max.get())?;
        Ok(Part { rows, bytes })
    })
}
