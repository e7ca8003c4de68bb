//! What a descriptor or a ticket asks for, decoded once.

use arrow_flight::sql::{Any, Command};
use prost::Message;

use crate::fault::Fault;

/// A Flight SQL command, or plain SQL text from a client that knows no Flight SQL.
pub(super) enum Request {
    Command(Command),
    Text(String),
}

/// # Errors
/// INVALID_ARGUMENT: neither a protobuf `Any` nor UTF-8 text.
pub(super) fn decode(bytes: &[u8]) -> Result<Request, Fault> {
    let refused = || {
        Fault::invalid(
            "invalid_command",
            "the command is neither a Flight SQL message nor SQL text",
        )
    };
    match Any::decode(bytes) {
        Ok(any) if any.type_url.starts_with("type.googleapis.com/") => match Command::try_from(any)
        {
            Ok(Command::Unknown(any)) => Err(Fault::new(
                crate::fault::Kind::Unimplemented,
                "not_implemented",
                format!("unknown Flight SQL command {}", any.type_url),
            )),
            Ok(command) => Ok(Request::Command(command)),
            Err(_) => Err(refused()),
        },
        _ => match std::str::from_utf8(bytes) {
            Ok(text) if !text.trim().is_empty() => Ok(Request::Text(text.to_owned())),
            _ => Err(refused()),
        },
    }
}
