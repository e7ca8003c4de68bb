//! DoPut with a path descriptor: the door through which producers stream (DESIGN, section 3, "Ingest by DoPut").
//!
//! Two tasks a stream. The reader decodes, admits and appends, and stops reading when the log or memory pushes back. The
//! acker waits for the tickets in their order and publishes the newest ack; acks are cumulative, so a client that reads
//! none holds up nobody. It knows the wire and `ingest`; it knows no contract and no table format.

use std::sync::Arc;

use arrow_flight::{FlightDescriptor, PutResult};
use deltaplane_client::protocol::{
    self, AckLevel, ClientMessage, Form, Ready, ServerMessage, reason,
};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::Status;

use super::decode::{Bounds, Decoded, Decoder, broken, expand};
use super::put_input::{self, PutInput};
use super::status;
use crate::catalog::Shared;
use crate::catalog::streams::OpenStream;
use crate::catalog::table::{Committed, Table};
use crate::fault::{Fault, Kind};
use crate::flush;
use crate::ingest::{Ack, Acked, FenceWatch, IngestStream, NewestBatch, Pending, Reject};
use crate::threads;
use crate::types::TableName;

/// How many rejects one ack shows.
const REJECTS_SHOWN: usize = 10;
/// Batches of one stream between the reader and the acker; bytes are bounded by the log's queue.
const PENDING_MAX: usize = 1024;

/// Serves one stream. The first error after the acks ends it.
pub fn serve(
    shared: Arc<Shared>,
    descriptor: FlightDescriptor,
    input: PutInput,
) -> BoxStream<'static, Result<PutResult, Status>> {
    let (out, out_rx) = watch::channel(Outbox::default());
    let task = tokio::spawn(async move { run(shared, descriptor, input, out).await });
    answers(out_rx, task).boxed()
}

/// What waits to be sent: at most one `ready`, and the newest ack.
#[derive(Clone, Debug, Default)]
struct Outbox {
    ready: Option<Ready>,
    ack: Option<Ack>,
    /// Of the batches that the newest ack covers.
    rejects: Vec<Reject>,
    form: Form,
    revision: u64,
}

/// Turns the outbox into messages, at the pace at which the client reads them.
fn answers(
    outbox: watch::Receiver<Outbox>,
    task: tokio::task::JoinHandle<Result<(), Fault>>,
) -> impl Stream<Item = Result<PutResult, Status>> {
    struct State {
        outbox: watch::Receiver<Outbox>,
        task: Option<tokio::task::JoinHandle<Result<(), Fault>>>,
        ready_sent: bool,
        acked: Option<(u64, u64)>,
        queue: std::collections::VecDeque<PutResult>,
    }
    let state = State {
        outbox,
        task: Some(task),
        ready_sent: false,
        acked: None,
        queue: std::collections::VecDeque::new(),
    };
    futures::stream::unfold(state, |mut s| async move {
        loop {
            if let Some(result) = s.queue.pop_front() {
                return Some((Ok(result), s));
            }
            let box_ = s.outbox.borrow_and_update().clone();
            let message = |m: ServerMessage| PutResult {
                app_metadata: protocol::encode_server(&m, box_.form),
            };
            if let (Some(ready), false) = (&box_.ready, s.ready_sent) {
                s.ready_sent = true;
                s.queue
                    .push_back(message(ServerMessage::Ready(ready.clone())));
            }
            if let Some(ack) = &box_.ack
                && s.acked
                    .is_none_or(|(_, revision)| revision != box_.revision)
            {
                // A reject is shown once, with the first ack that covers it.
                let shown = box_.rejects.iter();
                let shown = shown.filter(|r| s.acked.is_none_or(|(seq, _)| r.seq > seq));
                let ack = on_the_wire(ack, shown);
                s.acked = Some((ack.seq, box_.revision));
                s.queue.push_back(message(ServerMessage::Ack(ack)));
            }
            if !s.queue.is_empty() {
                continue;
            }
            // The sender is dropped when the task ends, with its last ack in the box.
            if s.outbox.changed().await.is_ok() {
                continue;
            }
            let last = s.outbox.borrow().clone();
            if last.revision != box_.revision {
                continue;
            }
            let task = s.task.take()?;
            return match task.await {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some((Err(status::of(fault)), s)),
                Err(panic) if panic.is_panic() => {
                    let fault = Fault::invalid(
                        "malformed_ipc",
                        "the stream could not be decoded and was ended; send FlightData as an Arrow library writes it",
                    );
                    Some((Err(status::of(fault)), s))
                }
                Err(_) => Some((Err(Status::cancelled("the stream was cancelled")), s)),
            };
        }
    })
}

fn on_the_wire<'a>(ack: &Ack, rejects: impl Iterator<Item = &'a Reject>) -> protocol::Ack {
    let totals = ack.totals();
    let shown = rejects.map(|r| protocol::Reject {
        seq: r.seq,
        row: r.row,
        column: r.column.clone(),
        rule: r.rule.clone(),
        value: r.value.clone(),
    });
    protocol::Ack {
        seq: ack.seq(),
        offset: ack.offset().get(),
        accepted: totals.accepted,
        quarantined: totals.quarantined,
        duplicates: totals.duplicates,
        version: ack.version(),
        rejects: shown.collect(),
    }
}

fn path_of(descriptor: &FlightDescriptor) -> Result<TableName, Fault> {
    let name = match descriptor.path.as_slice() {
        [schema, table] => TableName::new(schema, table),
        [one] => TableName::read(one, "public"),
        path => {
            return Err(Fault::invalid(
                "invalid_descriptor",
                format!(
                    "the descriptor's path names the table, as in [\"reactor\",\"raw\"]; got {} parts",
                    path.len()
                ),
            ));
        }
    };
    name.map_err(|e| {
        Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table: {e}"),
        )
    })
}

async fn run(
    shared: Arc<Shared>,
    descriptor: FlightDescriptor,
    mut input: PutInput,
    out: watch::Sender<Outbox>,
) -> Result<(), Fault> {
    let name = path_of(&descriptor)?;
    if name.quarantined().is_some() {
        return Err(Fault::invalid(
            "reserved_table",
            format!(
                "{name} is filled by the server with rejected rows; stream to the table itself"
            ),
        ));
    }
    let table = shared.writable(&name)?;
    // The client has named its columns by now.
    let begun = table.contract();
    let mut commits = table.commits();
    let listed = shared.streams.open(table.name(), shared.clock.now());
    let mut decoder = Decoder::within(Bounds::of_batches(&shared.config.limits))
        .charged_to(input.connection().clone());
    let mut stream: Option<IngestStream> = None;
    let mut level = AckLevel::Durable;
    let mut fence: Option<FenceWatch> = None;
    let (pending_tx, pending_rx) = mpsc::channel::<Pending>(PENDING_MAX);
    let mut pending_rx = Some(pending_rx);
    let mut acker: Option<JoinHandle<Result<(), Fault>>> = None;
    // What the acker ended with while batches were still read.
    let mut ended = None;

    let outcome = loop {
        let fenced = async {
            match &mut fence {
                Some(watch) => watch.fenced().await,
                None => std::future::pending().await,
            }
        };
        let acks_end = async {
            match &mut acker {
                Some(task) => task.await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            fault = fenced => break Err(fault),
            // A client that waits for an ack sends nothing, and hears of the error all the same.
            acks = acks_end => {
                ended = Some(acks);
                break Ok(());
            }
            () = shared.draining.cancelled() => break Err(shutting_down()),
            fault = gone(&table, &mut commits) => break Err(fault),
            next = input.next() => next,
        };
        let data = match next {
            None => break Ok(()),
            // What came whole is kept.
            Some(Err(status)) => break Err(broken(&status)),
            Some(Ok(data)) => data,
        };
        let step = Step {
            shared: &shared,
            table: &table,
            out: &out,
        };
        let decoded = match decoder.message(&data) {
            Ok(decoded) => decoded,
            Err(fault) => break Err(fault),
        };
        let message = match &*data.app_metadata {
            [] => None,
            bytes => match protocol::decode_client(bytes) {
                Ok((message, form)) => {
                    out.send_modify(|o| o.form = form);
                    Some(message)
                }
                // Metadata of a plain Flight client is its own business, unless it speaks to us.
                Err(_) if stream.is_none() && bytes.first() != Some(&b'{') => None,
                Err(error) => {
                    break Err(Fault::invalid(reason::INVALID_METADATA, error.to_string()));
                }
            },
        };
        if let (Some(ClientMessage::Open(open)), None) = (&message, &stream) {
            let opened = step.open(open).await;
            let opened = match opened {
                Ok(opened) => opened,
                Err(fault) => break Err(fault),
            };
            level = open.ack;
            fence = opened.fence_watch();
            listed.stream().set_producer(opened.producer());
            stream = Some(opened.since(begun.clone()));
            if matches!(decoded, Decoded::Nothing | Decoded::Schema(_)) {
                continue;
            }
        } else if let (Some(ClientMessage::Open(_)), Some(_)) = (&message, &stream) {
            break Err(Fault::invalid(
                "opened_twice",
                "open came after batches or a second time; open once, first",
            ));
        }
        let seq = match &message {
            Some(ClientMessage::Batch { seq }) => Some(*seq),
            _ => None,
        };
        let batch = match decoded {
            Decoded::Batch(batch) => Some(batch),
            Decoded::Nothing if seq.is_some() => None,
            Decoded::Schema(_) | Decoded::Dictionary | Decoded::Nothing => continue,
        };
        // Held until the batch has its place in the log.
        let mut _room = None;
        if let Some(batch) = &batch {
            let limit = shared.config.limits.batch_memory_max.get();
            let many = threads::has_many_values(batch);
            let becomes =
                threads::step_aside_if(many, || expand::check(batch, &table.contract(), limit));
            let becomes = match becomes {
                Ok(becomes) => becomes,
                Err(fault) => break Err(fault),
            };
            _room = match put_input::room(input.connection(), &data, becomes).await {
                Ok(room) => room,
                Err(fault) => break Err(fault),
            };
        }
        let current = stream.get_or_insert_with(|| {
            IngestStream::unnamed(shared.clone(), table.clone()).since(begun.clone())
        });
        let pending = match current.push(seq, batch).await {
            Ok(pending) => pending,
            Err(fault) => break Err(fault),
        };
        listed.stream().took(pending.seq);
        if acker.is_none()
            && let Some(rx) = pending_rx.take()
        {
            let acker_task = Acker {
                level,
                table: table.clone(),
                newest: current.newest(),
                shared: shared.clone(),
                listed: listed.stream(),
                out: out.clone(),
            };
            acker = Some(tokio::spawn(acker_task.run(rx)));
        }
        if pending_tx.send(pending).await.is_err() {
            // The acker has met the log's error and carries it.
            break Ok(());
        }
    };
    drop(pending_tx);
    // Each of its waits is bounded, and the first that fails is its last.
    let acks = match (ended, acker) {
        (Some(ended), _) => Some(ended),
        (None, Some(task)) => Some(task.await),
        (None, None) => None,
    };
    let acked = match acks {
        Some(acks) => acks.unwrap_or_else(|e| Err(Fault::internal(format!("acks failed: {e}")))),
        None if outcome.is_ok() && decoder.schema().is_none() && stream.is_none() => {
            Err(Fault::invalid(
                "empty_stream",
                "the stream ended before a schema came; send a schema and at least one batch",
            ))
        }
        None => Ok(()),
    };
    // What ended the reading ends the stream; the acks before it are in the outbox.
    outcome.and(acked)
}

/// Resolves when the table is dropped or parked: a client that sends nothing hears of it, too.
async fn gone(table: &Table, commits: &mut watch::Receiver<Committed>) -> Fault {
    loop {
        if let Err(fault) = table.check_alive() {
            return fault;
        }
        if commits.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn shutting_down() -> Fault {
    Fault::new(
        Kind::Unavailable,
        "shutting_down",
        "the server is shutting down; connect again and resend what was not acked",
    )
}

struct Step<'a> {
    shared: &'a Arc<Shared>,
    table: &'a Arc<Table>,
    out: &'a watch::Sender<Outbox>,
}

impl Step<'_> {
    async fn open(&self, open: &protocol::Open) -> Result<IngestStream, Fault> {
        let (stream, durable, epoch) = IngestStream::open(
            self.shared.clone(),
            self.table.clone(),
            &open.producer,
            open.epoch,
        )
        .await?;
        let limits = &self.shared.config.limits;
        let ready = Ready {
            epoch,
            seq: durable.seq,
            offset: durable.offset.get(),
            accepted: durable.totals.accepted,
            quarantined: durable.totals.quarantined,
            duplicates: durable.totals.duplicates,
            max_batch_bytes: limits.batch_bytes_max.get(),
            max_inflight_bytes: limits.inflight_bytes_max.get(),
        };
        self.out.send_modify(|o| {
            o.ready = Some(ready);
            o.revision += 1;
        });
        Ok(stream)
    }
}

/// Waits for batches in their order and keeps the newest ack in the outbox.
struct Acker {
    level: AckLevel,
    shared: Arc<Shared>,
    table: Arc<crate::catalog::table::Table>,
    /// What an ack names at level durable, if the producer has a name.
    newest: Option<NewestBatch>,
    listed: Arc<OpenStream>,
    out: watch::Sender<Outbox>,
}

impl Acker {
    async fn run(self, mut pending: mpsc::Receiver<Pending>) -> Result<(), Fault> {
        let mut rejects: Vec<Reject> = Vec::new();
        while let Some(first) = pending.recv().await {
            let mut last = self.settled(first, &mut rejects).await?;
            // One ack for all that has become durable meanwhile, also in front of one that has not.
            let mut failed = None;
            for _ in 0..64 {
                let Ok(more) = pending.try_recv() else {
                    break;
                };
                match self.settled(more, &mut rejects).await {
                    Ok(acked) if acked.seq() >= last.seq() => last = acked,
                    Ok(_) => {}
                    Err(fault) => {
                        failed = Some(fault);
                        break;
                    }
                }
            }
            let ack = match self.level {
                AckLevel::Durable => {
                    let newest = self.newest.as_ref().and_then(NewestBatch::durable);
                    Ack::durable(&last, newest)
                }
                AckLevel::Committed => {
                    let waited =
                        flush::wait_committed(&self.shared, &self.table, last.offset()).await?;
                    Ack::committed(&last, waited)
                }
            };
            self.publish(ack, std::mem::take(&mut rejects));
            if let Some(fault) = failed {
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn settled(&self, batch: Pending, rejects: &mut Vec<Reject>) -> Result<Acked, Fault> {
        let mut acked = batch.durable().await?;
        self.listed.finished();
        let room = REJECTS_SHOWN.saturating_sub(rejects.len());
        rejects.extend(std::mem::take(&mut acked.rejects).into_iter().take(room));
        Ok(acked)
    }

    fn publish(&self, ack: Ack, rejects: Vec<Reject>) {
        self.out.send_modify(|o| {
            o.rejects.extend(rejects);
            let drop = o.rejects.len().saturating_sub(REJECTS_SHOWN);
            o.rejects.drain(..drop);
            o.ack = Some(ack);
            o.revision += 1;
        });
    }
}
