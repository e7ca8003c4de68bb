//! One call: what it may send by its method, what is charged for it, the client's deadline, and the errors that tonic finds
//! by itself, told as every other error is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Request, Response};
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::body::{Bound, CountedBody, Kept};
use super::status;
use super::wire::{self, Call, Charge, Connection, Limits};
use crate::fault::{Fault, Kind};

/// What an open call takes besides its headers: HTTP/2's and tonic's state of it.
const CALL_BYTES: u64 = 8 * 1024;

const SERVICE: &str = "/arrow.flight.protocol.FlightService/";

/// Those that send many messages, one after the other: a message is given back when the call asks for the next one.
fn sends_many(method: &str) -> bool {
    matches!(method, "DoPut" | "DoExchange" | "Handshake")
}

fn bound(method: &str, limits: &Limits) -> Bound {
    match method {
        "DoPut" | "DoExchange" => Bound {
            bytes: limits.message_bytes_max,
            setting: "limits.message_bytes_max",
        },
        _ => Bound {
            bytes: limits.request_bytes_max,
            setting: "limits.request_bytes_max",
        },
    }
}

/// Answers one call.
pub(super) async fn answer<S>(
    mut service: S,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Answer>
where
    S: Service<
            Request<CountedBody<Incoming>>,
            Response = Response<tonic::body::Body>,
            Error = Infallible,
        >,
{
    let call = connection.call();
    let headers = request.headers();
    let sent = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let bytes = CALL_BYTES + (sent.sum::<usize>() + request.uri().path().len()) as u64;
    let charge = match connection.charge_now(bytes) {
        Ok(charge) => charge,
        Err(fault) => return refused(fault),
    };
    let path = request.uri().path();
    let method = path.strip_prefix(SERVICE).unwrap_or(path);
    let bound = bound(method, connection.limits());
    let kept = (!sends_many(method)).then(Kept::default);
    let deadline = timeout(headers);
    let mut request =
        request.map(|body| CountedBody::new(body, connection.clone(), bound, kept.clone()));
    request.extensions_mut().insert(connection);
    let answering = service.call(request);
    let response = match deadline {
        None => answering.await,
        Some(limit) => match tokio::time::timeout(limit, answering).await {
            Ok(response) => response,
            Err(_) => return refused(too_late(limit)),
        },
    };
    let response = match response {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let response = match found_by_tonic(response.headers()) {
        Some(fault) => status::of(fault).into_http(),
        None => response,
    };
    response.map(|inner| Answer {
        inner,
        _open: Some(Open {
            _call: call,
            _charge: charge,
            _kept: kept,
        }),
    })
}

fn refused(fault: Fault) -> Response<Answer> {
    let response = status::of(fault).into_http::<tonic::body::Body>();
    response.map(|inner| Answer { inner, _open: None })
}

fn too_late(limit: Duration) -> Fault {
    Fault::new(
        Kind::Deadline,
        "deadline",
        format!(
            "not answered within the client's own time limit, seconds={}",
            limit.as_secs_f64()
        ),
    )
}

/// An error without our details: tonic refused the request before the service saw it.
fn found_by_tonic(headers: &HeaderMap) -> Option<Fault> {
    let status = Status::from_header_map(headers)?;
    let refused = matches!(
        status.code(),
        Code::Internal | Code::OutOfRange | Code::ResourceExhausted
    );
    let fault = (refused && status.details().is_empty()).then(|| status::broken(&status))?;
    if &*fault.reason == "message_too_large" {
        wire::met("limits.message_bytes_max");
    }
    Some(fault)
}

/// The `grpc-timeout` of a request: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = text.get(..unit_at)?;
    if digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What is held until the answer has been sent, or its reader is gone.
struct Open {
    _call: Call,
    _charge: Charge,
    _kept: Option<Kept>,
}

/// An answer's body.
pub(super) struct Answer {
    inner: tonic::body::Body,
    _open: Option<Open>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let answer = self.get_mut();
        let frame = ready!(Pin::new(&mut answer.inner).poll_frame(cx));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_clients_time_limit_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("20S"), Some(Duration::from_secs(20)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for none in ["", "S", "1x", "123456789S", "-1S", "1é"] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = hyper::header::HeaderValue::from_bytes(none.as_bytes()) {
                headers.insert("grpc-timeout", value);
            }
            assert_eq!(timeout(&headers), None, "{none}");
        }
    }

    #[test]
    fn what_tonic_refuses_is_told_as_ours_is() {
        let told = |status: Status| {
            let response = status.into_http::<tonic::body::Body>();
            found_by_tonic(response.headers()).map(|f| (f.kind, f.reason.into_owned()))
        };
        assert_eq!(
            told(Status::internal("failed to decode Protobuf message")),
            Some((Kind::Invalid, "malformed_message".to_owned()))
        );
        assert_eq!(
            told(Status::out_of_range("too large")),
            Some((Kind::Exhausted, "message_too_large".to_owned()))
        );
        // Ours have details, and what is not implemented is said by tonic itself.
        assert_eq!(told(status::of(Fault::internal("a bug"))), None);
        assert_eq!(told(Status::unimplemented("")), None);
    }
}
