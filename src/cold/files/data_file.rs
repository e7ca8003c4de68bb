//! The bytes of one data file of a version, on their way to the Parquet reader.
//!
//! The Delta log says how large the file is, and the reader asks for bytes by that size. A file that is shorter, longer, empty or
//! missing is therefore told here, by name, before the reader meets bytes that it does not expect: it panics where a range comes
//! back shorter than it asked. A footer that cannot be read is told here too. Footer, page indexes and page headers are compared
//! with their checksums (`metadata_checksum`), also where a file is read for the second time by another reader of a scan. What
//! stands within the pages is the reader's own business; their checksums are verified there.

#![deny(clippy::indexing_slicing)]

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result as DfResult;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    GetOptions, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, ObjectStoreExt, coalesce_ranges,
};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataFetch};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::super::mapping::Mapping;
use super::super::{Error, store_error};
use super::float_bounds::relied_on;
use super::metadata_checksum::has_no_table;
use super::renamed::named_as_in_table;
use super::tail::{Tail, Tails};
use crate::fault::Fault;

/// A file as the Delta log describes it.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    store: Arc<dyn ObjectStore>,
    /// Of the table, in the lake: `reactor/raw`, and `reactor/raw~2` for a later life of the name.
    folder: Arc<str>,
    pub(super) location: Path,
    /// In bytes, as the Delta log says.
    pub(super) size: u64,
}

impl DataFile {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        folder: Arc<str>,
        location: Path,
        size: u64,
    ) -> Self {
        DataFile {
            store,
            folder,
            location,
            size,
        }
    }

    /// As the Delta log says.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// # Errors
    /// `DataFile`: the file is missing, or has not the size that the Delta log says. `Store`: the store does not answer.
    pub(super) async fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let asked = range.end.saturating_sub(range.start);
        if range.end > self.size {
            return Err(self.beyond_end(range.end));
        }
        let bytes = self.get(GetOptions::new().with_range(Some(range))).await?;
        if bytes.len() as u64 == asked {
            return Ok(bytes);
        }
        // It was cut since it was opened.
        Err(self.damaged(&format!(
            "{asked} bytes were asked for and {} came",
            bytes.len()
        )))
    }

    async fn get(&self, options: GetOptions) -> Result<Bytes, Error> {
        let found = match self.store.get_opts(&self.location, options).await {
            Ok(found) => found,
            Err(error) => return Err(self.refused(error).await),
        };
        if let Some(error) = self.other_size(found.meta.size) {
            return Err(error);
        }
        match found.bytes().await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.refused(error).await),
        }
    }

    /// Is it the file, or the store? A range beyond the file's end is an error of the store's own making.
    async fn refused(&self, error: object_store::Error) -> Error {
        let found = match &error {
            object_store::Error::NotFound { .. } => return self.missing(),
            _ => self.store.head(&self.location).await,
        };
        match found {
            Ok(meta) => self
                .other_size(meta.size)
                .unwrap_or_else(|| store_error(error)),
            Err(object_store::Error::NotFound { .. }) => self.missing(),
            Err(_) => store_error(error),
        }
    }

    fn other_size(&self, found: u64) -> Option<Error> {
        (found != self.size).then(|| {
            self.damaged(&format!(
                "it has {found} bytes and the Delta log says {}",
                self.size
            ))
        })
    }

    fn missing(&self) -> Error {
        self.damaged(&format!(
            "it is missing and the Delta log says that it has {} bytes",
            self.size
        ))
    }

    fn beyond_end(&self, byte: u64) -> Error {
        self.damaged(&format!(
            "its footer names bytes up to {byte} and the Delta log says that it has {}",
            self.size
        ))
    }

    /// Do the column chunks lie within the file? Parquet panics where one has a negative place.
    pub(super) fn check_places(&self, metadata: &ParquetMetaData) -> Result<(), Error> {
        let groups = metadata.row_groups().iter();
        for column in groups.flat_map(|group| group.columns()) {
            let data = column.data_page_offset();
            let first = column.dictionary_page_offset().unwrap_or(data);
            let places = [data, first, column.compressed_size()].map(u64::try_from);
            let [Ok(_), Ok(first), Ok(bytes)] = places else {
                return Err(self.unreadable(&"its footer names a negative place"));
            };
            let end = first.saturating_add(bytes);
            if end > self.size {
                return Err(self.beyond_end(end));
            }
        }
        Ok(())
    }

    /// What Parquet cannot be read of it.
    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) -> Error {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        self.damaged(&text.chars().take(300).collect::<String>())
    }

    pub(super) fn damaged(&self, problem: &str) -> Error {
        let life = self.folder.split('~').next().unwrap_or_default();
        let location = self.location.as_ref();
        let below = match location.find(&*self.folder) {
            Some(at) if !self.folder.is_empty() => location.get(at..).unwrap_or(location),
            _ => location,
        };
        Error::DataFile {
            table: life.replace('/', "."),
            file: below.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// Makes the readers of a scan.
#[derive(Debug)]
pub(super) struct DataFiles {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) folder: Arc<str>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) tails: Arc<Tails>,
}

impl ParquetFileReaderFactory for DataFiles {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DfResult<Box<dyn AsyncFileReader + Send>> {
        let meta = file.object_meta;
        let metrics = ParquetFileMetrics::new(partition_index, meta.location.as_ref(), metrics);
        Ok(Box::new(DataFileReader {
            tail: self.tails.find(&meta.location),
            tails: self.tails.clone(),
            file: DataFile::new(
                self.store.clone(),
                self.folder.clone(),
                meta.location,
                meta.size,
            ),
            mapping: self.mapping.clone(),
            metrics,
        }))
    }
}

struct DataFileReader {
    file: DataFile,
    mapping: Arc<Mapping>,
    /// Read with the first bytes that are asked for, unless another reader of the scan has it.
    tail: Option<Arc<Tail>>,
    tails: Arc<Tails>,
    metrics: ParquetFileMetrics,
}

/// As an error that leads back to the [`Fault`] through its sources.
fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(Fault::from(error)))
}

/// Bytes that are no rows: they are not counted as scanned.
struct Footer<'a>(&'a DataFile, &'a Tail);

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.1.bytes(self.0, range).await.map_err(external) }.boxed()
    }
}

impl AsyncFileReader for DataFileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.count(std::slice::from_ref(&range));
        async move {
            let tail = self.tail().await.map_err(external)?;
            tail.bytes(&self.file, range).await.map_err(external)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.count(&ranges);
        async move {
            let tail = self.tail().await.map_err(external)?;
            let fetch = |range| tail.bytes(&self.file, range);
            let got = coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await;
            got.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let tail = self.tail().await.map_err(external)?;
            let size = self.file.size;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            match reader
                .load_and_finish(Footer(&self.file, &tail), size)
                .await
            {
                Ok(metadata) => {
                    if !tail.is_checked()
                        && let Err(error) = has_no_table(&metadata)
                    {
                        return Err(external(self.file.unreadable(&error)));
                    }
                    self.file.check_places(&metadata).map_err(external)?;
                    // What the file says of its columns it says under its own names.
                    let metadata = relied_on(metadata)?;
                    match named_as_in_table(metadata, &self.mapping) {
                        Ok(metadata) => Ok(Arc::new(metadata)),
                        Err(error) => Err(external(self.file.unreadable(&error))),
                    }
                }
                Err(error @ ParquetError::External(_)) => Err(error),
                Err(error) => Err(external(self.file.unreadable(&error))),
            }
        }
        .boxed()
    }
}

impl DataFileReader {
    async fn tail(&mut self) -> Result<Arc<Tail>, Error> {
        if let Some(tail) = &self.tail {
            return Ok(tail.clone());
        }
        let tail = Arc::new(Tail::read(&self.file).await?);
        self.tails.lend(&self.file.location, &tail);
        self.tail = Some(tail.clone());
        Ok(tail)
    }

    fn count(&self, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|r| r.end.saturating_sub(r.start)).sum();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.metrics.bytes_scanned.add(bytes);
    }
}

#[cfg(test)]
mod tests;
