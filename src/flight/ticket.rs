//! Our tickets: what is to be run, for whom it was asked, and the id by which it can be cancelled. They need no memory on the
//! server's side, so any channel may redeem them, again and again. Handed around as `TicketStatementQuery`.

#![deny(clippy::indexing_slicing)]

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_flight::sql::{Command, ProstMessageExt, TicketStatementQuery};
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::command::{self, Request};
use super::decode::{Decoded, Decoder};
use crate::fault::Fault;
use crate::sql::TextLimits;

/// Ids, handles in hex, and the name of a schema.
const NAME_BYTES_MAX: usize = 512;
/// Rows that a statement says of itself, in hex.
const ROWS_BYTES_MAX: usize = 16 << 20;
/// What each message of an IPC stream begins with.
const CONTINUATION: [u8; 4] = [0xff; 4];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// The query's id: `system.queries` shows it, a cancel names it.
    pub id: String,
    /// Where names without a schema are looked for.
    pub schema: String,
    /// The transaction whose rows it sees, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The unit in which timestamps were announced, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<String>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Sql(String),
    /// A prepared statement; its handle in hex, and how often it had been bound: what is bound later is no answer to who
    /// asked before.
    Prepared {
        handle: String,
        binds: u64,
    },
    /// A statement that has been executed already; there is nothing to fetch.
    Done,
    /// One that tells what it did, in a few rows: they travel in the ticket, as an IPC stream in hex, so that nothing is kept
    /// for a client that never fetches them.
    Rows(String),
}

impl What {
    /// # Errors
    /// Internal: the rows cannot be encoded.
    pub(super) fn rows(rows: &RecordBatch) -> Result<Self, Fault> {
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
    pub(super) fn into_rows(self) -> Result<RecordBatch, Fault> {
        let other = || Fault::invalid("invalid_ticket", "the ticket is not one of ours");
        let What::Rows(text) = self else {
            return Err(other());
        };
        let bytes = from_hex(&text).ok_or_else(other)?;
        one_batch(&bytes).map_err(|_| other())?.ok_or_else(other)
    }

    /// Is it made of a length that ours have?
    fn fits(&self) -> bool {
        match self {
            What::Sql(sql) => sql.len() <= TextLimits::current().bytes,
            What::Prepared { handle, .. } => handle.len() <= NAME_BYTES_MAX,
            What::Done => true,
            What::Rows(rows) => rows.len() <= ROWS_BYTES_MAX,
        }
    }
}

/// The first batch of an IPC stream. A ticket comes from a client, which may have made it: what its messages declare is held to
/// the bytes that are there, as for a client's stream.
fn one_batch(stream: &[u8]) -> Result<Option<RecordBatch>, Fault> {
    let foreign = || Fault::invalid("invalid_ticket", "the ticket is not one of ours");
    let mut decoder = Decoder::new(ROWS_BYTES_MAX as u64);
    let mut rest = stream;
    while let Some((mark, behind)) = rest.split_first_chunk::<4>() {
        if *mark != CONTINUATION {
            return Err(foreign());
        }
        let (length, behind) = behind.split_first_chunk::<4>().ok_or_else(foreign)?;
        let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|_| foreign())?;
        if length == 0 {
            return Ok(None);
        }
        let (header, behind) = behind.split_at_checked(length).ok_or_else(foreign)?;
        let message = arrow_ipc::root_as_message(header).map_err(|_| foreign())?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| foreign())?;
        let (body, behind) = behind.split_at_checked(body).ok_or_else(foreign)?;
        let data = FlightData {
            data_header: Bytes::copy_from_slice(header),
            data_body: Bytes::copy_from_slice(body),
            ..FlightData::default()
        };
        if let Decoded::Batch(batch) = decoder.message(&data)? {
            return Ok(Some(batch));
        }
        rest = behind;
    }
    Ok(None)
}

impl Ticket {
    pub(super) fn new(schema: &str, what: What) -> Self {
        Ticket {
            id: crate::ids::random_id().to_string(),
            schema: schema.to_owned(),
            transaction: None,
            timestamps: None,
            what,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // Plain data: cannot fail.
        let statement_handle = serde_json::to_vec(self).unwrap_or_default().into();
        let ticket = TicketStatementQuery { statement_handle };
        ticket.as_any().encode_to_vec().into()
    }

    pub(super) fn from_handle(handle: &[u8]) -> Result<Self, Fault> {
        let other = || Fault::invalid("invalid_ticket", "the ticket is not one of ours");
        // A text's letters take up to six bytes in JSON.
        let longest = TextLimits::current()
            .bytes
            .saturating_mul(6)
            .max(ROWS_BYTES_MAX);
        if handle.len() > longest + 4096 {
            return Err(other());
        }
        let ticket: Ticket = serde_json::from_slice(handle).map_err(|_| other())?;
        let names = [
            Some(&ticket.id),
            Some(&ticket.schema),
            ticket.transaction.as_ref(),
            ticket.timestamps.as_ref(),
        ];
        let short = |name: &String| name.len() <= NAME_BYTES_MAX;
        if !names.into_iter().flatten().all(short) || !ticket.what.fits() {
            return Err(other());
        }
        Ok(ticket)
    }

    /// The ticket in a FlightInfo's endpoint, if it is ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match command::decode(bytes).ok()? {
            Request::Command(Command::TicketStatementQuery(t)) => {
                Ticket::from_handle(&t.statement_handle).ok()
            }
            _ => None,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn tickets_come_back_as_they_went_and_foreign_ones_are_refused() {
        let handle = hex(&[0, 171, 255]);
        let ticket = Ticket::new("building", What::Prepared { handle, binds: 3 });
        assert_eq!(Ticket::decode(&ticket.encode()), Some(ticket.clone()));
        let What::Prepared { handle: text, .. } = &ticket.what else {
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

    #[test]
    fn rows_that_declare_more_than_is_there_are_refused_before_memory_is_taken() {
        let column = Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef;
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let What::Rows(text) = What::rows(&rows).unwrap() else {
            return;
        };
        let good = from_hex(&text).unwrap();
        let refused = |bytes: Vec<u8>| {
            let fault = What::Rows(hex(&bytes)).into_rows().unwrap_err();
            assert_eq!(fault.reason, "invalid_ticket");
        };
        // The length of the first message, then each number of 8,000 bytes: the body's and the buffer's.
        for length in [i32::MAX, -1, i32::MIN] {
            let mut bad = good.clone();
            bad[4..8].copy_from_slice(&length.to_le_bytes());
            refused(bad);
        }
        let declared = 8000i64.to_le_bytes();
        let places = good.windows(8).enumerate().filter(|(_, w)| *w == declared);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        assert!(!places.is_empty());
        for at in places {
            for size in [1 << 33, 1 << 46, i64::MAX, -1] {
                let mut bad = good.clone();
                bad[at..at + 8].copy_from_slice(&i64::to_le_bytes(size));
                refused(bad);
            }
        }
        for cut in 0..good.len().min(600) {
            let _ = What::Rows(hex(&good[..cut])).into_rows();
        }
    }

    #[test]
    fn names_in_a_ticket_are_short() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let ticket = |id: &str, schema: &str, what: What| {
            let mut ticket = Ticket::new(schema, what);
            ticket.id = id.to_owned();
            Ticket::from_handle(&serde_json::to_vec(&ticket).unwrap())
        };
        assert!(ticket("a", "public", What::Done).is_ok());
        assert!(ticket(&long, "public", What::Done).is_err());
        assert!(ticket("a", &long, What::Done).is_err());
        let prepared = What::Prepared {
            handle: long.clone(),
            binds: 0,
        };
        assert!(ticket("a", "public", prepared).is_err());
        assert!(ticket("a", "public", What::Sql("x".repeat(2 << 20))).is_err());
    }
}
