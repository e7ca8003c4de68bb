//! Readers of Parquet files that hold their files' pin, so that a plan does not depend on who else holds it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::ParquetMetaData;

use super::pins::Pin;

/// Makes the readers of a scan, each with the pin.
#[derive(Debug)]
pub(super) struct PinnedReaders<R> {
    pub(super) readers: R,
    pub(super) pin: Arc<Pin>,
}

impl<R: ParquetFileReaderFactory> ParquetFileReaderFactory for PinnedReaders<R> {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = self
            .readers
            .create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(PinnedReader {
            reader,
            _pin: self.pin.clone(),
        }))
    }
}

struct PinnedReader {
    reader: Box<dyn AsyncFileReader + Send>,
    _pin: Arc<Pin>,
}

type Read<'a, T> = BoxFuture<'a, parquet::errors::Result<T>>;

impl AsyncFileReader for PinnedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> Read<'_, Bytes> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> Read<'_, Vec<Bytes>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> Read<'a, Arc<ParquetMetaData>> {
        self.reader.get_metadata(options)
    }
}
