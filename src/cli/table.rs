//! `deltaplane table`: what happened to a table, and what keeps it in shape. Each verb is a statement that can be typed as well.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use deltaplane_client::SqlClient;

use super::Outcome;
use super::sql::{readable, render};
use crate::types::{TableName, quote_name, split_names};

/// What is asked of a table.
pub(super) enum Ask {
    History {
        limit: u32,
    },
    Optimize {
        order: Vec<String>,
    },
    Vacuum {
        retain_hours: Option<f64>,
        dry_run: bool,
    },
    Restore {
        version: i64,
    },
    Check,
    Repair {
        accept_loss: bool,
    },
}

impl Ask {
    fn sql(&self, table: &TableName) -> String {
        match self {
            Ask::History { limit } => format!("DESCRIBE HISTORY {table} LIMIT {limit}"),
            Ask::Optimize { order } if order.is_empty() => format!("OPTIMIZE {table}"),
            Ask::Optimize { order } => {
                let quoted: Vec<String> = order.iter().map(|c| quote_name(c)).collect();
                format!("OPTIMIZE {table} ZORDER BY ({})", quoted.join(", "))
            }
            Ask::Vacuum {
                retain_hours,
                dry_run,
            } => {
                let retain =
                    retain_hours.map_or_else(String::new, |h| format!(" RETAIN {h} HOURS"));
                let dry_run = if *dry_run { " DRY RUN" } else { "" };
                format!("VACUUM {table}{retain}{dry_run}")
            }
            Ask::Restore { version } => {
                format!("RESTORE TABLE {table} TO VERSION AS OF {version}")
            }
            Ask::Check => format!("CHECK TABLE {table}"),
            Ask::Repair { accept_loss } => {
                let accept_loss = if *accept_loss { " ACCEPT LOSS" } else { "" };
                format!("REPAIR TABLE {table}{accept_loss}")
            }
        }
    }
}

/// The table that the command line names.
///
/// # Errors
/// It has no schema, or is no name.
pub(super) fn table_of(text: &str) -> anyhow::Result<TableName> {
    if split_names(text, '.').len() == 1 {
        anyhow::bail!("the table is schema.table, got {text}");
    }
    Ok(TableName::try_from(text.to_owned())?)
}

/// # Errors
/// The name is none, the server refuses, or `check` found something wrong.
pub(super) async fn run(uri: &str, table: &str, ask: Ask, format: &str) -> anyhow::Result<Outcome> {
    let sql = ask.sql(&table_of(table)?);
    let mut client = SqlClient::connect(uri).await?;
    let (schema, rows) = client.query(&sql).await.map_err(readable)?;
    if schema.fields().is_empty() {
        println!("done");
        return Ok(Outcome::Done);
    }
    println!("{}", render(&rows, &schema, format)?);
    if matches!(ask, Ask::Repair { .. }) {
        let parked = rows.iter().any(|batch| {
            let state = batch.column_by_name("state");
            let state = state.and_then(|c| c.as_string_opt::<i32>());
            state.is_some_and(|s| s.iter().flatten().any(|word| word == "parked"))
        });
        anyhow::ensure!(!parked, "{table} is still parked");
    }
    if matches!(ask, Ask::Check) {
        let problems = rows.iter().filter_map(|batch| {
            let column = batch.column_by_name("problems")?;
            let column = column.as_primitive_opt::<Int64Type>()?;
            arrow::compute::sum(column)
        });
        let problems: i64 = problems.sum();
        anyhow::ensure!(problems == 0, "{table} has {problems} problems");
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn verbs_are_statements() {
        let table = TableName::new("a", "b").unwrap();
        let order = vec!["x".to_owned(), "Y".to_owned()];
        for (ask, sql) in [
            (
                Ask::Optimize { order },
                "OPTIMIZE a.b ZORDER BY (\"x\", \"Y\")",
            ),
            (
                Ask::Vacuum {
                    retain_hours: Some(0.5),
                    dry_run: true,
                },
                "VACUUM a.b RETAIN 0.5 HOURS DRY RUN",
            ),
            (
                Ask::Vacuum {
                    retain_hours: None,
                    dry_run: false,
                },
                "VACUUM a.b",
            ),
            (
                Ask::Restore { version: 3 },
                "RESTORE TABLE a.b TO VERSION AS OF 3",
            ),
            (
                Ask::Repair { accept_loss: true },
                "REPAIR TABLE a.b ACCEPT LOSS",
            ),
        ] {
            assert_eq!(ask.sql(&table), sql);
        }
    }
}
