//! Alerts: a condition in SQL, or the silence of a key, looked at again and again; what came of it is kept across restarts and
//! told to webhooks.
//!
//! ```text
//! evaluate > machine > store > webhook
//! ```
//!
//! A look (`evaluate`) gives the rows that are in condition; the machine makes states and news of them; both are on disk
//! (`store`) before a webhook is told. News is not queued: an instance holds its newest, and by webhook what was delivered,
//! so that nothing piles up behind a dead receiver and a restart forgets nothing. It knows no Flight and no ingest: rows
//! reach it by queries.

mod admin;
mod deadman;
mod deliver;
mod evaluate;
pub mod machine;
mod message;
mod status;
mod store;
mod turns;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::catalog::Shared;
use crate::catalog::running::Work;
use crate::clock::Micros;
use crate::dataset::AlertDeclaration;
use crate::fault::{Fault, Kind};
use crate::query::Engine;
use crate::types::TableName;
use crate::wal::RealDisk;
use deadman::Tracker;
use evaluate::{Bounds, Silence};
use machine::{Identity, Phase, Rule};
use store::{Damaged, Kept, Store};
use turns::{Pace, QUICK, Turns};

pub use admin::Creation;
pub use status::{Totals, empty as empty_table};

/// Resolved instances of one alert that are remembered.
const RESOLVED_MAX: usize = 1000;
/// How often the time that counts goes on, and by how much at most.
const TICK: Duration = Duration::from_millis(100);
const TICK_MAX: Duration = Duration::from_secs(2);

fn micros(span: Duration) -> Micros {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The time for which this process looked, in microseconds. It knows no wall clock, and where the process stood still it
/// does, too.
#[derive(Debug, Default)]
struct Attention(AtomicI64);

impl Attention {
    fn now(&self) -> Micros {
        self.0.load(Ordering::Acquire)
    }

    fn pass(&self, elapsed: Duration) {
        self.0
            .fetch_add(micros(elapsed.min(TICK_MAX)), Ordering::AcqRel);
    }
}

/// How the last look went.
#[derive(Clone, Debug, Default)]
struct Note {
    last_evaluated: Option<Micros>,
    took: Option<Duration>,
    /// Since the start.
    errors: u64,
    last_error: Option<String>,
    /// What is kept could not be written.
    store_error: Option<Fault>,
    /// By webhook.
    notify_errors: BTreeMap<String, String>,
}

struct Inner {
    kept: Kept,
    note: Note,
    /// Rises when the alert becomes another, so that a look at the old one counts for nothing.
    generation: u64,
    /// Rises with what has to be on disk, and how far that is.
    version: u64,
    written: u64,
    /// It is no more.
    gone: bool,
    /// `seen` of the state and the process's attention when it was loaded.
    base: (Micros, Micros),
}

/// One alert. Its lock is held for moments, and by whoever looks, tells or changes.
struct Entry {
    inner: Mutex<Inner>,
    /// Held while its file is written.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// Rings when it has become another, or goes on.
    wake: Notify,
    stop: CancellationToken,
}

/// What one look is about.
struct Round {
    declaration: AlertDeclaration,
    reads: Vec<TableName>,
    principal: String,
    generation: u64,
    firing: BTreeSet<Identity>,
}

/// What one look came to.
struct Looked {
    /// The entry's attention when it began.
    seen: Micros,
    /// Without the wait for a slot.
    took: Duration,
    found: Result<machine::Found, Fault>,
}

impl Entry {
    fn new(kept: Kept, attention: Micros, written: bool) -> Arc<Self> {
        Arc::new(Entry {
            inner: Mutex::new(Inner {
                base: (kept.state.seen, attention),
                kept,
                note: Note::default(),
                generation: 0,
                version: 1,
                written: u64::from(written),
                gone: false,
            }),
            writing: Arc::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
        })
    }

    /// None: it is not to be looked at now.
    fn round(&self) -> Option<Round> {
        let inner = self.inner.lock();
        let kept = &inner.kept;
        if kept.paused || kept.dropped || inner.gone {
            return None;
        }
        let firing = kept.state.instances.iter();
        let firing = firing.filter(|(_, i)| i.phase == Phase::Firing);
        Some(Round {
            declaration: kept.declaration.clone(),
            reads: kept.reads.clone(),
            principal: kept.principal.clone(),
            generation: inner.generation,
            firing: firing.map(|(id, _)| id.clone()).collect(),
        })
    }

    fn seen(&self, attention: Micros) -> Micros {
        let (seen, at) = self.inner.lock().base;
        seen.saturating_add(attention.saturating_sub(at))
    }
}

/// What is wrong with the files of alerts in a data directory. It changes nothing.
pub fn damaged(data_dir: &std::path::Path) -> Vec<String> {
    let store = Store::new(data_dir, Arc::new(RealDisk));
    let (_, damaged) = store.read_all();
    let index = store.index_problem().into_iter();
    index.chain(damaged.iter().map(Damaged::message)).collect()
}

pub struct Alerts {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    store: Store,
    attention: Attention,
    /// By folded name. Changed by statements, one at a time.
    entries: Mutex<BTreeMap<TableName, Arc<Entry>>>,
    damaged: Mutex<BTreeMap<TableName, Damaged>>,
    statements: tokio::sync::Mutex<()>,
    /// Looks that run at once.
    turns: Turns,
    /// By webhook: rings when there is news.
    bells: BTreeMap<String, Notify>,
    /// Where receivers find this server.
    external_url: String,
    spawned: AtomicBool,
}

impl Alerts {
    /// With what the data directory keeps. `console`: the server's address of HTTP.
    pub fn new(shared: Arc<Shared>, engine: Arc<Engine>, console: &str) -> Arc<Self> {
        let config = &shared.config;
        let store = Store::new(&config.server.data_dir, Arc::new(RealDisk));
        let (kept, damaged) = store.read_all();
        for file in &damaged {
            tracing::error!(alert = %file.name, "{}", file.message());
        }
        let own = || format!("http://{console}/");
        let external_url = config.alerts.external_url.clone().unwrap_or_else(own);
        let entry = |kept: Kept| (kept.declaration.name.folded(), Entry::new(kept, 0, true));
        let alerts = Alerts {
            store,
            attention: Attention::default(),
            entries: Mutex::new(kept.into_iter().map(entry).collect()),
            damaged: Mutex::new(damaged.into_iter().map(|d| (d.name.clone(), d)).collect()),
            statements: tokio::sync::Mutex::default(),
            turns: Turns::new(config.alerts.parallel),
            bells: config
                .webhooks
                .keys()
                .map(|name| (name.clone(), Notify::new()))
                .collect(),
            external_url,
            spawned: AtomicBool::new(false),
            engine,
            shared,
        };
        Arc::new(alerts)
    }

    /// Looks and tells from now on, until the server drains. Called when the server is ready: silence counts from here.
    pub fn spawn(self: &Arc<Self>) {
        self.spawned.store(true, Ordering::Release);
        let this = self.clone();
        tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    () = this.shared.draining.cancelled() => return,
                }
                this.attention.pass(last.elapsed());
                last = Instant::now();
            }
        });
        for entry in self.all() {
            self.watch(entry);
        }
        // Of alerts that were dropped, whom the configuration knows no more is not told.
        for entry in self.all() {
            self.bury_soon(&entry);
        }
        for webhook in self.shared.config.webhooks.values() {
            tokio::spawn(self.clone().deliver(webhook.clone()));
        }
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().cloned().collect()
    }

    fn entry(&self, name: &TableName) -> Option<Arc<Entry>> {
        self.entries.lock().get(&name.folded()).cloned()
    }

    /// The webhooks of an alert that the configuration knows.
    fn webhooks(&self, alert: &AlertDeclaration) -> Vec<String> {
        let known = |w: &&String| self.bells.contains_key(*w);
        alert.notify.iter().filter(known).cloned().collect()
    }

    fn ring(&self, alert: &AlertDeclaration) {
        for webhook in &alert.notify {
            if let Some(bell) = self.bells.get(webhook) {
                bell.notify_one();
            }
        }
    }

    fn rule(&self, alert: &AlertDeclaration) -> Rule {
        let config = &self.shared.config.alerts;
        Rule {
            hold: alert.hold,
            keep: alert.keep,
            instances_max: config.instances_max,
            resolved_for: micros(config.resolved_for),
            resolved_max: RESOLVED_MAX,
        }
    }

    /// Looks at one alert, one look at a time: the next is due `every` after the beginning of this one, or at once if this one
    /// took longer. After one that did not end in time it is later, see [`Pace`].
    fn watch(self: &Arc<Self>, entry: Arc<Entry>) {
        if !self.spawned.load(Ordering::Acquire) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
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
                    let pause = this.look(&entry, round, &mut tracker, &mut pace).await;
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
        });
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

    /// Puts on disk what is not there yet. What fails is shown, and tried again after the next look.
    async fn keep(&self, entry: &Arc<Entry>) {
        let guard = entry.writing.clone().lock_owned().await;
        let (kept, version) = {
            let inner = entry.inner.lock();
            if inner.gone || inner.version == inner.written {
                return;
            }
            (inner.kept.clone(), inner.version)
        };
        let store = self.store.clone();
        // The file is written to its end also if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || {
            let _writing = guard;
            store.write(&kept)
        });
        let done = match work.await {
            Ok(done) => done,
            Err(e) => Err(Fault::internal(format!("alert's file: {e}"))),
        };
        let mut inner = entry.inner.lock();
        match done {
            Ok(()) => {
                inner.written = inner.written.max(version);
                inner.note.store_error = None;
            }
            Err(fault) => {
                let name = &inner.kept.declaration.name;
                tracing::error!(alert = %name, "what is known of the alert is not on disk, a restart would forget it: {fault}");
                inner.note.store_error = Some(fault);
            }
        }
    }

    /// At the end of a server: everything that is known is on disk.
    pub async fn settle(&self) {
        for entry in self.all() {
            self.keep(&entry).await;
        }
    }
}
