//! An exactly-once producer: it numbers batches, keeps them until they are acked, and after a cut connects again and sends
//! what the server lacks under the same numbers.

mod encoder;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use rand::Rng;
use tokio::sync::{Notify, mpsc, watch};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::protocol::{self, AckLevel, ClientMessage, Form, Open, Reject, ServerMessage, reason};
use encoder::Encoder;
pub use session::{Diverged, Session};

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    pub name: String,
    pub ack: AckLevel,
    /// Bytes of batches that may be sent and unacked; `send` waits beyond it.
    pub inflight_bytes_max: usize,
    /// How long to go on trying to reach the server.
    pub give_up_after: Duration,
    /// Is called for each ack as it comes in.
    pub on_ack: Option<AckListener>,
}

/// A function that is called with the seq of each ack: every batch up to that seq has reached the level asked for. It is called
/// as well when a connection is ready, with the seq of the last batch that the server has. An ack may stand for several batches.
///
/// The producer's own task calls it, before [`Producer::flush`] sees the ack, and sends nothing meanwhile: it should only take a
/// note of the seq and of the time.
#[derive(Clone)]
pub struct AckListener(Arc<dyn Fn(u64) + Send + Sync>);

impl AckListener {
    pub fn new(heard: impl Fn(u64) + Send + Sync + 'static) -> Self {
        AckListener(Arc::new(heard))
    }
}

impl std::fmt::Debug for AckListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AckListener")
    }
}

impl ProducerOptions {
    pub fn new(name: impl Into<String>) -> Self {
        ProducerOptions {
            name: name.into(),
            ack: AckLevel::Durable,
            inflight_bytes_max: 32 * 1024 * 1024,
            give_up_after: Duration::from_secs(60),
            on_ack: None,
        }
    }
}

/// The producer's totals for its table, as the newest ack has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub epoch: u64,
    pub seq: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    pub reconnects: u64,
    /// The last few rejected rows.
    pub rejects: Vec<Reject>,
    /// Time from `send` to ack of the newest acked batch.
    pub latency: Duration,
}

struct Shared {
    session: parking::Guarded<Session<Arc<Sent>>>,
    changed: Notify,
    room: Notify,
    totals: watch::Sender<Totals>,
    failed: watch::Sender<Option<String>>,
}

struct Sent {
    batch: RecordBatch,
    at: Instant,
}

/// A small std mutex whose poisoning is ignored: the state machine is valid between any two calls.
mod parking {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    pub(super) struct Guarded<T>(Mutex<T>);

    impl<T> Guarded<T> {
        pub(super) fn new(value: T) -> Self {
            Guarded(Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

pub struct Producer {
    shared: Arc<Shared>,
    options: ProducerOptions,
    task: tokio::task::JoinHandle<()>,
    closing: watch::Sender<bool>,
}

/// An error that connecting again does not mend.
fn is_final(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::Unavailable
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
    ) || reason::TOO_LARGE
        .iter()
        .any(|reason| status.message().contains(reason))
}

impl Producer {
    /// Connects and opens the stream; returns once the server is ready.
    pub async fn connect(
        uri: &str,
        table: [&str; 2],
        options: ProducerOptions,
    ) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(uri.to_owned())
            .with_context(|| format!("not an address: {uri}"))?;
        let shared = Arc::new(Shared {
            session: parking::Guarded::new(Session::default()),
            changed: Notify::new(),
            room: Notify::new(),
            totals: watch::channel(Totals::default()).0,
            failed: watch::channel(None).0,
        });
        let (closing, closing_rx) = watch::channel(false);
        let driver = Driver {
            shared: shared.clone(),
            options: options.clone(),
            endpoint,
            path: table.map(str::to_owned).to_vec(),
            closing: closing_rx,
        };
        let task = tokio::spawn(driver.run());
        let producer = Producer {
            shared,
            options,
            task,
            closing,
        };
        producer
            .wait(|s, _| s.session.lock().epoch().is_some())
            .await?;
        Ok(producer)
    }

    /// Takes a batch; waits while too many bytes are unacked. Returns its seq.
    pub async fn send(&self, batch: RecordBatch) -> anyhow::Result<u64> {
        let bytes = batch.get_array_memory_size();
        let limit = self.options.inflight_bytes_max;
        self.wait(|s, _| {
            let session = s.session.lock();
            session.is_idle() || session.unacked_bytes() + bytes <= limit
        })
        .await?;
        let seq = self.shared.session.lock().push(
            bytes,
            Arc::new(Sent {
                batch,
                at: Instant::now(),
            }),
        );
        self.shared.changed.notify_one();
        Ok(seq)
    }

    /// Waits until every batch is acked.
    pub async fn flush(&self) -> anyhow::Result<Totals> {
        self.wait(|s, _| s.session.lock().is_idle()).await?;
        Ok(self.totals())
    }

    pub fn totals(&self) -> Totals {
        self.shared.totals.borrow().clone()
    }

    /// Batches taken and not acked yet end with an error; call [`Producer::flush`] first to have none.
    pub async fn close(self) -> anyhow::Result<Totals> {
        let totals = self.flush().await?;
        self.closing.send_replace(true);
        self.shared.changed.notify_one();
        let _ = self.task.await;
        Ok(totals)
    }

    async fn wait(&self, done: impl Fn(&Shared, &Totals) -> bool) -> anyhow::Result<()> {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(why) = &*self.shared.failed.borrow() {
                bail!("{why}");
            }
            if done(&self.shared, &self.shared.totals.borrow()) {
                return Ok(());
            }
            room.await;
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    options: ProducerOptions,
    endpoint: Endpoint,
    path: Vec<String>,
    closing: watch::Receiver<bool>,
}

enum Ended {
    Closed,
    Retry(String),
    Final(String),
}

impl Driver {
    async fn run(mut self) {
        let mut since: Option<Instant> = None;
        let mut attempt = 0u32;
        loop {
            let acked = self.shared.session.lock().acked();
            let why = match self.connection().await {
                Ended::Closed => return,
                Ended::Final(why) => return self.fail(why),
                Ended::Retry(why) => why,
            };
            if *self.closing.borrow() {
                return;
            }
            if self.shared.session.lock().acked() > acked {
                since = None;
                attempt = 0;
            }
            let started = *since.get_or_insert_with(Instant::now);
            if started.elapsed() > self.options.give_up_after {
                return self.fail(format!(
                    "gave up after {:?}: {why}",
                    self.options.give_up_after
                ));
            }
            tracing::debug!(%why, attempt, "connecting again");
            // Doubling with jitter, so that a fleet does not come back in step.
            let base = 50u64.saturating_mul(1 << attempt.min(6));
            let jitter = rand::rng().random_range(0..=base / 2);
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(base + jitter)).await;
            self.shared.totals.send_modify(|t| t.reconnects += 1);
        }
    }

    fn fail(&self, why: String) {
        self.shared.failed.send_replace(Some(why));
        self.shared.room.notify_waiters();
    }

    async fn connection(&mut self) -> Ended {
        let channel = match self.endpoint.connect().await {
            Ok(channel) => channel,
            Err(e) => {
                return Ended::Retry(format!("cannot connect to {}: {e}", self.endpoint.uri()));
            }
        };
        match self.stream(channel).await {
            Ok(()) => Ended::Closed,
            Err(status) => {
                let why = format!("{:?}: {}", status.code(), status.message());
                if is_final(&status) {
                    Ended::Final(why)
                } else {
                    Ended::Retry(why)
                }
            }
        }
    }

    /// One stream, from open to its end.
    async fn stream(&mut self, channel: Channel) -> Result<(), Status> {
        let mut client =
            FlightServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024);
        let (tx, rx) = mpsc::channel::<FlightData>(4);
        let open = ClientMessage::Open(Open {
            producer: self.options.name.clone(),
            epoch: self.shared.session.lock().epoch(),
            ack: self.options.ack,
        });
        let first = FlightData {
            flight_descriptor: Some(FlightDescriptor::new_path(self.path.clone())),
            app_metadata: protocol::encode_client(&open, Form::Binary),
            ..FlightData::default()
        };
        let lost = || Status::unavailable("the connection was lost");
        tx.send(first).await.map_err(|_| lost())?;
        let mut answers = client
            .do_put(tokio_stream::wrappers::ReceiverStream::new(rx))
            .await?
            .into_inner();
        match next(&mut answers).await? {
            Some(ServerMessage::Ready(ready)) => {
                // Totals before the session: whoever sees that nothing is unacked sees the totals of that ack.
                self.shared.totals.send_modify(|t| {
                    t.epoch = ready.epoch;
                    t.seq = ready.seq;
                    t.accepted = ready.accepted;
                    t.quarantined = ready.quarantined;
                    t.duplicates = ready.duplicates;
                });
                let diverged = self.shared.session.lock().on_ready(&ready).err();
                if let Some(diverged) = diverged {
                    return Err(Status::failed_precondition(diverged.to_string()));
                }
                self.hear(ready.seq);
                self.shared.room.notify_waiters();
            }
            _ => {
                return Err(Status::unavailable(
                    "the server did not answer open with ready",
                ));
            }
        }
        let mut tx = Some(tx);
        let mut encoder = Encoder::default();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if *self.closing.borrow() {
                tx = None;
            }
            let to_send = match &tx {
                Some(_) => self.shared.session.lock().next_to_send(),
                None => None,
            };
            if let (Some((seq, sent)), Some(tx)) = (to_send, &tx) {
                let messages = encoder
                    .encode(&sent.batch, seq)
                    .map_err(|e| Status::invalid_argument(e.to_string()))?;
                for message in messages {
                    // While the server pushes back, acks still come in.
                    let permit = loop {
                        tokio::select! {
                            permit = tx.reserve() => break permit.map_err(|_| lost())?,
                            answer = next(&mut answers) => self.answer(answer?)?,
                        }
                    };
                    permit.send(message);
                }
                continue;
            }
            tokio::select! {
                answer = next(&mut answers) => match answer? {
                    None if tx.is_none() => return Ok(()),
                    answer => self.answer(answer)?,
                },
                () = changed, if tx.is_some() => {}
            }
        }
    }

    fn hear(&self, seq: u64) {
        if let Some(listener) = &self.options.on_ack {
            (listener.0)(seq);
        }
    }

    fn answer(&self, answer: Option<ServerMessage>) -> Result<(), Status> {
        let ack = match answer {
            Some(ServerMessage::Ack(ack)) => ack,
            Some(ServerMessage::Ready(_)) => return Ok(()),
            None => return Err(Status::unavailable("the server ended the stream")),
        };
        let at = self.shared.session.lock().oldest().map(|sent| sent.at);
        // As above: totals first.
        let sent_ack = ack.clone();
        self.shared.totals.send_modify(|t| {
            t.seq = ack.seq;
            t.accepted = ack.accepted;
            t.quarantined = ack.quarantined;
            t.duplicates = ack.duplicates;
            if let Some(at) = at {
                t.latency = at.elapsed();
            }
            if !ack.rejects.is_empty() {
                t.rejects = ack.rejects;
            }
        });
        self.hear(sent_ack.seq);
        self.shared.session.lock().on_ack(&sent_ack);
        self.shared.room.notify_waiters();
        Ok(())
    }
}

async fn next(answers: &mut Streaming<PutResult>) -> Result<Option<ServerMessage>, Status> {
    match answers.message().await? {
        None => Ok(None),
        Some(result) => {
            let (message, _) = protocol::decode_server(&result.app_metadata)
                .map_err(|e| Status::internal(e.to_string()))?;
            Ok(Some(message))
        }
    }
}
