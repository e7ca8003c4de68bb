//! The reason word of an error, in `grpc-status-details-bin`: a `google.rpc.Status` that holds one
//! `google.rpc.ErrorInfo`. The same word stands in front of the error's text, for clients that hide details.

use bytes::Bytes;
use prost::Message;

/// `ErrorInfo.domain` of every error of this server.
pub const ERROR_DOMAIN: &str = "deltaplane";

const ERROR_INFO_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";

#[derive(Clone, PartialEq, Message)]
struct StatusWire {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyWire>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyWire {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfoWire {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// The details of a status with this gRPC code and text: for `tonic::Status::with_details`.
pub fn encode_reason(code: i32, message: &str, reason: &str) -> Bytes {
    let info = ErrorInfoWire {
        reason: reason.to_owned(),
        domain: ERROR_DOMAIN.to_owned(),
    };
    let status = StatusWire {
        code,
        message: message.to_owned(),
        details: vec![AnyWire {
            type_url: ERROR_INFO_URL.to_owned(),
            value: info.encode_to_vec().into(),
        }],
    };
    status.encode_to_vec().into()
}

/// The reason word in a status's details, if there is one.
pub fn decode_reason(details: &[u8]) -> Option<String> {
    let status = StatusWire::decode(details).ok()?;
    let any = status
        .details
        .into_iter()
        .find(|any| any.type_url == ERROR_INFO_URL)?;
    let info = ErrorInfoWire::decode(any.value).ok()?;
    (!info.reason.is_empty()).then_some(info.reason)
}
