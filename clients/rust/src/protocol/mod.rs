//! The words that a producer and the server exchange in `app_metadata` of a DoPut stream
//! (DESIGN, section 3, "Ingest by DoPut"). Two spellings of the same messages: JSON (first byte `{`) for
//! people and scripts, binary (`proto/deltaplane/v1/ingest.proto`) for libraries.
//!
//! This module knows bytes and messages. It knows no stream, no batch and no state: what may follow
//! what is the producer's ([`crate::producer`]) and the server's business.

#![deny(clippy::indexing_slicing)]

mod binary;
mod details;
mod json;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use details::{ERROR_DOMAIN, decode_reason, encode_reason};

/// Stable words that stand in front of an error's text (`producer_fenced: ...`) and in its details.
pub mod reason {
    /// FAILED_PRECONDITION: a newer epoch of this producer exists. Final for this one.
    pub const PRODUCER_FENCED: &str = "producer_fenced";
    /// INVALID_ARGUMENT: this seq was taken by other bytes.
    pub const SEQ_REUSED: &str = "seq_reused";
    /// OUT_OF_RANGE: a gap; the text has `expected=n`.
    pub const EXPECTED: &str = "expected";
    /// RESOURCE_EXHAUSTED: no room in the log; retry later.
    pub const LOG_FULL: &str = "log_full";
    /// UNAVAILABLE: a sync failed; only a restart of the server helps.
    pub const LOG_POISONED: &str = "log_poisoned";
    /// UNAVAILABLE: the server ends; connect again later.
    pub const SHUTTING_DOWN: &str = "shutting_down";
    /// INVALID_ARGUMENT: the batch carries a column that the server fills.
    pub const RESERVED_COLUMN: &str = "reserved_column";
    /// RESOURCE_EXHAUSTED: one batch is larger than `max_batch_bytes`, as it is or once it is cast; smaller ones go through.
    pub const BATCH_TOO_LARGE: &str = "batch_too_large";
    /// RESOURCE_EXHAUSTED: one gRPC message is larger than the server's limit; smaller batches go through.
    pub const MESSAGE_TOO_LARGE: &str = "message_too_large";
    /// RESOURCE_EXHAUSTED: one batch has more rows than the server takes; smaller ones go through.
    pub const TOO_MANY_ROWS: &str = "too_many_rows";
    /// RESOURCE_EXHAUSTED: too much that other senders or this connection sent is waiting; retry later.
    pub const WIRE_FULL: &str = "wire_full";
    /// INVALID_ARGUMENT: `app_metadata` is no message of this protocol, or has no place here.
    pub const INVALID_METADATA: &str = "invalid_metadata";

    /// Those after which the same bytes are refused again, on every connection.
    pub const TOO_LARGE: [&str; 3] = [BATCH_TOO_LARGE, MESSAGE_TOO_LARGE, TOO_MANY_ROWS];
}

/// The longest name of a producer, in bytes.
pub const PRODUCER_NAME_BYTES_MAX: usize = 256;

/// Highest seq: it is stored as Int64 (`_seq`).
pub const SEQ_MAX: u64 = i64::MAX as u64;

/// The spelling of a message. Answers come in the form asked in; a stream that asks nothing is answered in JSON, which its
/// sender can read without this protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Binary,
}

/// What an ack must mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// Synced to the server's log: outlives a crash and a power cut.
    #[default]
    Durable,
    /// In a Delta version.
    Committed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    Open(Open),
    /// Stands on each batch.
    Batch {
        seq: u64,
    },
}

/// Names the producer whose stream follows. `epoch` `None`: the server gives the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub producer: String,
    pub epoch: Option<u64>,
    pub ack: AckLevel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    Ready(Ready),
    Ack(Ack),
}

/// Answers [`Open`]. `seq` and `offset` are the last durable batch's (0: none); counts are the producer's totals for this table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub epoch: u64,
    pub seq: u64,
    pub offset: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    pub max_batch_bytes: u64,
    pub max_inflight_bytes: u64,
}

/// Every batch up to `seq` has reached the level asked for. Counts are totals, so that a lost ack loses none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub seq: u64,
    pub offset: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    /// The Delta version, at level committed.
    pub version: Option<i64>,
    /// The first few rows that went to quarantine since the last ack.
    #[serde(default)]
    pub rejects: Vec<Reject>,
}

/// One row that went to quarantine. `row` counts from 0 within the batch `seq`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    pub seq: u64,
    pub row: u32,
    pub column: String,
    pub rule: String,
    pub value: String,
}

/// Why bytes are no message. All are the sender's to fix.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("metadata is empty, expected={{\"open\":{{..}}}} or {{\"seq\":n}}")]
    Empty,
    #[error("metadata is not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("metadata is neither JSON nor the binary form: {0}")]
    Binary(#[from] prost::DecodeError),
    #[error("metadata names no message, expected={expected}")]
    NoMessage { expected: &'static str },
    #[error("unknown keys in open, keys={}, known=producer,epoch,ack", keys.join(","))]
    UnknownKeys { keys: Vec<String> },
    #[error("unknown ack level, ack={0}, known=durable,committed")]
    AckLevel(String),
    #[error(
        "producer name must have 1 to {PRODUCER_NAME_BYTES_MAX} bytes and no control characters, bytes={bytes}"
    )]
    ProducerName { bytes: usize },
    #[error("seq must be 1 to {SEQ_MAX}, seq={0}")]
    Seq(u64),
}

/// Reads what a client sent, and in which form, so that the answers can follow it.
pub fn decode_client(bytes: &[u8]) -> Result<(ClientMessage, Form), ProtocolError> {
    let (message, form) = match bytes.first() {
        None => return Err(ProtocolError::Empty),
        Some(b'{') => (json::decode_client(bytes)?, Form::Json),
        Some(_) => (binary::decode_client(bytes)?, Form::Binary),
    };
    match &message {
        ClientMessage::Open(open) => check_producer_name(&open.producer)?,
        ClientMessage::Batch { seq } if *seq == 0 || *seq > SEQ_MAX => {
            return Err(ProtocolError::Seq(*seq));
        }
        ClientMessage::Batch { .. } => {}
    }
    Ok((message, form))
}

pub fn encode_client(message: &ClientMessage, form: Form) -> Bytes {
    match form {
        Form::Json => json::encode_client(message),
        Form::Binary => binary::encode_client(message),
    }
}

/// Reads what a server answered.
pub fn decode_server(bytes: &[u8]) -> Result<(ServerMessage, Form), ProtocolError> {
    match bytes.first() {
        None => Err(ProtocolError::Empty),
        Some(b'{') => Ok((json::decode_server(bytes)?, Form::Json)),
        Some(_) => Ok((binary::decode_server(bytes)?, Form::Binary)),
    }
}

pub fn encode_server(message: &ServerMessage, form: Form) -> Bytes {
    match form {
        Form::Json => json::encode_server(message),
        Form::Binary => binary::encode_server(message),
    }
}

/// 1 to [`PRODUCER_NAME_BYTES_MAX`] bytes without control characters: it stands in `_source`, logs and Delta's `txn`.
pub fn check_producer_name(name: &str) -> Result<(), ProtocolError> {
    if name.is_empty() || name.len() > PRODUCER_NAME_BYTES_MAX || name.chars().any(char::is_control)
    {
        return Err(ProtocolError::ProducerName { bytes: name.len() });
    }
    Ok(())
}
