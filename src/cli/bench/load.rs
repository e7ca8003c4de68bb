//! The clients: streams that send batches as the loop says, and note when each batch is acked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arrow::array::ArrayRef;
use deltaplane_client::{AckListener, Producer, ProducerOptions};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::options::{Length, Options, Pace};
use super::rows::{self, Rows};
use super::schedule::{Schedule, share};

/// Streams that connect at once.
const CONNECTING: usize = 64;
/// Batches of a stream in the closed loop that are unacked at once, at most, unless the options say so.
const WINDOW_MAX: usize = 1000;
/// From the start of the open loop to its first batch, so that none is late because the others are set up.
const LEAD: Duration = Duration::from_millis(10);

/// When batches were sent and acked, noted by the sender and by its producer.
struct Acks {
    noted: Mutex<Noted>,
    /// Batches that the closed loop may send now.
    slots: Semaphore,
}

#[derive(Default)]
struct Noted {
    acked: u64,
    /// From when the times of the batches count that are not acked yet.
    waiting: VecDeque<Instant>,
    /// From there to the ack, nanoseconds.
    latencies: Vec<u64>,
    newest: Option<Instant>,
}

impl Acks {
    fn hear(&self, seq: u64) {
        let now = Instant::now();
        let mut noted = self.noted.lock();
        let batches = seq.saturating_sub(noted.acked);
        noted.acked = noted.acked.max(seq);
        for _ in 0..batches {
            let Some(from) = noted.waiting.pop_front() else {
                break;
            };
            noted.latencies.push(nanos(now - from));
        }
        noted.newest = Some(now);
        drop(noted);
        self.slots
            .add_permits(usize::try_from(batches).unwrap_or(usize::MAX >> 4));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

struct Stream {
    number: usize,
    producer: Producer,
    acks: Arc<Acks>,
    rows: Arc<Rows>,
    devices: ArrayRef,
    /// Batches that it sent, from the beginning of its life.
    sent: u64,
}

impl Stream {
    async fn connect(
        uri: &str,
        options: &Options,
        rows: Arc<Rows>,
        window: usize,
        number: usize,
    ) -> anyhow::Result<Self> {
        let acks = Arc::new(Acks {
            noted: Mutex::default(),
            slots: Semaphore::new(window),
        });
        let listener = acks.clone();
        let defaults = ProducerOptions::new(format!("bench-{number}"));
        let devices = rows.devices(number);
        // The window is the only limit of the closed loop: a larger one than the client's own needs more bytes there.
        let batch_bytes = rows.batch(&devices, 0)?.get_array_memory_size();
        let window_bytes = match options.pace {
            Pace::Closed { .. } => batch_bytes * (window + 1),
            Pace::Open { .. } => 0,
        };
        let producer = ProducerOptions {
            ack: options.ack,
            inflight_bytes_max: defaults.inflight_bytes_max.max(window_bytes),
            on_ack: Some(AckListener::new(move |seq| listener.hear(seq))),
            ..defaults
        };
        Ok(Stream {
            number,
            producer: Producer::connect(uri, rows::table(options), producer).await?,
            acks,
            rows,
            devices,
            sent: 0,
        })
    }

    /// `from`: when its time begins; at the call if it is not given.
    async fn send(&mut self, from: Option<Instant>) -> anyhow::Result<()> {
        let batch = self.rows.batch(&self.devices, self.sent)?;
        self.sent += 1;
        let from = from.unwrap_or_else(Instant::now);
        self.acks.noted.lock().waiting.push_back(from);
        self.producer.send(batch).await?;
        Ok(())
    }

    /// Sends whenever there is a slot, until so many batches are sent or it is so late.
    async fn closed(&mut self, batches: u64, until: Option<Instant>) -> anyhow::Result<()> {
        let acks = self.acks.clone();
        let mut left = batches;
        while left > 0 && until.is_none_or(|until| Instant::now() < until) {
            let slot = tokio::select! {
                biased;
                slot = acks.slots.acquire() => slot?,
                // Slots come with acks, and a producer that has failed gets no more of them.
                flushed = self.producer.flush() => {
                    flushed?;
                    acks.slots.acquire().await?
                }
            };
            slot.forget();
            self.send(None).await?;
            left -= 1;
        }
        self.producer.flush().await?;
        Ok(())
    }

    /// Sends when the schedule says so. Returns how late each batch was handed to the client, nanoseconds.
    async fn open(
        &mut self,
        mut due: mpsc::UnboundedReceiver<Instant>,
    ) -> anyhow::Result<Vec<u64>> {
        let mut late = Vec::new();
        while let Some(due) = due.recv().await {
            late.push(nanos(due.elapsed()));
            self.send(Some(due)).await?;
        }
        self.producer.flush().await?;
        Ok(late)
    }
}

/// What one run of all streams came to.
pub(super) struct Sent {
    pub began: Instant,
    pub batches: u64,
    pub rows: u64,
    /// From the start to the last ack.
    pub acked: Duration,
    /// From the scheduled time (open loop), or from the moment at which there was room for the batch (closed loop), to the ack.
    pub latencies: Vec<u64>,
    /// From the scheduled time to the client's `send`; empty in the closed loop.
    pub late: Vec<u64>,
}

pub(super) struct Load {
    streams: Vec<Stream>,
    pace: Pace,
    batch_rows: usize,
    /// Unacked batches of a stream, in the closed loop.
    pub window: Option<usize>,
}

impl Load {
    /// Connects all streams.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn connect(
        uri: &str,
        options: &Options,
        rows: &Arc<Rows>,
    ) -> anyhow::Result<Self> {
        let window = match options.pace {
            Pace::Open { .. } => None,
            Pace::Closed {
                window: Some(given),
            } => Some(given),
            Pace::Closed { window: None } => {
                let bytes = rows.batch(&rows.devices(0), 0)?.get_array_memory_size();
                let room = ProducerOptions::new("").inflight_bytes_max;
                Some((room / bytes).clamp(1, WINDOW_MAX))
            }
        };
        let connect = |number| {
            let slots = window.unwrap_or_default();
            Stream::connect(uri, options, rows.clone(), slots, number)
        };
        let streams = futures::stream::iter((0..options.streams).map(connect))
            .buffered(CONNECTING)
            .try_collect()
            .await
            .context("the streams cannot be opened")?;
        Ok(Load {
            streams,
            pace: options.pace,
            batch_rows: options.batch_rows,
            window,
        })
    }

    /// Sends for so long, and returns when all of it is acked.
    ///
    /// # Errors
    /// A stream's.
    pub(super) async fn run(&mut self, length: Length) -> anyhow::Result<Sent> {
        let sent_before: u64 = self.streams.iter().map(|s| s.sent).sum();
        let (began, late) = match self.pace {
            Pace::Closed { .. } => (self.closed(length).await?, Vec::new()),
            Pace::Open { rate } => {
                let schedule = Schedule {
                    rate,
                    batch_rows: self.batch_rows,
                };
                self.open(schedule, length).await?
            }
        };
        self.streams.sort_by_key(|stream| stream.number);
        let mut latencies = Vec::new();
        let mut newest = began;
        for stream in &self.streams {
            let mut noted = stream.acks.noted.lock();
            latencies.append(&mut noted.latencies);
            newest = noted.newest.map_or(newest, |at| at.max(newest));
        }
        let batches = self.streams.iter().map(|s| s.sent).sum::<u64>() - sent_before;
        if latencies.len() as u64 != batches {
            bail!(
                "{batches} batches were sent, {} acks noted",
                latencies.len()
            );
        }
        Ok(Sent {
            began,
            batches,
            rows: batches * self.batch_rows as u64,
            acked: newest - began,
            latencies,
            late,
        })
    }

    async fn closed(&mut self, length: Length) -> anyhow::Result<Instant> {
        let count = self.streams.len() as u64;
        let began = Instant::now();
        let mut running = JoinSet::new();
        for mut stream in self.streams.drain(..) {
            let (batches, until) = match length {
                Length::Rows(rows) => {
                    let batches = rows.div_ceil(self.batch_rows as u64);
                    (share(batches, count, stream.number as u64), None)
                }
                Length::Time(time) => (u64::MAX, Some(began + time)),
            };
            running.spawn(async move {
                stream.closed(batches, until).await?;
                anyhow::Ok(stream)
            });
        }
        while let Some(stream) = running.join_next().await {
            self.streams.push(stream??);
        }
        Ok(began)
    }

    async fn open(
        &mut self,
        schedule: Schedule,
        length: Length,
    ) -> anyhow::Result<(Instant, Vec<u64>)> {
        let batches = match length {
            Length::Rows(rows) => rows.div_ceil(self.batch_rows as u64),
            Length::Time(time) => schedule.batches_within(time),
        };
        let mut running = JoinSet::new();
        let mut clocks = Vec::with_capacity(self.streams.len());
        for mut stream in self.streams.drain(..) {
            let (clock, due) = mpsc::unbounded_channel();
            clocks.push(clock);
            running.spawn(async move {
                let late = stream.open(due).await?;
                anyhow::Ok((stream, late))
            });
        }
        let began = Instant::now() + LEAD;
        // A thread of its own, because the runtime's timers are a millisecond late.
        std::thread::Builder::new()
            .name("bench-schedule".to_owned())
            .spawn(move || call_when_due(schedule, batches, began, &clocks))?;
        let mut late = Vec::new();
        while let Some(done) = running.join_next().await {
            let (stream, times) = done??;
            self.streams.push(stream);
            late.extend(times);
        }
        Ok((began, late))
    }

    /// Ends the streams, and makes sure that each row that was sent is in the table.
    ///
    /// # Errors
    /// A stream's, or rows were rejected or taken for duplicates.
    pub(super) async fn close(self) -> anyhow::Result<u64> {
        let mut reconnects = 0;
        for stream in self.streams {
            let sent = stream.sent * self.batch_rows as u64;
            let totals = stream.producer.close().await?;
            reconnects += totals.reconnects;
            if totals.accepted != sent {
                bail!(
                    "stream {} sent {sent} rows, {} were accepted, {} quarantined, {} duplicates; first rejected: {:?}",
                    stream.number,
                    totals.accepted,
                    totals.quarantined,
                    totals.duplicates,
                    totals.rejects.first()
                );
            }
        }
        Ok(reconnects)
    }
}

/// Tells each stream in turn when its next batch is due, at that time and not before.
fn call_when_due(
    schedule: Schedule,
    batches: u64,
    began: Instant,
    clocks: &[mpsc::UnboundedSender<Instant>],
) {
    for (n, clock) in (0..batches).zip(clocks.iter().cycle()) {
        let due = began + schedule.due(n);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if clock.send(due).is_err() {
            return;
        }
    }
}
