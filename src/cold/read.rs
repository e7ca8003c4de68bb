//! One file of a version, whole: for those who write its rows anew.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{ColdFile, ColdView, Error, store_error};

impl ColdView {
    /// All rows of one file in its order, as columns of the table's schema; a column that it lacks is null.
    ///
    /// # Errors
    /// `Store`: the file cannot be fetched, or is not the Parquet that it should be.
    pub async fn read(&self, file: &ColdFile) -> Result<RecordBatch, Error> {
        let got = self
            .store
            .get(&file.meta.location)
            .await
            .map_err(store_error)?;
        let bytes = got.bytes().await.map_err(store_error)?;
        let partition: Vec<(String, ScalarValue)> = self
            .partition_by
            .iter()
            .cloned()
            .zip(file.partition_values.iter().cloned())
            .collect();
        let schema = self.schema.clone();
        tokio::task::spawn_blocking(move || decode(bytes, &schema, &partition))
            .await
            .map_err(store_error)?
    }
}

fn decode(
    bytes: Bytes,
    schema: &SchemaRef,
    partition: &[(String, ScalarValue)],
) -> Result<RecordBatch, Error> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|b| b.build())
        .map_err(store_error)?;
    let found = arrow::array::RecordBatchReader::schema(&reader);
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(store_error)?;
    let batch = concat_batches(&found, &batches).map_err(store_error)?;
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef, Error> {
            if let Some((_, value)) = partition.iter().find(|(name, _)| name == field.name()) {
                return value.to_array_of_size(rows).map_err(store_error);
            }
            match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => cast(column, field.data_type()).map_err(store_error),
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(store_error)
}
