//! Materialized views: a query over time buckets whose result is itself a Delta table, written by the refresh alone.
//!
//! A view's stored rows are those of its closed buckets, as batch SQL gives them over one version of its source; that
//! version and the first open bucket stand in the view's own `txn`s, in the commit that holds the rows. A refresh finds what
//! has changed in the source since, computes the buckets that the changes touch and those that have closed, and puts them in
//! the place of what was there, in one commit. So the result depends on the source's rows alone: not on the order in which
//! they came, how they were batched, or where a crash fell. What is open or not yet refreshed is computed by the query that
//! asks (`query/view`).
//!
//! Buckets older than the source's retention are frozen: a refresh stores them a last time, records that it did, and only then
//! retention takes the source's rows (`upkeep/retention`).
//!
//! It knows no Flight and no ingest: rows reach it through the source's versions.

mod admin;
mod refresh;
mod rounds;
mod source;
mod system_table;
#[cfg(test)]
mod tests;
mod watermark;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

use crate::catalog::Shared;
use crate::catalog::ddl_lock::{Patience, busy};
use crate::catalog::lifecycle::life_of;
use crate::catalog::parked::{ParkedState, Stage, guarded};
use crate::catalog::running::Work;
use crate::catalog::table::Table;
use crate::catalog::view::ViewProgress;
use crate::cold;
use crate::dataset::Spans;
use crate::fault::{Fault, Kind};
use crate::query::view::frozen_before;
use crate::query::{Engine, Scanned};
use crate::types::{Incarnation, TableName};

pub use refresh::Outcome;
use rounds::Rounds;
pub use system_table::table;
use watermark::Watermark;

/// The view's commits record the version of its source under this id ..
const SOURCE_TXN: &str = "deltaplane/view/source";
/// .. which life of its name the source was under this one (a view that is given another query begins a new one) ..
const LIFE_TXN: &str = "deltaplane/view/source_life";
/// .. the start of its first open bucket under this one, in microseconds ..
const OPEN_TXN: &str = "deltaplane/view/open";
/// .. and that of the first bucket that is not frozen under this one.
const FROZEN_TXN: &str = "deltaplane/view/frozen";
/// The buckets that a refresh has stored and is not done with stand between this time ..
const UNSETTLED_TXN: &str = "deltaplane/view/unsettled";
/// .. and this one, exclusive.
const UNSETTLED_END_TXN: &str = "deltaplane/view/unsettled_end";

/// How often the background looks for what has changed.
const LOOK: Duration = Duration::from_millis(150);

/// What is known of one view beside its rows. Held for the whole of a refresh, so that a view is refreshed by one at a time.
#[derive(Default)]
pub(crate) struct Watch {
    watermark: Watermark,
    /// The source's version whose producers the watermark knows.
    seen: Option<Arc<cold::FileList>>,
    /// Of a view on a view: the first open window below, and when it moved last.
    below: Option<(i64, Duration)>,
    /// The source's version that the view's last commit recorded.
    recorded: i64,
    /// What the view's commits record as frozen; none: not looked up since the start.
    frozen: Option<i64>,
}

/// What `system.views` says of one view.
#[derive(Clone, Debug, Default)]
pub struct ViewStatus {
    pub watermark: Option<i64>,
    /// Buckets computed and stored since the start.
    pub buckets: u64,
    pub refreshes: u64,
    pub last_refresh: Option<Duration>,
    /// Files and bytes of the source that the last refresh read for what it computed.
    pub last_scanned: Scanned,
    pub last_error: Option<String>,
}

pub struct Views {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    started: Instant,
    watches: Mutex<HashMap<Incarnation, Arc<tokio::sync::Mutex<Watch>>>>,
    status: Mutex<BTreeMap<TableName, ViewStatus>>,
}

impl Views {
    pub fn new(shared: Arc<Shared>, engine: Arc<Engine>) -> Arc<Self> {
        Arc::new(Views {
            shared,
            engine,
            started: Instant::now(),
            watches: Mutex::default(),
            status: Mutex::default(),
        })
    }

    pub fn status(&self) -> Vec<(TableName, ViewStatus)> {
        let all = self.status.lock();
        all.iter().map(|(n, s)| (n.clone(), s.clone())).collect()
    }

    /// One refresh of a view at a time: waits for the one that runs.
    ///
    /// # Errors
    /// ABORTED `table_busy` after `query.timeout`: nothing was done.
    pub(crate) async fn alone(&self, table: &Table) -> Result<OwnedMutexGuard<Watch>, Fault> {
        let watch = {
            let mut watches = self.watches.lock();
            watches.entry(table.incarnation).or_default().clone()
        };
        let patience = Patience::of_statement(&self.shared.config);
        let taken = tokio::time::timeout(patience.wait, watch.lock_owned()).await;
        taken.map_err(|_| {
            let holder = "a refresh of the view that has not ended".to_owned();
            busy(&table.name(), Some(holder), patience)
        })
    }

    fn note(&self, name: &TableName, change: impl FnOnce(&mut ViewStatus)) {
        change(self.status.lock().entry(name.clone()).or_default());
    }

    fn forget(&self, table: &Table) {
        let work = Work::Refresh(table.incarnation.get());
        self.shared.running.forget(&work);
        self.watches.lock().remove(&table.incarnation);
        self.status.lock().remove(&table.name());
    }

    /// Is it left to an operator, or is there nothing to refresh from? The view's status says so.
    fn is_held(&self, table: &Table) -> bool {
        if table.is_parked() {
            return true;
        }
        let work = Work::Refresh(table.incarnation.get());
        if let Some(fault) = self.shared.running.suspended(&work) {
            self.note(&table.name(), |s| s.last_error = Some(fault.to_string()));
            return true;
        }
        let contract = table.contract();
        let Some(spec) = &contract.view else {
            return false;
        };
        let source = self.shared.table(&spec.source);
        match source.and_then(|source| source.served()) {
            Err(fault) if fault.reason == "table_parked" => {
                self.note(&table.name(), |s| s.last_error = Some(fault.to_string()));
                true
            }
            _ => false,
        }
    }

    /// Refreshes each view once.
    pub async fn refresh_all(&self) {
        for table in in_order(&self.shared) {
            if self.is_held(&table) {
                continue;
            }
            if let Err(fault) = self.refresh(&table).await {
                tracing::warn!(view = %table.name(), "not refreshed: {fault}");
            }
        }
    }

    /// Refreshes every view whose source has changed or whose time has come, again and again until the server drains; what is
    /// under way then is given up.
    pub fn spawn(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut rounds = Rounds::default();
            // Dropped with this task, which ends what still runs.
            let mut running = JoinSet::new();
            let mut views_of = HashMap::new();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    Some(ended) = running.join_next_with_id(), if !running.is_empty() => {
                        let (task, failed) = match ended {
                            Ok((task, failed)) => (task, failed),
                            // A panic is one view's alone.
                            Err(error) => (error.id(), true),
                        };
                        if let Some(view) = views_of.remove(&task) {
                            rounds.ended(view, Instant::now(), failed);
                        }
                        continue;
                    }
                    () = this.shared.draining.cancelled() => return,
                }
                let mut views = in_order(&this.shared);
                views.sort_by_key(|table| rounds.last_ended(table.incarnation));
                rounds.keep(|view| views.iter().any(|t| t.incarnation == view));
                for table in views {
                    if this.is_held(&table) {
                        continue;
                    }
                    if rounds.begin(table.incarnation, Instant::now()) {
                        let (this, view) = (this.clone(), table.incarnation);
                        let task = running.spawn(async move { this.refresh_watched(&table).await });
                        views_of.insert(task.id(), view);
                    }
                }
            }
        })
    }

    /// Has it failed? Then that is noted.
    async fn refresh_watched(&self, table: &Arc<Table>) -> bool {
        match guarded("the refresh", self.refresh(table)).await {
            Ok(_) => false,
            Err(_) if table.is_dropped() => false,
            Err(fault) => {
                tracing::warn!(view = %table.name(), "refresh failed, queries compute what it would have stored: {fault}");
                self.note(&table.name(), |s| s.last_error = Some(fault.to_string()));
                true
            }
        }
    }
}

fn is_view(table: &Table) -> bool {
    table.contract().view.is_some()
}

/// Views, those below others first.
fn in_order(shared: &Shared) -> Vec<Arc<Table>> {
    let mut left: Vec<Arc<Table>> = shared.tables().into_iter().filter(|t| is_view(t)).collect();
    let mut out: Vec<Arc<Table>> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let names: Vec<TableName> = left.iter().map(|t| t.name().folded()).collect();
        let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(|t| {
            let contract = t.contract();
            let source = contract.view.as_ref().map(|v| v.source.folded());
            !source.is_some_and(|s| names.contains(&s))
        });
        if ready.is_empty() {
            // A circle, which no statement can make.
            break;
        }
        out.extend(ready);
        left = waiting;
    }
    out
}

/// At a start, before the first query: what each view's last commit says that its rows stand for. A view for which that cannot
/// be read is parked.
pub async fn recover(shared: &Shared) {
    let patience = Patience::of_own_work();
    for table in in_order(shared) {
        if table.is_parked() {
            continue;
        }
        if let Err(fault) = guarded("the view's start", recover_one(shared, &table, patience)).await
        {
            table.park(ParkedState::new(Stage::Open, &fault, shared.clock.now()));
        }
    }
}

/// [`recover`] for one view; of any other table there is nothing to read.
///
/// # Errors
/// The store's; NOT_FOUND: its source is gone; ABORTED `table_busy`.
pub async fn recover_one(shared: &Shared, table: &Table, patience: Patience) -> Result<(), Fault> {
    let contract = table.contract();
    let Some(spec) = &contract.view else {
        return Ok(());
    };
    let cold = table.commit_lock_within(patience).await?;
    let source_version = cold.main.read_txn(SOURCE_TXN).await?;
    let open_from = cold.main.read_txn(OPEN_TXN).await?;
    let frozen = cold.main.read_txn(FROZEN_TXN).await?;
    let life = cold.main.read_txn(LIFE_TXN).await?;
    let unsettled = (
        cold.main.read_txn(UNSETTLED_TXN).await?.unwrap_or(0),
        cold.main.read_txn(UNSETTLED_END_TXN).await?.unwrap_or(0),
    );
    let source = shared.table(&spec.source)?;
    // Of another life every bucket is computed again.
    let same_life = life.is_none_or(|life| life == life_i64(&source.folder));
    let source_version = source_version.filter(|_| same_life);
    let mut progress = ViewProgress::nothing();
    progress.unsettled = Spans::of([unsettled]);
    if let Some(open_from) = open_from.filter(|_| source_version.is_some() || !same_life) {
        progress.open_from = open_from;
    }
    if let Some(version) = source_version {
        match cold::list_at(&shared.lake, &source.folder, version).await {
            Ok(seen) => progress.source = Some(seen),
            Err(error) => {
                tracing::warn!(view = %table.name(), version, %error, "the source's version is gone, every bucket is computed again");
            }
        }
    }
    progress.frozen = match frozen {
        Some(frozen) => frozen,
        // Stored before views recorded it: then the retention alone said what was frozen.
        None => {
            let snapshot = shared.visible.snapshot();
            let source = snapshot.tables.get(&spec.source.folded());
            let before = source.map(|s| frozen_before(s, spec, shared.clock.now()));
            before.unwrap_or(i64::MIN).min(progress.open_from)
        }
    };
    shared
        .visible
        .set_progress(table, cold.main.view(), Arc::new(progress));
    Ok(())
}

fn life_i64(folder: &str) -> i64 {
    i64::try_from(life_of(folder)).unwrap_or(i64::MAX)
}

fn gone(name: &TableName) -> Fault {
    Fault::new(
        Kind::NotFound,
        "view_not_found",
        format!("no such materialized view, view={name}"),
    )
}
