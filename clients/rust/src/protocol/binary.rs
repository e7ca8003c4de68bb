//! The binary form, by hand instead of by `protoc`: the build then needs no tool, and the field numbers
//! stand where they can be compared with `proto/deltaplane/v1/ingest.proto` (a test does).

use bytes::Bytes;
use prost::Message;

use super::{Ack, AckLevel, ClientMessage, Open, ProtocolError, Ready, Reject, ServerMessage};

#[derive(Clone, PartialEq, Message)]
struct ClientWire {
    #[prost(oneof = "ClientKind", tags = "1, 2")]
    message: Option<ClientKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ClientKind {
    #[prost(message, tag = "1")]
    Open(OpenWire),
    #[prost(message, tag = "2")]
    Batch(BatchWire),
}

#[derive(Clone, PartialEq, Message)]
struct OpenWire {
    #[prost(string, tag = "1")]
    producer: String,
    #[prost(uint64, optional, tag = "2")]
    epoch: Option<u64>,
    #[prost(int32, tag = "3")]
    ack: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BatchWire {
    #[prost(uint64, tag = "1")]
    seq: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ServerWire {
    #[prost(oneof = "ServerKind", tags = "1, 2")]
    message: Option<ServerKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ServerKind {
    #[prost(message, tag = "1")]
    Ready(ReadyWire),
    #[prost(message, tag = "2")]
    Ack(AckWire),
}

#[derive(Clone, PartialEq, Message)]
struct ReadyWire {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(uint64, tag = "4")]
    accepted: u64,
    #[prost(uint64, tag = "5")]
    quarantined: u64,
    #[prost(uint64, tag = "6")]
    duplicates: u64,
    #[prost(uint64, tag = "7")]
    max_batch_bytes: u64,
    #[prost(uint64, tag = "8")]
    max_inflight_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct AckWire {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    accepted: u64,
    #[prost(uint64, tag = "4")]
    quarantined: u64,
    #[prost(uint64, tag = "5")]
    duplicates: u64,
    #[prost(int64, optional, tag = "6")]
    version: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    rejects: Vec<RejectWire>,
}

#[derive(Clone, PartialEq, Message)]
struct RejectWire {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint32, tag = "2")]
    row: u32,
    #[prost(string, tag = "3")]
    column: String,
    #[prost(string, tag = "4")]
    rule: String,
    #[prost(string, tag = "5")]
    value: String,
}

pub(super) fn decode_client(bytes: &[u8]) -> Result<ClientMessage, ProtocolError> {
    match ClientWire::decode(bytes)?.message {
        Some(ClientKind::Open(open)) => Ok(ClientMessage::Open(Open {
            producer: open.producer,
            epoch: open.epoch,
            ack: match open.ack {
                0 | 1 => AckLevel::Durable,
                2 => AckLevel::Committed,
                other => return Err(ProtocolError::AckLevel(other.to_string())),
            },
        })),
        Some(ClientKind::Batch(batch)) => Ok(ClientMessage::Batch { seq: batch.seq }),
        None => Err(ProtocolError::NoMessage {
            expected: "open or batch",
        }),
    }
}

pub(super) fn encode_client(message: &ClientMessage) -> Bytes {
    let kind = match message {
        ClientMessage::Open(open) => ClientKind::Open(OpenWire {
            producer: open.producer.clone(),
            epoch: open.epoch,
            ack: match open.ack {
                AckLevel::Durable => 1,
                AckLevel::Committed => 2,
            },
        }),
        ClientMessage::Batch { seq } => ClientKind::Batch(BatchWire { seq: *seq }),
    };
    let wire = ClientWire {
        message: Some(kind),
    };
    wire.encode_to_vec().into()
}

pub(super) fn decode_server(bytes: &[u8]) -> Result<ServerMessage, ProtocolError> {
    match ServerWire::decode(bytes)?.message {
        Some(ServerKind::Ready(ready)) => Ok(ServerMessage::Ready(Ready {
            epoch: ready.epoch,
            seq: ready.seq,
            offset: ready.offset,
            accepted: ready.accepted,
            quarantined: ready.quarantined,
            duplicates: ready.duplicates,
            max_batch_bytes: ready.max_batch_bytes,
            max_inflight_bytes: ready.max_inflight_bytes,
        })),
        Some(ServerKind::Ack(ack)) => Ok(ServerMessage::Ack(Ack {
            seq: ack.seq,
            offset: ack.offset,
            accepted: ack.accepted,
            quarantined: ack.quarantined,
            duplicates: ack.duplicates,
            version: ack.version,
            rejects: ack.rejects.into_iter().map(decode_reject).collect(),
        })),
        None => Err(ProtocolError::NoMessage {
            expected: "ready or ack",
        }),
    }
}

fn decode_reject(wire: RejectWire) -> Reject {
    Reject {
        seq: wire.seq,
        row: wire.row,
        column: wire.column,
        rule: wire.rule,
        value: wire.value,
    }
}

pub(super) fn encode_server(message: &ServerMessage) -> Bytes {
    let kind = match message {
        ServerMessage::Ready(ready) => ServerKind::Ready(ReadyWire {
            epoch: ready.epoch,
            seq: ready.seq,
            offset: ready.offset,
            accepted: ready.accepted,
            quarantined: ready.quarantined,
            duplicates: ready.duplicates,
            max_batch_bytes: ready.max_batch_bytes,
            max_inflight_bytes: ready.max_inflight_bytes,
        }),
        ServerMessage::Ack(ack) => ServerKind::Ack(AckWire {
            seq: ack.seq,
            offset: ack.offset,
            accepted: ack.accepted,
            quarantined: ack.quarantined,
            duplicates: ack.duplicates,
            version: ack.version,
            rejects: ack.rejects.iter().map(encode_reject).collect(),
        }),
    };
    let wire = ServerWire {
        message: Some(kind),
    };
    wire.encode_to_vec().into()
}

fn encode_reject(reject: &Reject) -> RejectWire {
    RejectWire {
        seq: reject.seq,
        row: reject.row,
        column: reject.column.clone(),
        rule: reject.rule.clone(),
        value: reject.value.clone(),
    }
}
