//! The JSON form: `{"open":{..}}`, `{"seq":42}`, `{"ready":{..}}`, `{"ack":{..}}`.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ack, AckLevel, ClientMessage, Open, ProtocolError, Ready, ServerMessage};

/// A batch's mark tolerates keys it does not know (a newer client's hints); an open does not, because a
/// misspelt `epoch` would silently fence a running producer.
#[derive(Deserialize)]
struct ClientWire {
    open: Option<Map<String, Value>>,
    seq: Option<u64>,
}

#[derive(Serialize)]
struct OpenWire<'a> {
    producer: &'a str,
    epoch: Option<u64>,
    ack: AckLevel,
}

#[derive(Deserialize)]
struct OpenFields {
    producer: String,
    #[serde(default)]
    epoch: Option<u64>,
}

#[derive(Serialize)]
struct OpenEnvelope<'a> {
    open: OpenWire<'a>,
}

#[derive(Deserialize)]
struct ServerWire {
    ready: Option<Ready>,
    ack: Option<Ack>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ServerEnvelope<'a> {
    Ready(&'a Ready),
    Ack(&'a Ack),
}

pub(super) fn decode_client(bytes: &[u8]) -> Result<ClientMessage, ProtocolError> {
    let wire: ClientWire = serde_json::from_slice(bytes)?;
    match (wire.open, wire.seq) {
        (Some(open), None) => decode_open(open).map(ClientMessage::Open),
        (None, Some(seq)) => Ok(ClientMessage::Batch { seq }),
        _ => Err(ProtocolError::NoMessage {
            expected: "either {\"open\":{..}} or {\"seq\":n}",
        }),
    }
}

fn decode_open(fields: Map<String, Value>) -> Result<Open, ProtocolError> {
    let unknown: Vec<String> = fields
        .keys()
        .filter(|key| !matches!(key.as_str(), "producer" | "epoch" | "ack"))
        .take(8)
        .map(|key| key.chars().take(64).collect())
        .collect();
    if !unknown.is_empty() {
        return Err(ProtocolError::UnknownKeys { keys: unknown });
    }
    let ack = match fields.get("ack") {
        None | Some(Value::Null) => AckLevel::Durable,
        Some(Value::String(word)) if word == "durable" => AckLevel::Durable,
        Some(Value::String(word)) if word == "committed" => AckLevel::Committed,
        Some(other) => {
            let text = other.to_string().chars().take(64).collect();
            return Err(ProtocolError::AckLevel(text));
        }
    };
    let OpenFields { producer, epoch } = serde_json::from_value(Value::Object(fields))?;
    Ok(Open {
        producer,
        epoch,
        ack,
    })
}

pub(super) fn encode_client(message: &ClientMessage) -> Bytes {
    match message {
        ClientMessage::Open(open) => write(&OpenEnvelope {
            open: OpenWire {
                producer: &open.producer,
                epoch: open.epoch,
                ack: open.ack,
            },
        }),
        ClientMessage::Batch { seq } => {
            let mut text = String::with_capacity(32);
            // Writing into a String cannot fail.
            let _ = write!(text, "{{\"seq\":{seq}}}");
            text.into()
        }
    }
}

pub(super) fn decode_server(bytes: &[u8]) -> Result<ServerMessage, ProtocolError> {
    let wire: ServerWire = serde_json::from_slice(bytes)?;
    match (wire.ready, wire.ack) {
        (Some(ready), None) => Ok(ServerMessage::Ready(ready)),
        (None, Some(ack)) => Ok(ServerMessage::Ack(ack)),
        _ => Err(ProtocolError::NoMessage {
            expected: "either {\"ready\":{..}} or {\"ack\":{..}}",
        }),
    }
}

pub(super) fn encode_server(message: &ServerMessage) -> Bytes {
    write(&match message {
        ServerMessage::Ready(ready) => ServerEnvelope::Ready(ready),
        ServerMessage::Ack(ack) => ServerEnvelope::Ack(ack),
    })
}

fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("strings, numbers and lists of them always have a JSON form")
        .into()
}
