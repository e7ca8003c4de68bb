//! Bulk ingest: a stream of any length becomes one Delta commit, past the log. Rows are judged as they come and staged as
//! Parquet files, which are in no version until the end; an error, a client that goes away, or one that cancels before the
//! commit is written leaves nothing behind.
//!
//! With a producer's name and a number the commit records both as `txn`s, and so the same ingest again writes nothing and has
//! the same count. A table with rules about earlier rows is judged at the end, under the lock on its keys; its rows wait in
//! memory until then. It knows no Flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use deltaplane_client::protocol::PRODUCER_NAME_BYTES_MAX;
use tokio_util::sync::CancellationToken;

use super::insert;
use crate::catalog::Shared;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::lifecycle::offset_i64;
use crate::catalog::table::{Cold, Table};
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::clock::Micros;
use crate::cold::{ColdTable, Reason, Removal, Staged, Stager};
use crate::fault::{Fault, Kind};
use crate::records::Totals;
use crate::validate::{Additions, Applied, Keys, Origin, References, Scope, Source, Validator};

/// Rows are staged when so many bytes of them wait.
const STAGE_BYTES: usize = 32 * 1024 * 1024;
/// .. or when those of all ingests together are so many: then each stages what it has with its next batch.
const STAGE_BYTES_ALL: usize = 256 * 1024 * 1024;
/// The `_source` of rows without a producer's name.
const SOURCE: &str = "ingest";

/// Bytes of rows that wait in memory, of all ingests of the process.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// One ingest's part of [`WAITING`], given back when it is dropped.
#[derive(Default)]
struct Share(usize);

impl Share {
    /// Adds to it, and returns what all ingests hold now.
    fn add(&mut self, bytes: usize) -> usize {
        self.0 += bytes;
        WAITING.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn give_back(&mut self) {
        WAITING.fetch_sub(std::mem::take(&mut self.0), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A producer's name and the number of its ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    pub producer: String,
    pub seq: i64,
}

impl Once {
    /// # Errors
    /// INVALID_ARGUMENT: no name for a producer, or a number below 1.
    pub fn new(producer: &str, seq: i64) -> Result<Self, Fault> {
        if producer.is_empty()
            || producer.len() > PRODUCER_NAME_BYTES_MAX
            || producer.chars().any(char::is_control)
        {
            return Err(Fault::invalid(
                "invalid_producer",
                format!(
                    "a producer's name has 1 to {PRODUCER_NAME_BYTES_MAX} bytes and no control characters"
                ),
            ));
        }
        if seq < 1 {
            return Err(Fault::invalid(
                "invalid_seq",
                format!("an ingest's number counts from 1, seq={seq}"),
            ));
        }
        Ok(Once {
            producer: producer.to_owned(),
            seq,
        })
    }

    /// Apart from those of streams, whose numbers are dense.
    fn seq_txn(&self) -> String {
        format!("deltaplane/ingest/{}", self.producer)
    }

    /// How many rows that ingest had, so that a retry is told the same.
    fn rows_txn(&self) -> String {
        format!("deltaplane/ingest-rows/{}", self.producer)
    }

    fn txns(&self, rows: u64) -> Vec<(String, i64)> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        vec![(self.seq_txn(), self.seq), (self.rows_txn(), rows)]
    }

    /// The rows of this very ingest, if it has been committed.
    ///
    /// # Errors
    /// FAILED_PRECONDITION: a later one was committed, which says nothing about this one.
    async fn committed(&self, cold: &ColdTable) -> Result<Option<u64>, Fault> {
        match cold.read_txn(&self.seq_txn()).await? {
            Some(held) if held == self.seq => {
                let rows = cold.read_txn(&self.rows_txn()).await?.unwrap_or(0);
                Ok(Some(u64::try_from(rows).unwrap_or(0)))
            }
            Some(held) if held > self.seq => Err(Fault::new(
                Kind::Precondition,
                "seq_passed",
                format!(
                    "a later ingest of this producer was committed, producer={}, seq={}, committed={held}; number ingests upwards",
                    self.producer, self.seq
                ),
            )),
            _ => Ok(None),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Rows that break a rule go to quarantine; otherwise the first one ends the ingest.
    pub quarantine: bool,
    /// The table's rows go out in the version in which these come in.
    pub replace: bool,
    pub once: Option<Once>,
}

/// The rows of this very ingest, if the table holds them already.
///
/// # Errors
/// As [`Once`] says; ABORTED `table_busy` after `query.timeout`.
pub async fn already(shared: &Shared, table: &Table, once: &Once) -> Result<Option<u64>, Fault> {
    let patience = Patience::of_statement(&shared.config);
    let cold = table.commit_lock_within(patience).await?;
    once.committed(&cold.main).await
}

/// One ingest under way.
pub struct Bulk {
    shared: Arc<Shared>,
    table: Arc<Table>,
    validator: Arc<Validator>,
    options: Options,
    references: References,
    now: Micros,
    source: Source,
    seq: i64,
    main: Side,
    quarantine: Side,
    /// All rows so far, of a table whose rules ask earlier ones.
    unjudged: Vec<RecordBatch>,
    unjudged_share: Share,
    totals: Totals,
    received: u64,
}

impl Bulk {
    /// # Errors
    /// What the rules' look-ups can meet; ABORTED `table_busy`.
    pub async fn begin(
        shared: Arc<Shared>,
        table: Arc<Table>,
        options: Options,
    ) -> Result<Self, Fault> {
        table.served()?;
        let validator = table.validator();
        let now = shared.clock.now();
        let lookups = &shared.lookups;
        let references = lookups.references(&shared, validator.contract()).await?;
        let stagers = |cold: &Cold| (cold.main.stager(), cold.quarantine.stager());
        let (main, quarantine) = table
            .files_within(Patience::of_statement(&shared.config), stagers)
            .await?;
        let (source, seq) = match &options.once {
            Some(once) => (&*once.producer, once.seq),
            None => (SOURCE, offset_i64(shared.log.durable())),
        };
        let source = Source::new(source);
        Ok(Bulk {
            shared,
            table,
            validator,
            options,
            references,
            now,
            source,
            seq,
            main: Side::new(main),
            quarantine: Side::new(quarantine),
            unjudged: Vec::new(),
            unjudged_share: Share::default(),
            totals: Totals::default(),
            received: 0,
        })
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for rows that break the contract; RESOURCE_EXHAUSTED; the store's.
    pub async fn push(&mut self, batch: RecordBatch) -> Result<(), Fault> {
        let first = self.received;
        self.received += batch.num_rows() as u64;
        if self.validator.needs_history() {
            let all = self.unjudged_share.add(batch.get_array_memory_size());
            let limit = self.shared.config.memory.query_bytes_max.as_usize();
            if all > limit {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "ingest_too_large",
                    format!(
                        "the rules of {} ask all rows at once, and ingests hold more than {limit} bytes; ingest less at a time, or raise memory.query_bytes_max",
                        self.validator.contract().table
                    ),
                ));
            }
            self.unjudged.push(batch);
            return Ok(());
        }
        let limit = self.shared.config.limits.batch_memory_max.as_usize();
        let judged = self.judge(&batch, None, limit);
        let (applied, _) = judged.map_err(|f| at_row(f, first))?;
        self.take(applied).await
    }

    fn judge(
        &mut self,
        batch: &RecordBatch,
        keys: Option<&Keys>,
        bytes_max: usize,
    ) -> Result<(Applied, Additions), Fault> {
        let origin = Origin {
            ingest_ts: self.now,
            source: &self.source,
            seq: self.seq,
        };
        let scope = Scope {
            keys,
            lateness: true,
            bytes_max,
        };
        let validated = self
            .validator
            .judge(batch, &origin, &self.references, scope)?;
        if !self.options.quarantine {
            insert::refuse_rejects(self.validator.contract(), validated.verdict())?;
        }
        self.totals.add(Totals::of(validated.verdict()));
        let (applied, _, additions) = validated.into_parts();
        Ok((applied, additions))
    }

    async fn take(&mut self, applied: Applied) -> Result<(), Fault> {
        let (accepted, rejected) = applied.into_sides();
        self.main.push(accepted).await?;
        self.quarantine.push(rejected).await
    }

    /// Makes everything a version. Returns how many rows are in the table by it. `abandoned`: nobody waits for the answer any
    /// more. It is looked at until the first commit begins; a cancel that comes later comes too late.
    ///
    /// # Errors
    /// CANCELLED: it was abandoned. ABORTED: the contract was changed meanwhile. As [`Bulk::push`]; the store's. Nothing is in
    /// the table then; with `quarantine` rejected rows may be in theirs, once for each try unless the ingest is numbered.
    pub async fn commit(mut self, abandoned: &CancellationToken) -> Result<u64, Fault> {
        let (shared, table) = (self.shared.clone(), self.table.clone());
        let mut writer = TableWriter::begin(&shared, &table, "a bulk ingest").await?;
        // It may have waited long for the table.
        refuse_abandoned(abandoned)?;
        if !Arc::ptr_eq(writer.validator(), &self.validator) {
            return Err(Fault::new(
                Kind::Conflict,
                "contract_changed",
                format!(
                    "the contract was changed during the ingest, table={}; nothing was written, ingest again",
                    table.name()
                ),
            ));
        }
        if let Some(once) = &self.options.once
            && let Some(rows) = once.committed(writer.files(Part::Main)).await?
        {
            return Ok(rows);
        }
        let (removal, reason) = if self.options.replace {
            let predicate = "true".to_owned();
            // Every file has all of no partition values.
            (
                Removal::Partitions(Vec::new()),
                Reason::Replace { predicate },
            )
        } else {
            (Removal::Nothing, Reason::Append)
        };
        let additions = self.judge_whole(&mut writer, &removal).await?;
        self.main.stage().await?;
        self.quarantine.stage().await?;
        let txns = match &self.options.once {
            Some(once) => once.txns(self.totals.accepted),
            None => Vec::new(),
        };
        let rejected = self.quarantine.take();
        let held = match &self.options.once {
            Some(once) => once
                .committed(writer.files(Part::Quarantine))
                .await?
                .is_some(),
            None => false,
        };
        refuse_abandoned(abandoned)?;
        if rejected.files() > 0 && !held {
            writer
                .rewrite(
                    Part::Quarantine,
                    &Removal::Nothing,
                    rejected,
                    &Reason::Append,
                    &txns,
                )
                .await?;
        }
        let staged = self.main.take();
        if staged.files() > 0 || self.options.replace || !txns.is_empty() {
            writer
                .rewrite(Part::Main, &removal, staged, &reason, &txns)
                .await?;
            if !self.options.replace {
                writer.learn(additions);
            }
        }
        metrics::counter!("deltaplane_bulk_ingests_total").increment(1);
        Ok(self.totals.accepted)
    }

    /// Rows whose rules ask earlier ones, all at once, against the rows that `removal` leaves.
    async fn judge_whole(
        &mut self,
        writer: &mut TableWriter<'_>,
        removal: &Removal,
    ) -> Result<Additions, Fault> {
        let batches = std::mem::take(&mut self.unjudged);
        let Some(first) = batches.first() else {
            return Ok(Additions::default());
        };
        let whole = concat_batches(&first.schema(), &batches)
            .map_err(|e| Fault::internal(format!("rows to ingest: {e}")))?;
        drop(batches);
        self.unjudged_share.give_back();
        let staying;
        let known = if self.options.replace {
            staying = writer.known_without(removal).await?;
            staying.as_ref()
        } else {
            writer.known().await?.map(|keys| &*keys)
        };
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let (applied, additions) = self.judge(&whole, known, limit)?;
        self.take(applied).await?;
        Ok(additions)
    }
}

fn refuse_abandoned(abandoned: &CancellationToken) -> Result<(), Fault> {
    if abandoned.is_cancelled() {
        return Err(Fault::new(
            Kind::Cancelled,
            "cancelled",
            "the ingest was cancelled before its commit; nothing was written",
        ));
    }
    Ok(())
}

/// The position of a bad row within the whole ingest, not within its batch.
pub(super) fn at_row(mut fault: Fault, first: u64) -> Fault {
    if first > 0 {
        fault
            .message
            .push_str(&format!("; rows count from {first} in this batch"));
    }
    fault
}

/// Rows on their way to one of the two Delta tables. Dropped before it was taken, its files are deleted.
pub(super) struct Side {
    stager: Stager,
    waiting: Vec<RecordBatch>,
    share: Share,
    staged: Staged,
}

impl Side {
    pub(super) fn new(stager: Stager) -> Self {
        Side {
            stager,
            waiting: Vec::new(),
            share: Share::default(),
            staged: Staged::empty(),
        }
    }

    pub(super) async fn push(&mut self, rows: Option<RecordBatch>) -> Result<(), Fault> {
        let Some(rows) = rows else { return Ok(()) };
        let all = self.share.add(rows.get_array_memory_size());
        self.waiting.push(rows);
        if self.share.0 >= STAGE_BYTES || all >= STAGE_BYTES_ALL {
            self.stage().await?;
        }
        Ok(())
    }

    pub(super) async fn stage(&mut self) -> Result<(), Fault> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let more = self.stager.stage(std::mem::take(&mut self.waiting)).await?;
        self.staged.append(more);
        self.share.give_back();
        Ok(())
    }

    pub(super) fn take(&mut self) -> Staged {
        std::mem::replace(&mut self.staged, Staged::empty())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let orphans = self.take();
        if orphans.files() > 0
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let stager = self.stager.clone();
            runtime.spawn(async move { stager.discard(orphans).await });
        }
    }
}
