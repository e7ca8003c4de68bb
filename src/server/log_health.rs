//! `/readyz` follows the log, and so does the server's own log.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Shared;
use crate::catalog::background;
use crate::wal::Health;
use crate::web::Readiness;

/// How often it is looked whether the disk still answers.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn watch(shared: Arc<Shared>, readiness: Readiness) {
    background::keep("the health of the log", move || {
        watching(shared.clone(), readiness.clone())
    });
}

async fn watching(shared: Arc<Shared>, readiness: Readiness) {
    let mut health = shared.log.health();
    let mut tick = tokio::time::interval(LOOK);
    let mut stalled = false;
    loop {
        let now = health.borrow_and_update().clone();
        let was_stalled = std::mem::replace(&mut stalled, now == Health::Stalled);
        let dir = shared.config.log_dir();
        if stalled && !was_stalled {
            tracing::error!(
                dir = %dir.display(),
                waited = ?shared.config.log.admission_timeout,
                "the disk of the log does not answer: no rows are taken until it does; look at that disk"
            );
        }
        match now {
            Health::Writing => {
                if was_stalled {
                    tracing::info!(dir = %dir.display(), "the disk of the log answers again");
                }
                readiness.set_ready();
            }
            Health::DiskFull { .. } => readiness.set_unready("log_disk_full"),
            Health::Stalled => readiness.set_unready("log_stalled"),
            Health::Poisoned { .. } => {
                readiness.set_unready("log_poisoned");
                tracing::error!(
                    "the log is poisoned: a write or sync failed; queries go on, restart to take rows again"
                );
                return;
            }
        }
        loop {
            tokio::select! {
                changed = health.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = tick.tick() => shared.log.look_for_stall(),
                () = shared.draining.cancelled() => return,
            }
        }
    }
}
