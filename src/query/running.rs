//! The queries that run, and the last ones that did: what `system.queries` shows and what a cancel finds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::context::QueryContext;
use super::meter::Meter;
use crate::clock::{Clock, Micros, SystemClock};
use crate::fault::{Fault, Kind};
use crate::system_table::{Columns, SystemTable};

/// Ended queries that are remembered.
const RECENT_MAX: usize = 200;
/// Cancels that came before their query.
const CANCELLED_MAX: usize = 10_000;
/// Characters of a statement that are shown.
const SQL_HEAD: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Finished => "finished",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

/// One query as `system.queries` shows it.
#[derive(Clone, Debug)]
pub struct QueryStatus {
    pub id: Arc<str>,
    pub principal: Arc<str>,
    pub sql: String,
    pub state: State,
    pub rows: u64,
    /// Since 1970, in microseconds.
    pub started: Micros,
    pub ms: u64,
    /// Memory that it holds; 0 once it has ended.
    pub bytes: u64,
}

struct Entry {
    principal: Arc<str>,
    sql: String,
    started: Micros,
    since: Instant,
    rows: Arc<AtomicU64>,
    token: CancellationToken,
    meter: Option<Arc<Meter>>,
}

impl Entry {
    fn status(&self, id: &Arc<str>, state: State) -> QueryStatus {
        QueryStatus {
            id: id.clone(),
            principal: self.principal.clone(),
            sql: self.sql.clone(),
            state,
            rows: self.rows.load(Ordering::Relaxed),
            started: self.started,
            ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes: match state {
                State::Running => self.meter.as_ref().map_or(0, |m| m.bytes()),
                _ => 0,
            },
        }
    }
}

#[derive(Default)]
struct Inner {
    next: u64,
    running: BTreeMap<Arc<str>, Entry>,
    recent: VecDeque<QueryStatus>,
    cancelled: VecDeque<Arc<str>>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Queries(Arc<Mutex<Inner>>);

/// What came of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It ends, or will end as soon as it is fetched.
    Cancelled,
    /// It has ended by itself.
    TooLate,
}

impl Queries {
    /// Notes a query's begin. The guard's drop is its end.
    ///
    /// # Errors
    /// CANCELLED: it was cancelled before it began.
    pub(super) fn begin(&self, caller: &QueryContext, sql: &str) -> Result<Guard, Fault> {
        self.begin_with(caller, sql, CancellationToken::new())
    }

    /// [`Queries::begin`] of a query that is planned already. `token`: what ends it.
    pub(super) fn begin_with(
        &self,
        caller: &QueryContext,
        sql: &str,
        token: CancellationToken,
    ) -> Result<Guard, Fault> {
        let mut inner = self.0.lock();
        inner.next += 1;
        let own: Arc<str> = inner.next.to_string().into();
        let mut id = caller.query.clone().unwrap_or_else(|| own.clone());
        if inner.cancelled.contains(&id) {
            return Err(cancelled());
        }
        // A ticket that is fetched twice at once runs twice.
        if inner.running.contains_key(&id) {
            id = format!("{id}.{own}").into();
        }
        let rows = Arc::<AtomicU64>::default();
        // What the client sent, by which it looks for its statement.
        let sql = caller.statement.as_deref().unwrap_or(sql);
        let entry = Entry {
            principal: caller.principal.clone(),
            sql: sql.trim().chars().take(SQL_HEAD).collect(),
            started: SystemClock.now(),
            since: Instant::now(),
            rows: rows.clone(),
            token: token.clone(),
            meter: None,
        };
        inner.running.insert(id.clone(), entry);
        Ok(Guard {
            queries: self.clone(),
            id,
            rows,
            token,
            state: None,
        })
    }

    /// Ends a query, or makes sure that it does not begin. The same cancel again says the same.
    pub fn cancel(&self, id: &str) -> CancelOutcome {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        if inner.cancelled.iter().any(|known| &**known == id) {
            return CancelOutcome::Cancelled;
        }
        if let Some(entry) = inner.running.get(id) {
            entry.token.cancel();
        } else if inner.recent.iter().any(|q| &*q.id == id) {
            return CancelOutcome::TooLate;
        }
        inner.cancelled.push_back(id.into());
        if inner.cancelled.len() > CANCELLED_MAX {
            inner.cancelled.pop_front();
        }
        CancelOutcome::Cancelled
    }

    /// The running ones, then the ended ones, newest first.
    pub fn list(&self) -> Vec<QueryStatus> {
        let inner = self.0.lock();
        let running = inner
            .running
            .iter()
            .map(|(id, e)| e.status(id, State::Running));
        running.chain(inner.recent.iter().cloned()).collect()
    }

    pub fn running(&self) -> usize {
        self.0.lock().running.len()
    }

    /// `system.queries`.
    pub fn table(&self) -> SystemTable {
        let columns = Columns::<QueryStatus>::default()
            .text("id", |q| &q.id)
            .text("principal", |q| &q.principal)
            .text("state", |q| q.state.word())
            .instant("started", |q| q.started)
            .long("ms", |q| q.ms)
            .long("rows", |q| q.rows)
            .long("memory_bytes", |q| q.bytes)
            .text("sql", |q| &q.sql);
        let queries = self.clone();
        SystemTable::new("queries", columns, move || queries.list())
    }
}

pub(super) fn cancelled() -> Fault {
    Fault::new(
        Kind::Cancelled,
        "query_cancelled",
        "the query was cancelled; run it again if it is still wanted",
    )
}

/// A running query. Dropped before it said how it ended, it was cancelled or has failed.
pub(super) struct Guard {
    queries: Queries,
    id: Arc<str>,
    rows: Arc<AtomicU64>,
    token: CancellationToken,
    /// None until it is said.
    state: Option<State>,
}

impl Guard {
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Whose memory the query's is.
    pub(super) fn counted_by(&self, meter: &Arc<Meter>) {
        if let Some(entry) = self.queries.0.lock().running.get_mut(&self.id) {
            entry.meter = Some(meter.clone());
        }
    }

    pub(super) fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn ended(&mut self, state: State) {
        self.state = Some(state);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let state = self.state.unwrap_or(match self.token.is_cancelled() {
            true => State::Cancelled,
            false => State::Failed,
        });
        let mut inner = self.queries.0.lock();
        if let Some(entry) = inner.running.remove(&self.id) {
            let status = entry.status(&self.id, state);
            metrics::counter!("deltaplane_queries_total", "state" => state.word()).increment(1);
            metrics::histogram!("deltaplane_query_seconds")
                .record(entry.since.elapsed().as_secs_f64());
            inner.recent.push_front(status);
            inner.recent.truncate(RECENT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn caller(id: &str) -> QueryContext {
        QueryContext {
            query: Some(id.into()),
            ..QueryContext::new("tester")
        }
    }

    #[test]
    fn a_query_of_a_statement_is_shown_by_the_text_that_the_client_sent() {
        let queries = Queries::default();
        let caller = caller("update").stating("UPDATE t SET x = 1");
        let guard = queries.begin(&caller, "SELECT f FROM t@rows").unwrap();
        assert_eq!(queries.list()[0].sql, "UPDATE t SET x = 1");
        drop(guard);
        assert_eq!(queries.list()[0].sql, "UPDATE t SET x = 1");
    }

    #[test]
    fn a_cancel_reaches_a_query_before_while_and_not_after_it_runs() {
        let queries = Queries::default();
        assert_eq!(queries.cancel("early"), CancelOutcome::Cancelled);
        assert_eq!(queries.cancel("early"), CancelOutcome::Cancelled);
        let refused = queries.begin(&caller("early"), "SELECT 1").err().unwrap();
        assert_eq!(refused.kind, Kind::Cancelled);

        let guard = queries.begin(&caller("now"), "SELECT 2").unwrap();
        assert_eq!(queries.cancel("now"), CancelOutcome::Cancelled);
        assert!(guard.token().is_cancelled());
        drop(guard);
        assert_eq!(queries.cancel("now"), CancelOutcome::Cancelled);

        let mut guard = queries.begin(&caller("late"), "SELECT 3").unwrap();
        guard.add_rows(7);
        guard.ended(State::Finished);
        drop(guard);
        assert_eq!(queries.cancel("late"), CancelOutcome::TooLate);
        let list = queries.list();
        assert_eq!((list[0].state, list[0].rows), (State::Finished, 7));
        assert_eq!(queries.running(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let queries = Queries::default();
        for n in 0..RECENT_MAX + 50 {
            drop(queries.begin(&caller(&n.to_string()), "SELECT 1").unwrap());
        }
        assert_eq!(queries.list().len(), RECENT_MAX);
    }
}
