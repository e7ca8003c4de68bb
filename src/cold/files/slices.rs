//! One file of a pinned list, read slice after slice: memory holds some blocks of the file, a page a column and the rows in
//! hand, however large the file is.
//!
//! The Parquet reader runs on a thread that may block and asks for bytes page by page. The thread ends soon after its caller
//! has gone, also when the store does not answer. What it allocates is counted as its caller's (`query/meter`).

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::common::runtime::SpawnedTask;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::mapping::Mapping;
use super::super::{Error, store_error};
use super::data_file::DataFile;
use super::metadata_checksum::has_no_table;
use super::read::PinnedFile;
use super::tail::Tail;

/// What is fetched at once.
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks that are kept: the columns of a row lie apart in the file.
const BLOCKS: usize = 16;
/// Rows that are decoded at once have about so many bytes ..
const SLICE_BYTES: u64 = 2 << 20;
/// .. and are no more than these.
const SLICE_ROWS: u64 = 8192;

/// A file's bytes for the Parquet reader, fetched block by block. Its calls block. Cheap to clone.
#[derive(Clone)]
pub(in crate::cold) struct Blocks(Arc<Inner>);

struct Inner {
    file: DataFile,
    runtime: Handle,
    /// Nobody waits for the bytes any more.
    gone: CancellationToken,
    /// Read with the footer.
    tail: OnceLock<Tail>,
    /// By number, the one that was used last at the end.
    kept: Mutex<VecDeque<(u64, Bytes)>>,
    failed: Mutex<Option<Error>>,
}

impl Blocks {
    fn new(file: DataFile, gone: CancellationToken) -> Self {
        Blocks(Arc::new(Inner {
            file,
            runtime: Handle::current(),
            gone,
            tail: OnceLock::new(),
            kept: Mutex::default(),
            failed: Mutex::default(),
        }))
    }

    fn block(&self, number: u64) -> ParquetResult<Bytes> {
        {
            let mut kept = self.0.kept.lock();
            if let Some(at) = kept.iter().position(|(known, _)| *known == number)
                && let Some(block) = kept.remove(at)
            {
                kept.push_back(block.clone());
                return Ok(block.1);
            }
        }
        let start = number.saturating_mul(BLOCK_BYTES);
        let end = start.saturating_add(BLOCK_BYTES).min(self.len());
        let bytes = self.fetch(start..end)?;
        let mut kept = self.0.kept.lock();
        if kept.len() == BLOCKS {
            kept.pop_front();
        }
        kept.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    fn fetch(&self, range: Range<u64>) -> ParquetResult<Bytes> {
        let file = &self.0.file;
        let bytes = async {
            match self.0.tail.get() {
                Some(tail) => tail.bytes_as_compared(file, range).await,
                None => file.bytes(range).await,
            }
        };
        self.wait_for(bytes).map_err(|error| {
            let told = ParquetError::General(error.to_string());
            self.0.failed.lock().get_or_insert(error);
            told
        })
    }

    fn wait_for<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Inner { runtime, gone, .. } = &*self.0;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = gone.cancelled() => Err(store_error("nobody waits for the file any more")),
                done = work => done,
            }
        })
    }

    /// Compares the checksums of footer and page indexes, and those of page headers of which no block has all bytes.
    fn compare_tail(&self) -> Result<&Tail, Error> {
        if let Some(tail) = self.0.tail.get() {
            return Ok(tail);
        }
        let file = &self.0.file;
        let tail = self.wait_for(Tail::read(file))?;
        for header in tail.headers_across(BLOCK_BYTES) {
            self.wait_for(tail.bytes(file, header))?;
        }
        Ok(self.0.tail.get_or_init(|| tail))
    }

    /// The bytes from `at` to the end of their block.
    fn rest_of_block(&self, at: u64) -> ParquetResult<Bytes> {
        let block = self.block(at / BLOCK_BYTES)?;
        let offset = usize::try_from(at % BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(block.slice(offset.min(block.len())..))
    }

    /// The file's own error behind what the Parquet reader says.
    pub(in crate::cold) fn error(&self, said: &dyn std::fmt::Display) -> Error {
        let failed = self.0.failed.lock().take();
        failed.unwrap_or_else(|| self.0.file.unreadable(said))
    }

    /// # Errors
    /// `DataFile`: the footer cannot be read, or names places that are not in the file. `Store`.
    pub(in crate::cold) fn footer(&self) -> Result<ArrowReaderMetadata, Error> {
        let tail = self.compare_tail()?;
        let footer = ArrowReaderMetadata::load(self, ArrowReaderOptions::new());
        let footer = footer.map_err(|e| self.error(&e))?;
        if !tail.is_checked() {
            has_no_table(footer.metadata()).map_err(|e| self.error(&e))?;
        }
        self.0.file.check_places(footer.metadata())?;
        Ok(footer)
    }

    /// The rows of one row group; of one column alone, by its place among the file's, or of all.
    ///
    /// # Errors
    /// As [`Blocks::footer`].
    pub(in crate::cold) fn rows(
        &self,
        footer: &ArrowReaderMetadata,
        group: usize,
        column: Option<usize>,
    ) -> Result<ParquetRecordBatchReader, Error> {
        let mask = match column {
            Some(place) => ProjectionMask::roots(footer.parquet_schema(), [place]),
            None => ProjectionMask::all(),
        };
        let rows = slice_rows(footer.metadata().row_group(group), &mask);
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.clone(), footer.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(rows)
            .build()
            .map_err(|e| self.error(&e))
    }
}

/// How many rows are decoded at once. The footer says how long values are on average, as they stand in memory.
fn slice_rows(group: &RowGroupMetaData, mask: &ProjectionMask) -> usize {
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    let columns = group.columns().iter().enumerate();
    let columns = columns.filter(|(leaf, _)| mask.leaf_included(*leaf));
    let bytes: u64 = columns
        .map(|(_, column)| {
            let texts = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            let encoded = positive(column.uncompressed_size());
            // A dictionary makes numbers small in the file, and they are not small in memory.
            let plain = positive(column.num_values()).saturating_mul(8);
            plain.saturating_add(positive(texts).max(encoded))
        })
        .fold(0, u64::saturating_add);
    let each = bytes / positive(group.num_rows()).max(1);
    let rows = (SLICE_BYTES / each.max(1)).clamp(1, SLICE_ROWS);
    usize::try_from(rows).unwrap_or(1)
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.0.file.size()
    }
}

impl ChunkReader for Blocks {
    type T = FromPlace;

    fn get_read(&self, start: u64) -> ParquetResult<FromPlace> {
        Ok(FromPlace {
            blocks: self.clone(),
            at: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.len() {
            // Before so much is allocated.
            return Err(ParquetError::EOF(format!(
                "bytes up to {end} were asked for, and it has {}",
                self.len()
            )));
        }
        let first = self.rest_of_block(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut all = Vec::with_capacity(length);
        all.extend_from_slice(&first);
        while all.len() < length {
            let next = self.rest_of_block(start + all.len() as u64)?;
            let wanted = (length - all.len()).min(next.len());
            if wanted == 0 {
                return Err(ParquetError::EOF("a block is empty".to_owned()));
            }
            all.extend_from_slice(&next.slice(..wanted));
        }
        Ok(all.into())
    }
}

/// The file's bytes from one place on.
pub(in crate::cold) struct FromPlace {
    blocks: Blocks,
    at: u64,
}

impl Read for FromPlace {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.blocks.len() {
            return Ok(0);
        }
        let rest = self.blocks.rest_of_block(self.at);
        let read = rest.map_err(std::io::Error::other)?.as_ref().read(out)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What the file's columns become.
struct Shape {
    schema: SchemaRef,
    mapping: Arc<Mapping>,
    partition: Vec<(String, ScalarValue)>,
}

impl Shape {
    fn places(&self, found: &Schema) -> Result<Vec<Option<usize>>, &'static str> {
        let names = self.schema.fields().iter().map(|f| f.name().as_str());
        self.mapping.places(names, found)
    }

    fn shaped(&self, batch: &RecordBatch, places: &[Option<usize>]) -> Result<RecordBatch, Error> {
        let rows = batch.num_rows();
        let fields = self.schema.fields().iter().zip(places);
        let columns = fields
            .map(|(field, place)| -> Result<ArrayRef, Error> {
                let value = self.partition.iter().find(|(name, _)| name == field.name());
                if let Some((_, value)) = value {
                    return value.to_array_of_size(rows).map_err(store_error);
                }
                match place.map(|place| batch.column(place)) {
                    Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                    Some(column) => cast(column, field.data_type()).map_err(store_error),
                    None => Ok(new_null_array(field.data_type(), rows)),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(store_error)
    }
}

/// Hands over the file's rows until nobody takes them.
fn decode(
    blocks: &Blocks,
    shape: &Shape,
    mut take: impl FnMut(RecordBatch) -> bool,
) -> Result<(), Error> {
    let footer = blocks.footer()?;
    let places = shape.places(footer.schema());
    let places = places.map_err(|problem| blocks.error(&problem))?;
    for group in 0..footer.metadata().num_row_groups() {
        for batch in blocks.rows(&footer, group, None)? {
            let batch = batch.map_err(|e| blocks.error(&e))?;
            if !take(shape.shaped(&batch, &places)?) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The rows of one file in their order, as columns of the table's schema; a column that it lacks is null. Read again, the
/// same file gives the same slices.
pub struct Slices {
    /// None at the end of the file: a thread that ends without it has not read the file to its end.
    rows: mpsc::Receiver<Result<Option<RecordBatch>, Error>>,
    ended: bool,
    _gone: DropGuard,
    _thread: SpawnedTask<()>,
}

impl Slices {
    /// # Errors
    /// `Store`: the file cannot be fetched. `DataFile`: it is not what the Delta log says, or not the Parquet that it should be.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        if self.ended {
            return Ok(None);
        }
        let next = self.rows.recv().await;
        let next = next.unwrap_or_else(|| {
            Err(store_error(
                "a data file was not read to its end: its decoder panicked",
            ))
        });
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }
}

impl PinnedFile<'_> {
    /// Its rows, slice after slice.
    pub fn slices(self) -> Slices {
        let list = self.list();
        let names = list.partition_by().iter().cloned();
        let values = self.file().partition_values.iter().cloned();
        let shape = Shape {
            schema: list.schema(),
            mapping: list.mapping().clone(),
            partition: names.zip(values).collect(),
        };
        let gone = CancellationToken::new();
        let (blocks, pin) = (Blocks::new(self.data_file(), gone.clone()), list.held());
        let (send, rows) = mpsc::channel(1);
        let work = move || {
            let _pin = pin;
            let taken = |batch| send.blocking_send(Ok(Some(batch))).is_ok();
            let done = decode(&blocks, &shape, taken);
            // Whoever is gone needs no end.
            let _ = send.blocking_send(done.map(|()| None));
        };
        Slices {
            rows,
            ended: false,
            _gone: gone.drop_guard(),
            _thread: SpawnedTask::spawn_blocking(work),
        }
    }

    /// Runs `work` with the file's bytes on a thread that may block. None: it panicked.
    pub(in crate::cold) async fn with_blocks<T: Send + 'static>(
        self,
        work: impl FnOnce(Blocks) -> T + Send + 'static,
    ) -> Option<T> {
        let gone = CancellationToken::new();
        let (blocks, pin) = (
            Blocks::new(self.data_file(), gone.clone()),
            self.list().held(),
        );
        let _gone = gone.drop_guard();
        let work = move || {
            let _pin = pin;
            work(blocks)
        };
        SpawnedTask::spawn_blocking(work).join().await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use arrow::array::{Int64Array, StringArray};

    use super::super::super::{ColdTable, Lake};
    use super::super::PinnedFiles;
    use super::*;

    /// One file of rows with texts of so many bytes, which do not compress and repeat each other in a dictionary if `few`.
    async fn table(lake: &Lake, rows: i64, bytes: usize, few: bool) -> Arc<PinnedFiles> {
        let text = |n: i64| {
            let seed = if few { n % 2 } else { n };
            let digits = (0..bytes as u64 / 16).map(|at| {
                let mixed = (seed as u64 ^ at.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                format!("{:016x}", mixed ^ (mixed >> 29))
            });
            digits.collect::<String>()
        };
        let texts = StringArray::from_iter_values((0..rows).map(text));
        let ids = Int64Array::from_iter_values(0..rows);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(ids) as ArrayRef, true),
            ("text", Arc::new(texts), true),
        ]);
        let batch = batch.unwrap();
        let txns = vec![("deltaplane/owner".to_owned(), 1)];
        let schema = batch.schema();
        let table = ColdTable::create(lake, "s/t", schema, &[], BTreeMap::new(), txns).await;
        let mut table = table.unwrap();
        let staged = table.stage(vec![batch]).await.unwrap();
        let txns = vec![("log/1".to_owned(), 1)];
        table.commit(staged, txns).await.unwrap();
        table.view()
    }

    #[tokio::test]
    async fn slices_are_bounded_in_bytes_and_give_every_row_in_order() {
        for (rows, bytes, few) in [
            (40, 512 << 10, false),
            (100, 256 << 10, true),
            (20_000, 16, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
            let view = table(&lake, rows, bytes, few).await;
            let mut slices = view.each().next().unwrap().slices();
            let mut found = Vec::new();
            while let Some(slice) = slices.next().await.unwrap() {
                let held = slice.get_array_memory_size();
                assert!(held < 6 << 20, "rows={rows}, held={held}");
                let ids = slice.column(0).as_any().downcast_ref::<Int64Array>();
                found.extend(ids.unwrap().values().iter().copied());
            }
            assert_eq!(found, (0..rows).collect::<Vec<_>>());
            assert!(
                slices.next().await.unwrap().is_none(),
                "it stays at its end"
            );
        }
    }
}
