//! `deltaplane process`: a day's batch. Each step of the dataset makes one table's rows of the day anew, in one commit, so that
//! a run again gives the same, late rows appear and what has vanished from the input vanishes from the result. Then the views
//! over those tables store the day, whether or not they would have by themselves by now.

use std::collections::BTreeMap;

use anyhow::Context;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use chrono::NaiveDate;
use deltaplane_client::SqlClient;
use serde_json::{Value, json};

use super::Outcome;
use super::bundled::load;
use crate::dataset::{Contract, Dataset, RuleKind, Step, quote_text};
use crate::types::{TableName, quote_name};

/// # Errors
/// The dataset declares no batch; the server refuses a statement. Steps before that one have been committed; a run again puts
/// everything right.
pub(super) async fn run(
    uri: &str,
    dataset: &str,
    date: NaiveDate,
    allow_empty: bool,
) -> anyhow::Result<Outcome> {
    let dataset = load(dataset)?.dataset;
    let first = dataset
        .process
        .first()
        .with_context(|| format!("{} declares no [[process]]", dataset.name))?;
    let source = dataset
        .tables
        .iter()
        .find(|t| t.table.table() == "raw")
        .with_context(|| format!("{} has no table raw", dataset.name))?;
    let run = Run {
        client: SqlClient::connect(uri).await?,
        day: format!("DATE '{date}'"),
        date,
    };
    run.go(&dataset, source, first, allow_empty).await
}

struct Run {
    client: SqlClient,
    day: String,
    date: NaiveDate,
}

impl Run {
    async fn go(
        mut self,
        dataset: &Dataset,
        source: &Contract,
        first: &Step,
        allow_empty: bool,
    ) -> anyhow::Result<Outcome> {
        let raw = &source.table;
        // Before anything is changed.
        let views = self.views(dataset).await?;
        let run_id = crate::ids::random_id().to_string();
        let day = self.day.clone();
        let total = self
            .number(&format!(
                "SELECT count(*) FROM {raw} WHERE event_date = {day}"
            ))
            .await?;
        let mut report = json!({
            "dataset": dataset.name,
            "process_date": self.date.to_string(),
            "run_id": run_id,
            "rows_total": total,
        });
        if total == 0 && !allow_empty {
            report["outcome"] = json!("no_input");
            println!("{report}");
            return Ok(Outcome::NothingToDo);
        }
        let mut versions = BTreeMap::new();
        for step in &dataset.process {
            let table = TableName::new(&dataset.name, &step.table)?.to_string();
            let sql = format!(
                "INSERT INTO {table} REPLACE WHERE {} = {day} {}",
                quote_name(&step.day),
                step.sql.replace(":date", &day)
            );
            self.client
                .update(&sql)
                .await
                .with_context(|| table.clone())?;
            let version = self.version(&dataset.name, &step.table).await?;
            versions.insert(step.table.clone(), version);
        }
        for view in &views {
            self.client
                .update(&format!("REFRESH MATERIALIZED VIEW {view} FOR {day}"))
                .await
                .with_context(|| view.to_string())?;
            let version = self.version(view.schema(), view.table()).await?;
            versions.insert(view.table().to_owned(), version);
        }
        self.quality(&mut report, dataset, source, first).await?;
        report["versions"] = json!(versions);
        report["outcome"] = json!("done");
        println!("{report}");
        Ok(Outcome::Done)
    }

    /// The dataset's views over what its steps write, those below others first.
    ///
    /// # Errors
    /// One that the file declares is not there.
    async fn views(&mut self, dataset: &Dataset) -> anyhow::Result<Vec<TableName>> {
        let (_, rows) = self
            .client
            .query("SELECT table_schema, table_name, source FROM system.views")
            .await?;
        let mut sources = BTreeMap::new();
        for batch in &rows {
            let texts = |i: usize| batch.column(i).as_string_opt::<i32>();
            if let (Some(schemas), Some(views), Some(below)) = (texts(0), texts(1), texts(2)) {
                let names = schemas.iter().flatten().zip(views.iter().flatten());
                for ((schema, view), source) in names.zip(below.iter().flatten()) {
                    let view = TableName::new(schema, view)?.folded();
                    sources.insert(view, TableName::try_from(source.to_owned())?.folded());
                }
            }
        }
        let steps = dataset.process.iter();
        let mut reached = steps
            .map(|step| Ok(TableName::new(&dataset.name, &step.table)?.folded()))
            .collect::<anyhow::Result<Vec<TableName>>>()?;
        let mut left = Vec::new();
        for view in &dataset.views {
            let name = view.name.folded();
            let source = sources.remove(&name).with_context(|| {
                format!(
                    "{} is no materialized view on this server, the dataset's file says it is one; `deltaplane apply` makes it one, or says what stands in the way. Nothing was changed",
                    view.name
                )
            })?;
            left.push((view.name.clone(), name, source));
        }
        let mut views = Vec::new();
        while let Some(at) = left
            .iter()
            .position(|(_, _, source)| reached.contains(source))
        {
            let (view, name, _) = left.remove(at);
            reached.push(name);
            views.push(view);
        }
        Ok(views)
    }

    async fn version(&mut self, schema: &str, table: &str) -> anyhow::Result<i64> {
        self.number(&format!(
            "SELECT version FROM system.tables WHERE table_schema = {} AND table_name = {}",
            quote_text(schema),
            quote_text(table)
        ))
        .await
    }

    /// What can be said of the day's rows: counts, nulls after cleaning, rules, dimension, event times.
    async fn quality(
        &mut self,
        report: &mut Value,
        dataset: &Dataset,
        source: &Contract,
        first: &Step,
    ) -> anyhow::Result<()> {
        let (raw, day) = (source.table.clone(), self.day.clone());
        let key: Vec<String> = source.key.iter().map(|k| quote_name(k)).collect();
        let key = key.join(", ");
        let of_day = format!("FROM {raw} WHERE event_date = {day}");
        let distinct = self
            .number(&format!(
                "SELECT count(*) FROM (SELECT DISTINCT {key} {of_day})"
            ))
            .await?;
        let total = report["rows_total"].as_i64().unwrap_or(0);
        report["rows_accepted"] = json!(total);
        report["duplicate_keys"] = json!(total - distinct);
        let quarantine = raw.quarantine();
        let in_day = format!("CAST(event_ts AS DATE) = {day}");
        report["rows_quarantined"] = json!(
            self.number(&format!("SELECT count(*) FROM {quarantine} WHERE {in_day}"))
                .await?
        );
        report["late_rows"] = json!(
            self.number(&format!(
                "SELECT count(*) {of_day} AND CAST(_ingest_ts AS DATE) > event_date"
            ))
            .await?
        );
        let time = quote_name(source.event_time.as_deref().unwrap_or_default());
        let (_, rows) = self
            .client
            .query(&format!(
                "SELECT CAST(min({time}) AS VARCHAR), CAST(max({time}) AS VARCHAR) {of_day}"
            ))
            .await?;
        report["min_event_ts"] = json!(text(&rows, 0));
        report["max_event_ts"] = json!(text(&rows, 1));

        let cleaned = dataset
            .tables
            .iter()
            .find(|t| t.table.table() == first.table)
            .context("the first step's table is not declared")?;
        let counts: Vec<String> = cleaned
            .columns
            .iter()
            .map(|c| format!("count(*) - count({})", quote_name(&c.name)))
            .collect();
        let (_, rows) = self
            .client
            .query(&format!(
                "SELECT {} FROM {} WHERE {} = {day}",
                counts.join(", "),
                cleaned.table,
                quote_name(&first.day)
            ))
            .await?;
        let mut nulls = BTreeMap::new();
        for (index, column) in cleaned.columns.iter().enumerate() {
            nulls.insert(column.name.clone(), whole(&rows, index)?);
        }
        for (name, column) in &first.nulls_as {
            report[name] = json!(nulls.get(column));
        }
        report["null_counts"] = json!(nulls);
        // Before cleaning: what is null now and was not then was made null.
        let shared = |c: &&crate::dataset::Column| source.column(&c.name).is_some();
        let before: Vec<&str> = cleaned
            .columns
            .iter()
            .filter(shared)
            .map(|c| c.name.as_str())
            .collect();
        let counts: Vec<String> = before
            .iter()
            .map(|name| format!("count(*) - count({})", quote_name(name)))
            .collect();
        let (_, rows) = self
            .client
            .query(&format!("SELECT {} {of_day}", counts.join(", ")))
            .await?;
        let mut was_null = BTreeMap::new();
        for (index, name) in before.iter().enumerate() {
            was_null.insert(*name, whole(&rows, index)?);
        }
        report["was_null"] = json!(was_null);

        let mut rules = Vec::new();
        let mut unmatched = 0;
        for rule in &source.rules {
            let judged = quote_name(&rule.column);
            let violated = match &rule.kind {
                RuleKind::Range { min, max } => {
                    let bound =
                        |op: &str, b: &Option<f64>| b.map(|b| format!("{judged} {op} {b:?}"));
                    let parts: Vec<String> = [bound("<", min), bound(">", max)]
                        .into_iter()
                        .flatten()
                        .collect();
                    parts.join(" OR ")
                }
                RuleKind::Enum { values } => {
                    let values: Vec<String> = values.iter().map(|v| quote_text(v)).collect();
                    format!("{judged} NOT IN ({})", values.join(", "))
                }
                RuleKind::MaxLength { chars } => {
                    format!("length({judged}) > {chars}")
                }
                RuleKind::Referential { table, column } => {
                    let column = quote_name(column);
                    let missing = self
                        .number(&format!(
                            "SELECT count(*) FROM {raw} r LEFT JOIN {table} d ON r.{judged} = d.{column} WHERE r.event_date = {day} AND d.{column} IS NULL"
                        ))
                        .await?;
                    unmatched += missing;
                    rules.push(json!({ "rule": rule.name, "column": rule.column, "action": rule.action, "violations": missing }));
                    continue;
                }
                _ => "false".to_owned(),
            };
            let kept = self
                .number(&format!("SELECT count(*) {of_day} AND ({violated})"))
                .await?;
            let refused = self
                .number(&format!(
                    "SELECT count(*) FROM {quarantine} WHERE {in_day} AND array_has(rules, '{}')",
                    rule.name.replace('\'', "''")
                ))
                .await?;
            rules.push(json!({ "rule": rule.name, "column": rule.column, "action": rule.action, "violations": kept + refused }));
        }
        report["rules"] = json!(rules);
        report["unmatched_dimension"] = json!(unmatched);
        Ok(())
    }

    async fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        let (_, rows) = self
            .client
            .query(sql)
            .await
            .with_context(|| sql.to_owned())?;
        whole(&rows, 0)
    }
}

fn whole(rows: &[RecordBatch], column: usize) -> anyhow::Result<i64> {
    let batch = rows
        .iter()
        .find(|b| b.num_rows() > 0)
        .context("no row came back")?;
    let numbers = cast(batch.column(column), &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().value(0))
}

fn text(rows: &[RecordBatch], column: usize) -> Option<String> {
    let batch = rows.iter().find(|b| b.num_rows() > 0)?;
    let texts = batch.column(column).as_string_opt::<i32>()?;
    texts.is_valid(0).then(|| texts.value(0).to_owned())
}
