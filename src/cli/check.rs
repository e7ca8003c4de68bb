//! The day's batch is planned before anything is applied, so that a step which cannot run is found by `apply` and not at 02:00.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arrow::array::AsArray;
use arrow::datatypes::SchemaRef;
use deltaplane_client::SqlClient;

use super::bundled::Loaded;
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::{Lake, PinnedFiles};
use crate::dataset::{Contract, Dataset, Step};
use crate::query::{Engine, EngineConfig, QueryContext, SnapshotSource};
use crate::types::{Lsn, PUBLIC, SameName, TableName};

/// Tables without rows, to plan over.
struct Empty(Snapshot);

impl SnapshotSource for Empty {
    fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }
}

/// Plans each step of the datasets over the tables that the files declare and those that the server has.
///
/// # Errors
/// `file:line: ` and what the step gets wrong: a table or column that there is none of, columns that are not the table's.
pub(super) async fn steps(client: &mut SqlClient, loaded: &[Loaded]) -> anyhow::Result<()> {
    if loaded.iter().all(|l| l.dataset.process.is_empty()) {
        return Ok(());
    }
    let declared = loaded.iter().flat_map(|l| &l.dataset.tables);
    let mut schemas: BTreeMap<TableName, SchemaRef> = declared
        .map(|t| (t.table.clone(), t.table_schema()))
        .collect();
    let steps = loaded.iter().flat_map(|l| &l.dataset.process);
    let queries: Vec<String> = steps.map(|s| s.sql.folded_name()).collect();
    for name in tables_there(client).await? {
        let shown = name.to_string().folded_name();
        let asked = queries.iter().any(|q| q.contains(&shown));
        if asked && !schemas.contains_key(&name) {
            let nothing = format!("SELECT * FROM {name} LIMIT 0");
            let (schema, _) = client.query(&nothing).await?;
            schemas.insert(name, schema);
        }
    }
    let engine = engine(schemas).await?;
    for l in loaded {
        for step in &l.dataset.process {
            one(&engine, &l.dataset, step)
                .await
                .map_err(|e| anyhow!("{}:{}: process {}: {e:#}", l.name, step.line, step.table))?;
        }
    }
    Ok(())
}

async fn tables_there(client: &mut SqlClient) -> anyhow::Result<Vec<TableName>> {
    let (_, rows) = client
        .query("SELECT table_schema, table_name FROM system.tables")
        .await?;
    let mut names = Vec::new();
    for batch in &rows {
        let texts = |i: usize| batch.column(i).as_string_opt::<i32>();
        let (Some(schemas), Some(tables)) = (texts(0), texts(1)) else {
            continue;
        };
        for (schema, table) in schemas.iter().flatten().zip(tables.iter().flatten()) {
            names.extend(TableName::new(schema, table).ok());
        }
    }
    Ok(names)
}

async fn engine(schemas: BTreeMap<TableName, SchemaRef>) -> anyhow::Result<Engine> {
    let lake = Lake::open("memory://check/").await?;
    let view = |(name, schema): (TableName, SchemaRef)| {
        let view = TableView {
            name: name.clone(),
            contract: None,
            schema: schema.clone(),
            cold: Arc::new(PinnedFiles::empty(&lake, schema, Vec::new())),
            hot: Arc::default(),
            comment: None,
            progress: None,
        };
        (name, view)
    };
    let snapshot = Snapshot {
        read_point: Lsn::new(0),
        schema: PUBLIC.into(),
        tables: Arc::new(schemas.into_iter().map(view).collect()),
        defined: Arc::default(),
    };
    let config = EngineConfig {
        threads: 1,
        memory_bytes: 16 << 20,
        upkeep_bytes: 1 << 20,
        timeout: Duration::from_secs(10),
        spill_dir: std::env::temp_dir(),
        spill_bytes: 0,
        value_bytes: 64 << 20,
        batch_bytes: 256 << 20,
    };
    Ok(Engine::new(config, Arc::new(Empty(snapshot)))?)
}

async fn one(engine: &Engine, dataset: &Dataset, step: &Step) -> anyhow::Result<()> {
    let planned = engine
        .plan(
            &QueryContext::server(),
            &step.sql.replace(":date", "DATE '2000-01-01'"),
        )
        .await
        .map_err(|fault| anyhow!("{}", fault.message))?;
    let given: Vec<&str> = planned
        .wire
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    let target = dataset
        .tables
        .iter()
        .find(|t| t.table.table() == step.table)
        .context("the table is not declared")?;
    let wanted = columns(target);
    if given.len() != wanted.len() || given.iter().zip(&wanted).any(|(g, w)| g != w) {
        return Err(anyhow!(
            "its query gives {}; the table takes, in this order, {}",
            given.join(", "),
            wanted.join(", ")
        ));
    }
    Ok(())
}

/// The columns that an INSERT without a list gives.
fn columns(contract: &Contract) -> Vec<&str> {
    contract.columns.iter().map(|c| c.name.as_str()).collect()
}
