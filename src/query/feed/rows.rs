//! The rows that one version put in and took out, numbered, in an order that is the same each time.
//!
//! What a statement rewrites comes back in new files beside the rows that it changed; those that are the same in both are no
//! change. They are found by value, as often as they are there: rows of the new files are counted by a 128-bit hash of all
//! columns, the old files' rows are taken off, and what is left on either side has changed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::super::errors::fault_of;
use super::super::null_fields;
use super::super::task::task_context;
use super::Followed;
use crate::cold::{Change, ColdFile};
use crate::cold::{FILE, ROW};
use crate::fault::Fault;

/// What a batch of committed rows is aimed at, in a file's bytes.
const BATCH_BYTES: u64 = 512 * 1024;
const BATCH_ROWS: u64 = 8192;

pub(super) const INSERT: &str = "insert";
pub(super) const DELETE: &str = "delete";
pub(super) const PROGRESS: &str = "progress";

type Batches = BoxStream<'static, Result<RecordBatch, Fault>>;

/// Rows of one version, all of one kind.
pub(super) struct Told {
    pub kind: &'static str,
    /// The first one's number in its version.
    pub first: i64,
    /// In the table's columns.
    pub batch: RecordBatch,
}

/// A session that reads a version's files one after the other.
pub(super) fn reader(base: &SessionState) -> SessionState {
    let mut state = base.clone();
    state.config_mut().options_mut().execution.target_partitions = 1;
    state
}

/// First what went, then what came. Without a table's files in memory: the stream reads as it is asked.
pub(super) fn told(
    state: &SessionState,
    table: &Followed,
    change: &Change,
) -> BoxStream<'static, Result<Told, Fault>> {
    let kept = Kept::new(state, &table.schema);
    let rewrites = !change.added.is_empty() && !change.removed.is_empty();
    let (state, table, change) = (state.clone(), table.clone(), change.clone());
    let begin = async move {
        if rewrites {
            let mut came = read(&state, &table, &change.added)?;
            while let Some(batch) = came.try_next().await? {
                kept.lock().count(&batch)?;
            }
        }
        let went = read(&state, &table, &change.removed)?;
        let came = read(&state, &table, &change.added)?;
        let (left, right) = (kept.clone(), kept);
        let went = went.map(move |batch| match rewrites {
            true => left.lock().taken_off(&batch?),
            false => batch,
        });
        let came = came.map(move |batch| match rewrites {
            true => right.lock().new_ones(&batch?),
            false => batch,
        });
        let went = went.map_ok(|batch| (DELETE, batch));
        Ok::<_, Fault>(went.chain(came.map_ok(|batch| (INSERT, batch))).boxed())
    };
    let rows = stream::once(begin).try_flatten();
    let numbered = rows.scan(0i64, |next, told| {
        let told = told.map(|(kind, batch)| {
            let first = *next;
            *next += rows_of(&batch);
            Told { kind, first, batch }
        });
        futures::future::ready(Some(told))
    });
    let filled = |told: &Result<Told, Fault>| {
        futures::future::ready(!matches!(told, Ok(t) if t.batch.num_rows() == 0))
    };
    numbered.filter(filled).boxed()
}

pub(super) fn rows_of(batch: &RecordBatch) -> i64 {
    i64::try_from(batch.num_rows()).unwrap_or(i64::MAX)
}

impl Told {
    /// Those that are numbered `row` or later; none if there are none.
    pub(super) fn starting_at(self, row: i64) -> Option<Told> {
        let skip = usize::try_from((row - self.first).max(0)).unwrap_or(usize::MAX);
        let left = self.batch.num_rows().checked_sub(skip).filter(|n| *n > 0)?;
        Some(Told {
            kind: self.kind,
            first: self.first.max(row),
            batch: self.batch.slice(skip, left),
        })
    }

    /// With the feed's columns; of the rows that `wanted` is true for, if it is there.
    pub(super) fn with_place(
        &self,
        schema: &SchemaRef,
        version: i64,
        timestamp_ms: i64,
        wanted: Option<&BooleanArray>,
    ) -> Result<RecordBatch, Fault> {
        let rows = self.batch.num_rows();
        let numbers = (self.first..).take(rows);
        let mut columns: Vec<ArrayRef> = self.batch.columns().to_vec();
        columns.extend(place(self.kind, version, timestamp_ms, rows));
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        let failed = |e: arrow::error::ArrowError| Fault::internal(format!("feed: {e}"));
        let whole = RecordBatch::try_new(schema.clone(), columns).map_err(failed)?;
        match wanted {
            Some(wanted) => filter_record_batch(&whole, wanted).map_err(failed),
            None => Ok(whole),
        }
    }
}

fn place(kind: &str, version: i64, timestamp_ms: i64, rows: usize) -> [ArrayRef; 3] {
    let time = TimestampMicrosecondArray::from_value(timestamp_ms.saturating_mul(1000), rows);
    [
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            kind, rows,
        ))),
        Arc::new(Int64Array::from_value(version, rows)),
        Arc::new(time.with_timezone("UTC")),
    ]
}

/// A row that is none: everything up to this version has been told.
pub(super) fn progress(
    schema: &SchemaRef,
    version: i64,
    now_ms: i64,
) -> Result<RecordBatch, Fault> {
    let own = schema.fields().len().saturating_sub(super::COLUMNS.len());
    let mut columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .take(own)
        .map(|f| arrow::array::new_null_array(f.data_type(), 1))
        .collect();
    columns.extend(place(PROGRESS, version, now_ms, 1));
    columns.push(Arc::new(Int64Array::new_null(1)));
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| Fault::internal(format!("feed: {e}")))
}

/// The files' rows. Several files (a partition each) are put in the order of each producer's batches.
fn read(state: &SessionState, table: &Followed, files: &[Arc<ColdFile>]) -> Result<Batches, Fault> {
    if files.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let (bytes, rows) = files.iter().fold((0, 0), |(bytes, rows), f| {
        (bytes + f.size(), rows + f.rows().unwrap_or(0) as u64)
    });
    let mut state = state.clone();
    let most = usize::try_from(batch_rows(bytes, rows)).unwrap_or(1);
    *state.config_mut() = state.config().clone().with_batch_size(most);
    let own = table.schema.fields().len();
    let ordered = files.len() > 1 && ["_source", "_seq"].iter().all(|c| has(&table.schema, c));
    let view = table.cold.with_files(files.to_vec()).in_order();
    let view = if ordered { view.located() } else { view };
    let plan = view.scan(&state, None, &[], None).map_err(fault_of)?;
    let mut plan = null_fields::over(plan);
    if ordered {
        plan = sorted(plan)?;
    }
    let context = task_context(&state, &plan);
    let rows = datafusion::physical_plan::execute_stream(plan, context);
    let schema = table.schema.clone();
    let rows = rows.map_err(fault_of)?.map(move |batch| {
        let batch = batch.map_err(fault_of)?;
        let columns: Vec<ArrayRef> = batch.columns().iter().take(own).cloned().collect();
        // The same columns, maybe under another nullability.
        RecordBatch::try_new(schema.clone(), columns)
            .map_err(|e| Fault::internal(format!("feed: {e}")))
    });
    Ok(rows.boxed())
}

/// Rows of about [`BATCH_BYTES`] in the file: pictures come in ones and twos.
fn batch_rows(bytes: u64, rows: u64) -> u64 {
    let row = bytes.checked_div(rows).unwrap_or(64).max(1);
    (BATCH_BYTES / row).clamp(1, BATCH_ROWS)
}

fn has(schema: &SchemaRef, column: &str) -> bool {
    schema.field_with_name(column).is_ok()
}

fn sorted(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, Fault> {
    let schema = plan.schema();
    let keys = ["_source", "_seq", FILE, ROW].map(|name| {
        let column = Column::new_with_schema(name, &schema).map_err(fault_of)?;
        Ok(PhysicalSortExpr::new(
            Arc::new(column),
            SortOptions::default(),
        ))
    });
    let keys = keys.into_iter().collect::<Result<Vec<_>, Fault>>()?;
    let order = datafusion::physical_expr::LexOrdering::new(keys)
        .ok_or_else(|| Fault::internal("an order without columns"))?;
    Ok(Arc::new(SortExec::new(order, plan)))
}

/// Memory of an entry of [`Kept`], with the table's slack.
const ENTRY_BYTES: usize = 48;

/// How often each row of the new files is there that no row of the old ones has been found for.
struct Kept {
    converter: Option<RowConverter>,
    counts: HashMap<u128, u32>,
    memory: MemoryReservation,
}

impl Kept {
    fn new(state: &SessionState, schema: &SchemaRef) -> Arc<Mutex<Self>> {
        let fields = schema.fields().iter();
        let fields = fields.map(|f| SortField::new(f.data_type().clone()));
        Arc::new(Mutex::new(Kept {
            converter: RowConverter::new(fields.collect()).ok(),
            counts: HashMap::new(),
            memory: MemoryConsumer::new("changed rows").register(&state.runtime_env().memory_pool),
        }))
    }

    fn hashes(&mut self, batch: &RecordBatch) -> Result<Vec<u128>, Fault> {
        let failed = |e: String| Fault::internal(format!("feed: rows cannot be compared: {e}"));
        let converter = self
            .converter
            .as_ref()
            .ok_or_else(|| failed("a column's type".to_owned()))?;
        let rows = converter
            .convert_columns(batch.columns())
            .map_err(|e| failed(e.to_string()))?;
        let half = |salt: u8, bytes: &[u8]| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher.write(bytes);
            u128::from(hasher.finish())
        };
        let hash = |bytes: &[u8]| half(0, bytes) << 64 | half(1, bytes);
        Ok(rows.iter().map(|row| hash(row.as_ref())).collect())
    }

    fn count(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        self.memory
            .try_grow(batch.num_rows() * ENTRY_BYTES)
            .map_err(fault_of)?;
        for hash in self.hashes(batch)? {
            *self.counts.entry(hash).or_default() += 1;
        }
        Ok(())
    }

    /// Rows of the old files that the new ones do not have.
    fn taken_off(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
        let hashes = self.hashes(batch)?;
        let gone = hashes.into_iter().map(|hash| !self.take(hash));
        let gone: BooleanArray = gone.collect::<Vec<bool>>().into();
        filter_record_batch(batch, &gone).map_err(|e| Fault::internal(format!("feed: {e}")))
    }

    /// Rows of the new files that the old ones did not have.
    fn new_ones(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
        let hashes = self.hashes(batch)?;
        let new = hashes.into_iter().map(|hash| self.take(hash));
        let new: BooleanArray = new.collect::<Vec<bool>>().into();
        filter_record_batch(batch, &new).map_err(|e| Fault::internal(format!("feed: {e}")))
    }

    fn take(&mut self, hash: u128) -> bool {
        match self.counts.get_mut(&hash) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn batch(values: &[i64]) -> RecordBatch {
        let column = Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn values(batch: &RecordBatch) -> Vec<i64> {
        use arrow::array::AsArray;
        let column = batch.column(0);
        let column = column.as_primitive::<arrow::datatypes::Int64Type>();
        column.values().to_vec()
    }

    proptest! {
        /// Old rows without those told as gone, with those told as new, are the new rows: as often as each is there.
        #[test]
        fn what_is_told_makes_the_old_rows_the_new_ones(
            old in proptest::collection::vec(0i64..6, 0..40),
            new in proptest::collection::vec(0i64..6, 0..40),
            cut in 0usize..40,
        ) {
            let state = datafusion::execution::SessionStateBuilder::new().build();
            let kept = Kept::new(&state, &batch(&[]).schema());
            let mut kept = kept.lock();
            let parts = |all: &[i64]| {
                let (a, b) = all.split_at(cut.min(all.len()));
                [batch(a), batch(b)]
            };
            for part in parts(&new) {
                kept.count(&part).unwrap();
            }
            let went: Vec<i64> =
                parts(&old).iter().flat_map(|b| values(&kept.taken_off(b).unwrap())).collect();
            let came: Vec<i64> =
                parts(&new).iter().flat_map(|b| values(&kept.new_ones(b).unwrap())).collect();
            let mut rows = old.clone();
            for gone in &went {
                let at = rows.iter().position(|n| n == gone);
                prop_assert!(at.is_some());
                rows.remove(at.unwrap());
            }
            rows.extend(&came);
            rows.sort_unstable();
            let mut expected = new.clone();
            expected.sort_unstable();
            prop_assert_eq!(rows, expected);
            // Nothing is told that was in both.
            for n in 0..6 {
                let count = |all: &[i64]| all.iter().filter(|v| **v == n).count();
                prop_assert!(count(&went) == 0 || count(&came) == 0);
            }
        }
    }

    #[test]
    fn rows_are_cut_by_number_and_batches_by_size() {
        let told = |first| Told {
            kind: INSERT,
            first,
            batch: batch(&[1, 2, 3]),
        };
        assert_eq!(told(5).starting_at(3).unwrap().first, 5);
        let cut = told(5).starting_at(7).unwrap();
        assert_eq!((cut.first, values(&cut.batch)), (7, vec![3]));
        assert!(told(5).starting_at(8).is_none());
        assert_eq!(batch_rows(1 << 20, 1 << 20), BATCH_ROWS);
        assert_eq!(batch_rows(100 << 20, 100), 1);
        assert_eq!(batch_rows(0, 0), BATCH_ROWS);
    }
}
