//! Takes batches from any door (DoPut today) into the log: admission, validation, append. It knows no Flight and no
//! queries; it hands out [`Pending`] tickets and, once a batch is on disk, the producer's totals.
//!
//! What holds where: *admitted*, the batch has its place in the log's queue; *durable*, the frame is synced, its rows are
//! visible to every later query and the ack may go out; *committed*, its rows are in a Delta version. A crash before
//! durable loses only what no ack spoke of; after it, replay brings the rows back.

mod ack;
mod balance;
pub mod bulk;
mod drift;
pub mod found;
pub mod insert;
mod named;
mod push;
pub mod replay;
pub mod staged;

use std::sync::Arc;

use deltaplane_client::protocol::PRODUCER_NAME_BYTES_MAX;

use crate::catalog::Shared;
use crate::catalog::alter::contract_changed;
use crate::catalog::control::control_frame;
use crate::catalog::locks::Producers;
use crate::catalog::producer::{Claim, Producer};
use crate::catalog::table::Table;
use crate::catalog::visible::FrameEffect;
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::flush;
use crate::records::{DurablePoint, Epoch, Record, Totals};
use crate::validate::{Source, Validator};

use balance::Balance;

pub use ack::{Ack, Acked, Pending};

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

/// Counts a named producer's open stream until it is dropped.
struct OpenStream {
    table: Arc<Table>,
    name: Arc<str>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.table.in_log_order(|producers| {
            if let Some(entry) = producers.get_mut(&self.name) {
                entry.streams = entry.streams.saturating_sub(1);
            }
        });
    }
}

/// Whose names the columns of a stream's batches bear.
#[derive(Clone)]
enum Names {
    /// The client's own: what they mean, the contract says that judges the batch. This one was in force when the stream began, or
    /// when its newest batch was taken; what was a column then and is none now, the client does not know of.
    Own(Arc<Contract>),
    /// Those that this contract gave them: no other one may judge them.
    Given(Arc<Validator>),
}

/// Somebody names rows by one contract, and another one is in force.
fn other_contract(table: &Table) -> Fault {
    contract_changed(format!(
        "the contract was changed meanwhile, table={}; nothing was written, run the statement again",
        table.name()
    ))
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
    names: Names,
    balance: Balance,
    source: Source,
}

impl IngestStream {
    pub fn unnamed(shared: Arc<Shared>, table: Arc<Table>) -> Self {
        IngestStream {
            shared,
            names: Names::Own(table.contract()),
            table,
            named: None,
            unnamed_seq: 0,
            totals: Totals::default(),
            _open: None,
            strict: false,
            balance: Balance::default(),
            source: Source::unnamed(),
        }
    }

    /// As `INSERT` wants it: all rows of a batch, or none, with columns that the contract `by` has named.
    pub fn strict(shared: Arc<Shared>, table: Arc<Table>, by: Arc<Validator>) -> Self {
        IngestStream {
            strict: true,
            names: Names::Given(by),
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
        if name.is_empty()
            || name.len() > PRODUCER_NAME_BYTES_MAX
            || name.chars().any(char::is_control)
        {
            return Err(Fault::invalid(
                "invalid_producer",
                format!(
                    "a producer's name has 1 to {PRODUCER_NAME_BYTES_MAX} bytes and no control characters, got {} bytes",
                    name.len()
                ),
            ));
        }
        let name: Arc<str> = name.into();
        // Room first: with the log full even a new epoch is refused, before it has fenced anyone.
        let reservation = shared.log.reserve(name.len() + 256).await?;
        let mut told = None;
        if table.is_forgetful() && !table.in_log_order(|producers| producers.contains_key(&name)) {
            told = Some(flush::recorded_seq(&shared, &table, &name).await?);
        }
        let opened_by = name.clone();
        let (claim, ticket) = table.in_log_order(|producers| {
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
            let record = Record::Epoch(Epoch::Opened {
                producer: name.clone(),
                epoch: opened.claim.epoch,
                behind: returned,
            });
            let frame = control_frame(&table, record)?;
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
            Ok::<_, Fault>((opened.claim, ticket))
        })?;
        // Its end takes the lock that was held until here.
        let open = OpenStream {
            table: table.clone(),
            name: opened_by,
        };
        shared.synced(ticket.wait()).await?;
        let durable = table.in_log_order(|producers| {
            let entry = producers
                .get(&name)
                .ok_or_else(|| Fault::internal("a producer vanished while it opened"))?;
            entry.state.check_claim(&name, claim)?;
            Ok::<_, Fault>(entry.state.durable())
        })?;
        let stream = IngestStream {
            shared,
            names: Names::Own(table.contract()),
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

    /// Its client has named the columns while this contract was in force.
    pub fn since(self, contract: Arc<Contract>) -> Self {
        IngestStream {
            names: Names::Own(contract),
            ..self
        }
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The name under which the stream was opened; none on an unnamed stream.
    pub fn producer(&self) -> Option<Arc<str>> {
        self.named.as_ref().map(|(name, _)| name.clone())
    }

    /// What the stream's acks may name beyond the batch that they answer; none on an unnamed stream.
    pub fn newest(&self) -> Option<NewestBatch> {
        let (name, claim) = self.named.clone()?;
        Some(NewestBatch {
            table: self.table.clone(),
            name,
            claim,
        })
    }

    /// Resolves when a newer stream has fenced this one or taken it over.
    pub fn fence_watch(&self) -> Option<FenceWatch> {
        let (name, claim) = self.named.clone()?;
        let entry = |producers: &mut Producers| Some(producers.get(&name)?.changed.subscribe());
        let changed = self.table.in_log_order(entry)?;
        Some(FenceWatch {
            table: self.table.clone(),
            name,
            claim,
            changed,
        })
    }
}

/// The newest durable batch of a named producer, for the acks of one stream.
pub struct NewestBatch {
    table: Arc<Table>,
    name: Arc<str>,
    claim: Claim,
}

impl NewestBatch {
    /// None once a newer stream has fenced this one or taken it over: the newest batch may be the other stream's.
    pub fn durable(&self) -> Option<DurablePoint> {
        self.table.in_log_order(|producers| {
            let state = &producers.get(&self.name)?.state;
            state.durable_of(&self.name, self.claim).ok()
        })
    }
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
            let lost = self
                .table
                .in_log_order(|producers| match producers.get(&self.name) {
                    Some(entry) => entry.state.check_claim(&self.name, self.claim).err(),
                    None => Some(Fault::new(
                        Kind::Precondition,
                        "producer_fenced",
                        "the producer was forgotten",
                    )),
                });
            if let Some(fault) = lost {
                return fault;
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
