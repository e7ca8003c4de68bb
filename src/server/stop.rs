//! The end of a server, within `server.shutdown_timeout`: doors, streams, commits, an empty log. What does not fit into the
//! time is left where it is safe, and named.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::Running;
use crate::catalog::Shared;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::table::Table;
use crate::fault::{Fault, Kind};
use crate::flush;

/// Streams end with their acks; a client that holds its connection open is not waited for longer.
const DOORS: Duration = Duration::from_secs(5);
/// A commit that failed is tried again after this.
const PAUSE: Duration = Duration::from_millis(300);
const TRIES: usize = 3;
/// Tables that are committed at once.
const COMMITS: usize = 8;

/// When each part of the end must be over.
#[derive(Clone, Copy)]
struct Deadlines {
    doors: Instant,
    commits: Instant,
    views: Instant,
    log: Instant,
}

impl Deadlines {
    fn within(limit: Duration) -> Self {
        let start = Instant::now();
        Deadlines {
            doors: start + DOORS.min(limit / 4),
            // The rest is a moment's work, unless something hangs.
            commits: start + limit * 7 / 10,
            views: start + limit * 8 / 10,
            log: start + limit,
        }
    }
}

/// None: the time is over.
async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    timeout_at(deadline, work).await.ok()
}

impl Running {
    /// Stops taking, acks what came, commits every table and empties the log. Ends within `server.shutdown_timeout`.
    ///
    /// # Errors
    /// Names what could not be committed or written, and where it is: rows stay in the log, safe for the next start.
    pub async fn shutdown(self) -> Result<(), Fault> {
        let limit = self.shared.config.server.shutdown_timeout;
        let deadlines = Deadlines::within(limit);
        self.readiness.set_shutting_down();
        self.shared.draining.cancel();
        self.doors.cancel();
        for task in self.tasks {
            let abort = task.abort_handle();
            if before(deadlines.doors, task).await.is_none() {
                abort.abort();
            }
        }
        let mut left = commit_all(&self.shared, deadlines.commits).await;
        // Buckets that the last commits closed; what fails here is done after the next start.
        if before(deadlines.views, self.views.refresh_all())
            .await
            .is_none()
        {
            tracing::warn!("views were not refreshed in time, they are after the next start");
        }
        if before(deadlines.views, self.alerts.settle())
            .await
            .is_none()
        {
            left.push("the state of alerts: not written in time".to_owned());
        }
        left.extend(close_log(&self.shared, left.is_empty(), deadlines.log).await);
        if left.is_empty() {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Unavailable,
            "rows_left_in_log",
            format!(
                "not everything was committed, limit={limit:?} (server.shutdown_timeout); what was acked is safe in the log {} and is committed after the next start: {}",
                self.shared.config.log_dir().display(),
                left.join("; ")
            ),
        ))
    }
}

/// What is left of each table that could not be committed.
async fn commit_all(shared: &Arc<Shared>, deadline: Instant) -> Vec<String> {
    let commits = shared.tables().into_iter().map(|table| {
        let shared = shared.clone();
        async move {
            if let Some(state) = table.parked() {
                tracing::warn!(table = %table.name(), "the table is parked, its rows stay in the log: {}", state.problem);
                return None;
            }
            let why = match before(deadline, commit(&shared, &table)).await {
                Some(Ok(())) => return None,
                Some(Err(fault)) => fault.to_string(),
                None => "the commit did not end in time".to_owned(),
            };
            let hot = shared.visible.hot_status(&table);
            let rows = hot.rows + hot.quarantine_rows;
            Some(format!("table {}, rows={rows}: {why}", table.name()))
        }
    });
    let commits = futures::stream::iter(commits).buffer_unordered(COMMITS);
    commits.filter_map(std::future::ready).collect().await
}

async fn commit(shared: &Arc<Shared>, table: &Arc<Table>) -> Result<(), Fault> {
    let mut tries = 1;
    loop {
        match flush::commit_within(shared, table, Patience::of_own_work()).await {
            Ok(_) => return Ok(()),
            Err(fault) if tries == TRIES => return Err(fault),
            Err(_) => {}
        }
        tries += 1;
        sleep(PAUSE).await;
    }
}

/// What is left in the log, if it could not be closed.
async fn close_log(shared: &Arc<Shared>, is_committed: bool, deadline: Instant) -> Option<String> {
    let log = &shared.log;
    let began = Instant::now();
    // A full disk is waited for in a roll, and given up when the log closes.
    let half = began + deadline.saturating_duration_since(began) / 2;
    if is_committed && before(half, log.roll()).await.is_some_and(|r| r.is_ok()) {
        // Everything but frames of parked tables.
        log.trim(shared.visible.trim_point());
    }
    match before(deadline, log.close()).await {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("the log: {error}")),
        None => Some(format!(
            "the log: its disk did not answer in time; rows that were not acked may be missing, durable up to offset {}",
            log.durable()
        )),
    }
}
