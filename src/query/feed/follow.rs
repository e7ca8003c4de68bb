//! `SUBSCRIBE`: version after version as it becomes visible, until the reader goes.
//!
//! A subscriber that waits keeps a task and a place. One that does not read keeps the few batches that were read ahead: after
//! [`PATIENCE`] the files are let go, and read again from its place when it takes the next batch.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use tokio::sync::mpsc;

use super::super::SnapshotSource;
use super::super::context::QueryContext;
use super::super::engine::Engine;
use super::super::filter::Condition;
use super::super::prepare::Planned;
use super::super::result::{Batches, Parcel, ResultStream};
use super::super::running::{self, Guard, State};
use super::super::wire::{conform_to_wire, wire_schema};
use super::parse::{Place, Subscription, parse};
use super::{Followed, rows};
use crate::catalog::view::Snapshot;
use crate::cold::Change;
use crate::fault::{Fault, Kind};

/// Batches between a subscription and the stream that sends it.
const BATCHES_AHEAD: usize = 2;
/// A reader that takes nothing for so long is let wait without an open file.
const PATIENCE: Duration = Duration::from_secs(5);
/// A sign of life for readers that asked for progress.
const HEARTBEAT: Duration = Duration::from_secs(10);

impl Engine {
    /// A subscription's columns; none if the text is another statement.
    pub(in crate::query) async fn plan_subscription(
        &self,
        snapshot: &Snapshot,
        sql: &str,
    ) -> Result<Option<Planned>, Fault> {
        let Some(subscription) = parse(sql, &snapshot.schema)? else {
            return Ok(None);
        };
        let table = Followed::find(snapshot, &subscription.table)?;
        if let Some(condition) = &subscription.condition {
            let _ = self.filter(&table.name, condition).await?;
        }
        start(&subscription, &table)?;
        Ok(Some(Planned {
            wire: wire_schema(&table.told_schema()),
            parameters: Arc::new(Schema::empty()),
        }))
    }

    /// Begins a subscription; none if the text is another statement.
    pub(in crate::query) async fn subscribe(
        &self,
        caller: &QueryContext,
        snapshot: &Snapshot,
        sql: &str,
    ) -> Result<Option<ResultStream>, Fault> {
        let Some(subscription) = parse(sql, &snapshot.schema)? else {
            return Ok(None);
        };
        let table = Followed::find(snapshot, &subscription.table)?;
        let place = start(&subscription, &table)?;
        let condition = match &subscription.condition {
            Some(condition) => Some(self.filter(&table.name, condition).await?),
            None => None,
        };
        let guard = self.queries.begin(caller, sql)?;
        let wire = wire_schema(&table.told_schema());
        let (tx, receiver) = mpsc::channel(BATCHES_AHEAD);
        let follower = Follower {
            state: rows::reader(&self.world.state),
            source: self.source.clone(),
            progress: subscription.progress,
            condition,
            wire: wire.clone(),
            tx: tx.clone(),
            place,
            table,
        };
        self.spawn(run(follower, guard, tx));
        let batches = Batches::new(receiver, Arc::new(AtomicBool::new(false)));
        Ok(Some(ResultStream { wire, batches }))
    }
}

/// Where it begins.
///
/// # Errors
/// OUT_OF_RANGE: the version is further off than the next one.
fn start(subscription: &Subscription, table: &Followed) -> Result<Place, Fault> {
    let next = table.newest() + 1;
    match subscription.from {
        None => Ok(Place {
            version: next,
            row: 0,
        }),
        Some(place) if place.version <= next => Ok(place),
        Some(place) => Err(table.named(Fault::new(
            Kind::OutOfRange,
            "version_not_found",
            format!(
                "there is no version {} yet; the newest is {}, and {next} is the first that a subscription may wait for",
                place.version,
                table.newest()
            ),
        ))),
    }
}

async fn run(mut follower: Follower, mut guard: Guard, tx: mpsc::Sender<Parcel>) {
    let (token, stopping) = (guard.token(), follower.source.stopping());
    let fault = tokio::select! {
        fault = follower.follow(&guard) => fault,
        () = token.cancelled() => running::cancelled(),
        () = stopping.cancelled() => Fault::new(
            Kind::Unavailable,
            "shutting_down",
            "the server is stopping; subscribe again from the row behind the last one that was read",
        ),
        () = tx.closed() => running::cancelled(),
    };
    guard.ended(match fault.kind {
        Kind::Cancelled => State::Cancelled,
        _ => State::Failed,
    });
    drop(guard);
    let _ = tx.send(Err(fault).into()).await;
}

struct Follower {
    state: SessionState,
    source: Arc<dyn SnapshotSource>,
    table: Followed,
    condition: Option<Box<Condition>>,
    progress: bool,
    wire: SchemaRef,
    tx: mpsc::Sender<Parcel>,
    /// Of the first row that has not been handed over.
    place: Place,
}

/// What became of a batch.
enum Sent {
    Yes,
    /// The reader was too slow; there is room now, but the files have to be read again.
    Late,
}

impl Follower {
    /// Goes on until something ends it.
    async fn follow(&mut self, guard: &Guard) -> Fault {
        let mut news = self.table.history.news();
        // None: nothing said yet.
        let mut said = None;
        loop {
            news.borrow_and_update();
            if let Err(fault) = self.catch_up(guard).await {
                return fault;
            }
            let told = self.place.version - 1;
            if self.progress && said != Some(told) {
                said = Some(told);
                if let Err(fault) = self.tell_progress(told).await {
                    return fault;
                }
            }
            // The bell is the table's; the look now and then is for what rings none.
            if let Ok(changed) = tokio::time::timeout(HEARTBEAT, news.changed()).await {
                if changed.is_err() {
                    return self.ended();
                }
            } else {
                said = None;
            }
        }
    }

    async fn catch_up(&mut self, guard: &Guard) -> Result<(), Fault> {
        let now = match Followed::find(&self.source.snapshot(), &self.table.name) {
            Ok(now) if now.history.is_same(&self.table.history) => now,
            Ok(_) => return Err(self.ended()),
            Err(fault) if fault.kind == Kind::NotFound => return Err(self.ended()),
            Err(fault) => return Err(fault),
        };
        if !now.has_columns_of(&self.table) {
            return Err(self.table.named(Fault::new(
                Kind::Conflict,
                "columns_changed",
                format!(
                    "the table has other columns now; subscribe again, FROM VERSION {} ROW {}",
                    self.place.version, self.place.row
                ),
            )));
        }
        self.table = now;
        while self.place.version <= self.table.newest() {
            let (version, newest) = (self.place.version, self.table.newest());
            let change = self.table.history.change(version, &self.table.cold).await;
            let change = change.map_err(|e| self.table.named(e))?;
            if let Err(fault) = self.tell(&change, guard).await? {
                let swept = self.table.history.vacuumed(version, &change, newest).await;
                return Err(swept.map_or(fault, |swept| self.table.named(swept)));
            }
            self.place = Place {
                version: version + 1,
                row: 0,
            };
        }
        Ok(())
    }

    /// The version's rows from the place on. The inner error: they cannot be read.
    async fn tell(&mut self, change: &Change, guard: &Guard) -> Result<Result<(), Fault>, Fault> {
        let schema = self.table.told_schema();
        'again: loop {
            let mut rows = rows::told(&self.state, &self.table, change);
            loop {
                let told = match rows.try_next().await {
                    Ok(Some(told)) => told,
                    Ok(None) => return Ok(Ok(())),
                    Err(fault) => return Ok(Err(fault)),
                };
                let Some(told) = told.starting_at(self.place.row) else {
                    continue;
                };
                let behind = told.first + rows::rows_of(&told.batch);
                let wanted = match &self.condition {
                    Some(condition) => Some(condition(&told.batch)?),
                    None => None,
                };
                let version = self.place.version;
                let batch =
                    told.with_place(&schema, version, change.timestamp_ms, wanted.as_ref())?;
                if batch.num_rows() > 0 {
                    let batch = conform_to_wire(&batch, &self.wire)?;
                    let count = batch.num_rows();
                    match self.send(batch).await? {
                        Sent::Yes => guard.add_rows(count),
                        Sent::Late => {
                            drop(rows);
                            self.room().await?;
                            continue 'again;
                        }
                    }
                }
                self.place.row = behind;
            }
        }
    }

    async fn send(&self, batch: RecordBatch) -> Result<Sent, Fault> {
        match tokio::time::timeout(PATIENCE, self.tx.reserve()).await {
            Ok(Ok(room)) => {
                room.send(Ok(batch).into());
                Ok(Sent::Yes)
            }
            Ok(Err(_)) => Err(running::cancelled()),
            Err(_) => Ok(Sent::Late),
        }
    }

    async fn room(&self) -> Result<(), Fault> {
        match self.tx.reserve().await {
            Ok(_) => Ok(()),
            Err(_) => Err(running::cancelled()),
        }
    }

    async fn tell_progress(&self, version: i64) -> Result<(), Fault> {
        use crate::clock::{Clock, SystemClock};
        let now = SystemClock.now() / 1000;
        // The table's own schema may forbid the nulls.
        let row = rows::progress(&self.wire, version, now)?;
        let sent = self.tx.send(Ok(row).into()).await;
        sent.map_err(|_| running::cancelled())
    }

    fn ended(&self) -> Fault {
        self.table.named(Fault::new(
            Kind::NotFound,
            "table_dropped",
            "the table was dropped; what it told before is all that there was",
        ))
    }
}
