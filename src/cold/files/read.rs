//! One file of a pinned list, whole: for those who write its rows anew, and for those who check it.

use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::mapping::Mapping;
use super::super::{Error, store_error};
use super::data_file::DataFile;
use super::{ColdFile, PinnedFiles};

/// A file that is pinned for as long as its list is borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PinnedFile<'a> {
    list: &'a PinnedFiles,
    file: &'a Arc<ColdFile>,
}

impl Deref for PinnedFile<'_> {
    type Target = ColdFile;

    fn deref(&self) -> &ColdFile {
        self.file
    }
}

impl PinnedFiles {
    /// The files in the order of the list, to be read one by one.
    pub fn each(&self) -> impl Iterator<Item = PinnedFile<'_>> {
        let files = self.files().iter();
        files.map(|file| PinnedFile { list: self, file })
    }
}

impl<'a> PinnedFile<'a> {
    pub fn list(self) -> &'a PinnedFiles {
        self.list
    }

    pub fn file(self) -> &'a Arc<ColdFile> {
        self.file
    }

    fn data_file(self) -> DataFile {
        let PinnedFiles { store, .. } = self.list;
        let meta = &self.file.meta;
        let folder = self.list.folder.clone();
        DataFile::new(store.clone(), folder, meta.location.clone(), meta.size)
    }

    /// As it is in the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn bytes(self) -> object_store::Result<Bytes> {
        let location = &self.file.meta.location;
        self.list.store.get(location).await?.bytes().await
    }

    /// Its size in the store.
    ///
    /// # Errors
    /// The store's; `NotFound` if it is not there.
    pub async fn stored_size(self) -> object_store::Result<u64> {
        let found = self.list.store.head(&self.file.meta.location).await?;
        Ok(found.size)
    }

    /// All its rows in their order, as columns of the table's schema; a column that it lacks is null.
    ///
    /// # Errors
    /// `Store`: the file cannot be fetched. `DataFile`: it is not what the Delta log says, or not the Parquet that it should be.
    pub async fn read(self) -> Result<RecordBatch, Error> {
        let data = self.data_file();
        let bytes = data.whole().await?;
        let names = self.list.partition_by().iter().cloned();
        let values = self.file.partition_values.iter().cloned();
        let partition: Vec<(String, ScalarValue)> = names.zip(values).collect();
        let (schema, mapping) = (self.list.schema(), self.list.mapping().clone());
        tokio::task::spawn_blocking(move || decode(&data, bytes, &schema, &mapping, &partition))
            .await
            .map_err(store_error)?
    }
}

fn decode(
    data: &DataFile,
    bytes: Bytes,
    schema: &SchemaRef,
    mapping: &Mapping,
    partition: &[(String, ScalarValue)],
) -> Result<RecordBatch, Error> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|b| b.build())
        .map_err(|e| data.unreadable(&e))?;
    let found = arrow::array::RecordBatchReader::schema(&reader);
    let batches = reader
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| data.unreadable(&e))?;
    let batch = concat_batches(&found, &batches).map_err(store_error)?;
    let rows = batch.num_rows();
    let names = schema.fields().iter().map(|f| f.name().as_str());
    let places = mapping
        .places(names, &found)
        .map_err(|problem| data.unreadable(&problem))?;
    let columns = schema
        .fields()
        .iter()
        .zip(places)
        .map(|(field, place)| -> Result<ArrayRef, Error> {
            if let Some((_, value)) = partition.iter().find(|(name, _)| name == field.name()) {
                return value.to_array_of_size(rows).map_err(store_error);
            }
            match place.map(|place| batch.column(place)) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => cast(column, field.data_type()).map_err(store_error),
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(store_error)
}
