//! Changed bytes of what clients send beside rows: tickets, commands, and the metadata of a stream.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, Command, CommandGetTables, CommandPreparedStatementQuery,
    CommandStatementIngest, CommandStatementQuery, ProstMessageExt, TicketStatementQuery,
};
use deltaplane_client::protocol::{
    self, Ack, AckLevel, ClientMessage, Form, Open, Ready, Reject, ServerMessage,
};
use prost::Message;
use tonic::metadata::MetadataMap;

use super::command::{self, Request};
use super::ingest::Ingest;
use super::ticket::{Ticket, What, from_hex, hex};
use crate::fuzz_tests::Target;
use crate::query::QueryContext;

fn rows() -> RecordBatch {
    let texts = StringArray::from(vec![Some("a"), None, Some("ccc")]);
    let numbers = Int64Array::from(vec![1, 2, 3]);
    let columns = [
        ("s", Arc::new(texts) as ArrayRef),
        ("n", Arc::new(numbers) as ArrayRef),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A ticket's JSON as the wire has it.
fn wrapped(json: &[u8]) -> Vec<u8> {
    let statement_handle = json.to_vec().into();
    let ticket = TicketStatementQuery { statement_handle };
    ticket.as_any().encode_to_vec()
}

#[test]
fn tickets() {
    let prepared = What::Prepared {
        handle: hex(&[0, 171, 255]),
        binds: 3,
    };
    let kinds = [
        What::Sql("SELECT 'a' FROM t".to_owned()),
        prepared,
        What::Done,
        What::rows(&rows()).unwrap(),
    ];
    let seeds = kinds.map(|what| {
        let mut ticket = Ticket::new("public", what);
        ticket.transaction = Some("00ff".to_owned());
        ticket.timestamps = Some("ms".to_owned());
        serde_json::to_vec(&ticket).unwrap()
    });
    let target = Target {
        seeds: seeds.into(),
        seal: &wrapped,
        words: &[
            "\u{fc}", "null", "\"", "\\u0000", "\\ud800", "{", "}", "\"sql\"", "\"rows\"",
            "\"done\"", "ff", "+f",
        ],
        ..Target::default()
    };
    target.run(|input| {
        let Some(ticket) = Ticket::decode(input) else {
            return false;
        };
        assert_eq!(Ticket::decode(&ticket.encode()), Some(ticket.clone()));
        if let Ok(rows) = ticket.what.into_rows() {
            let again = What::rows(&rows).unwrap().into_rows().unwrap();
            assert_eq!(again.columns(), rows.columns());
        }
        true
    });
}

#[test]
fn rows_in_a_ticket() {
    let What::Rows(text) = What::rows(&rows()).unwrap() else {
        return;
    };
    let target = Target {
        seeds: vec![from_hex(&text).unwrap()],
        ..Target::default()
    };
    target.run(|input| {
        let Ok(rows) = What::Rows(hex(input)).into_rows() else {
            return false;
        };
        let again = What::rows(&rows).unwrap().into_rows().unwrap();
        assert_eq!(again.columns(), rows.columns());
        true
    });
}

fn ingest() -> CommandStatementIngest {
    let mut command = CommandStatementIngest {
        table: "t".to_owned(),
        schema: Some("plant".to_owned()),
        catalog: Some("deltaplane".to_owned()),
        transaction_id: Some(vec![1, 2].into()),
        ..CommandStatementIngest::default()
    };
    let definition = command.table_definition_options.get_or_insert_default();
    (definition.if_not_exist, definition.if_exists) = (1, 2);
    let options = [
        ("deltaplane.producer", "p"),
        ("deltaplane.seq", "7"),
        ("deltaplane.on_reject", "quarantine"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    command.options = options.into();
    command
}

#[test]
fn commands() {
    let temporary = CommandStatementIngest {
        temporary: true,
        schema: None,
        options: Default::default(),
        ..ingest()
    };
    let query = CommandStatementQuery {
        query: "SELECT 1".to_owned(),
        transaction_id: Some(vec![0; 16].into()),
    };
    let tables = CommandGetTables {
        table_name_filter_pattern: Some("%raw_".to_owned()),
        table_types: vec!["TABLE".to_owned()],
        include_schema: true,
        ..CommandGetTables::default()
    };
    let prepared = CommandPreparedStatementQuery {
        prepared_statement_handle: vec![0; 16].into(),
    };
    let create = ActionCreatePreparedStatementRequest {
        query: "SELECT ?".to_owned(),
        transaction_id: None,
    };
    let target = Target {
        seeds: vec![
            ingest().as_any().encode_to_vec(),
            temporary.as_any().encode_to_vec(),
            query.as_any().encode_to_vec(),
            tables.as_any().encode_to_vec(),
            prepared.as_any().encode_to_vec(),
            create.as_any().encode_to_vec(),
            b"SELECT 1".to_vec(),
        ],
        words: &[
            "\u{0}",
            "temp",
            ".",
            "\"",
            "deltaplane.",
            "_quarantine",
            "\u{fc}",
        ],
        ..Target::default()
    };
    let (headers, caller) = (MetadataMap::new(), QueryContext::new("ann"));
    target.run(|input| {
        let command = match command::decode(input) {
            Ok(Request::Command(command)) => command,
            Ok(Request::Text(text)) => return text.as_bytes() == input,
            Err(_) => return false,
        };
        let bytes = command.clone().into_any().encode_to_vec();
        let Ok(Request::Command(again)) = command::decode(&bytes) else {
            return false;
        };
        assert_eq!(again, command);
        match command {
            Command::CommandStatementIngest(command) => {
                Ingest::new(command, &headers, &caller).is_ok()
            }
            _ => true,
        }
    });
}

#[test]
fn metadata_of_a_producers_stream() {
    let open = |epoch| {
        ClientMessage::Open(Open {
            producer: "edge-7".to_owned(),
            epoch,
            ack: AckLevel::Committed,
        })
    };
    let reject = Reject {
        seq: 4,
        row: 2,
        column: "at".to_owned(),
        rule: "range:at".to_owned(),
        value: "99.5".to_owned(),
    };
    let ack = ServerMessage::Ack(Ack {
        seq: 5,
        accepted: 17,
        version: Some(3),
        rejects: vec![reject],
        ..Ack::default()
    });
    let ready = ServerMessage::Ready(Ready {
        epoch: 2,
        max_batch_bytes: 1 << 24,
        ..Ready::default()
    });
    let mut seeds = Vec::new();
    for form in [Form::Json, Form::Binary] {
        for message in [open(None), open(Some(3)), ClientMessage::Batch { seq: 7 }] {
            seeds.push(protocol::encode_client(&message, form).to_vec());
        }
        for message in [&ack, &ready] {
            seeds.push(protocol::encode_server(message, form).to_vec());
        }
    }
    let target = Target {
        seeds,
        words: &[
            "null",
            "\"",
            "\\u0000",
            "{",
            "}",
            "\"open\":",
            "\"seq\":",
            "\"ack\":",
            "1.0",
        ],
        bytes_max: 1 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let client = protocol::decode_client(input).ok();
        if let Some((message, form)) = &client {
            let again = protocol::decode_client(&protocol::encode_client(message, *form));
            assert_eq!(again.unwrap(), (message.clone(), *form));
        }
        let server = protocol::decode_server(input).ok();
        if let Some((message, form)) = &server {
            let again = protocol::decode_server(&protocol::encode_server(message, *form));
            assert_eq!(again.unwrap(), (message.clone(), *form));
        }
        client.is_some() || server.is_some()
    });
}
