//! The bytes of one data file of a version, on their way to the Parquet reader.
//!
//! The Delta log says how large the file is, and the reader asks for bytes by that size. A file that is shorter, longer, empty or
//! missing is therefore told here, by name, before the reader meets bytes that it does not expect: it panics where a range comes
//! back shorter than it asked. A footer that cannot be read is told here too. What stands within the pages is the reader's own
//! business; their checksums are verified there.

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
use super::renamed::named_as_in_table;
use crate::fault::Fault;

/// A file as the Delta log describes it.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    store: Arc<dyn ObjectStore>,
    /// Of the table, in the lake: `reactor/raw`, and `reactor/raw~2` for a later life of the name.
    folder: Arc<str>,
    location: Path,
    /// In bytes, as the Delta log says.
    size: u64,
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

    fn damaged(&self, problem: &str) -> Error {
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
}

impl ParquetFileReaderFactory for DataFiles {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DfResult<Box<dyn AsyncFileReader + Send>> {
        let meta = file.object_meta;
        let metrics = ParquetFileMetrics::new(partition_index, meta.location.as_ref(), metrics);
        Ok(Box::new(DataFileReader {
            file: DataFile::new(
                self.store.clone(),
                self.folder.clone(),
                meta.location,
                meta.size,
            ),
            mapping: self.mapping.clone(),
            metadata_size_hint,
            metrics,
        }))
    }
}

struct DataFileReader {
    file: DataFile,
    mapping: Arc<Mapping>,
    metadata_size_hint: Option<usize>,
    metrics: ParquetFileMetrics,
}

/// As an error that leads back to the [`Fault`] through its sources.
fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(Fault::from(error)))
}

/// Bytes that are no rows: they are not counted as scanned.
struct Footer<'a>(&'a DataFile);

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.0.bytes(range).await.map_err(external) }.boxed()
    }
}

impl AsyncFileReader for DataFileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.count(std::slice::from_ref(&range));
        async move { self.file.bytes(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.count(&ranges);
        async move {
            let fetch = |range| self.file.bytes(range);
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
            let size = self.file.size;
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(self.metadata_size_hint);
            match reader.load_and_finish(Footer(&self.file), size).await {
                Ok(metadata) => {
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
    fn count(&self, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|r| r.end.saturating_sub(r.start)).sum();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.metrics.bytes_scanned.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::collections::BTreeMap;
    use std::error::Error as StdError;
    use std::path::PathBuf;
    use std::sync::atomic::Ordering;

    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionContext;

    use super::super::super::faulty::{Faulty, SHORT_READS};
    use super::super::super::{ColdTable, Lake};
    use super::super::PinnedFiles;
    use super::*;
    use crate::fault::Kind;

    fn rows() -> RecordBatch {
        let values = Arc::new(Int64Array::from_iter_values(0..1000));
        RecordBatch::try_from_iter_with_nullable([("n", values as _, true)]).unwrap()
    }

    /// A table with one data file, and the file.
    async fn table(lake: &Lake) -> (Arc<PinnedFiles>, PathBuf) {
        let txns = vec![("deltaplane/owner".to_owned(), 1)];
        let schema = rows().schema();
        let table = ColdTable::create(lake, "s/t~2", schema, &[], BTreeMap::new(), txns).await;
        let mut table = table.unwrap();
        let staged = table.stage(vec![rows()]).await.unwrap();
        table
            .commit(staged, vec![("log/1".to_owned(), 1)])
            .await
            .unwrap();
        let view = table.view();
        let location = view.files()[0].meta.location.to_string();
        (view, PathBuf::from(format!("/{location}")))
    }

    async fn scanned(view: &PinnedFiles) -> Result<usize, Fault> {
        let context = SessionContext::new();
        let plan = view.scan(&context.state(), None, &[], None).unwrap();
        let error = match collect(plan, context.task_ctx()).await {
            Ok(batches) => return Ok(batches.iter().map(RecordBatch::num_rows).sum()),
            Err(error) => error,
        };
        let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(found) = next {
            if let Some(fault) = found.downcast_ref::<Fault>() {
                return Err(fault.clone());
            }
            next = found.source();
        }
        panic!("not ours: {error}")
    }

    /// Both ways to read it end with an error that names the table, the file and these words.
    async fn is_told(view: &PinnedFiles, file: &std::path::Path, words: &[&str]) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let scanned = scanned(view).await.unwrap_err();
        let whole = view.each().next().unwrap().read().await.unwrap_err();
        for fault in [scanned, Fault::from(whole)] {
            assert_eq!(fault.kind, Kind::Corrupt, "{fault}");
            assert_eq!(fault.reason, "file_damaged");
            let place = format!("table=s.t, file=s/t~2/{name}: ");
            for word in words.iter().copied().chain([&*place, "from a backup"]) {
                assert!(fault.message.contains(word), "{word} is not in {fault}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_the_log_says_is_told_by_name_and_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
        let (view, file) = table(&lake).await;
        assert_eq!(scanned(&view).await, Ok(1000));
        let good = std::fs::read(&file).unwrap();
        let size = good.len();
        for length in [0, 1, 7, size / 2, size - 1, size + 1, size * 2] {
            let mut bytes = good.clone();
            bytes.resize(length, 0);
            std::fs::write(&file, bytes).unwrap();
            let told = format!("it has {length} bytes and the Delta log says {size}");
            is_told(&view, &file, &[&told]).await;
        }
        let missing = format!("it is missing and the Delta log says that it has {size} bytes");
        std::fs::remove_file(&file).unwrap();
        is_told(&view, &file, &[&missing]).await;
        std::fs::create_dir(&file).unwrap();
        is_told(&view, &file, &[&missing]).await;
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, good).unwrap();
        assert_eq!(scanned(&view).await, Ok(1000));
    }

    #[tokio::test]
    async fn a_footer_that_cannot_be_read_is_told_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
        let (view, file) = table(&lake).await;
        let good = std::fs::read(&file).unwrap();
        let length_at = good.len() - 8;
        for length in [0, 3, 1 << 20, u32::MAX] {
            let mut bytes = good.clone();
            bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            std::fs::write(&file, bytes).unwrap();
            is_told(&view, &file, &[]).await;
        }
        // Whatever byte of the footer has changed: the rows, or an error.
        let footer = u32::from_le_bytes(good[length_at..length_at + 4].try_into().unwrap());
        let from = length_at - footer as usize;
        for at in from..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&file, bytes).unwrap();
            let work = tokio::spawn({
                let view = view.clone();
                async move {
                    let context = SessionContext::new();
                    let plan = view.scan(&context.state(), None, &[], None).unwrap();
                    collect(plan, context.task_ctx()).await.is_ok()
                }
            });
            assert!(work.await.is_ok(), "a panic, byte={at}");
        }
    }

    #[tokio::test]
    async fn a_range_that_comes_back_shorter_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
        let (lake, mode) = Faulty::under(lake, ".parquet");
        let (view, file) = table(&lake).await;
        mode.store(SHORT_READS, Ordering::SeqCst);
        let fault = scanned(&view).await.unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Corrupt, "file_damaged")
        );
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(fault.message.contains(name), "{fault}");
        assert!(
            fault.message.contains("8 bytes were asked for and 7 came"),
            "{fault}"
        );
    }
}
