//! `deltaplane quarantine`: which rules rejected rows of a table, and the rows themselves.

use deltaplane_client::SqlClient;

use super::Outcome;
use super::sql::render;
use crate::types::TableName;

/// What is asked of a quarantine.
pub enum Ask {
    /// A line a rule.
    List,
    /// The newest rows, of one rule or of all.
    Show { rule: Option<String>, limit: usize },
}

/// # Errors
/// The name is none, or the server refuses.
pub async fn run(uri: &str, table: &str, ask: Ask, format: &str) -> anyhow::Result<Outcome> {
    let (schema, name) = table
        .split_once('.')
        .ok_or_else(|| anyhow::anyhow!("the table is schema.table, got {table}"))?;
    let quarantine = TableName::new(schema, name)?.quarantine();
    let sql = match ask {
        Ask::List => format!(
            "SELECT rule, count(*) AS rows, min(_ingest_ts) AS first, max(_ingest_ts) AS last, max(reason) AS for_example \
             FROM (SELECT unnest(rules) AS rule, _ingest_ts, reason FROM {quarantine}) q GROUP BY rule ORDER BY rows DESC, rule"
        ),
        Ask::Show { rule, limit } => {
            let of_rule = rule.map_or_else(String::new, |rule| {
                format!(" WHERE array_has(rules, '{}')", rule.replace('\'', "''"))
            });
            format!(
                "SELECT _ingest_ts, _source, _seq, row_index, array_to_string(rules, ', ') AS rules, reason, raw FROM {quarantine}{of_rule} \
                 ORDER BY _ingest_ts DESC, _source, _seq, row_index LIMIT {limit}"
            )
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
