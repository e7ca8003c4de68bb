//! Streams a generator's rows at a rate, and says what became of them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deltaplane_client::protocol::AckLevel;
use deltaplane_client::{Producer, ProducerOptions};
use serde::Serialize;
use tokio::sync::watch;

use crate::faults::{Faults, Injector};
use crate::source::Dataset;

#[derive(Clone, Debug)]
pub struct Options {
    pub uri: String,
    pub table: [String; 2],
    pub producer: String,
    /// Rows a second; 0: as fast as possible; none: the devices' own pace.
    pub rate: Option<f64>,
    pub rows: Option<u64>,
    pub duration: Option<Duration>,
    pub batch_rows: Option<usize>,
    pub dataset: Dataset,
    /// Event times from here on, microseconds since 1970, at the devices' own pace; none: the wall clock.
    pub start: Option<i64>,
    pub faults: Faults,
    pub seed: u64,
    pub ack: AckLevel,
    pub give_up_after: Duration,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    pub sent: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    pub seq: u64,
    pub reconnects: u64,
    pub ack_ms: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub producer: String,
    pub epoch: u64,
    /// Last acked batch.
    pub seq: u64,
    pub sent: u64,
    pub acked: u64,
    /// Totals of the producer's name on this table, earlier runs included.
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    pub reconnects: u64,
    pub seconds: f64,
    pub rows_per_second: f64,
    pub ack_p50_ms: f64,
    pub ack_p99_ms: f64,
    pub rejects: Vec<String>,
}

fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Runs until the rows, the time or `stop` say so; everything sent is acked when it returns.
///
/// # Errors
/// The server refused, or could not be reached for `give_up_after`.
pub async fn run(
    options: Options,
    stop: watch::Receiver<bool>,
    progress: impl FnMut(&Progress),
) -> anyhow::Result<Summary> {
    let (summary, _) = one(options, stop, progress, None).await?;
    Ok(summary)
}

/// Makes rows on one core and sends them nowhere, until the rows or the time say so: what the generator can do by itself.
///
/// # Errors
/// A replay's file cannot be read.
pub fn dry_run(options: Options) -> anyhow::Result<Summary> {
    let mut devices = options
        .dataset
        .open(options.seed, now_micros(), options.start)?;
    let mut injector = Injector::new(options.faults, options.seed);
    let rows_max = options.rows.or(devices.len()).unwrap_or(u64::MAX);
    let batch_rows = options.batch_rows.unwrap_or(8192);
    let started = Instant::now();
    let mut sent = 0;
    while sent < rows_max && options.duration.is_none_or(|d| started.elapsed() < d) {
        let left = usize::try_from(rows_max - sent).unwrap_or(usize::MAX);
        let mut batch = devices.batch(batch_rows.min(left), now_micros())?;
        sent += batch.num_rows() as u64;
        if !injector.is_idle() {
            batch = injector.inject(batch)?;
        }
        std::hint::black_box(devices.wire(batch)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Summary {
        producer: options.producer,
        sent,
        seconds,
        rows_per_second: sent as f64 / seconds.max(1e-9),
        ..Summary::default()
    })
}

/// One producer, and how long each of its batches took from send to ack, in milliseconds. `ready`: it waits there, connected,
/// until it is its turn.
pub(crate) async fn one(
    options: Options,
    mut stop: watch::Receiver<bool>,
    mut progress: impl FnMut(&Progress),
    ready: Option<crate::fleet::Ready>,
) -> anyhow::Result<(Summary, Vec<f64>)> {
    let mut devices = options
        .dataset
        .open(options.seed, now_micros(), options.start)?;
    let mut injector = Injector::new(options.faults, options.seed);
    let rows_max = options.rows.or(devices.len());
    let rate = options.rate.unwrap_or_else(|| devices.natural_rate());
    let producer_options = ProducerOptions {
        ack: options.ack,
        give_up_after: options.give_up_after,
        ..ProducerOptions::new(&options.producer)
    };
    let table = [options.table[0].as_str(), options.table[1].as_str()];
    let producer = Producer::connect(&options.uri, table, producer_options).await?;
    if let Some(ready) = ready {
        ready.wait().await;
    }
    let started = Instant::now();
    let free = rate <= 0.0;
    // A tenth of a second's rows a batch keeps the stream smooth at any rate; at their own pace devices send as they do.
    let batch_rows = options.batch_rows.unwrap_or(match options.rate {
        _ if free => 8192,
        Some(rate) => ((rate / 10.0) as usize).clamp(1, 8192),
        None => devices.burst(),
    });
    let mut sent = 0u64;
    let mut latencies: Vec<f64> = Vec::new();
    let mut reported = Instant::now();
    let mut last_seq = producer.totals().seq;
    while !*stop.borrow() {
        let left = rows_max.map_or(u64::MAX, |max| max.saturating_sub(sent));
        if left == 0 || options.duration.is_some_and(|d| started.elapsed() >= d) {
            break;
        }
        let rows = batch_rows.min(usize::try_from(left).unwrap_or(usize::MAX));
        if !free {
            let due = Duration::from_secs_f64(sent as f64 / rate);
            if options.duration.is_some_and(|d| due >= d) {
                break;
            }
            let wait = due.saturating_sub(started.elapsed());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => break,
            }
        }
        let mut batch = devices.batch(rows, now_micros())?;
        if !injector.is_idle() {
            batch = injector.inject(batch)?;
        }
        let batch = devices.wire(batch)?;
        producer.send(batch).await?;
        sent += rows as u64;
        let totals = producer.totals();
        if totals.seq != last_seq {
            last_seq = totals.seq;
            latencies.push(totals.latency.as_secs_f64() * 1e3);
        }
        if reported.elapsed() >= Duration::from_millis(250) {
            reported = Instant::now();
            progress(&Progress {
                sent,
                accepted: totals.accepted,
                quarantined: totals.quarantined,
                duplicates: totals.duplicates,
                seq: totals.seq,
                reconnects: totals.reconnects,
                ack_ms: totals.latency.as_secs_f64() * 1e3,
            });
        }
    }
    let totals = producer.flush().await?;
    let seconds = started.elapsed().as_secs_f64();
    if latencies.is_empty() {
        latencies.push(totals.latency.as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    let rejects = totals.rejects.iter().map(|r| {
        format!(
            "seq {} row {}: {}={} breaks {}",
            r.seq, r.row, r.column, r.value, r.rule
        )
    });
    let summary = Summary {
        producer: options.producer.clone(),
        epoch: totals.epoch,
        seq: totals.seq,
        sent,
        acked: sent,
        accepted: totals.accepted,
        quarantined: totals.quarantined,
        duplicates: totals.duplicates,
        reconnects: totals.reconnects,
        seconds,
        rows_per_second: sent as f64 / seconds.max(1e-9),
        ack_p50_ms: quantile(0.5),
        ack_p99_ms: quantile(0.99),
        rejects: rejects.collect(),
    };
    producer.close().await?;
    Ok((summary, latencies))
}
