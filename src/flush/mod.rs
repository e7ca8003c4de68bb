//! From hot to cold: every `commit.interval`, or earlier when enough bytes are hot or someone waits for `committed`, a table's
//! span of whole frames becomes Parquet files and one Delta commit; the quarantine's first, so that a table never shows the
//! good rows of a batch whose bad ones are still on their way.
//!
//! A crash at any point is decided by the table's `txn`: not there, the frames are hot again and are committed anew (staged
//! files of the first try are orphans); there, replay leaves them out.

mod wait;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::catalog::Shared;
use crate::catalog::background;
use crate::catalog::control::note;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::lifecycle::offset_i64;
use crate::catalog::parked::{ParkedState, Stage, guarded};
use crate::catalog::parking;
use crate::catalog::running::Work;
use crate::catalog::table::{Cold, Committed, Table};
use crate::catalog::visible::{Part, Span};
use crate::cold::ColdTable;
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::records::{Done, Intent, Record};
use crate::types::Lsn;

pub use wait::{commit_for_statement, wait_committed};

/// Commits for waiters are at least this far apart.
const WAITER_SPACING: Duration = Duration::from_millis(250);

/// A commit that takes longer is taken for one that will fail.
const STALLED: Duration = Duration::from_secs(15);

/// Names a producer's `txn`: application ids are one namespace a table, so that a producer can never pass for the log.
fn producer_txn(producer: &str) -> String {
    format!("deltaplane/producer/{producer}")
}

/// The last batch of a producer that the table's commits have recorded; 0 if there is none. A span of rejected rows alone is
/// recorded with the quarantine.
///
/// # Errors
/// The store's; ABORTED `table_busy` after `log.admission_timeout`.
pub async fn recorded_seq(shared: &Shared, table: &Table, producer: &str) -> Result<u64, Fault> {
    let readers = table
        .files_within(Patience::of_stream(&shared.config), |cold| {
            [cold.main.txns(), cold.quarantine.txns()]
        })
        .await?;
    let app = producer_txn(producer);
    let mut last = 0;
    for reader in readers {
        let seq = reader.read(&app).await?.unwrap_or(0);
        last = last.max(u64::try_from(seq).unwrap_or(0));
    }
    Ok(last)
}

/// A commit that Delta refuses, or that fails for another reason that lies in the table, is tried so often before the table is
/// parked. A store that does not answer is waited for.
const REFUSALS_MAX: u32 = 4;

/// Can another try end otherwise, with nobody doing anything about it?
fn is_passing(fault: &Fault) -> bool {
    fault.kind == Kind::Unavailable && fault.reason != "owned_elsewhere"
}

/// Starts the table's flush. It ends when the table is dropped or the server has drained.
pub fn spawn(shared: Arc<Shared>, table: Arc<Table>) {
    background::keep("the flush", move || flushing(shared.clone(), table.clone()));
}

async fn flushing(shared: Arc<Shared>, table: Arc<Table>) {
    let interval = shared.config.commit.interval;
    let (mut failures, mut refusals) = (0u32, 0u32);
    let mut checkpoint: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = table.flush_now.notified() => tokio::time::sleep(WAITER_SPACING).await,
            () = shared.draining.cancelled() => return,
        }
        if table.is_dropped() {
            return;
        }
        if table.is_parked() {
            (failures, refusals) = (0, 0);
            continue;
        }
        match guarded("the commit", watched(&shared, &table)).await {
            Ok(_) => {
                (failures, refusals) = (0, 0);
                // Beside the commits, one at a time.
                if checkpoint.as_ref().is_none_or(JoinHandle::is_finished) {
                    checkpoint = checkpoint_if_due(&shared, &table).await;
                }
            }
            Err(fault) => {
                failures += 1;
                refusals += u32::from(!is_passing(&fault));
                if refusals >= REFUSALS_MAX && !table.is_dropped() && !table.is_parked() {
                    let now = shared.clock.now();
                    table.park(ParkedState::new(Stage::Commit, &fault, now));
                    continue;
                }
                tracing::warn!(table = %table.name(), failures, "commit failed, the rows stay hot: {fault}");
                let wait = Duration::from_millis(250 * u64::from(failures.min(40)));
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// [`commit_within`], and word of how it goes: streams to a table that cannot commit get a part of the memory only.
async fn watched(shared: &Shared, table: &Table) -> Result<Committed, Fault> {
    let work = commit_within(shared, table, Patience::of_own_work());
    tokio::pin!(work);
    let outcome = match tokio::time::timeout(STALLED, &mut work).await {
        Ok(outcome) => outcome,
        // A store that does not answer is asked again and again, for minutes.
        Err(_) => {
            table.set_failing(true);
            work.await
        }
    };
    table.set_failing(outcome.is_err());
    outcome
}

/// Writes the Delta checkpoints that are due, and removes log entries past their time, without the commit lock.
async fn checkpoint_if_due(shared: &Arc<Shared>, table: &Arc<Table>) -> Option<JoinHandle<()>> {
    let every = i64::try_from(shared.config.commit.checkpoint_every)
        .unwrap_or(i64::MAX)
        .max(1);
    let due: Vec<_> = table
        .files_within(Patience::of_own_work(), |cold| {
            let both = [&cold.main, &cold.quarantine];
            both.iter()
                .filter_map(|t| t.checkpoint_due(every))
                .collect()
        })
        .await
        .ok()?;
    if due.is_empty() {
        return None;
    }
    let (name, log_retention) = (table.name(), shared.config.upkeep.log_retention);
    Some(tokio::spawn(async move {
        for checkpoint in due {
            if let Err(error) = checkpoint.write(log_retention).await {
                tracing::warn!(table = %name, %error, "Delta checkpoint failed; commits go on");
            }
        }
    }))
}

/// Commits everything of the table that is durable now. Returns what is committed afterwards.
///
/// # Errors
/// The store's: the rows stay hot and durable, a later call takes them. Fenced: another server owns the table. ABORTED
/// `table_busy`.
pub async fn commit_within(
    shared: &Shared,
    table: &Table,
    patience: Patience,
) -> Result<Committed, Fault> {
    let mut cold = table.commit_lock_within(patience).await?;
    commit_locked(shared, table, &mut cold).await
}

/// [`commit_within`] for a test.
#[cfg(test)]
pub async fn commit(shared: &Shared, table: &Table) -> Result<Committed, Fault> {
    commit_within(shared, table, Patience::of_own_work()).await
}

/// [`commit_within`] for whoever holds the commit lock already.
pub async fn commit_locked(
    shared: &Shared,
    table: &Table,
    cold: &mut Cold,
) -> Result<Committed, Fault> {
    if table.is_dropped() {
        return Ok(table.committed());
    }
    table.served()?;
    if cold.unsure {
        settle(shared, table, cold).await?;
    }
    let Some(span) = shared.visible.span(table) else {
        // Nothing hot: everything durable so far is committed, which waiters may rely on. Frames without rows, as those of
        // duplicates are, move the offset as well.
        if let Some(settled) = shared.visible.all_cold(table) {
            table.note_nothing_hot(settled);
        }
        return Ok(table.committed());
    };
    let started = std::time::Instant::now();
    let _running = shared
        .running
        .enter(&Work::Rows(table.incarnation.get()))
        .await;
    // Until both are known to be in: a store that fails now may have taken them all the same.
    cold.unsure = true;
    if span.quarantine.iter().any(|c| c.last <= span.cut) {
        let recorded = if span.main.is_empty() {
            span.moved.clone()
        } else {
            Vec::new()
        };
        part(
            shared,
            table,
            &mut cold.quarantine,
            Part::Quarantine,
            &span,
            &recorded,
        )
        .await?;
    }
    if span.main.iter().any(|c| c.last <= span.cut) {
        part(
            shared,
            table,
            &mut cold.main,
            Part::Main,
            &span,
            &span.moved,
        )
        .await?;
    }
    cold.unsure = false;
    table.note_committed(cold, span.cut);
    let committed = table.committed();
    shared
        .visible
        .committed(table, committed, shared.clock.now());
    parking::unpark(shared, table, span.cut);
    shared.hot_space.notify_waiters();
    metrics::counter!("deltaplane_commits_total").increment(1);
    metrics::histogram!("deltaplane_commit_seconds").record(started.elapsed().as_secs_f64());
    shared.log.trim(shared.visible.trim_point());
    Ok(committed)
}

/// After a commit whose outcome nobody knows: reads both logs again, and lets go of the hot rows that are in Delta after all.
/// Without it the next commit, with a later position, would take them a second time.
///
/// # Errors
/// The store's: still nobody knows, and nothing may be committed.
pub async fn settle(shared: &Shared, table: &Table, cold: &mut Cold) -> Result<(), Fault> {
    let app = shared.app_id(table.incarnation);
    let mut held = Lsn::ZERO;
    for (part, side) in [
        (Part::Quarantine, &mut cold.quarantine),
        (Part::Main, &mut cold.main),
    ] {
        side.refresh().await?;
        let position = side.read_txn(&app).await?.unwrap_or(0);
        held = Lsn::new(u64::try_from(position).unwrap_or(0));
        // Producers stay to be recorded: the next commit says again what this one may have said.
        shared.visible.swap(table, part, side.view(), held, &[]);
    }
    table.note_committed(cold, table.committed().offset.max(held));
    cold.unsure = false;
    Ok(())
}

/// Stages, announces, commits and swaps one of the two tables.
pub(crate) async fn part(
    shared: &Shared,
    table: &Table,
    cold: &mut ColdTable,
    part: Part,
    span: &Span,
    moved: &[(Arc<str>, u64)],
) -> Result<(), Fault> {
    let chunks: &[Chunk] = match part {
        Part::Main => &span.main,
        Part::Quarantine => &span.quarantine,
    };
    let batches = chunks
        .iter()
        .filter(|c| c.last <= span.cut)
        .map(|c| c.batch.clone())
        .collect();
    let staged = cold.stage(batches).await?;
    let (cut, quarantine) = (span.cut, part == Part::Quarantine);
    let intent = Intent::Commit {
        cut,
        files: staged.paths(),
        quarantine,
    };
    note(shared, table, Record::Intent(intent));
    let mut txns = vec![(shared.app_id(table.incarnation), offset_i64(span.cut))];
    txns.extend(
        moved
            .iter()
            .map(|(p, seq)| (producer_txn(p), i64::try_from(*seq).unwrap_or(i64::MAX))),
    );
    let version = cold.commit(staged, txns).await?;
    table.expected.lock().raise_offset(part, span.cut);
    shared
        .visible
        .swap(table, part, cold.view(), span.cut, moved);
    let done = Done::Commit {
        cut,
        quarantine,
        version,
    };
    note(shared, table, Record::Done(done));
    Ok(())
}
