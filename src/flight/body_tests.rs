#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::VecDeque;
use std::convert::Infallible;

use super::super::wire::{Limits, Wire};
use super::*;
use crate::config::Config;

/// A body of some frames that then waits, ends, or is cancelled.
struct Frames {
    frames: VecDeque<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Waits,
    Ends,
    Cancelled,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            None if self.end == End::Waits => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Ends && self.frames.is_empty()
    }
}

fn message(bytes: usize) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(bytes).unwrap().to_be_bytes());
    out.extend(vec![7; bytes]);
    out
}

fn wire() -> Arc<Wire> {
    let mut limits = Limits::of(&Config::default());
    limits.bytes_max = 100_000;
    limits.connection_bytes_max = 10_000;
    limits.wait = Duration::from_millis(20);
    limits.message_idle = Duration::from_millis(20);
    Wire::new(limits)
}

fn body(wire: &Arc<Wire>, frames: Vec<Vec<u8>>, end: End) -> CountedBody<Frames> {
    let inner = Frames {
        frames: frames.into(),
        end,
    };
    let bound = Bound {
        bytes: 8_000,
        setting: "limits.message_bytes_max",
    };
    CountedBody::new(inner, wire.connect().unwrap(), bound, None)
}

async fn next(body: &mut CountedBody<Frames>) -> Option<Result<usize, Fault>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(match frame {
        Ok(frame) => Ok(frame.into_data().unwrap().len()),
        Err(status) => Err(status::broken(&status)),
    })
}

async fn refused(body: &mut CountedBody<Frames>) -> Fault {
    loop {
        if let Err(fault) = next(body).await.unwrap() {
            return fault;
        }
    }
}

#[tokio::test]
async fn a_message_is_charged_as_it_begins_and_given_back_when_the_next_is_asked_for() {
    let wire = wire();
    let whole = message(4_000);
    // Cut in the middle of the head, and of the message; two small ones in one frame.
    let frames = vec![
        whole[..3].to_vec(),
        whole[3..100].to_vec(),
        whole[100..].to_vec(),
        [message(10), message(0), message(20)].concat(),
    ];
    let mut body = body(&wire, frames, End::Ends);
    assert_eq!(next(&mut body).await, Some(Ok(3)));
    assert_eq!(wire.held_bytes(), 0);
    assert_eq!(next(&mut body).await, Some(Ok(97)));
    assert_eq!(wire.held_bytes(), 4_005);
    assert_eq!(next(&mut body).await, Some(Ok(3_905)));
    assert_eq!(wire.held_bytes(), 4_005);
    assert_eq!(next(&mut body).await, Some(Ok(45)));
    assert_eq!(wire.held_bytes(), 45);
    assert_eq!(next(&mut body).await, None);
    assert_eq!(wire.held_bytes(), 0);
}

#[tokio::test]
async fn what_is_kept_outlives_the_body() {
    let wire = wire();
    let kept = Kept::default();
    let mut body = body(&wire, vec![message(100)], End::Ends);
    body.kept = Some(kept.clone());
    while next(&mut body).await.is_some() {}
    drop(body);
    assert_eq!(wire.held_bytes(), 105);
    drop(kept);
    assert_eq!(wire.held_bytes(), 0);
}

#[tokio::test]
async fn what_is_too_large_noise_or_never_whole_is_told_apart() {
    let wire = wire();
    let told = |fault: Fault| (fault.kind, fault.reason.into_owned());
    let mut large = body(&wire, vec![message(8_001)], End::Waits);
    let fault = refused(&mut large).await;
    assert!(
        fault.message.contains("limits.message_bytes_max"),
        "{fault}"
    );
    assert_eq!(
        told(fault),
        (Kind::Exhausted, "message_too_large".to_owned())
    );
    let mut noise = body(&wire, vec![vec![99; 50]], End::Ends);
    assert_eq!(
        told(refused(&mut noise).await),
        (Kind::Invalid, "malformed_message".to_owned())
    );
    let half = message(1_000)[..500].to_vec();
    let mut cut = body(&wire, vec![half.clone()], End::Ends);
    assert_eq!(
        told(refused(&mut cut).await),
        (Kind::Invalid, "malformed_message".to_owned())
    );
    let mut stalled = body(&wire, vec![half], End::Waits);
    assert_eq!(
        told(refused(&mut stalled).await),
        (Kind::Deadline, "message_stalled".to_owned())
    );
    // A call that nobody has said anything in does not stay open either.
    let mut silent = body(&wire, Vec::new(), End::Waits);
    assert_eq!(told(refused(&mut silent).await).0, Kind::Deadline);
    // Cancelled between two messages: not the end of the stream.
    let mut gone = body(&wire, vec![message(10)], End::Cancelled);
    assert_eq!(
        told(refused(&mut gone).await),
        (Kind::Cancelled, "stream_broken".to_owned())
    );
    drop((large, noise, cut, stalled, silent, gone));
    assert_eq!(wire.held_bytes(), 0);
}

#[tokio::test]
async fn a_message_waits_for_room_and_is_refused_after_a_time() {
    let wire = wire();
    let mut body = body(&wire, vec![message(5_000)], End::Ends);
    let account = body.connection.clone();
    let held = account.charge(9_000).await.unwrap();
    let fault = refused(&mut body).await;
    assert_eq!((fault.kind, &*fault.reason), (Kind::Exhausted, "wire_full"));
    drop((held, body));
    assert_eq!(wire.held_bytes(), 0);
}
