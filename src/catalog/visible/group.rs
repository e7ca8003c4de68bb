//! Frames that are on disk change what is visible: rows, counts, creates, alterations and drops of a whole group in one step. The
//! replay of the log does the same frame by frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::{Mutex, RwLock};
use arrow::array::{Int64Array, RecordBatch};

use super::super::in_flight::Charge;
use super::super::table::Table;
use super::super::{CommitQuality, Registry};
use super::{Entry, Visible};
use crate::cold::PinnedFiles;
use crate::dataset::Contract;
use crate::records::{Left, Replayed, Totals};
use crate::types::{Lsn, TableName};
use crate::validate::Applied;

/// A named producer's progress, to be recorded in the next commit's `txn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerMove {
    pub producer: Arc<str>,
    pub seq: u64,
}

/// What is noted of a frame's rows beside the rows.
pub struct Arrival {
    /// The UTC day on which they came, in days since 1970.
    pub day: i32,
    pub counts: Totals,
    /// How often each rule was broken.
    pub violations: BTreeMap<String, u64>,
    /// None: an unnamed stream.
    pub moved: Option<ProducerMove>,
    pub offset: Lsn,
}

/// What a frame does once it is durable.
pub enum FrameEffect {
    Rows {
        table: Arc<Table>,
        applied: Applied,
        arrival: Arrival,
        /// Until the rows are counted as hot ones.
        charge: Charge,
    },
    Epoch {
        table: Arc<Table>,
        producer: Arc<str>,
        epoch: u64,
    },
    Create {
        table: Arc<Table>,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    },
    Drop {
        table: Arc<Table>,
    },
    /// Another name, under which everybody finds the table from here on.
    Rename {
        table: Arc<Table>,
        to: TableName,
    },
    /// Rows have left the quarantine: both tables' versions, and the counts, in one step.
    Replayed {
        table: Arc<Table>,
        replayed: Replayed,
        /// Microseconds since 1970.
        at: i64,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    },
    /// Another contract from here on, and the Delta version that tells it.
    Alter {
        table: Arc<Table>,
        contract: Arc<Contract>,
        main: Arc<PinnedFiles>,
    },
}

/// Effects of the group being written. Filled and drained by the log's writer thread alone; the lock only makes that visible to the compiler.
#[derive(Default)]
pub struct Effects(Mutex<Vec<FrameEffect>>);

impl Effects {
    pub fn push(&self, effect: FrameEffect) {
        self.0.lock().push(effect);
    }

    pub fn take(&self) -> Vec<FrameEffect> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Visible {
    /// Makes a durable group visible as a whole, then moves the read point. Returns the tables whose hot rows passed `flush_bytes`.
    ///
    /// Creates and drops enter the registry here too, on the log's writer thread, so that a checkpoint made behind them knows them.
    pub fn apply_group(
        &self,
        registry: &RwLock<Registry>,
        effects: Vec<FrameEffect>,
        durable: Lsn,
        flush_bytes: usize,
    ) -> Vec<Arc<Table>> {
        let mut full = Vec::new();
        let (mut news, mut gone) = (Vec::new(), Vec::new());
        let mut state = self.0.write();
        for effect in effects {
            match effect {
                FrameEffect::Rows {
                    table,
                    applied,
                    arrival,
                    charge,
                } => {
                    if let Some(m) = &arrival.moved {
                        table.in_log_order(|producers| {
                            if let Some(entry) = producers.get_mut(&m.producer) {
                                let state = &mut entry.state;
                                state.on_durable(m.seq, arrival.offset, arrival.counts);
                            }
                        });
                    }
                    let Some(entry) = state.tables.get_mut(&table.name().folded()) else {
                        continue;
                    };
                    if entry.table.incarnation != table.incarnation {
                        continue;
                    }
                    entry.push_rows(applied, arrival, Lsn::ZERO, Lsn::ZERO);
                    drop(charge);
                    if entry.main.hot.bytes() + entry.quarantine.hot.bytes() >= flush_bytes {
                        full.push(table);
                    }
                }
                FrameEffect::Epoch {
                    table,
                    producer,
                    epoch,
                } => {
                    table.in_log_order(|producers| {
                        if let Some(entry) = producers.get_mut(&producer) {
                            entry.state.on_durable_epoch(epoch);
                        }
                    });
                }
                FrameEffect::Create {
                    table,
                    main,
                    quarantine,
                } => {
                    registry.write().insert(table.clone());
                    // Where a view is given another query, its old life ends here.
                    let entry = Entry::new(table.clone(), main, quarantine);
                    gone.extend(state.tables.insert(table.name().folded(), entry));
                }
                FrameEffect::Replayed {
                    table,
                    replayed,
                    at,
                    main,
                    quarantine,
                } => {
                    if let Some(entry) = state.entry(&table) {
                        let mut left = Left::default();
                        for day in replayed.days.values() {
                            left.accepted += day.accepted;
                            left.duplicates += day.duplicates;
                        }
                        entry.quality.push(CommitQuality {
                            version: main.version(),
                            quarantine_version: quarantine.version(),
                            offset: table.committed().offset,
                            at,
                            counts: Totals::default(),
                            left,
                        });
                        news.extend([main.clone(), quarantine.clone()]);
                        entry.main.cold = main;
                        entry.quarantine.cold = quarantine;
                        entry.count_replay(&replayed);
                    }
                }
                FrameEffect::Alter {
                    table,
                    contract,
                    main,
                } => {
                    table.set_contract(contract.clone());
                    if let Some(entry) = state.tables.get_mut(&table.name().folded()) {
                        entry.main.hot.conform_to(&contract.table_schema());
                        news.push(main.clone());
                        entry.main.cold = main;
                    }
                }
                FrameEffect::Rename { table, to } => {
                    let from = table.name();
                    if state.rename(&table, &to) {
                        registry.write().rename(&table, &from);
                    }
                }
                FrameEffect::Drop { table } => {
                    // Here and not when the statement began: a batch behind this frame is told of the drop, not acked, and a
                    // drop that the log did not take has changed nothing.
                    table.mark_dropped();
                    registry.write().remove(&table);
                    gone.extend(state.remove(&table));
                }
            }
        }
        state.read_point = state.read_point.max(durable);
        drop(state);
        news.iter().for_each(|view| view.announce());
        gone.iter().for_each(Entry::announce_end);
        full
    }

    /// Replay of one frame: rows that a commit already holds stay out, each side by its own `txn`.
    pub fn replay_rows(
        &self,
        table: &Arc<Table>,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        let mut state = self.0.write();
        if let Some(entry) = state.tables.get_mut(&table.name().folded()) {
            entry.push_rows(applied, arrival, committed, quarantine_committed);
        }
    }

    /// A frame of a parked table: its counts, without its rows.
    pub fn count_arrival(&self, table: &Table, arrival: &Arrival) {
        if let Some(entry) = self.0.write().entry(table) {
            entry.count(arrival);
        }
    }

    /// Rows of a repaired table that waited in its backlog. `counted`: [`Visible::count_arrival`] has had them.
    pub fn restore_rows(
        &self,
        table: &Table,
        applied: Applied,
        arrival: Arrival,
        counted: bool,
        (committed, quarantined): (Lsn, Lsn),
    ) {
        if let Some(entry) = self.0.write().entry(table) {
            if !counted {
                entry.count(&arrival);
            }
            entry.push_durable(applied, arrival, committed, quarantined);
        }
    }
}

impl Entry {
    fn push_rows(
        &mut self,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        self.count(&arrival);
        self.push_durable(applied, arrival, committed, quarantine_committed);
    }

    fn count(&mut self, arrival: &Arrival) {
        let day = self.days.entry(arrival.day).or_default();
        day.add(arrival.counts, &arrival.violations);
    }

    /// [`Entry::push_rows`] for rows that are counted already.
    fn push_durable(
        &mut self,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        let Arrival {
            counts,
            moved,
            offset,
            ..
        } = arrival;
        let unnamed = moved.is_none();
        if offset > committed {
            self.quality.open.add(counts);
        }
        if let Some(m) = moved
            && offset > committed
        {
            let newest = self.moved.entry(m.producer).or_default();
            *newest = (*newest).max(m.seq);
        }
        let (accepted, rejected) = applied.into_sides();
        if let Some(batch) = accepted
            && offset > committed
        {
            self.main.last_rows = self.main.last_rows.max(offset);
            self.main.hot.push(
                if unnamed {
                    with_seq(batch, offset)
                } else {
                    batch
                },
                offset,
            );
        }
        if let Some(batch) = rejected
            && offset > quarantine_committed
        {
            self.quarantine.last_rows = self.quarantine.last_rows.max(offset);
            self.quarantine.hot.push(
                if unnamed {
                    with_seq(batch, offset)
                } else {
                    batch
                },
                offset,
            );
        }
    }
}

/// Rows of unnamed streams bear their frame's offset as `_seq`, which is known only now.
fn with_seq(batch: RecordBatch, offset: Lsn) -> RecordBatch {
    let schema = batch.schema();
    let Ok(index) = schema.index_of("_seq") else {
        return batch;
    };
    let value = i64::try_from(offset.get()).unwrap_or(i64::MAX);
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(Int64Array::from_value(value, batch.num_rows()));
    // The column keeps its type and has no nulls, so the batch stays what it was.
    RecordBatch::try_new(schema, columns).unwrap_or(batch)
}
