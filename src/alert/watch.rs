//! The watch over one alert: look after look, each in its turn, and what follows from each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::deadman::Tracker;
use super::evaluate::{self, Bounds, Silence};
use super::machine;
use super::turns::{Pace, QUICK};
use super::{Alerts, Entry, Round};
use crate::catalog::background;
use crate::catalog::running::Work;
use crate::clock::Micros;
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// What one look came to.
struct Looked {
    /// The entry's attention when it began.
    seen: Micros,
    /// Without the wait for a slot.
    took: Duration,
    found: Result<machine::Found, Fault>,
}

impl Alerts {
    /// Looks at one alert, one look at a time: the next is due `every` after the beginning of this one, or at once if this one
    /// took longer. After one that did not end in time it is later, see [`Pace`].
    pub(super) fn watch(self: &Arc<Self>, entry: Arc<Entry>) {
        if !self.spawned.load(Ordering::Acquire) {
            return;
        }
        let this = self.clone();
        background::keep("an alert", move || this.clone().looks(entry.clone()));
    }

    async fn looks(self: Arc<Self>, entry: Arc<Entry>) {
        let this = self;
        let mut tracker = Tracker::default();
        let mut pace = Pace::default();
        let mut generation = 0;
        loop {
            let due = entry.round();
            if let Some(round) = &due
                && std::mem::replace(&mut generation, round.generation) != round.generation
            {
                tracker = Tracker::default();
                pace = Pace::default();
            }
            let next = async {
                let Some(round) = due else {
                    return entry.wake.notified().await;
                };
                let work = Work::Look(round.declaration.name.folded().to_string());
                if let Some(fault) = this.shared.running.suspended(&work) {
                    entry.inner.lock().note.last_error = Some(fault.to_string());
                    return entry.wake.notified().await;
                }
                let every = Duration::from_micros(round.declaration.every.unsigned_abs());
                let started = tokio::time::Instant::now();
                let name = round.declaration.name.to_string();
                let look = this.look(&entry, round, &mut tracker, &mut pace);
                let pause = match background::piece("the look", &name, look).await {
                    Ok(pause) => pause,
                    Err(fault) => {
                        let mut inner = entry.inner.lock();
                        inner.note.errors += 1;
                        inner.note.last_error = Some(fault.to_string());
                        Duration::ZERO
                    }
                };
                let due = (started + every).max(tokio::time::Instant::now() + pause);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = entry.wake.notified() => {}
                }
            };
            tokio::select! {
                () = next => {}
                () = entry.stop.cancelled() => return,
                () = this.shared.draining.cancelled() => return,
            }
        }
    }

    /// One look, and what follows from it. Returns how long the next one has to wait at least.
    async fn look(
        &self,
        entry: &Arc<Entry>,
        round: Round,
        tracker: &mut Tracker,
        pace: &mut Pace,
    ) -> Duration {
        let alert = &round.declaration;
        let Looked { seen, took, found } = self.in_turn(entry, &round, tracker, *pace).await;
        let timed_out = matches!(&found, Err(fault) if fault.kind == Kind::Deadline);
        let pause = pace.note(took, timed_out);
        let found = found.map_err(|mut fault| {
            if timed_out {
                let rarer = format!("; it is evaluated again in {pause:.0?}");
                fault.message.push_str(&rarer);
            }
            fault
        });
        let now = self.shared.clock.now();
        metrics::histogram!("deltaplane_alert_evaluation_seconds").record(took.as_secs_f64());
        let told = {
            let mut inner = entry.inner.lock();
            if inner.generation != round.generation || inner.gone {
                return Duration::ZERO;
            }
            let webhooks = self.webhooks(alert);
            let rule = self.rule(alert);
            let inner = &mut *inner;
            inner.note.last_evaluated = Some(now);
            inner.note.took = Some(took);
            let changed = found.and_then(|found| {
                let looked = inner.kept.state.look(&rule, found, seen, now, &webhooks);
                looked.map_err(|over| evaluate::over(over.0, rule.instances_max))
            });
            match changed {
                Ok(changed) => {
                    inner.note.last_error = None;
                    inner.version += u64::from(changed.durable);
                    for (what, which) in
                        [("fired", &changed.fired), ("resolved", &changed.resolved)]
                    {
                        if let Some(first) = which.first() {
                            let count = which.len();
                            tracing::info!(alert = %alert.name, count, first, "{what}");
                        }
                    }
                    !changed.fired.is_empty() || !changed.resolved.is_empty()
                }
                Err(fault) => {
                    let fresh = inner.note.last_error.is_none();
                    inner.note.errors += 1;
                    inner.note.last_error = Some(fault.to_string());
                    if fresh {
                        tracing::warn!(alert = %alert.name, "not evaluated, its state stays: {fault}");
                    }
                    false
                }
            }
        };
        let failed = entry.inner.lock().note.last_error.is_some();
        let outcome = if failed { "failed" } else { "done" };
        metrics::counter!("deltaplane_alert_evaluations_total", "outcome" => outcome).increment(1);
        self.keep(entry).await;
        if told {
            self.ring(alert);
        }
        pause
    }

    /// Evaluates in a slot of the kind that the alert needs.
    async fn in_turn(
        &self,
        entry: &Entry,
        round: &Round,
        tracker: &mut Tracker,
        pace: Pace,
    ) -> Looked {
        let work = Work::Look(round.declaration.name.folded().to_string());
        // What is suspected of having ended the process runs to its end, or nobody would know that it did not.
        if !pace.is_slow() && !self.shared.running.is_suspected(&work) {
            let quick = self.turns.quick().await;
            let _running = self.shared.running.enter(&work).await;
            let (started, seen) = (Instant::now(), entry.seen(self.attention.now()));
            let look = self.found(round, tracker, seen);
            tokio::pin!(look);
            let mut found = tokio::time::timeout(QUICK, &mut look).await.ok();
            if found.is_none()
                && let Some(_slow) = self.turns.slow_if_free()
            {
                drop(quick);
                found = Some(look.await);
            }
            if let Some(found) = found {
                let took = started.elapsed();
                return Looked { seen, took, found };
            }
            // Others are waiting for this slot: it begins anew when it is its turn among the slow.
        }
        let _slow = self.turns.slow().await;
        let _running = self.shared.running.enter(&work).await;
        let (started, seen) = (Instant::now(), entry.seen(self.attention.now()));
        let found = self.found(round, tracker, seen).await;
        Looked {
            seen,
            took: started.elapsed(),
            found,
        }
    }

    async fn found(
        &self,
        round: &Round,
        tracker: &mut Tracker,
        seen: Micros,
    ) -> Result<machine::Found, Fault> {
        let config = &self.shared.config;
        let deadman = matches!(
            round.declaration.watched,
            crate::dataset::Watched::Deadman { .. }
        );
        if deadman && self.shared.log.is_poisoned() {
            return Err(Fault::new(
                Kind::Unavailable,
                "log_poisoned",
                "the server takes no rows, so that silence says nothing; restart it",
            ));
        }
        // A name without a schema might mean another table now.
        let snapshot = self.engine.snapshot();
        let lost = |t: &&TableName| !snapshot.tables.contains_key(&t.folded());
        if let Some(lost) = round.reads.iter().find(lost) {
            return Err(Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!(
                    "the alert reads what is not there any more, table={lost}; create it again, or replace or drop the alert"
                ),
            ));
        }
        drop(snapshot);
        let bounds = Bounds {
            instances_max: config.alerts.instances_max,
            keys_max: config.alerts.keys_max,
            timeout: config.alerts.timeout.min(config.query.timeout),
            first_timeout: config.query.timeout,
        };
        let silence = Silence {
            tracker,
            seen,
            firing: round.firing.clone(),
        };
        evaluate::look(
            &self.engine,
            &round.declaration,
            &round.principal,
            &bounds,
            silence,
        )
        .await
    }
}
