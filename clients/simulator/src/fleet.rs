//! Many producers in one process: a share of the devices each, under a name of its own, on a connection of its own, as a fleet
//! has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::run::{Options, Progress, Summary, one};
use crate::source::Dataset;

/// Producers that connect at the same time: thousands at once would meet the server's backlog.
const CONNECTING: usize = 64;

/// Where a producer waits, connected, until all are; then until it is its turn, so that the fleet's batches are spread.
pub(crate) struct Ready {
    waiting: Arc<AtomicU64>,
    all: u64,
    go: Arc<Notify>,
    turn: Duration,
    connecting: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Ready {
    pub(crate) async fn wait(mut self) {
        drop(self.connecting.take());
        let go = self.go.notified();
        tokio::pin!(go);
        go.as_mut().enable();
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 == self.all {
            self.go.notify_waiters();
        } else {
            go.await;
        }
        tokio::time::sleep(self.turn).await;
    }
}

/// The part of the devices that a producer has.
fn share(dataset: &Dataset, index: usize, of: usize) -> Dataset {
    match dataset {
        Dataset::Satellite {
            first,
            satellites,
            rows_per_profile,
        } => {
            let begin = index * satellites / of;
            let end = (index + 1) * satellites / of;
            Dataset::Satellite {
                first: first + begin,
                satellites: (end - begin).max(1),
                rows_per_profile: *rows_per_profile,
            }
        }
        // The same devices seen by another producer; the seed tells them apart.
        other => other.clone(),
    }
}

/// As `run`, with so many producers, each with a share of the devices, of the rate and of the rows.
///
/// # Errors
/// The first producer that fails ends the run.
pub async fn run_fleet(
    options: Options,
    producers: usize,
    stop: watch::Receiver<bool>,
    mut progress: impl FnMut(&Progress),
) -> anyhow::Result<Summary> {
    let producers = producers.max(1);
    let part = |total: u64, index: usize| {
        let cut = |i: usize| total * i as u64 / producers as u64;
        cut(index + 1) - cut(index)
    };
    let sent = Arc::new(AtomicU64::new(0));
    let (waiting, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    let mut work = JoinSet::new();
    for index in 0..producers {
        let dataset = share(&options.dataset, index, producers);
        let rate = options.rate.map(|rate| rate / producers as f64);
        // The first batches of the fleet are spread over the time between two of a producer's.
        let between = match (rate, options.batch_rows) {
            (Some(rate), Some(rows)) if rate > 0.0 => rows as f64 / rate,
            _ => 0.1,
        };
        let own = Options {
            producer: format!("{}-{index}", options.producer),
            seed: match options.dataset {
                Dataset::Satellite { .. } => options.seed,
                _ => options.seed.wrapping_add(index as u64),
            },
            rate,
            rows: options.rows.map(|rows| part(rows, index)),
            dataset,
            ..options.clone()
        };
        let permit = connecting.clone().acquire_owned().await?;
        let ready = Ready {
            waiting: waiting.clone(),
            all: producers as u64,
            go: go.clone(),
            turn: Duration::from_secs_f64(between * index as f64 / producers as f64),
            connecting: Some(permit),
        };
        let (stop, sent) = (stop.clone(), sent.clone());
        work.spawn(async move {
            let mut before = 0;
            let report = |p: &Progress| {
                sent.fetch_add(p.sent - before, Ordering::Relaxed);
                before = p.sent;
            };
            one(own, stop, report, Some(ready)).await
        });
    }
    let mut sum = Summary {
        producer: options.producer.clone(),
        ..Summary::default()
    };
    let mut latencies = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            joined = work.join_next() => {
                let Some(joined) = joined else { break };
                let (own, took) = joined??;
                sum.sent += own.sent;
                sum.acked += own.acked;
                sum.accepted += own.accepted;
                sum.quarantined += own.quarantined;
                sum.duplicates += own.duplicates;
                sum.reconnects += own.reconnects;
                sum.seconds = sum.seconds.max(own.seconds);
                sum.seq = sum.seq.max(own.seq);
                sum.rejects.extend(own.rejects.into_iter().take(1));
                sum.rejects.truncate(5);
                latencies.extend(took);
            }
            _ = tick.tick() => progress(&Progress {
                sent: sent.load(Ordering::Relaxed),
                ..Progress::default()
            }),
        }
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * q) as usize;
        latencies.get(at).copied().unwrap_or_default()
    };
    sum.ack_p50_ms = quantile(0.5);
    sum.ack_p99_ms = quantile(0.99);
    sum.rows_per_second = sum.sent as f64 / sum.seconds.max(1e-9);
    Ok(sum)
}
