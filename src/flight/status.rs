//! The one place where kinds of error become gRPC codes.

use deltaplane_client::protocol;
use tonic::{Code, Status};

use crate::fault::{Fault, Kind};

/// The reason of a stream whose client went away.
pub const STREAM_BROKEN: &str = "stream_broken";

/// gRPC carries a status in headers: longer texts are cut by proxies or break the stream.
const TEXT_BYTES_MAX: usize = 2000;

pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Conflict => Code::Aborted,
        Kind::Deadline => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Denied => Code::PermissionDenied,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Corrupt => Code::DataLoss,
        Kind::Internal => Code::Internal,
    }
}

/// The reason stands in the text and, for machines, in the details.
pub fn of(fault: Fault) -> Status {
    let code = code(fault.kind);
    let mut text = fault.to_string();
    if text.len() > TEXT_BYTES_MAX {
        let cut = (0..=TEXT_BYTES_MAX)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(cut);
    }
    let details = protocol::encode_reason(code.into(), &text, &fault.reason);
    Status::with_details(code, text, details)
}

fn kind(code: Code) -> Kind {
    match code {
        Code::InvalidArgument => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::Precondition,
        Code::OutOfRange => Kind::OutOfRange,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::Unavailable => Kind::Unavailable,
        Code::Aborted => Kind::Conflict,
        Code::DeadlineExceeded => Kind::Deadline,
        Code::Cancelled => Kind::Cancelled,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::Denied,
        Code::Unimplemented => Kind::Unimplemented,
        Code::DataLoss => Kind::Corrupt,
        Code::Ok | Code::Unknown | Code::Internal => Kind::Internal,
    }
}

/// A message above its limit, at every door.
pub fn message_too_large(bytes: u64, limit: u64, setting: &str) -> Fault {
    Fault::new(
        Kind::Exhausted,
        "message_too_large",
        format!(
            "message too large, bytes={bytes}, limit={limit}; send smaller batches or requests, or raise {setting}"
        ),
    )
}

/// What a part of Flight is answered with that is not here.
pub fn not_supported(what: &str) -> Fault {
    Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("{what} is not supported"),
    )
}

/// Bytes that are no message of the call, at every door.
pub fn malformed_message(what: impl std::fmt::Display) -> Fault {
    let what: String = what.to_string().chars().take(300).collect();
    Fault::invalid(
        "malformed_message",
        format!(
            "not a message of this call: {what}; send what a gRPC library makes of Flight's messages"
        ),
    )
}

/// What a client's stream ended with, when it did not end well: a fault of ours on its way through tonic, what tonic's decoder
/// found, or a client that went away.
pub fn broken(status: &Status) -> Fault {
    if let Some(reason) = protocol::decode_reason(status.details()) {
        // Carried by another word than the client's: tonic takes a request that was cancelled for one that has ended well.
        let kind = if reason == STREAM_BROKEN {
            Kind::Cancelled
        } else {
            kind(status.code())
        };
        let text = status.message();
        let own = text
            .strip_prefix(&*reason)
            .and_then(|t| t.strip_prefix(": "));
        let message = own.unwrap_or(text).to_owned();
        return Fault {
            kind,
            reason: reason.into(),
            message,
        };
    }
    match status.code() {
        // tonic's words for a message above the decoding limit, before and after decompression.
        Code::OutOfRange | Code::ResourceExhausted => Fault::new(
            Kind::Exhausted,
            "message_too_large",
            format!(
                "{}; send smaller batches or requests, or raise limits.message_bytes_max",
                status.message()
            ),
        ),
        // tonic's word for bytes that are no protobuf of this type, or no gRPC frame.
        Code::Internal => malformed_message(status.message()),
        _ => Fault::new(Kind::Cancelled, STREAM_BROKEN, status.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_has_one_answer_whoever_found_it() {
        let by_tonic = broken(&Status::out_of_range("decoded message length too large"));
        let ours = message_too_large(70, 64, "limits.message_bytes_max");
        assert_eq!(
            (by_tonic.kind, by_tonic.reason),
            (ours.kind, ours.reason.clone())
        );
        // A fault that went through tonic is the same fault.
        assert_eq!(broken(&of(ours.clone())), ours);
        let noise = broken(&Status::internal("failed to decode Protobuf message"));
        assert_eq!(
            (noise.kind, &*noise.reason),
            (Kind::Invalid, "malformed_message")
        );
        let gone = broken(&Status::unknown("connection reset"));
        assert_eq!(
            (gone.kind, &*gone.reason),
            (Kind::Cancelled, "stream_broken")
        );
    }
}
