//! `CommandStatementIngest`, ADBC's `adbc_ingest`: which table, which mode, which options; the rows go to `ingest::bulk`, or to a
//! temporary table.

mod temporary;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::CommandStatementIngest;
use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;

use super::PutInput;
use super::decode::{Bounds, Decoded, Decoder, expand};
use crate::catalog::table::Table;
use crate::catalog::{Shared, lifecycle};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::ingest::bulk::{self, Bulk, Once, Options};
use crate::ingest::insert::{Rows, staged};
use crate::ingest::staged::StagedRows;
use crate::query::{CATALOG, default_schema};
use crate::types::TableName;

const ON_REJECT: &str = "deltaplane.on_reject";
const PRODUCER: &str = "deltaplane.producer";
const SEQ: &str = "deltaplane.seq";

/// What becomes of a table that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfExists {
    Fail,
    Append,
    Replace,
}

/// A bulk ingest as it was asked for.
#[derive(Clone, Debug)]
pub struct Ingest {
    pub table: TableName,
    /// It is one of the caller's session.
    pub temporary: bool,
    create: bool,
    if_exists: IfExists,
    quarantine: bool,
    once: Option<Once>,
    /// The transaction that it is a part of.
    pub transaction: Option<Bytes>,
}

impl Ingest {
    /// Options come with the command or, from clients that cannot set them there, as headers of the same names.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a mode that is unspecified and an option that is unknown, or that a temporary table has not.
    pub fn new(command: CommandStatementIngest, headers: &MetadataMap) -> Result<Self, Fault> {
        let definition = command.table_definition_options.ok_or_else(unspecified)?;
        let create = match definition.if_not_exist {
            1 => true,
            2 => false,
            _ => return Err(unspecified()),
        };
        let if_exists = match definition.if_exists {
            1 => IfExists::Fail,
            2 => IfExists::Append,
            3 => IfExists::Replace,
            _ => return Err(unspecified()),
        };
        if let Some(catalog) = command.catalog.filter(|c| !c.is_empty())
            && !catalog.eq_ignore_ascii_case(CATALOG)
        {
            return Err(Fault::new(
                Kind::NotFound,
                "catalog_not_found",
                format!("no such catalog, catalog={catalog}; there is {CATALOG}"),
            ));
        }
        for key in command
            .options
            .keys()
            .filter(|k| k.starts_with("deltaplane."))
        {
            if ![ON_REJECT, PRODUCER, SEQ].contains(&&**key) {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("unknown option {key}; known: {ON_REJECT}, {PRODUCER}, {SEQ}"),
                ));
            }
        }
        let option = |key: &str| {
            let header = || headers.get(key)?.to_str().ok().map(str::to_owned);
            command.options.get(key).cloned().or_else(header)
        };
        let quarantine = match option(ON_REJECT).as_deref() {
            None | Some("fail" | "abort") => false,
            Some("quarantine") => true,
            Some(other) => {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("{ON_REJECT} is fail or quarantine, got {other}"),
                ));
            }
        };
        let once = match (option(PRODUCER), option(SEQ)) {
            (None, None) => None,
            (Some(producer), Some(seq)) => {
                let number = seq.parse().map_err(|_| {
                    Fault::invalid("invalid_seq", format!("{SEQ} is a whole number, got {seq}"))
                })?;
                Some(Once::new(&producer, number)?)
            }
            _ => {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("{PRODUCER} and {SEQ} go together"),
                ));
            }
        };
        let schema = command.schema.filter(|s| !s.is_empty());
        let table = temporary::table_name(
            command.temporary,
            if_exists,
            schema.as_deref(),
            &command.table,
        )?;
        let temporary = table.is_some();
        if temporary && (quarantine || once.is_some()) {
            return Err(Fault::invalid(
                "unknown_option",
                format!(
                    "a temporary table has no quarantine and knows no producers; leave out {ON_REJECT}, {PRODUCER} and {SEQ}, or ingest into a table that is not temporary"
                ),
            ));
        }
        let table = match table {
            Some(table) => table,
            None => table_name(schema, &command.table)?,
        };
        Ok(Ingest {
            table,
            temporary,
            create,
            if_exists,
            quarantine,
            once,
            transaction: command.transaction_id.filter(|id| !id.is_empty()),
        })
    }
}

fn unspecified() -> Fault {
    Fault::invalid(
        "mode_unspecified",
        "an ingest says what to do if the table is there (FAIL, APPEND, REPLACE) and if it is not (CREATE, FAIL)",
    )
}

fn table_name(schema: Option<String>, table: &str) -> Result<TableName, Fault> {
    let made = match schema {
        Some(schema) => TableName::new(&schema, table),
        None => TableName::read(table, &default_schema()),
    };
    let name = made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
    if name.quarantined().is_some() {
        return Err(Fault::invalid(
            "reserved_table",
            format!(
                "{name} is filled by the server with rejected rows; ingest into the table itself"
            ),
        ));
    }
    Ok(name)
}

/// The batches of a stream, one by one.
struct Batches {
    input: PutInput,
    decoder: Decoder,
    /// Of the newest message: the connection is charged for them already.
    message_bytes: u64,
}

impl Batches {
    fn new(shared: &Shared, input: PutInput) -> Self {
        let decoder = Decoder::within(Bounds::of_messages(&shared.config.limits))
            .charged_to(input.connection().clone());
        Batches {
            input,
            decoder,
            message_bytes: 0,
        }
    }

    /// The schema, which comes before all batches.
    async fn schema(&mut self) -> Result<SchemaRef, Fault> {
        while let Some(data) = self.message().await? {
            match data {
                Decoded::Schema(schema) => return Ok(schema),
                Decoded::Nothing => {}
                Decoded::Batch(_) | Decoded::Dictionary => break,
            }
        }
        Err(Fault::invalid(
            "empty_stream",
            "the stream ended before a schema came; send a schema and batches",
        ))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        while let Some(data) = self.message().await? {
            if let Decoded::Batch(batch) = data {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    async fn message(&mut self) -> Result<Option<Decoded>, Fault> {
        match self.input.next().await {
            None => Ok(None),
            Some(Ok(data)) => {
                self.message_bytes = data.data_body.len() as u64;
                self.decoder.message(&data).map(Some)
            }
            Some(Err(status)) => Err(super::decode::broken(&status)),
        }
    }
}

/// Runs an ingest by itself. Returns how many rows are in the table by it. `abandoned`: the client has cancelled, or went away.
///
/// # Errors
/// ALREADY_EXISTS, NOT_FOUND as the mode says; what `bulk` can meet. Nothing was written then, and a table that was created
/// for it is gone again.
pub async fn run(
    shared: Arc<Shared>,
    asked: Ingest,
    input: PutInput,
    abandoned: CancellationToken,
) -> Result<u64, Fault> {
    let mut batches = Batches::new(&shared, input);
    if asked.temporary {
        return temporary::run(&shared, &asked, batches).await;
    }
    let schema = batches.schema().await?;
    if let (Ok(table), Some(once)) = (shared.table(&asked.table), &asked.once)
        && let Some(rows) = bulk::already(&shared, &table, once).await?
    {
        // Read to the end: a client that is still sending takes an early answer for an error.
        while batches.next().await?.is_some() {}
        return Ok(rows);
    }
    let (table, created) = target(&shared, &asked, &schema).await?;
    let options = Options {
        quarantine: asked.quarantine,
        replace: asked.if_exists == IfExists::Replace && !created,
        once: asked.once,
    };
    let outcome = async {
        let mut bulk = Bulk::begin(shared.clone(), table.clone(), options).await?;
        while let Some(batch) = batches.next().await? {
            for part in parts(&shared, &table.contract(), &batch) {
                let part = part?;
                let more = part.bytes.saturating_sub(batches.message_bytes);
                let _room = batches.input.connection().charge(more).await?;
                bulk.push(part.rows).await?;
            }
        }
        bulk.commit(&abandoned).await
    };
    let outcome = outcome.await;
    if outcome.is_err() && created && is_empty(&shared, &table) {
        lifecycle::drop(&shared, &asked.table, true).await?;
    }
    outcome
}

/// The table to ingest into, and whether it was created for that.
async fn target(
    shared: &Arc<Shared>,
    asked: &Ingest,
    schema: &SchemaRef,
) -> Result<(Arc<Table>, bool), Fault> {
    match (shared.table(&asked.table), asked.if_exists) {
        (Ok(_), IfExists::Fail) => Err(Fault::new(
            Kind::AlreadyExists,
            "table_exists",
            format!(
                "the table is there already, table={}; ingest with mode append or replace, or drop it first",
                asked.table
            ),
        )),
        (Ok(table), IfExists::Append | IfExists::Replace) => Ok((table, false)),
        (Err(fault), _) if !asked.create => Err(fault),
        (Err(_), _) => {
            let contract = Contract::from_arrow(asked.table.clone(), schema)
                .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
            let created = lifecycle::create(shared, contract, true).await?;
            Ok((shared.writable(&asked.table)?, created))
        }
    }
}

/// Some rows of a batch, and the memory that they take in the table's columns.
struct Part {
    rows: RecordBatch,
    bytes: u64,
}

/// A batch in parts that can be judged one by one: bulk ingest takes batches with any number of rows.
///
/// # Errors
/// RESOURCE_EXHAUSTED `batch_too_large`: a part takes too much memory in the table's columns.
fn parts(
    shared: &Shared,
    contract: &Contract,
    batch: &RecordBatch,
) -> impl Iterator<Item = Result<Part, Fault>> {
    let limits = &shared.config.limits;
    let (step, rows) = (limits.batch_rows_max, batch.num_rows());
    (0..rows.max(1)).step_by(step).map(move |from| {
        let rows = batch.slice(from, step.min(rows - from));
        let bytes = expand::check(&rows, contract, limits.batch_memory_max.get())?;
        Ok(Part { rows, bytes })
    })
}

/// Has nobody written to the table since it was created?
fn is_empty(shared: &Shared, table: &Table) -> bool {
    let snapshot = shared.visible.snapshot();
    let view = snapshot.tables.get(&table.name().folded());
    view.is_none_or(|v| v.hot.is_empty() && v.cold.files().is_empty())
}

/// The rows of an ingest that is a part of a transaction: judged, in the table's columns, not written.
///
/// # Errors
/// As [`run`]; FAILED_PRECONDITION for what a transaction cannot hold.
pub async fn stage(
    shared: Arc<Shared>,
    asked: &Ingest,
    input: PutInput,
) -> Result<Option<StagedRows>, Fault> {
    if asked.if_exists != IfExists::Append || asked.quarantine || asked.once.is_some() {
        return Err(Fault::new(
            Kind::Precondition,
            "transaction",
            "in a transaction an ingest appends, without options; ingest without a transaction id, which commits by itself",
        ));
    }
    let table = shared.writable(&asked.table)?;
    let since = table.contract();
    let mut batches = Batches::new(&shared, input);
    batches.schema().await?;
    let limit = shared.config.limits.transaction_bytes_max.as_usize();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = batches.next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > limit {
            return Err(Fault::new(
                Kind::Exhausted,
                "transaction_too_large",
                format!(
                    "the rows take more than {limit} bytes; ingest without a transaction id, which commits by itself, or raise limits.transaction_bytes_max"
                ),
            ));
        }
        expand::check(
            &batch,
            &table.contract(),
            shared.config.limits.batch_memory_max.get(),
        )?;
        rows.push(batch);
    }
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let columns: Vec<String> = first
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let rows = Rows {
        since,
        columns: &columns,
        batches: rows,
    };
    staged(&shared, &table, rows).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn command(if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
        let mut command = CommandStatementIngest {
            table: "t".to_owned(),
            ..CommandStatementIngest::default()
        };
        // arrow-flight does not name this type outside.
        let definition = command.table_definition_options.get_or_insert_default();
        definition.if_not_exist = if_not_exist;
        definition.if_exists = if_exists;
        command
    }

    #[test]
    fn modes_and_options_are_read_and_the_unclear_is_refused() {
        let none = MetadataMap::new();
        let asked = Ingest::new(command(1, 3), &none).unwrap();
        assert!(asked.create && asked.if_exists == IfExists::Replace);
        assert_eq!(asked.table.to_string(), "public.t");
        for bad in [
            command(0, 1),
            command(1, 0),
            CommandStatementIngest::default(),
        ] {
            assert_eq!(
                Ingest::new(bad, &none).unwrap_err().reason,
                "mode_unspecified"
            );
        }
        let with = |pairs: &[(&str, &str)]| {
            let mut c = command(2, 2);
            let options = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            c.options = options.collect();
            Ingest::new(c, &none)
        };
        let once = with(&[(PRODUCER, "p"), (SEQ, "7")]).unwrap().once.unwrap();
        assert_eq!((&*once.producer, once.seq), ("p", 7));
        assert!(with(&[(PRODUCER, "p")]).is_err());
        assert!(with(&[(PRODUCER, "p"), (SEQ, "0")]).is_err());
        assert!(with(&[(ON_REJECT, "ignore")]).is_err());
        assert!(with(&[("deltaplane.onreject", "fail")]).is_err());
        assert!(with(&[("adbc.something", "x")]).is_ok());
        let mut headers = MetadataMap::new();
        headers.insert(ON_REJECT, "quarantine".parse().unwrap());
        assert!(Ingest::new(command(2, 2), &headers).unwrap().quarantine);
    }
}
