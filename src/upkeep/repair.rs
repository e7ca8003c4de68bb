//! `REPAIR TABLE`: a parked table is opened, claimed, replayed and committed again, and served if all of that goes well. What is
//! still wrong is the answer. Where that makes sense the server tries by itself as well.
//!
//! Everything happens with the table's locks held, so that nobody sees it half way: the gate keeps producers out, the commit
//! lock everybody who writes, and until the end readers are told that it is parked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Upkeep;
use crate::catalog::Shared;
use crate::catalog::background;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::expected;
use crate::catalog::locks::Closed;
use crate::catalog::parked::{Backlog, ParkedState, Stage, guarded};
use crate::catalog::parking;
use crate::catalog::recover;
use crate::catalog::replayed::ReplayedFrame;
use crate::catalog::running::Work;
use crate::catalog::table::{Cold, Table};
use crate::cold;
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::flush;
use crate::ingest;
use crate::types::{Lsn, TableName};
use crate::validate::{Applied, Validator};

/// How long after it was parked the server first tries by itself, and how long between two tries at most.
const FIRST_TRY: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long one repair is waited for before the next parked table has its turn.
const TRY_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

/// What a repair came to.
#[derive(Clone, Debug)]
pub struct Repaired {
    pub table: TableName,
    /// Why it is parked still; none: it is served.
    pub problem: Option<ParkedState>,
    /// What was given up, a sentence each: a loss that was accepted.
    pub lost: Vec<String>,
}

impl Upkeep {
    /// Tries to serve a parked table again. One that is not parked stays as it is. `accept_loss`: also where its Delta logs hold less
    /// than was committed, or the file of its parked rows cannot be read. What is missing is given up then.
    ///
    /// # Errors
    /// NOT_FOUND. What is still wrong is no error, but the answer.
    pub async fn repair(&self, name: &TableName, accept_loss: bool) -> Result<Repaired, Fault> {
        let table = self.shared.table(name)?;
        let shared = self.shared.clone();
        // A repair that has begun is finished, whether or not its caller still waits.
        let work = tokio::spawn({
            let table = table.clone();
            async move { repair(&shared, &table, accept_loss).await }
        });
        let done = work
            .await
            .map_err(|e| Fault::internal(format!("repair: {e}")))?;
        let lost = match done {
            Ok(lost) => {
                tracing::info!(table = %table.name(), "the table is served");
                lost
            }
            Err(fault) if !table.is_parked() || fault.reason == "table_busy" => return Err(fault),
            Err(_) => Vec::new(),
        };
        Ok(Repaired {
            table: table.name(),
            problem: table.parked().map(|state| (*state).clone()),
            lost,
        })
    }

    /// Tries parked tables again from time to time, until the server drains.
    pub fn retry_parked(self: &Arc<Self>) {
        let this = self.clone();
        background::keep("the repair of parked tables", move || {
            this.clone().retries()
        });
    }

    async fn retries(self: Arc<Self>) {
        let this = self;
        let mut next: HashMap<u64, (Instant, Duration)> = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = this.shared.draining.cancelled() => return,
            }
            let tables = this.shared.tables();
            let parked: Vec<_> = tables
                .into_iter()
                .filter(|t| t.parked().is_some_and(|state| state.is_retried()))
                .collect();
            next.retain(|number, _| parked.iter().any(|t| t.incarnation.get() == *number));
            for table in parked {
                let number = table.incarnation.get();
                let (due, pause) = *next
                    .entry(number)
                    .or_insert((Instant::now() + FIRST_TRY, FIRST_TRY));
                if Instant::now() < due {
                    continue;
                }
                let pause = (pause * 2).min(PAUSE_MAX);
                let name = table.name();
                let repair = this.repair(&name, false);
                // Goes on by itself: one whose store hangs holds up no other.
                match tokio::time::timeout(TRY_MAX, repair).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(fault)) => tracing::debug!(table = %name, "not repaired: {fault}"),
                    Err(_) => tracing::debug!(table = %name, "the repair has not ended yet"),
                }
                next.insert(number, (Instant::now() + pause, pause));
            }
        }
    }
}

/// Gives back what was given up.
///
/// # Errors
/// What is wrong; the table is parked for it.
async fn repair(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    accept_loss: bool,
) -> Result<Vec<String>, Fault> {
    let Closed {
        mut keys,
        mut cold,
        gate: _gate,
    } = table.close(Patience::of_ddl(&shared.config)).await?;
    if table.is_dropped() {
        return Err(table.dropped());
    }
    let Some(before) = table.parked() else {
        return Ok(Vec::new());
    };
    let rows = Work::Rows(table.incarnation.get());
    shared.running.resume(&rows);
    let part = shared.running.enter_part(&rows);
    let work = brought_back(shared, table, &mut cold, accept_loss);
    let done = match guarded("the repair", work).await {
        Ok(lost) => Ok(lost),
        Err(fault) => Err((Stage::Open, fault)),
    };
    drop(part);
    let done = match done {
        Ok(lost) => {
            // From here on it is read and written again: what is left to do is what a start does as well.
            table.unpark();
            let work = ended(shared, table, &mut cold, accept_loss);
            let ended = guarded("the repair", work).await;
            ended
                .map(|more| lost.into_iter().chain(more).collect())
                .map_err(|fault| (Stage::Commit, fault))
        }
        failed => failed,
    };
    keys.forget();
    let (stage, fault) = match done {
        Ok(lost) => {
            drop(cold);
            read_views_again(shared, table).await;
            return Ok(lost);
        }
        Err(failed) => failed,
    };
    let same = before.reason == fault.reason && before.problem == fault.message;
    if same {
        table.stay_parked((*before).clone());
    } else {
        table.park(ParkedState::new(stage, &fault, before.since));
    }
    Err(fault)
}

/// Opens the Delta tables anew, makes them ours, and puts what waited in the backlog among the hot rows. Gives back what was
/// given up.
async fn brought_back(
    shared: &Arc<Shared>,
    table: &Table,
    cold: &mut Cold,
    accept_loss: bool,
) -> Result<Vec<String>, Fault> {
    let mut lost = Vec::new();
    if let Err(fault) = parking::read_again(shared, table) {
        if !accept_loss {
            return Err(fault);
        }
        parking::give_up(shared, table, &fault)?;
        lost.push(fault.message);
    }
    let logged = (*table.contract()).clone();
    let app = shared.app_id(table.incarnation);
    let mut opened =
        recover::open_table(&shared.lake, &app, &table.folder, logged, Some(&*cold)).await?;
    let beyond = opened.committed.max(opened.quarantined);
    if beyond > shared.log.durable() {
        return Err(Fault::new(
            Kind::Corrupt,
            "table_beyond_log",
            format!(
                "the table holds rows up to offset {beyond}, and the log ends at {}: the folder is of another log",
                shared.log.durable()
            ),
        ));
    }
    let least = *table.expected.lock();
    if let Err(fault) = least.check(&table.folder, opened.holdings()) {
        if !accept_loss {
            return Err(fault);
        }
        expected::accept_loss(shared, table, opened.holdings(), &fault).await?;
        lost.push(fault.message);
    }
    let backlog = table.backlog.lock().clone();
    let contract = Arc::new(opened.contract);
    let positions = (opened.committed, opened.quarantined);
    let replayed = replayed(&backlog, positions, &contract)?;
    if opened.main.owner() == 0 || !is_owner(&opened.main).await? {
        recover::claim(&mut opened.main, &mut opened.quarantine).await?;
    }

    // Nothing below can fail.
    table.set_contract(contract);
    *cold = Cold::new(opened.main, opened.quarantine);
    let views = (cold.main.view(), cold.quarantine.view());
    shared.visible.reopen(table, views, positions);
    let mut frames = Vec::new();
    if let Some(mut rows) = backlog.rows {
        frames = std::mem::take(&mut rows.frames);
        shared
            .visible
            .restore_parked(table, rows, positions.0, positions.1);
    }
    frames.extend(backlog.frames);
    for (held, (read, applied)) in frames.iter().zip(replayed) {
        if !held.counted {
            read.note_producer(table, held.frame.offset);
        }
        let arrival = read.arrival(held.frame.offset);
        shared
            .visible
            .restore_rows(table, applied, arrival, held.counted, positions);
    }
    *table.backlog.lock() = Backlog::default();
    table.note_committed(cold, positions.0);
    Ok(lost)
}

async fn is_owner(main: &cold::ColdTable) -> Result<bool, Fault> {
    let owner = main
        .read_txn(crate::catalog::lifecycle::OWNER_TXN)
        .await?
        .unwrap_or(0);
    Ok(owner == main.owner())
}

/// The rows of every frame that waits, in the log's order.
fn replayed(
    backlog: &Backlog,
    committed: (Lsn, Lsn),
    now: &Arc<Contract>,
) -> Result<Vec<(ReplayedFrame, Applied)>, Fault> {
    let rows = backlog.rows.as_ref();
    let beside = rows.into_iter().flat_map(|rows| &rows.frames);
    let known = rows.into_iter().flat_map(|rows| &rows.contracts);
    let known = known.chain(backlog.contracts.values());
    let validators: HashMap<u32, Validator> = known
        .map(|contract| (contract.version, Validator::new(contract.clone())))
        .collect();
    let in_force = Validator::new(now.clone());
    let frames = beside.chain(&backlog.frames);
    frames
        .map(|held| {
            let frame = &held.frame;
            let at = |fault: Fault| Fault {
                message: format!("frame at {}: {}", frame.offset, fault.message),
                ..fault
            };
            let read = ReplayedFrame::read(frame).map_err(at)?;
            let judged_by = match validators.get(&frame.contract_version) {
                Some(logged) if frame.contract_version != now.version => logged,
                _ => &in_force,
            };
            let rows = read.rows((frame.offset, committed), judged_by, now);
            let applied = rows.map_err(at)?;
            Ok((read, applied))
        })
        .collect()
}

/// What the table's own rows stand for, if it is a view, and those of the views that read it.
async fn read_views_again(shared: &Shared, table: &Arc<Table>) {
    let patience = Patience::of_ddl(&shared.config);
    let readers = shared.readers(&table.name());
    let readers = readers.iter().filter_map(|name| shared.table(name).ok());
    for view in std::iter::once(table.clone()).chain(readers) {
        if view.is_parked() {
            continue;
        }
        if let Err(fault) = crate::view::recover_one(shared, &view, patience).await {
            tracing::warn!(view = %view.name(), "the view computes every bucket again: {fault}");
        }
    }
}

/// Finishes what a crash has cut, and commits. Gives back what was given up.
async fn ended(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
    accept_loss: bool,
) -> Result<Option<String>, Fault> {
    let lost = match accept_loss {
        true => ingest::replay::accept_loss(shared, table, cold).await?,
        false => None,
    };
    ingest::replay::resume_locked(shared, table, cold).await?;
    flush::commit_locked(shared, table, cold).await?;
    Ok(lost)
}
