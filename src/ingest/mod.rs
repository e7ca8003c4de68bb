//! Takes batches from any door (DoPut today) into the log: admission, validation, append. It knows no Flight and no
//! queries; it hands out [`Pending`] tickets and, once a batch is on disk, the producer's totals.
//!
//! What holds where: *admitted*, the batch has its place in the log's queue; *durable*, the frame is synced, its rows are
//! visible to every later query and the ack may go out; *committed*, its rows are in a Delta version. A crash before
//! durable loses only what no ack spoke of; after it, replay brings the rows back.

mod ack;
pub mod bulk;
mod drift;
pub mod insert;
pub mod payload;
pub mod replay;

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::catalog::Shared;
use crate::catalog::producer::{Claim, Decision, DurablePoint, Producer, Totals};
use crate::catalog::table::Table;
use crate::catalog::visible::{Arrival, FrameEffect, ProducerMove};
use crate::clock;
use crate::fault::{Fault, Kind};
use crate::flush;
use crate::types::Lsn;
use crate::validate::{self, Additions, Context, Origin, Source, Verdict};
use crate::wal::{FrameKind, NewFrame, Payload};
use payload::{Balance, Encoded};

use ack::Place;
pub use ack::{Ack, Acked, Pending};

/// The `_source` of rows that came without a producer's name.
pub const UNNAMED_SOURCE: &str = "unnamed";

/// A rejected row as an ack shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub seq: u64,
    pub row: u32,
    pub column: String,
    pub rule: String,
    pub value: String,
}

/// How many rejects one batch shows in its ack.
const REJECTS_SHOWN: usize = 5;

/// Counts of a verdict, as acks and `system.quality` add them up.
pub fn counts(verdict: &Verdict) -> Totals {
    Totals {
        accepted: verdict.accepted(),
        quarantined: verdict.quarantined(),
        duplicates: verdict.duplicate_count(),
    }
}

/// Counts a named producer's open stream until it is dropped.
struct OpenStream {
    table: Arc<Table>,
    name: Arc<str>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(entry) = self.table.producers.lock().get_mut(&self.name) {
            entry.streams = entry.streams.saturating_sub(1);
        }
    }
}

/// One open stream of a named producer, or an unnamed one.
pub struct IngestStream {
    shared: Arc<Shared>,
    table: Arc<Table>,
    named: Option<(Arc<str>, Claim)>,
    unnamed_seq: u64,
    /// The producer's, or of an unnamed stream its own: up to the last batch that was taken.
    totals: Totals,
    /// Keeps the producer from being forgotten.
    _open: Option<OpenStream>,
    /// A row that breaks a rule refuses the batch.
    strict: bool,
    balance: Balance,
    source: Source,
}

impl IngestStream {
    pub fn unnamed(shared: Arc<Shared>, table: Arc<Table>) -> Self {
        IngestStream {
            shared,
            table,
            named: None,
            unnamed_seq: 0,
            totals: Totals::default(),
            _open: None,
            strict: false,
            balance: Balance::default(),
            source: Source::new(UNNAMED_SOURCE),
        }
    }

    /// As `INSERT` wants it: all rows of a batch, or none.
    pub fn strict(shared: Arc<Shared>, table: Arc<Table>) -> Self {
        IngestStream {
            strict: true,
            ..IngestStream::unnamed(shared, table)
        }
    }

    /// Opens a named producer's stream: its epoch is durable before this returns, and so is every batch of an older stream
    /// that was already in the log's queue.
    pub async fn open(
        shared: Arc<Shared>,
        table: Arc<Table>,
        name: &str,
        asked: Option<u64>,
    ) -> Result<(Self, DurablePoint, u64), Fault> {
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(Fault::invalid(
                "invalid_producer",
                format!(
                    "a producer's name has 1 to 255 bytes and no control characters, got {} bytes",
                    name.len()
                ),
            ));
        }
        let name: Arc<str> = name.into();
        // Room first: with the log full even a new epoch is refused, before it has fenced anyone.
        let reservation = shared.log.reserve(name.len() + 256).await?;
        let mut told = None;
        if table.is_forgetful() && !table.producers.lock().contains_key(&name) {
            told = Some(flush::recorded_seq(&table, &name).await?);
        }
        let opened_by = name.clone();
        let (claim, ticket) = {
            let mut producers = table.producers.lock();
            if told.is_none() && table.is_forgetful() && !producers.contains_key(&name) {
                return Err(Fault::new(
                    Kind::Unavailable,
                    "producer_forgotten",
                    format!(
                        "the producer was forgotten at this moment, producer={name}; open again"
                    ),
                ));
            }
            if !producers.contains_key(&name) && producers.len() >= shared.config.log.producers_max
            {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "producers_max",
                    format!(
                        "too many producers on this table, limit={}; raise log.producers_max or reuse names",
                        shared.config.log.producers_max
                    ),
                ));
            }
            let fresh = !producers.contains_key(&name);
            let returned = if fresh { told.unwrap_or(0) } else { 0 };
            let entry = producers
                .entry(name.clone())
                .or_insert_with(|| Producer::returning(returned).into());
            let opened = entry.state.open(&name, asked)?;
            entry.seen = shared.clock.now();
            entry.changed.send_modify(|n| *n += 1);
            let frame = NewFrame {
                kind: FrameKind::Epoch,
                incarnation: table.incarnation.get(),
                contract_version: table.contract().version,
                producer: name.clone(),
                epoch: opened.claim.epoch,
                // Where a producer goes on that was forgotten: replay has no Delta to ask.
                seq: returned,
                batch_crc: 0,
                payload: Payload::default(),
            };
            let effects = shared.effects.clone();
            let (table, name, epoch) = (table.clone(), name.clone(), opened.claim.epoch);
            // An epoch frame also when nothing is new: it queues behind the older stream's batches, so that `ready`
            // speaks of all of them.
            let ticket = shared.log.append(
                reservation,
                frame,
                Box::new(move |_| {
                    effects.push(FrameEffect::Epoch {
                        table,
                        producer: name,
                        epoch,
                    });
                }),
            )?;
            entry.streams += 1;
            (opened.claim, ticket)
        };
        // Its end takes the lock that was held until here.
        let open = OpenStream {
            table: table.clone(),
            name: opened_by,
        };
        shared.synced(ticket.wait()).await?;
        let durable = {
            let producers = table.producers.lock();
            let entry = producers
                .get(&name)
                .ok_or_else(|| Fault::internal("a producer vanished while it opened"))?;
            entry.state.check_claim(&name, claim)?;
            entry.state.durable()
        };
        let stream = IngestStream {
            shared,
            table,
            source: Source::new(name.clone()),
            named: Some((name, claim)),
            unnamed_seq: durable.seq,
            totals: durable.totals,
            _open: Some(open),
            strict: false,
            balance: Balance::default(),
        };
        Ok((stream, durable, claim.epoch))
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The producer whose totals acks carry; none on an unnamed stream.
    pub fn producer(&self) -> Option<Arc<str>> {
        self.named.as_ref().map(|(name, _)| name.clone())
    }

    /// Resolves when a newer stream has fenced this one or taken it over.
    pub fn fence_watch(&self) -> Option<FenceWatch> {
        let (name, claim) = self.named.clone()?;
        let changed = self.table.producers.lock().get(&name)?.changed.subscribe();
        Some(FenceWatch {
            table: self.table.clone(),
            name,
            claim,
            changed,
        })
    }

    /// Takes one batch. `seq`: required on a named stream, refused on an unnamed one. `batch` none: the number alone.
    ///
    /// # Errors
    /// As `catalog::producer::Producer::decide`; INVALID_ARGUMENT when the batch as a whole breaks the contract; RESOURCE_EXHAUSTED
    /// when it is too large or the log stays full; UNAVAILABLE when the log is poisoned. After any of them nothing of this
    /// batch is written and its seq may be sent again.
    pub async fn push(
        &mut self,
        seq: Option<u64>,
        batch: Option<RecordBatch>,
    ) -> Result<Pending, Fault> {
        if self.table.is_dropped() {
            return Err(self.table.dropped());
        }
        let seq = match (&self.named, seq) {
            (Some(_), Some(seq)) => seq,
            (Some(_), None) => {
                return Err(Fault::invalid(
                    "seq_missing",
                    "a batch came without a seq on an opened stream; send {\"seq\":n} with each batch",
                ));
            }
            (None, Some(_)) => {
                return Err(Fault::invalid(
                    "not_opened",
                    "a batch came with a seq but the stream was not opened; send {\"open\":{\"producer\":..}} first",
                ));
            }
            (None, None) => self.unnamed_seq + 1,
        };
        let limit = self.shared.config.limits.batch_bytes_max.as_usize();
        let encoded = match &batch {
            Some(batch) => {
                let bytes = batch.get_array_memory_size();
                // Sliced arrays count whole buffers; the encoded form below is what is held to the limit.
                let encoded = Encoded::of(batch)?;
                if encoded.len() > limit {
                    return Err(Fault::new(
                        Kind::Exhausted,
                        "batch_too_large",
                        format!(
                            "batch too large, bytes={}, limit={limit}, in_memory={bytes}; send smaller batches or raise limits.batch_bytes_max",
                            encoded.len()
                        ),
                    ));
                }
                encoded
            }
            None => Encoded::empty(),
        };
        if let Some((name, claim)) = &self.named {
            let producers = self.table.producers.lock();
            if let Some(entry) = producers.get(name)
                && entry.state.decide(name, *claim, seq, encoded.crc)? == Decision::Resend
            {
                return Ok(self.resent(seq, name, entry.state.offset_of(seq)));
            }
        }

        if let Some(batch) = &batch {
            drift::grow(&self.shared, &self.table, batch.schema_ref()).await?;
        }
        let arrived = self.shared.clock.now();
        // Open until the batch has its place in the log: the contract that judges it is the one in force there.
        let table = self.table.clone();
        let _gate = table.gate.read().await;
        let contract = &*table.contract();
        // Held until the batch has its place in the log, so that what is known of earlier rows follows the log's order.
        let mut keys = match &batch {
            Some(_) if contract.needs_history() => Some(self.table.keys.lock().await),
            _ => None,
        };
        let mut additions = Additions::default();
        let (verdict, applied) = match &batch {
            Some(batch) => {
                let origin = Origin {
                    ingest_ts: arrived,
                    source: &self.source,
                    seq: i64::try_from(seq).unwrap_or(i64::MAX),
                };
                let context = Context {
                    now: arrived,
                    references: self
                        .shared
                        .lookups
                        .references(&self.shared, contract)
                        .await?,
                };
                let conformed = validate::conform(contract, batch, arrived)?;
                let mut verdict = validate::judge(contract, &conformed, &context)?;
                if let Some(keys) = &mut keys {
                    if !keys.is_loaded() {
                        let rows = self.shared.lookups.rows(&self.shared, contract).await?;
                        keys.load(contract, &rows)?;
                    }
                    let so_far = validate::apply(contract, batch, &conformed, &verdict, &origin)?;
                    if let Some(rows) = &so_far.accepted {
                        let positions = verdict.accepted_rows();
                        additions = keys.check(contract, rows, &positions, &mut verdict)?;
                    }
                }
                validate::lateness(contract, &conformed, &context, &mut verdict)?;
                let applied = validate::apply(contract, batch, &conformed, &verdict, &origin)?;
                (verdict, applied)
            }
            None => (Verdict::empty(), validate::Applied::default()),
        };
        if self.strict {
            insert::refuse_rejects(contract, &verdict)?;
        }
        let rejects = shown_rejects(seq, &verdict);
        let counts = counts(&verdict);
        let violations = verdict.violations();
        let disk = self.shared.log.ns_per_byte();
        let crc = encoded.crc;
        let payload = encoded.payload(&verdict, arrived, &mut self.balance, disk);
        self.wait_for_memory().await?;
        // Only from here on is the batch in anyone's way: room in the log first, then its place in line.
        let reservation = self.shared.log.reserve(payload.len() + 512).await?;
        let (name, claim) = match &self.named {
            Some((name, claim)) => (Some(name.clone()), *claim),
            None => (
                None,
                Claim {
                    epoch: 0,
                    opening: 0,
                },
            ),
        };
        let frame = |crc: u32, seq: u64, payload: Payload| NewFrame {
            kind: FrameKind::Data,
            incarnation: self.table.incarnation.get(),
            contract_version: contract.version,
            producer: name.clone().unwrap_or_else(|| "".into()),
            epoch: claim.epoch,
            seq,
            batch_crc: crc,
            payload,
        };
        let effects = self.shared.effects.clone();
        let table = self.table.clone();
        let moved = name.clone().map(|producer| ProducerMove { producer, seq });
        let on_durable = Box::new(move |lsn: Lsn| {
            effects.push(FrameEffect::Rows {
                table,
                applied,
                arrival: Arrival {
                    day: clock::day_of(arrived),
                    counts,
                    violations,
                    moved,
                    offset: lsn,
                },
            });
        });
        let ticket = match &self.named {
            Some((name, claim)) => {
                let mut producers = self.table.producers.lock();
                let entry = producers
                    .get_mut(name)
                    .ok_or_else(|| Fault::internal("a producer vanished under its stream"))?;
                // Again, under the lock that orders the log: a newer epoch may have come while this batch was judged.
                match entry.state.decide(name, *claim, seq, crc)? {
                    Decision::New => {}
                    Decision::Resend => {
                        return Ok(self.resent(seq, name, entry.state.offset_of(seq)));
                    }
                }
                let ticket =
                    self.shared
                        .log
                        .append(reservation, frame(crc, seq, payload), on_durable)?;
                entry.state.admit(seq, crc, ticket.offset(), counts);
                entry.seen = arrived;
                ticket
            }
            None => {
                self.unnamed_seq = seq;
                self.shared
                    .log
                    .append(reservation, frame(0, 0, payload), on_durable)?
            }
        };
        if let Some(keys) = &mut keys {
            keys.add(additions, &verdict);
        }
        self.totals.add(counts);
        Ok(Pending {
            seq,
            counts,
            rejects,
            shared: self.shared.clone(),
            table: self.table.clone(),
            place: Place::Appended {
                ticket,
                totals: self.totals,
            },
        })
    }
}

impl IngestStream {
    /// A batch that was taken before, at `offset` if that is remembered.
    fn resent(&self, seq: u64, producer: &Arc<str>, offset: Option<Lsn>) -> Pending {
        Pending {
            seq,
            counts: Totals::default(),
            rejects: Vec::new(),
            shared: self.shared.clone(),
            table: self.table.clone(),
            place: Place::Resent {
                producer: producer.clone(),
                offset,
            },
        }
    }

    /// Pushes back while hot rows fill their budget: this stream stops reading, its client's window fills, the process does not.
    async fn wait_for_memory(&self) -> Result<(), Fault> {
        let budget = self.shared.config.memory.hot_bytes_max.as_usize();
        let wait = self.shared.config.log.admission_timeout;
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let freed = self.shared.hot_space.notified();
            let (all, failing) = self.shared.visible.hot_bytes();
            // Tables that cannot commit leave room for those that can.
            let own = !self.table.is_failing() || failing < budget / 2;
            if all < budget && own {
                return Ok(());
            }
            self.table.flush_now.notify_one();
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                if !own {
                    return Err(Fault::new(
                        Kind::Unavailable,
                        "store_unavailable",
                        format!(
                            "{} cannot be committed and its rows fill what tables with a failing store may hold, limit={}; retry when its store answers again",
                            self.table.name(),
                            budget / 2
                        ),
                    ));
                }
                return Err(Fault::new(
                    Kind::Exhausted,
                    "memory_full",
                    format!(
                        "hot rows fill their budget and no commit frees any, limit={budget}; retry, look at the table's store, or raise memory.hot_bytes_max"
                    ),
                ));
            }
        }
    }
}

fn shown_rejects(seq: u64, verdict: &Verdict) -> Vec<Reject> {
    let shown = verdict.rejected.iter().take(REJECTS_SHOWN);
    shown
        .map(|r| Reject {
            seq,
            row: r.row,
            column: r.column.clone(),
            rule: r.rules.first().map_or_else(String::new, |rule| {
                rule.split_once(':')
                    .map_or(rule.as_str(), |(kind, _)| kind)
                    .to_owned()
            }),
            value: r.value.chars().take(120).collect(),
        })
        .collect()
}

/// Tells a stream that it is no longer its producer's own.
pub struct FenceWatch {
    table: Arc<Table>,
    name: Arc<str>,
    claim: Claim,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl FenceWatch {
    /// Waits until the claim is lost, and says why.
    pub async fn fenced(&mut self) -> Fault {
        loop {
            let lost = match self.table.producers.lock().get(&self.name) {
                Some(entry) => entry.state.check_claim(&self.name, self.claim).err(),
                None => Some(Fault::new(
                    Kind::Precondition,
                    "producer_fenced",
                    "the producer was forgotten",
                )),
            };
            if let Some(fault) = lost {
                return fault;
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
