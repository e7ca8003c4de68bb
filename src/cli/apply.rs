//! `deltaplane apply`: from a dataset's file to its tables, by DDL that is shown first.

use std::io::{IsTerminal, Write};

use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use deltaplane_client::{Producer, ProducerOptions, SqlClient};

use super::Outcome;
use super::bundled::{check_apart, load};
use super::check;
use crate::dataset::{AlertDeclaration, Contract, ViewDeclaration, quote_text};
use crate::query::QueryContext;
use crate::statement::{AlertChange, Change, ViewChange};
use crate::types::{SameName, TableName};

pub(super) async fn run(
    uri: &str,
    files: &[String],
    dry_run: bool,
    yes: bool,
) -> anyhow::Result<Outcome> {
    let loaded = files
        .iter()
        .map(|f| load(f))
        .collect::<anyhow::Result<Vec<_>>>()?;
    check_apart(&loaded)?;
    let mut client = SqlClient::connect(uri).await?;
    check::steps(&mut client, &loaded).await?;
    let mut plan = Vec::new();
    for contract in loaded.iter().flat_map(|l| &l.dataset.tables) {
        let statement = match present(&mut client, contract).await? {
            None => Some(contract.to_ddl()),
            Some(there) => there
                .alter_statement(contract)
                .with_context(|| format!("{} cannot become what the file says", contract.table))?,
        };
        match statement {
            Some(statement) => plan.push((contract.table.clone(), statement)),
            None => println!("-- {} is as the file says", contract.table),
        }
    }
    let mut views = Vec::new();
    for view in loaded.iter().flat_map(|l| &l.dataset.views) {
        let statement = match present_view(&mut client, view).await? {
            None => Some(view.to_ddl()),
            Some(there) => view.alter_ddl(&there),
        };
        match statement {
            Some(statement) => views.push((view.name.clone(), statement)),
            None => println!("-- {} is as the file says", view.name),
        }
    }
    let mut alerts = Vec::new();
    for alert in loaded.iter().flat_map(|l| &l.dataset.alerts) {
        let statement = match present_alert(&mut client, alert).await? {
            None => Some(alert.to_ddl()),
            Some(there) => alert.alter_ddl(&there),
        };
        match statement {
            Some(statement) => alerts.push((alert.name.clone(), statement)),
            None => println!("-- {} is as the file says", alert.name),
        }
    }
    for (_, statement) in plan.iter().chain(&views).chain(&alerts) {
        println!("{statement};\n");
    }
    let nothing = plan.is_empty() && views.is_empty() && alerts.is_empty();
    if dry_run {
        return Ok(if nothing {
            Outcome::NothingToDo
        } else {
            Outcome::Done
        });
    }
    if nothing {
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
    execute(&mut client, plan).await?;
    // Dimensions are filled before the views that join them.
    for (table, text) in loaded.iter().flat_map(|l| &l.files) {
        if let Some(rows) = fill(uri, &mut client, table, text).await? {
            println!("loaded {table}, {rows} rows");
        }
    }
    execute(&mut client, views).await?;
    execute(&mut client, alerts).await?;
    Ok(Outcome::Done)
}

async fn execute(client: &mut SqlClient, plan: Vec<(TableName, String)>) -> anyhow::Result<()> {
    for (name, statement) in plan {
        client.update(&statement).await?;
        let verb = if statement.starts_with("CREATE OR REPLACE") {
            "replaced"
        } else if statement.starts_with("CREATE") {
            "created"
        } else {
            "altered"
        };
        println!("{verb} {name}");
    }
    Ok(())
}

/// The view as the server has it; none if there is none.
async fn present_view(
    client: &mut SqlClient,
    wanted: &ViewDeclaration,
) -> anyhow::Result<Option<ViewDeclaration>> {
    let Some(ddl) = shown(client, &wanted.name).await? else {
        return Ok(None);
    };
    match Change::parse(&QueryContext::server(), &ddl)? {
        Some(Change::View(change)) => match *change {
            ViewChange::Create { view, .. } => Ok(Some(view)),
            _ => bail!("not a CREATE MATERIALIZED VIEW: {ddl}"),
        },
        // Rows that nobody else has may be in it: what becomes of them is its owner's to say.
        _ => bail!(
            "{name} is a table on this server, the file says it is a materialized view; nothing was changed. The view's rows are computed from what it reads. \
             To make it one: keep the table's rows (deltaplane sql \"SELECT * FROM {name}\" --format csv > {name}.csv), deltaplane sql \"DROP TABLE {name}\", and apply again",
            name = wanted.name
        ),
    }
}

/// The alert as the server has it; none if there is none.
async fn present_alert(
    client: &mut SqlClient,
    wanted: &AlertDeclaration,
) -> anyhow::Result<Option<AlertDeclaration>> {
    let sql = format!(
        "SELECT definition FROM system.alerts WHERE lower(schema) = {} AND lower(alert) = {} AND definition IS NOT NULL LIMIT 1",
        quote_text(&wanted.name.schema().folded_name()),
        quote_text(&wanted.name.table().folded_name())
    );
    let (_, rows) = client.query(&sql).await?;
    let Some(batch) = rows.iter().find(|b| b.num_rows() > 0) else {
        return Ok(None);
    };
    let ddl = batch.column(0).as_string_opt::<i32>();
    let ddl = ddl.context("system.alerts gave no text")?.value(0);
    match Change::parse(&QueryContext::server(), ddl)? {
        Some(Change::Alert(change)) => match *change {
            AlertChange::Create { alert, .. } => Ok(Some(*alert)),
            _ => bail!("not a CREATE ALERT: {ddl}"),
        },
        _ => bail!("not a CREATE ALERT: {ddl}"),
    }
}

/// The table's contract as the server has it; none if there is no such table.
async fn present(client: &mut SqlClient, wanted: &Contract) -> anyhow::Result<Option<Contract>> {
    let Some(ddl) = shown(client, &wanted.table).await? else {
        return Ok(None);
    };
    match Change::parse(&QueryContext::server(), &ddl)? {
        Some(Change::Create { contract, .. }) => Ok(Some(*contract)),
        Some(Change::View(_)) => bail!("{} is a view, the file says it is a table", wanted.table),
        _ => bail!("not a CREATE TABLE: {ddl}"),
    }
}

/// The statement that would make the table or view; none if there is none.
async fn shown(client: &mut SqlClient, name: &TableName) -> anyhow::Result<Option<String>> {
    let exists = format!(
        "SELECT 1 FROM system.tables WHERE lower(table_schema) = {} AND lower(table_name) = {}",
        quote_text(&name.schema().folded_name()),
        quote_text(&name.table().folded_name())
    );
    let (_, rows) = client.query(&exists).await?;
    if rows.iter().all(|b| b.num_rows() == 0) {
        return Ok(None);
    }
    let (_, rows) = client.query(&format!("SHOW CREATE TABLE {name}")).await?;
    let ddl = rows
        .iter()
        .find(|b| b.num_rows() > 0)
        .and_then(|b| {
            b.column(0)
                .as_string_opt::<i32>()
                .map(|c| c.value(0).to_owned())
        })
        .context("SHOW CREATE TABLE gave nothing")?;
    Ok(Some(ddl))
}

/// Fills an empty table from CSV text; none if it has rows already. Its producer's name is the text's checksum, so that a cut
/// in the middle and another try double nothing.
pub(super) async fn fill(
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
