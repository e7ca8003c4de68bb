//! The one place where kinds of error become gRPC codes.

use deltaplane_client::protocol;
use tonic::{Code, Status};

use crate::fault::{Fault, Kind};

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
