//! Waiting for a commit: for as long as there is one to be expected, and no longer.

use std::sync::Arc;

use crate::catalog::Shared;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::table::{Committed, Table};
use crate::fault::{Fault, Kind};
use crate::types::Lsn;

/// What is true of the rows, and what to do.
const KEPT: &str = "the rows are durable and not committed yet: they are kept and will be; open the stream again and resend, a resend is answered and not written twice";

/// Commits what the table has hot, for a statement that reads committed rows. It waits `query.timeout` for the table, and as
/// long for the store. A commit that has begun is finished, whether or not the statement still waits.
///
/// # Errors
/// ABORTED `table_busy`; UNAVAILABLE `commit_delayed`; as [`super::commit_within`].
pub async fn commit_for_statement(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
) -> Result<Committed, Fault> {
    let patience = Patience::of_statement(&shared.config);
    let waited = patience.wait.saturating_mul(2);
    let work = tokio::spawn({
        let (shared, table) = (shared.clone(), table.clone());
        async move { super::commit_within(&shared, &table, patience).await }
    });
    match tokio::time::timeout(waited, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Fault::internal(format!("the commit: {error}"))),
        Err(_) => Err(Fault::new(
            Kind::Unavailable,
            "commit_delayed",
            format!(
                "the table's store has not taken its commit, table={}, waited={waited:?}; its rows are durable and are committed later: look at the store, then try again",
                table.name()
            ),
        )),
    }
}

/// Waits until the row at `offset` is in Delta, at most `log.admission_timeout`. Wakes the flush; commits for waiters are
/// grouped. The version is the first one known to hold the row.
///
/// # Errors
/// NOT_FOUND `table_dropped`: the row went with its table. UNAVAILABLE, with the row durable and not committed: `table_parked`;
/// `shutting_down`; `store_unavailable`, when the table's commits fail; `table_parked`; `commit_delayed`, when a statement or a slow store
/// holds the commit up.
pub async fn wait_committed(
    shared: &Shared,
    table: &Table,
    offset: Lsn,
) -> Result<Committed, Fault> {
    let waited = shared.config.log.admission_timeout;
    let deadline = tokio::time::Instant::now() + waited;
    let mut watch = table.commits();
    loop {
        let now = *watch.borrow_and_update();
        if table.is_dropped() {
            return Err(table.dropped());
        }
        if now.offset >= offset {
            let version = shared.visible.version_of(table, offset);
            return Ok(Committed {
                offset: now.offset,
                version: version.unwrap_or(now.version),
            });
        }
        table.served()?;
        table.flush_now.notify_one();
        let unavailable = |reason, why: String| {
            let name = table.name();
            let text = format!("{why}, table={name}, offset={offset}; {KEPT}");
            Err(Fault::new(Kind::Unavailable, reason, text))
        };
        tokio::select! {
            biased;
            changed = watch.changed() => {
                if changed.is_err() {
                    return Err(table.dropped());
                }
            }
            () = shared.draining.cancelled() => {
                return unavailable("shutting_down", "the server is shutting down".to_owned());
            }
            () = tokio::time::sleep_until(deadline) => {
                if let Err(mut parked) = table.served() {
                    parked.message.push_str(&format!("; {KEPT}"));
                    return Err(parked);
                }
                if table.is_failing() {
                    return unavailable(
                        "store_unavailable",
                        format!("the table's store does not take its commits, waited={waited:?}"),
                    );
                }
                let holder = table.holder().map_or_else(
                    || "its store is slow".to_owned(),
                    |holder| format!("the table is held by {holder}"),
                );
                return unavailable(
                    "commit_delayed",
                    format!("the commit takes longer than log.admission_timeout, {holder}, waited={waited:?}"),
                );
            }
        }
    }
}
