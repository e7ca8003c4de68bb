//! `dataset.toml`: unknown keys are errors, with the line that toml gives.

use serde::Deserialize;

use super::Error;
use super::contract::{Action, Column, ColumnType, Contract, EVENT_DATE, Rule, RuleKind};
use crate::types::{TableName, check_name};

/// One file: a dataset's name and its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub description: Option<String>,
    pub tables: Vec<Contract>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dataset: String,
    description: Option<String>,
    #[serde(default)]
    table: Vec<TableEntry>,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    column: String,
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
    let tables = file
        .table
        .into_iter()
        .map(|t| table(&file.dataset, t))
        .collect::<Result<Vec<_>, _>>()?;
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
        });
    }
    for r in entry.rules {
        let kind = match (r.min.is_some() || r.max.is_some(), r.values, r.regex) {
            (true, None, None) => RuleKind::Range {
                min: r.min,
                max: r.max,
            },
            (false, Some(values), None) => RuleKind::Enum { values },
            (false, None, Some(pattern)) => RuleKind::Regex { pattern },
            _ => {
                let problem = "a rule has one of min/max, enum and regex".to_owned();
                return Err(Error::Rule {
                    rule: "rules".to_owned(),
                    column: r.column,
                    problem,
                });
            }
        };
        rules.push(Rule::new(
            &r.column,
            kind,
            r.action.unwrap_or(entry.on_violation),
        ));
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
        version: 1,
    };
    contract.validate_self()?;
    Ok(contract)
}
