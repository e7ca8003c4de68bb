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
#[cfg(test)]
mod fuzz_tests;
pub mod machine;
mod message;
mod readers;
mod status;
mod store;
mod turns;
mod watch;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::catalog::Shared;
use crate::catalog::background;
use crate::clock::Micros;
use crate::dataset::AlertDeclaration;
use crate::fault::Fault;
use crate::query::Engine;
use crate::types::TableName;
use crate::wal::RealDisk;
use machine::{Identity, Phase, Rule};
use store::{Damaged, Kept, Store};
use turns::Turns;

pub use admin::Creation;
pub use status::{Totals, table};

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
        background::keep("the attention of alerts", move || this.clone().attend());
        for entry in self.all() {
            self.watch(entry);
        }
        // Of alerts that were dropped, whom the configuration knows no more is not told.
        for entry in self.all() {
            self.bury_soon(&entry);
        }
        for webhook in self.shared.config.webhooks.values() {
            let (this, webhook) = (self.clone(), webhook.clone());
            background::keep("news to a webhook", move || {
                this.clone().deliver(webhook.clone())
            });
        }
    }

    async fn attend(self: Arc<Self>) {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.shared.draining.cancelled() => return,
            }
            self.attention.pass(last.elapsed());
            last = Instant::now();
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
