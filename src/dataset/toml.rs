//! `dataset.toml`: unknown keys are errors, with the line that toml gives.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Error;
use super::contract::{
    Action, Column, ColumnType, Contract, EVENT_DATE, EpochUnit, Rule, RuleKind, UnknownColumns,
};
use crate::types::{TableName, check_name};

/// One file: a dataset's name and its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub description: Option<String>,
    pub tables: Vec<Contract>,
    /// Tables that are filled from a file beside this one, once.
    pub loads: Vec<(TableName, String)>,
    /// The day's batch, in the order in which it runs.
    pub process: Vec<Step>,
    /// Queries that its users ask first.
    pub queries: Vec<Question>,
}

/// One table of the day's batch: the rows of one day, made anew by a query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub table: String,
    /// The partition column whose value is the day.
    pub day: String,
    /// `:date` stands for the day.
    pub sql: String,
    /// Names under which the quality report shows a column's nulls, beside `null_counts`.
    #[serde(default)]
    pub nulls_as: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub title: String,
    pub sql: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dataset: String,
    description: Option<String>,
    #[serde(default)]
    table: Vec<TableEntry>,
    #[serde(default)]
    process: Vec<Step>,
    #[serde(default)]
    query: Vec<Question>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    name: String,
    event_time: Option<String>,
    #[serde(default)]
    key: Vec<String>,
    partition_by: Option<Vec<String>>,
    #[serde(default)]
    on_violation: Action,
    retention: Option<String>,
    #[serde(default = "yes")]
    system_columns: bool,
    #[serde(default)]
    unknown_columns: UnknownColumns,
    load: Option<String>,
    columns: Vec<ColumnEntry>,
    #[serde(default)]
    rules: Vec<RuleEntry>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnEntry {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    #[serde(default)]
    required: bool,
    unit: Option<String>,
    description: Option<String>,
    default: Option<serde_json::Value>,
    range: Option<[f64; 2]>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    regex: Option<String>,
    timezone: Option<String>,
    time_unit: Option<EpochUnit>,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    column: Option<String>,
    unique: Option<Vec<String>>,
    /// `table` or `table.column` of the same dataset.
    r#in: Option<String>,
    max_future: Option<String>,
    max_late: Option<String>,
    monotonic_by: Option<Vec<String>>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    regex: Option<String>,
    action: Option<Action>,
}

/// # Errors
/// `Toml` with the line; whatever [`Contract::validate_self`] says of a table.
pub fn from_toml(text: &str) -> Result<Dataset, Error> {
    let file: File = toml::from_str(text).map_err(|e| Error::Toml(e.to_string()))?;
    check_name(&file.dataset)?;
    let mut loads = Vec::new();
    let mut tables = Vec::new();
    for mut entry in file.table {
        let load = entry.load.take();
        let contract = table(&file.dataset, entry)?;
        loads.extend(load.map(|path| (contract.table.clone(), path)));
        tables.push(contract);
    }
    for step in &file.process {
        let known = tables.iter().find(|t| t.table.table() == step.table);
        let Some(target) = known else {
            return Err(Error::Toml(format!(
                "process writes a table that is not declared, table={}",
                step.table
            )));
        };
        if !target.partition_by.contains(&step.day) {
            return Err(Error::Toml(format!(
                "process replaces whole partitions, table={}, day={} is not one of partition_by={}",
                step.table,
                step.day,
                target.partition_by.join(", ")
            )));
        }
    }
    for (index, contract) in tables.iter().enumerate() {
        if tables[..index]
            .iter()
            .any(|t| t.table.folded() == contract.table.folded())
        {
            return Err(Error::Toml(format!(
                "table declared twice, table={}",
                contract.table
            )));
        }
    }
    Ok(Dataset {
        name: file.dataset,
        description: file.description,
        tables,
        loads,
        process: file.process,
        queries: file.query,
    })
}

fn table(dataset: &str, entry: TableEntry) -> Result<Contract, Error> {
    let mut rules = Vec::new();
    let mut columns = Vec::new();
    for c in entry.columns {
        let data_type: ColumnType = c.data_type.parse().map_err(|()| Error::Type {
            column: c.name.clone(),
            given: c.data_type.clone(),
        })?;
        let kinds = [
            c.range.map(|[min, max]| RuleKind::Range {
                min: Some(min),
                max: Some(max),
            }),
            c.values.map(|values| RuleKind::Enum { values }),
            c.regex.map(|pattern| RuleKind::Regex { pattern }),
        ];
        rules.extend(
            kinds
                .into_iter()
                .flatten()
                .map(|kind| Rule::new(&c.name, kind, entry.on_violation)),
        );
        columns.push(Column {
            name: c.name,
            data_type,
            required: c.required,
            unit: c.unit,
            description: c.description,
            default: c.default,
            timezone: c.timezone,
            time_unit: c.time_unit,
            from: c.from,
        });
    }
    for entry_rule in entry.rules {
        let action = entry_rule.action.unwrap_or(entry.on_violation);
        let (column, kind) = rule(dataset, entry_rule)?;
        rules.push(Rule::new(&column, kind, action));
    }
    let default_partition = || {
        entry
            .event_time
            .iter()
            .map(|_| EVENT_DATE.to_owned())
            .collect()
    };
    let contract = Contract {
        table: TableName::new(dataset, &entry.name)?,
        columns,
        partition_by: entry.partition_by.unwrap_or_else(default_partition),
        event_time: entry.event_time,
        key: entry.key,
        rules,
        on_violation: entry.on_violation,
        retention: entry.retention,
        system_columns: entry.system_columns,
        unknown_columns: entry.unknown_columns,
        version: 1,
    };
    contract.validate_self()?;
    Ok(contract)
}

/// The column that a rule is about, and what it says of it.
fn rule(dataset: &str, r: RuleEntry) -> Result<(String, RuleKind), Error> {
    let named = r.column.clone().unwrap_or_default();
    let wrong = |problem: String| Error::Rule {
        rule: "rules".to_owned(),
        column: named.clone(),
        problem,
    };
    let micros = |text: &str| {
        let duration = crate::config::size::parse_duration(text).map_err(wrong)?;
        i64::try_from(duration.as_micros()).map_err(|_| wrong(format!("too long: {text}")))
    };
    let mut kinds = Vec::new();
    if r.min.is_some() || r.max.is_some() {
        kinds.push(RuleKind::Range {
            min: r.min,
            max: r.max,
        });
    }
    kinds.extend(r.values.map(|values| RuleKind::Enum { values }));
    kinds.extend(r.regex.map(|pattern| RuleKind::Regex { pattern }));
    if let Some(text) = &r.max_future {
        kinds.push(RuleKind::MaxFuture {
            micros: micros(text)?,
        });
    }
    if let Some(text) = &r.max_late {
        kinds.push(RuleKind::MaxLate {
            micros: micros(text)?,
        });
    }
    kinds.extend(r.monotonic_by.map(|by| RuleKind::Monotonic { by }));
    if let Some(target) = &r.r#in {
        let (table, column) = target.split_once('.').unwrap_or((target, &named));
        kinds.push(RuleKind::Referential {
            table: TableName::new(dataset, table)?,
            column: column.to_owned(),
        });
    }
    let first = r
        .unique
        .as_ref()
        .and_then(|columns| columns.first().cloned());
    kinds.extend(r.unique.map(|columns| RuleKind::Unique { columns }));
    let mut kinds = kinds.into_iter();
    match (kinds.next(), kinds.next(), r.column.or(first)) {
        (Some(kind), None, Some(column)) => Ok((column, kind)),
        (Some(_), None, None) => Err(wrong("it names no column".to_owned())),
        _ => Err(wrong(
            "a rule has one of min/max, enum, regex, in, unique, max_future, max_late and monotonic_by"
                .to_owned(),
        )),
    }
}
