//! Batches on their way to the wire.

use std::sync::Arc;

use anyhow::bail;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

use crate::protocol::{self, ClientMessage, Form};

/// Batches as Flight messages, the schema once; each batch in one message, which bears its number.
pub(super) struct Encoder {
    /// As batches came, and without dictionaries, which would travel whole with a batch of a few rows.
    schema: Option<(SchemaRef, SchemaRef)>,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Default for Encoder {
    fn default() -> Self {
        let mut context = IpcWriteContext::default();
        // Batches of a stream are about as large as the one before: a body need not grow step by step.
        context.set_reserve_scratch(true);
        Encoder {
            schema: None,
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            context,
        }
    }
}

impl Encoder {
    pub(super) fn encode(
        &mut self,
        batch: &RecordBatch,
        seq: u64,
    ) -> anyhow::Result<Vec<FlightData>> {
        let mut messages = Vec::new();
        let plain = match &self.schema {
            Some((sent, _)) if *sent != batch.schema() => bail!(
                "batches of one producer must share a schema; make a second producer for another schema"
            ),
            Some((_, plain)) => plain.clone(),
            None => {
                let plain = without_dictionaries(batch.schema_ref());
                let schema = self.generator.schema_to_bytes_with_dictionary_tracker(
                    &plain,
                    &mut self.dictionaries,
                    &self.options,
                );
                messages.push(schema.into());
                self.schema = Some((batch.schema(), plain.clone()));
                plain
            }
        };
        let columns = batch.columns().iter().zip(plain.fields());
        let columns = columns
            .map(|(column, field)| match column.data_type() {
                DataType::Dictionary(..) => cast(column, field.data_type()),
                _ => Ok(column.clone()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(plain, columns, &rows)?;
        let (dictionaries, data) = self.generator.encode(
            &batch,
            &mut self.dictionaries,
            &self.options,
            &mut self.context,
        )?;
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        messages.push(FlightData {
            app_metadata: protocol::encode_client(&ClientMessage::Batch { seq }, Form::Binary),
            ..data.into()
        });
        Ok(messages)
    }
}

/// Columns that are dictionaries as what these hold.
fn without_dictionaries(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, value) => {
            Arc::new(field.as_ref().clone().with_data_type(*value.clone()))
        }
        _ => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<FieldRef>>(),
        schema.metadata().clone(),
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow_flight::decode::FlightRecordBatchStream;
    use futures::{TryStreamExt, stream};

    use super::*;

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let names: DictionaryArray<Int32Type> = (0..rows)
            .map(|n| if n % 2 == 0 { "a" } else { "b" })
            .collect();
        let numbers: Int64Array = (from..from + rows).collect();
        let columns: [(&str, ArrayRef); 2] = [("name", Arc::new(names)), ("n", Arc::new(numbers))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[tokio::test]
    async fn every_batch_is_one_message_that_any_flight_reader_reads() {
        let mut encoder = Encoder::default();
        let mut messages = Vec::new();
        let batches = [batch(0, 5), batch(5, 1), batch(6, 0), batch(6, 4000)];
        for (batch, seq) in batches.iter().zip(1..) {
            let made = encoder.encode(batch, seq).unwrap();
            assert_eq!(made.len(), if seq == 1 { 2 } else { 1 }, "the schema once");
            assert!(!made.last().unwrap().app_metadata.is_empty());
            messages.extend(made);
        }
        let messages = stream::iter(messages.into_iter().map(Ok));
        let read: Vec<RecordBatch> = FlightRecordBatchStream::new_from_flight_data(messages)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(read.len(), batches.len());
        for (read, sent) in read.iter().zip(&batches) {
            assert_eq!(read.column(1), sent.column(1));
            let names = cast(sent.column(0), &DataType::Utf8).unwrap();
            assert_eq!(read.column(0), &names, "without its dictionary");
        }
        let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let other = RecordBatch::try_from_iter([("n", other)]).unwrap();
        assert!(encoder.encode(&other, 5).is_err());
    }
}
