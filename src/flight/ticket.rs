//! Our tickets: what is to be run, for whom it was asked, and the id by which it can be cancelled. They need no memory on the
//! server's side, so any channel may redeem them, again and again. Handed around as `TicketStatementQuery`.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_flight::sql::{Command, ProstMessageExt, TicketStatementQuery};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::command::{self, Request};
use crate::fault::Fault;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The query's id: `system.queries` shows it, a cancel names it.
    pub id: String,
    /// Where names without a schema are looked for.
    pub schema: String,
    /// The transaction whose rows it sees, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Sql(String),
    /// A prepared statement, with what is bound to it when the ticket is redeemed; its handle in hex.
    Prepared(String),
    /// A statement that has been executed already; there is nothing to fetch.
    Done,
    /// One that tells what it did, in a few rows: they travel in the ticket, as an IPC stream in hex, so that nothing is kept
    /// for a client that never fetches them.
    Rows(String),
}

impl What {
    /// # Errors
    /// Internal: the rows cannot be encoded.
    pub fn rows(rows: &RecordBatch) -> Result<Self, Fault> {
        let failed = |e: ArrowError| Fault::internal(format!("what a statement says: {e}"));
        let mut out = Vec::new();
        let mut writer = StreamWriter::try_new(&mut out, &rows.schema()).map_err(failed)?;
        writer.write(rows).map_err(failed)?;
        writer.finish().map_err(failed)?;
        drop(writer);
        Ok(What::Rows(hex(&out)))
    }

    /// # Errors
    /// INVALID_ARGUMENT: these are no rows.
    pub fn into_rows(self) -> Result<RecordBatch, Fault> {
        let other = || Fault::invalid("invalid_ticket", "the ticket is not one of ours");
        let What::Rows(text) = self else {
            return Err(other());
        };
        let bytes = from_hex(&text).ok_or_else(other)?;
        let mut reader = StreamReader::try_new(&*bytes, None).map_err(|_| other())?;
        reader.next().and_then(Result::ok).ok_or_else(other)
    }
}

impl Ticket {
    pub fn new(schema: &str, what: What) -> Self {
        Ticket {
            id: crate::ids::random_id().to_string(),
            schema: schema.to_owned(),
            transaction: None,
            what,
        }
    }

    pub fn encode(&self) -> Bytes {
        // Plain data: cannot fail.
        let statement_handle = serde_json::to_vec(self).unwrap_or_default().into();
        let ticket = TicketStatementQuery { statement_handle };
        ticket.as_any().encode_to_vec().into()
    }

    pub fn from_handle(handle: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(handle)
            .map_err(|_| Fault::invalid("invalid_ticket", "the ticket is not one of ours"))
    }

    /// The ticket in a FlightInfo's endpoint, if it is ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match command::decode(bytes).ok()? {
            Request::Command(Command::TicketStatementQuery(t)) => {
                Ticket::from_handle(&t.statement_handle).ok()
            }
            _ => None,
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn tickets_come_back_as_they_went_and_foreign_ones_are_refused() {
        let ticket = Ticket::new("building", What::Prepared(hex(&[0, 171, 255])));
        assert_eq!(Ticket::decode(&ticket.encode()), Some(ticket.clone()));
        let What::Prepared(text) = &ticket.what else {
            return;
        };
        assert_eq!(from_hex(text).unwrap(), [0, 171, 255]);
        assert_eq!(Ticket::decode(b"SELECT 1"), None);
        assert!(Ticket::from_handle(b"{}").is_err());
        let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        assert_eq!(What::rows(&rows).unwrap().into_rows().unwrap(), rows);
        assert!(What::Rows("abc".to_owned()).into_rows().is_err());
    }
}
