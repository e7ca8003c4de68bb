//! What goes out: schemas in their IPC form, batches as messages of a bounded size.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use arrow_ipc::writer::IpcWriteOptions;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::Status;

use super::status;
use crate::fault::Fault;
use crate::query::bytes_of;

pub(super) type DataStream = BoxStream<'static, Result<FlightData, Status>>;

/// What the encoder aims at. It estimates a batch's bytes a row, so batches of uneven rows are split before it sees them.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Fault> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|e| Fault::internal(format!("schema: {e}")))?;
    Ok(message.0)
}

/// A result without columns and rows: what a statement that changes something answers.
pub(super) fn nothing() -> DataStream {
    batches(
        std::sync::Arc::new(Schema::empty()),
        stream::empty().boxed(),
    )
}

/// A result of one batch.
pub(super) fn one(batch: RecordBatch) -> DataStream {
    batches(batch.schema(), stream::iter([Ok(batch)]).boxed())
}

/// Batches as messages; a fault on the way ends the stream with its own code.
pub(super) fn batches(
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Fault>>,
) -> DataStream {
    let even = batches
        .map_ok(|batch| stream::iter(split(batch).into_iter().map(Ok)))
        .try_flatten()
        .map_err(|fault: Fault| FlightError::Tonic(Box::new(status::of(fault))));
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(even)
        .map_err(|e| match e {
            FlightError::Tonic(status) => *status,
            other => status::of(Fault::internal(format!("result encoding: {other}"))),
        })
        .boxed()
}

/// Halves a batch until each part is below the limit, or is one row: clients that set no limit of their own take 4 MiB.
fn split(batch: RecordBatch) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    let mut rest = vec![batch];
    while let Some(part) = rest.pop() {
        let rows = part.num_rows();
        if rows <= 1 || bytes_of(&part) <= MESSAGE_BYTES {
            out.push(part);
        } else {
            let half = rows / 2;
            rest.push(part.slice(half, rows - half));
            rest.push(part.slice(0, half));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[tokio::test]
    async fn rows_of_uneven_size_stay_below_four_mebibytes_a_message() {
        // The first half is tiny, so an average a row says little about the second.
        let texts = (0..2000).map(|n| {
            if n < 1000 {
                "x".to_owned()
            } else {
                "y".repeat(20_000)
            }
        });
        let column = Arc::new(texts.map(Some).collect::<StringArray>()) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let messages = batches(batch.schema(), stream::iter([Ok(batch)]).boxed());
        let sizes: Vec<usize> = messages
            .map_ok(|m| m.data_body.len() + m.data_header.len())
            .try_collect()
            .await
            .unwrap();
        assert!(sizes.iter().sum::<usize>() > 20_000_000);
        assert!(sizes.iter().all(|s| *s < 4 * 1024 * 1024), "{sizes:?}");
    }
}
