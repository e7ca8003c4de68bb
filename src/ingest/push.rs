//! One batch of a stream on its way into the log: its number, its judgement, its memory and its place in line.
//!
//! Everything that can wait for somebody else is waited for with none of the table's locks held: memory, room in the log, the
//! values of other tables. Under the locks the same things are only tried, and what is not there lets go of the locks and
//! waits outside. A batch that waits is in nobody's way.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::ack::Place;
use super::{IngestStream, Names, Pending, REJECTS_SHOWN, Reject, drift, insert, other_contract};
use crate::catalog::alter::contract_changed;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::in_flight::Charge;
use crate::catalog::producer::{Claim, Decision};
use crate::catalog::visible::{Arrival, FrameEffect, ProducerMove};
use crate::clock::{Micros, day_of};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::records::{Data, Encoded, Record, Sender, Stamp, Totals};
use crate::threads;
use crate::types::Lsn;
use crate::validate::{
    self, Additions, Applied, Origin, References, Scope, Validated, Validator, Verdict,
};
use crate::wal::{AppendTicket, NewFrame};

/// Bytes of a frame beside its payload, and of a payload beside the batch and what a verdict finds.
const FRAME_BYTES: usize = 1024;

/// A batch that is checked as far as can be without the table's locks.
struct Numbered {
    seq: u64,
    arrived: Micros,
    batch: Option<RecordBatch>,
    encoded: Encoded,
}

/// What an attempt to take a batch came to.
enum Attempt {
    Taken(Pending),
    /// Nothing was done: it needs so many bytes of the log, or memory, and has to wait for them without the locks.
    NoRoom(usize),
    NoMemory(usize),
    /// Nothing was done: the contract was changed meanwhile.
    OtherContract,
}

/// Where a batch of a named producer stands in the log.
enum Placed {
    Now(AppendTicket),
    /// It was taken before, at this offset if that is remembered.
    Before(Option<Lsn>),
}

/// A batch that was judged, on its way into the log.
struct Recorded {
    frame: NewFrame,
    applied: Applied,
    additions: Additions,
    counts: Totals,
    /// How often each rule was broken.
    violations: BTreeMap<String, u64>,
    rejects: Vec<Reject>,
}

impl IngestStream {
    /// Takes one batch. `seq`: required on a named stream, refused on an unnamed one. `batch` none: the number alone.
    ///
    /// # Errors
    /// As `catalog::producer::Producer::decide`; INVALID_ARGUMENT when the batch as a whole breaks the contract; RESOURCE_EXHAUSTED
    /// when it is too large, also for what it would become in memory, or the log stays full; UNAVAILABLE when the log is
    /// poisoned; ABORTED `contract_changed`: a column that it sends was dropped since the stream began. After any of them nothing
    /// of this batch is written and its seq may be sent again.
    pub async fn push(
        &mut self,
        seq: Option<u64>,
        batch: Option<RecordBatch>,
    ) -> Result<Pending, Fault> {
        self.table.check_alive()?;
        let seq = self.numbered(seq)?;
        let encoded = self.encoded(batch.as_ref())?;
        if let Some(resent) = self.as_resent(seq, encoded.crc())? {
            return Ok(resent);
        }
        if let Some(batch) = &batch {
            let known = |now: &Contract| self.refuse_lost(now, batch.schema_ref());
            drift::grow(&self.shared, &self.table, batch.schema_ref(), &known).await?;
        }
        let numbered = Numbered {
            seq,
            arrived: self.shared.clock.now(),
            batch,
            encoded,
        };
        loop {
            let validator = self.table.validator();
            let lookups = &self.shared.lookups;
            let references = match &numbered.batch {
                Some(_) => {
                    lookups
                        .references(&self.shared, validator.contract())
                        .await?
                }
                None => References::new(),
            };
            match self.attempt(&numbered, &validator, &references).await? {
                Attempt::Taken(pending) => return Ok(pending),
                // Room for it was there once: the next attempt finds it, or waits again.
                Attempt::NoRoom(bytes) => drop(self.shared.log.reserve(bytes).await?),
                Attempt::NoMemory(bytes) => self.wait_for_memory(bytes).await?,
                Attempt::OtherContract => {}
            }
        }
    }

    /// Refuses columns that were the table's and are so no more: to their sender they are not unknown ones.
    fn refuse_lost(&self, now: &Contract, sent: &Schema) -> Result<(), Fault> {
        let since = match &self.names {
            Names::Own(since) => since,
            Names::Given(by) => by.contract(),
        };
        if std::ptr::eq(&**since, now) {
            return Ok(());
        }
        let names = sent.fields().iter().map(|f| f.name().as_str());
        match validate::lost_column(since, now, names) {
            Some(lost) => Err(contract_changed(format!(
                "a column that is sent was renamed or dropped meanwhile, table={}, column={lost}; nothing of this batch was written, open a new stream with the columns that there are",
                now.table
            ))),
            None => Ok(()),
        }
    }

    /// Under the gate: do the batch's names mean what they are about to be taken for?
    fn bind(
        &mut self,
        validator: &Arc<Validator>,
        batch: Option<&RecordBatch>,
    ) -> Result<(), Fault> {
        let Some(batch) = batch else {
            return Ok(());
        };
        match &self.names {
            Names::Given(by) if Arc::ptr_eq(by, validator) => Ok(()),
            Names::Given(_) => Err(other_contract(&self.table)),
            Names::Own(_) => {
                let now = validator.contract();
                self.refuse_lost(now, batch.schema_ref())?;
                self.names = Names::Own(now.clone());
                Ok(())
            }
        }
    }

    fn numbered(&self, seq: Option<u64>) -> Result<u64, Fault> {
        match (&self.named, seq) {
            (Some(_), Some(seq)) => Ok(seq),
            (Some(_), None) => Err(Fault::invalid(
                "seq_missing",
                "a batch came without a seq on an opened stream; send {\"seq\":n} with each batch",
            )),
            (None, Some(_)) => Err(Fault::invalid(
                "not_opened",
                "a batch came with a seq but the stream was not opened; send {\"open\":{\"producer\":..}} first",
            )),
            (None, None) => Ok(self.unnamed_seq.saturating_add(1)),
        }
    }

    fn encoded(&self, batch: Option<&RecordBatch>) -> Result<Encoded, Fault> {
        let Some(batch) = batch else {
            return Ok(Encoded::empty());
        };
        let limit = self.shared.config.limits.batch_bytes_max.as_usize();
        // Sliced arrays count whole buffers; the encoded form is what is held to the limit.
        let encoded =
            threads::step_aside_if(threads::has_many_values(batch), || Encoded::of(batch))?;
        if encoded.len() > limit {
            return Err(Fault::new(
                Kind::Exhausted,
                "batch_too_large",
                format!(
                    "batch too large, bytes={}, limit={limit}, in_memory={}; send smaller batches or raise limits.batch_bytes_max",
                    encoded.len(),
                    batch.get_array_memory_size()
                ),
            ));
        }
        Ok(encoded)
    }

    /// The answer to a batch that was taken before; none if it is the next one.
    fn as_resent(&self, seq: u64, crc: u32) -> Result<Option<Pending>, Fault> {
        let Some((name, claim)) = &self.named else {
            return Ok(None);
        };
        self.table.in_log_order(|producers| {
            let Some(entry) = producers.get(name) else {
                return Ok(None);
            };
            let decision = entry.state.decide(name, *claim, seq, crc)?;
            Ok((decision == Decision::Resend)
                .then(|| self.resent(seq, name, *claim, entry.state.offset_of(seq))))
        })
    }

    /// A batch that was taken before, at `offset` if that is remembered.
    fn resent(&self, seq: u64, producer: &Arc<str>, claim: Claim, offset: Option<Lsn>) -> Pending {
        Pending {
            seq,
            counts: Totals::default(),
            rejects: Vec::new(),
            shared: self.shared.clone(),
            table: self.table.clone(),
            place: Place::Resent {
                producer: producer.clone(),
                claim,
                offset,
            },
        }
    }

    /// Judges the batch and gives it its place in the log, unless something is missing that has to be waited for.
    async fn attempt(
        &mut self,
        numbered: &Numbered,
        validator: &Arc<Validator>,
        references: &References,
    ) -> Result<Attempt, Fault> {
        // Open until the batch has its place in the log: the contract that judges it is the one in force there.
        let table = self.table.clone();
        let patience = Patience::of_stream(&self.shared.config);
        let gate = table.open_gate(patience).await?;
        if !Arc::ptr_eq(validator, &table.validator()) {
            return Ok(Attempt::OtherContract);
        }
        self.bind(validator, numbered.batch.as_ref())?;
        // Held until the batch has its place in the log, so that what is known of earlier rows follows the log's order.
        let mut keys = match &numbered.batch {
            Some(_) if validator.needs_history() => Some(gate.keys(patience).await?),
            _ => None,
        };
        table.check_alive()?;
        if let Some(keys) = &mut keys {
            let lookups = &self.shared.lookups;
            lookups
                .load_keys(&self.shared, &table, validator, keys)
                .await?;
        }
        // From here on nothing is waited for.
        let made = numbered.batch.as_ref().map(|b| validator.made_bytes(b));
        let sent = numbered.encoded.len();
        let limit = self.shared.config.limits.batch_memory_max.as_usize();
        let expected = sent.saturating_add(made.unwrap_or(0).min(limit));
        let Some(mut charge) = self.charge(expected) else {
            return Ok(Attempt::NoMemory(expected));
        };
        let Some(room) = self.shared.log.try_reserve(sent + FRAME_BYTES)? else {
            return Ok(Attempt::NoRoom(sent + FRAME_BYTES));
        };
        let validated = match &numbered.batch {
            Some(batch) => {
                let origin = Origin {
                    ingest_ts: numbered.arrived,
                    source: &self.source,
                    seq: i64::try_from(numbered.seq).unwrap_or(i64::MAX),
                };
                let scope = Scope {
                    keys: keys.as_deref(),
                    lateness: true,
                    bytes_max: limit,
                };
                validator.judge(batch, &origin, references, scope)?
            }
            None => Validated::nothing(),
        };
        charge.set(sent.saturating_add(validated.bytes()));
        if self.strict {
            insert::refuse_rejects(validator.contract(), validated.verdict())?;
        }
        let recorded = self.recorded(numbered, validator, validated)?;
        let needed = recorded.frame.payload.len() + FRAME_BYTES / 2;
        let room = if needed <= sent + FRAME_BYTES {
            room
        } else {
            // A verdict that says much.
            drop(room);
            match self.shared.log.try_reserve(needed)? {
                Some(room) => room,
                None => return Ok(Attempt::NoRoom(needed)),
            }
        };
        let Recorded {
            frame,
            applied,
            additions,
            counts,
            violations,
            rejects,
        } = recorded;
        let name = self.producer();
        let effects = self.shared.effects.clone();
        let arrival = {
            let seq = numbered.seq;
            let day = day_of(numbered.arrived);
            let moved = name.clone().map(|producer| ProducerMove { producer, seq });
            move |offset: Lsn| Arrival {
                day,
                counts,
                violations,
                moved,
                offset,
            }
        };
        let of = table.clone();
        let on_durable = Box::new(move |lsn: Lsn| {
            effects.push(FrameEffect::Rows {
                table: of,
                applied,
                arrival: arrival(lsn),
                charge,
            });
        });
        let ticket = match &self.named {
            Some((name, claim)) => {
                let (seq, crc) = (numbered.seq, numbered.encoded.crc());
                let log = &self.shared.log;
                let placed = table.in_log_order(|producers| {
                    let entry = producers
                        .get_mut(name)
                        .ok_or_else(|| Fault::internal("a producer vanished under its stream"))?;
                    // Again, under the lock that orders the log: a newer epoch may have come while this batch was judged.
                    if entry.state.decide(name, *claim, seq, crc)? == Decision::Resend {
                        return Ok(Placed::Before(entry.state.offset_of(seq)));
                    }
                    let ticket = log.append(room, frame, on_durable)?;
                    entry.state.admit(seq, crc, ticket.offset(), counts);
                    entry.seen = numbered.arrived;
                    Ok::<_, Fault>(Placed::Now(ticket))
                })?;
                match placed {
                    Placed::Now(ticket) => ticket,
                    Placed::Before(offset) => {
                        return Ok(Attempt::Taken(self.resent(seq, name, *claim, offset)));
                    }
                }
            }
            None => {
                self.unnamed_seq = numbered.seq;
                self.shared.log.append(room, frame, on_durable)?
            }
        };
        if let Some(keys) = &mut keys {
            keys.add(additions);
        }
        self.totals.add(counts);
        Ok(Attempt::Taken(Pending {
            seq: numbered.seq,
            counts,
            rejects,
            shared: self.shared.clone(),
            table: self.table.clone(),
            place: Place::Appended {
                ticket,
                totals: self.totals,
            },
        }))
    }

    /// The frame of a batch that was judged, and what is told of it.
    fn recorded(
        &mut self,
        numbered: &Numbered,
        validator: &Validator,
        validated: Validated,
    ) -> Result<Recorded, Fault> {
        let stamp = Stamp {
            incarnation: self.table.incarnation,
            contract_version: validator.contract().version,
        };
        let encoded = &numbered.encoded;
        let sender = match &self.named {
            Some((name, claim)) => Sender::Named {
                producer: name.clone(),
                epoch: claim.epoch,
                seq: numbered.seq,
                crc: encoded.crc(),
            },
            None => Sender::Unnamed,
        };
        let disk = self.shared.log.ns_per_byte();
        let balance = &mut self.balance;
        let rows = numbered.batch.as_ref().map_or(0, RecordBatch::num_rows);
        threads::step_aside_if(threads::is_long(rows, encoded.len()), || {
            let stored = balance.store(encoded, disk);
            let (data, applied, additions) = Data::of(sender, numbered.arrived, stored, validated);
            Ok(Recorded {
                applied,
                additions,
                counts: data.counts(),
                violations: data.verdict().violations(),
                rejects: shown_rejects(numbered.seq, data.verdict()),
                frame: Record::Data(data).encode(stamp)?,
            })
        })
    }

    /// Tables that cannot commit leave room for those that can.
    fn has_own_share(&self, failing: usize) -> bool {
        let budget = self.shared.config.memory.hot_bytes_max.as_usize();
        !self.table.is_failing() || failing < budget / 2
    }

    /// Counts a batch against the memory of hot rows, if there is any left.
    fn charge(&self, bytes: usize) -> Option<Charge> {
        let budget = self.shared.config.memory.hot_bytes_max.as_usize();
        let hot = self.shared.visible.hot_bytes(&self.table);
        if !self.has_own_share(hot.failing) {
            return None;
        }
        let table = &self.table.in_flight;
        self.shared.in_flight.charge(table, bytes, hot, budget)
    }

    /// Pushes back while hot rows fill their budget: this stream stops reading, its client's window fills, the process does not.
    async fn wait_for_memory(&self, bytes: usize) -> Result<(), Fault> {
        let budget = self.shared.config.memory.hot_bytes_max.as_usize();
        let deadline = tokio::time::Instant::now() + self.shared.config.log.admission_timeout;
        loop {
            let freed = self.shared.hot_space.notified();
            let hot = self.shared.visible.hot_bytes(&self.table);
            let own = self.has_own_share(hot.failing);
            let (all, table) = (&self.shared.in_flight, &self.table.in_flight);
            if own && all.has_room(table, bytes, hot, budget) {
                return Ok(());
            }
            self.table.flush_now.notify_one();
            if tokio::time::timeout_at(deadline, freed).await.is_ok() {
                continue;
            }
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
