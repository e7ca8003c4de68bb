//! A call's body on its way from HTTP/2 to tonic: each gRPC message is charged to its connection before its bytes are let
//! through, and given back once the call has asked for the next one.
//!
//! | bytes | part of a message |
//! |---|---|
//! | 1 | 1: compressed, which is not taken; else 0 |
//! | 4 | length, big-endian |
//! | n | the message |
//!
//! tonic allocates the declared length as soon as it sees it, so the declared length is what is charged. A message that
//! stands still is ended, and a body that ends before its call does is an error here: tonic itself takes a cancelled call for
//! one that has ended well.

#![deny(clippy::indexing_slicing)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::status::{self, malformed_message, message_too_large};
use super::wire::{self, Charge, Connection};
use crate::fault::{Fault, Kind};

const HEAD_BYTES: usize = 5;
/// A message that gets this share of itself, or [`PROGRESS_BYTES`], in `limits.message_idle` does not stand still.
const PROGRESS_SHARE: u64 = 16;
const PROGRESS_BYTES: u64 = 64 * 1024;

/// Charges that outlive the body: what a call was asked stays in memory until it is answered.
pub(super) type Kept = Arc<Mutex<Option<Charge>>>;

/// How large a message may be, and the setting that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub bytes: u64,
    pub setting: &'static str,
}

/// Reads along the messages of one body.
#[derive(Debug, Default)]
struct Framing {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Declared length of the message that is under way, its head included, and what is missing of it.
    open: u64,
    left: u64,
    whole: u64,
}

impl Framing {
    fn is_within(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Takes the next bytes. Returns the declared lengths of the messages that begin in them.
    fn read(&mut self, mut bytes: &[u8], bound: Bound) -> Result<u64, Fault> {
        let mut declared = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= step as u64;
                bytes = bytes.get(step..).unwrap_or(&[]);
            } else {
                for (place, byte) in self.head.iter_mut().skip(self.have).zip(bytes) {
                    *place = *byte;
                }
                let step = (HEAD_BYTES - self.have).min(bytes.len());
                self.have += step;
                bytes = bytes.get(step..).unwrap_or(&[]);
                if self.have < HEAD_BYTES {
                    break;
                }
                self.have = 0;
                let [flag, a, b, c, d] = self.head;
                if flag != 0 {
                    return Err(malformed_message(format!(
                        "its first byte is {flag}, and gRPC compression is not taken; compress the Arrow body instead"
                    )));
                }
                let length = u64::from(u32::from_be_bytes([a, b, c, d]));
                if length > bound.bytes {
                    wire::met(bound.setting);
                    return Err(message_too_large(length, bound.bytes, bound.setting));
                }
                self.open = length + HEAD_BYTES as u64;
                self.left = length;
                declared += self.open;
            }
            if self.left == 0 && self.have == 0 {
                self.open = 0;
                self.whole += 1;
            }
        }
        Ok(declared)
    }
}

enum State {
    Reading,
    /// Bytes that wait for room.
    Waiting(Bytes, BoxFuture<'static, Result<Charge, Fault>>),
    Ended,
}

pub(super) struct CountedBody<B> {
    inner: B,
    connection: Arc<Connection>,
    bound: Bound,
    framing: Framing,
    state: State,
    charge: Option<Charge>,
    /// What of this body is counted as due.
    due: u64,
    /// Where the charge goes if it is to outlive the body.
    kept: Option<Kept>,
    /// When the message under way has to have got on, and what it still has to get until then.
    deadline: Option<Instant>,
    to_get: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> CountedBody<B> {
    pub(super) fn new(
        inner: B,
        connection: Arc<Connection>,
        bound: Bound,
        kept: Option<Kept>,
    ) -> Self {
        CountedBody {
            inner,
            connection,
            bound,
            framing: Framing::default(),
            state: State::Reading,
            charge: None,
            due: 0,
            kept,
            deadline: None,
            to_get: 0,
            timer: None,
        }
    }

    /// The call has asked for more: it has taken the messages that are whole.
    fn give_back(&mut self) {
        if self.kept.is_none()
            && let Some(charge) = &mut self.charge
        {
            charge.shrink_to(self.framing.open);
        }
    }

    fn set_due(&mut self, due: u64) {
        self.connection.due(due, self.due);
        self.due = due;
    }

    fn admitted(&mut self, charge: Charge) {
        match &mut self.charge {
            Some(own) => own.add(charge),
            None => self.charge = Some(charge),
        }
        self.set_due(self.framing.left);
        self.deadline = None;
    }

    /// Notes that bytes came.
    fn got(&mut self, bytes: u64) {
        self.to_get = self.to_get.saturating_sub(bytes);
        if self.to_get == 0 || !self.framing.is_within() {
            self.deadline = None;
        }
    }

    /// Resolves when the message under way, or the first one, has stood still for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.framing.is_within() && self.framing.whole > 0 {
            return Poll::Pending;
        }
        let idle: Duration = self.connection.limits().message_idle;
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => {
                self.to_get = PROGRESS_BYTES.max(self.framing.open / PROGRESS_SHARE);
                *self.deadline.insert(Instant::now() + idle)
            }
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(status::of(fault))))
    }

    fn stalled(&mut self) -> Fault {
        wire::met("limits.message_idle");
        let idle = self.connection.limits().message_idle.as_secs_f64();
        Fault::new(
            Kind::Deadline,
            "message_stalled",
            format!(
                "a message stands still, missing={} bytes, seconds={idle}; send messages whole, or raise limits.message_idle",
                self.framing.left
            ),
        )
    }
}

impl<B> Body for CountedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let body = self.get_mut();
        match &mut body.state {
            State::Ended => return Poll::Ready(None),
            State::Waiting(_, room) => {
                let room = ready!(room.as_mut().poll(cx));
                let State::Waiting(bytes, _) = std::mem::replace(&mut body.state, State::Reading)
                else {
                    return Poll::Ready(None);
                };
                return match room {
                    Ok(charge) => {
                        body.admitted(charge);
                        Poll::Ready(Some(Ok(Frame::data(bytes))))
                    }
                    Err(fault) => body.end(fault),
                };
            }
            State::Reading => {}
        }
        body.give_back();
        let frame = match Pin::new(&mut body.inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(body.poll_stalled(cx));
                let fault = body.stalled();
                return body.end(fault);
            }
            Poll::Ready(frame) => frame,
        };
        let bytes = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            },
            Some(Err(error)) => return body.end(gone(&error)),
            None if !body.inner.is_end_stream() => {
                return body.end(gone(&"the call was cancelled"));
            }
            None if body.framing.is_within() => {
                return body.end(malformed_message("the stream ended within it"));
            }
            None => {
                body.state = State::Ended;
                return Poll::Ready(None);
            }
        };
        body.connection.taken(bytes.len() as u64);
        let declared = match body.framing.read(&bytes, body.bound) {
            Ok(declared) => declared,
            Err(fault) => return body.end(fault),
        };
        body.got(bytes.len() as u64);
        if declared == 0 {
            body.set_due(body.framing.left);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match body.connection.charge_at_once(declared) {
            Some(charge) => {
                body.admitted(charge);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                let connection = body.connection.clone();
                let room = async move { connection.charge(declared).await };
                body.state = State::Waiting(bytes, Box::pin(room));
                // Polled at once: from then on it is woken, and its connection is known to wait.
                Pin::new(body).poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<B> Drop for CountedBody<B> {
    fn drop(&mut self) {
        self.set_due(0);
        if let (Some(kept), Some(charge)) = (&self.kept, self.charge.take()) {
            *kept.lock() = Some(charge);
        }
    }
}

/// The client went away. Not by tonic's word for it: a request that fails with that is taken for one that has ended.
fn gone(why: &dyn std::fmt::Display) -> Fault {
    Fault::new(
        Kind::Internal,
        status::STREAM_BROKEN,
        format!("the client went away: {why}"),
    )
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
