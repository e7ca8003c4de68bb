//! `deltaplane apply`: from a dataset's file to its tables, by DDL that is shown first.

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use deltaplane_client::SqlClient;

use super::Outcome;
use crate::dataset::{Dataset, from_toml};

/// Datasets that the binary carries.
pub const BUNDLED: [(&str, &str); 1] =
    [("reactor", include_str!("../../data/reactor/dataset.toml"))];

pub fn load(file: &str) -> anyhow::Result<Dataset> {
    let bundled = BUNDLED
        .iter()
        .find(|(name, _)| *name == file)
        .map(|(_, text)| (*text).to_owned());
    let text = match bundled {
        Some(text) => text,
        None => std::fs::read_to_string(file).with_context(|| {
            let names: Vec<&str> = BUNDLED.iter().map(|(n, _)| *n).collect();
            format!(
                "cannot read {file}; it is neither a file nor a bundled dataset ({})",
                names.join(", ")
            )
        })?,
    };
    from_toml(&text).with_context(|| file.to_owned())
}

pub async fn run(uri: &str, files: &[String], dry_run: bool, yes: bool) -> anyhow::Result<Outcome> {
    let datasets = files
        .iter()
        .map(|f| load(f))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut client = SqlClient::connect(uri).await?;
    let mut plan = Vec::new();
    for contract in datasets.iter().flat_map(|d| &d.tables) {
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
    if plan.is_empty() {
        println!("nothing to do");
        return Ok(Outcome::NothingToDo);
    }
    if dry_run {
        return Ok(Outcome::Done);
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
    Ok(Outcome::Done)
}
