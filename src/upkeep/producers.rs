//! Idle producers are forgotten, so that names which never come back do not fill memory and checkpoints for good.
//!
//! What is lost is little: the Delta table still has the number of the producer's last batch (its `txn`), and a producer that
//! comes back goes on behind it. Only its epoch, its totals and the checksums of its last batches begin anew. So a producer
//! goes only when everything it sent is on disk and recorded in Delta, and none of its streams is open.

use std::collections::HashSet;
use std::sync::Arc;

use super::Upkeep;
use super::journal::Outcome;
use crate::catalog::control::control_frame;
use crate::catalog::table::Table;
use crate::records::{Epoch, Record};

impl Upkeep {
    /// Forgets the table's producers that were silent for `log.producer_idle`.
    pub(super) fn forget_producers(&self, table: &Arc<Table>) {
        let idle = self.shared.config.log.producer_idle;
        let now = self.shared.clock.now();
        let before = now.saturating_sub(i64::try_from(idle.as_micros()).unwrap_or(i64::MAX));
        // Asked first: who is silent for so long does not move in between.
        let unrecorded: HashSet<Arc<str>> =
            self.shared.visible.unrecorded(table).into_iter().collect();
        let forgotten = table.in_log_order(|producers| {
            for entry in producers.values_mut().filter(|e| e.seen == 0) {
                entry.seen = now;
            }
            let silent: Vec<Arc<str>> = producers
                .iter()
                .filter(|(name, entry)| {
                    entry.seen < before
                        && entry.streams == 0
                        && entry.state.is_durable()
                        && !unrecorded.contains(*name)
                })
                .map(|(name, _)| name.clone())
                .collect();
            let mut forgotten = Vec::new();
            for name in silent {
                let epoch = Epoch::Forgotten {
                    producer: name.clone(),
                };
                // In the log's order before anything that the name may send again.
                let logged = control_frame(table, Record::Epoch(epoch))
                    .and_then(|frame| Ok(self.shared.log.append_unsynced(frame)?));
                if let Err(fault) = logged {
                    tracing::debug!("producers are forgotten later: {fault}");
                    break;
                }
                table.mark_forgetful();
                producers.remove(&name);
                forgotten.push(name);
            }
            forgotten
        });
        if forgotten.is_empty() {
            return;
        }
        let run = self.journal.begin("producers", &table.name());
        let first = forgotten.first().map_or("", |n| n);
        let outcome = Outcome {
            rows: u64::try_from(forgotten.len()).unwrap_or(0),
            detail: format!(
                "{} idle producers forgotten, {first} the first",
                forgotten.len()
            ),
            ..Outcome::default()
        };
        self.journal.end(run, Ok(outcome));
    }
}
