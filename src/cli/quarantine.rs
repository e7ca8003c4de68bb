//! `deltaplane quarantine`: which rules rejected rows of a table, the rows themselves, and their way back.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use deltaplane_client::SqlClient;

use super::Outcome;
use super::sql::render;
use super::table::table_of;
use crate::dataset::quote_text;
use crate::types::{TableName, quote_name};

/// What is asked of a quarantine.
pub(super) enum Ask {
    /// A line a rule.
    List,
    /// The newest rows, of one rule or of all.
    Show { rule: Option<String>, limit: usize },
    /// Rows that the rules in force take go to the table.
    Replay(Replay),
}

/// Which rows, and what is corrected on the way.
#[derive(Default)]
pub(super) struct Replay {
    pub rule: Option<String>,
    pub condition: Option<String>,
    /// `column=value`; without a value (`column=`) null.
    pub set: Vec<String>,
    pub dry_run: bool,
}

impl Replay {
    fn sql(&self, table: &TableName) -> anyhow::Result<String> {
        let mut sql = format!("REPLAY QUARANTINE {table}");
        for (index, set) in self.set.iter().enumerate() {
            let (column, value) = set
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("--set is column=value, got {set}"))?;
            sql.push_str(if index == 0 { " SET " } else { ", " });
            let value = if value.is_empty() {
                "NULL".to_owned()
            } else {
                quote_text(value)
            };
            sql.push_str(&format!("{} = {value}", quote_name(column.trim())));
        }
        let of_rule = self
            .rule
            .as_ref()
            .map(|rule| format!("array_has(rules, {})", quote_text(rule)));
        let conditions: Vec<String> = of_rule
            .into_iter()
            .chain(self.condition.as_ref().map(|c| format!("({c})")))
            .collect();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if self.dry_run {
            sql.push_str(" DRY RUN");
        }
        Ok(sql)
    }
}

/// # Errors
/// The name is none, or the server refuses.
pub(super) async fn run(uri: &str, table: &str, ask: Ask, format: &str) -> anyhow::Result<Outcome> {
    let name = table_of(table)?;
    let quarantine = name.quarantine();
    let sql = match ask {
        Ask::List => format!(
            "SELECT rule, count(*) AS rows, min(_ingest_ts) AS first, max(_ingest_ts) AS last, max(reason) AS for_example \
             FROM (SELECT unnest(rules) AS rule, _ingest_ts, reason FROM {quarantine}) q GROUP BY rule ORDER BY rows DESC, rule"
        ),
        Ask::Show { rule, limit } => {
            let of_rule = rule.map_or_else(String::new, |rule| {
                format!(" WHERE array_has(rules, {})", quote_text(&rule))
            });
            format!(
                "SELECT _ingest_ts, _source, _seq, row_index, array_to_string(rules, ', ') AS rules, reason, raw FROM {quarantine}{of_rule} \
                 ORDER BY _ingest_ts DESC, _source, _seq, row_index LIMIT {limit}"
            )
        }
        Ask::Replay(replay) => {
            let sql = replay.sql(&name)?;
            let (schema, rows) = SqlClient::connect(uri).await?.query(&sql).await?;
            println!("{}", render(&rows, &schema, format)?);
            // examined, replayed, duplicates, rejected: what has left the quarantine, or would.
            let left: i64 = rows
                .iter()
                .filter(|b| b.num_columns() == 4)
                .flat_map(|b| {
                    [1, 2].map(|i| {
                        b.column(i)
                            .as_primitive::<Int64Type>()
                            .values()
                            .iter()
                            .sum::<i64>()
                    })
                })
                .sum();
            return Ok(if left == 0 {
                Outcome::NothingToDo
            } else {
                Outcome::Done
            });
        }
    };
    let (schema, rows) = SqlClient::connect(uri).await?.query(&sql).await?;
    println!("{}", render(&rows, &schema, format)?);
    let empty = rows.iter().all(|b| b.num_rows() == 0);
    Ok(if empty {
        Outcome::NothingToDo
    } else {
        Outcome::Done
    })
}
