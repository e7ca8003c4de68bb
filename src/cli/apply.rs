//! `deltaplane apply`: from a dataset's file to its tables, by DDL that is shown first.

use std::io::{IsTerminal, Write};

use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use deltaplane_client::{Producer, ProducerOptions, SqlClient};

use super::Outcome;
use super::bundled::load;
use crate::types::TableName;

pub async fn run(uri: &str, files: &[String], dry_run: bool, yes: bool) -> anyhow::Result<Outcome> {
    let loaded = files
        .iter()
        .map(|f| load(f))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut client = SqlClient::connect(uri).await?;
    let mut plan = Vec::new();
    for contract in loaded.iter().flat_map(|l| &l.dataset.tables) {
        let exists = format!(
            "SELECT count(*) FROM system.tables WHERE lower(table_schema) = '{}' AND lower(table_name) = '{}'",
            contract.table.schema().to_ascii_lowercase(),
            contract.table.table().to_ascii_lowercase()
        );
        let (_, rows) = client.query(&exists).await?;
        let there = rows.first().and_then(|b| {
            b.column(0)
                .as_any()
                .downcast_ref::<arrow::array::Int64Array>()
                .map(|a| a.value(0) > 0)
        });
        if there == Some(true) {
            println!("-- {} is there already, left as it is", contract.table);
        } else {
            plan.push(contract);
        }
    }
    for contract in &plan {
        println!("{};\n", contract.to_ddl());
    }
    if dry_run {
        return Ok(if plan.is_empty() {
            Outcome::NothingToDo
        } else {
            Outcome::Done
        });
    }
    if plan.is_empty() {
        let mut filled = false;
        for (table, text) in loaded.iter().flat_map(|l| &l.files) {
            filled |= fill(uri, &mut client, table, text).await?.is_some();
        }
        println!(
            "{}",
            if filled {
                "tables loaded"
            } else {
                "nothing to do"
            }
        );
        return Ok(if filled {
            Outcome::Done
        } else {
            Outcome::NothingToDo
        });
    }
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!("not applied: say --yes where nobody can be asked");
        }
        print!("Apply? [y/N] ");
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            bail!("not applied");
        }
    }
    for contract in plan {
        client.update(&contract.to_ddl()).await?;
        println!("created {}", contract.table);
    }
    for (table, text) in loaded.iter().flat_map(|l| &l.files) {
        if let Some(rows) = fill(uri, &mut client, table, text).await? {
            println!("loaded {table}, {rows} rows");
        }
    }
    Ok(Outcome::Done)
}

/// Fills an empty table from CSV text; none if it has rows already. Its producer's name is the text's checksum, so that a cut
/// in the middle and another try double nothing.
pub async fn fill(
    uri: &str,
    client: &mut SqlClient,
    table: &TableName,
    text: &str,
) -> anyhow::Result<Option<usize>> {
    let (_, rows) = client
        .query(&format!("SELECT 1 FROM {table} LIMIT 1"))
        .await?;
    if rows.iter().any(|b| b.num_rows() > 0) {
        return Ok(None);
    }
    let batch = read_csv(text).with_context(|| format!("the file that fills {table}"))?;
    let name = format!("load/{:08x}", crc32c::crc32c(text.as_bytes()));
    let producer = Producer::connect(
        uri,
        [table.schema(), table.table()],
        ProducerOptions::new(&name),
    )
    .await?;
    let rows = batch.num_rows();
    if producer.totals().seq == 0 {
        producer.send(batch).await?;
    }
    let totals = producer.flush().await?;
    producer.close().await?;
    if let Some(reject) = totals.rejects.first() {
        bail!(
            "{table}: row {} was rejected, {}={} breaks {}; see {}",
            reject.row,
            reject.column,
            reject.value,
            reject.rule,
            table.quarantine()
        );
    }
    Ok(Some(rows))
}

/// One batch of text columns: the server casts each value to its column's type.
fn read_csv(text: &str) -> anyhow::Result<RecordBatch> {
    let header = csv::Reader::from_reader(text.as_bytes()).headers()?.clone();
    let fields: Vec<Field> = header
        .iter()
        .map(|name| Field::new(name.trim(), DataType::Utf8, true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let reader = arrow::csv::ReaderBuilder::new(schema.clone())
        .with_header(true)
        .with_batch_size(65_536)
        .build(text.as_bytes())?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}
