//! `dataset.toml`. What is wrong with it is told with the line at which it stands.

mod place;
mod table;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::Error;
use super::alert::{AlertDeclaration, Watched, clause_span};
use super::column::EpochUnit;
use super::contract::{Contract, UnknownColumns};
use super::rule::Action;
use super::view::{ViewDeclaration, ViewSettings};
use crate::types::{TableName, check_name};
use place::{Lines, Place};
use table::{refers_to_columns_that_there_are, table};

/// One file: a dataset's name and its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub description: Option<String>,
    pub tables: Vec<Contract>,
    /// Tables that are filled from a file beside this one, once.
    pub loads: Vec<Load>,
    pub views: Vec<ViewDeclaration>,
    pub alerts: Vec<AlertDeclaration>,
    /// The day's batch, in the order in which it runs.
    pub process: Vec<Step>,
    /// Queries that its users ask first.
    pub queries: Vec<Question>,
}

/// A table and the file that fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub table: TableName,
    /// Beside the dataset's own file.
    pub path: String,
    /// Where the dataset's file says so, from 1.
    pub line: usize,
}

/// One table of the day's batch: the rows of one day, made anew by a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub table: String,
    /// The partition column whose value is the day.
    pub day: String,
    /// `:date` stands for the day.
    pub sql: String,
    /// Names under which the quality report shows a column's nulls, beside `null_counts`.
    pub nulls_as: BTreeMap<String, String>,
    /// Where the query begins in the file, from 1.
    pub line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry {
    table: Spanned<String>,
    day: Spanned<String>,
    sql: Spanned<String>,
    #[serde(default)]
    nulls_as: BTreeMap<String, Spanned<String>>,
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
    dataset: Spanned<String>,
    description: Option<String>,
    #[serde(default)]
    table: Vec<TableEntry>,
    #[serde(default)]
    view: Vec<ViewEntry>,
    #[serde(default)]
    alert: Vec<Spanned<AlertEntry>>,
    #[serde(default)]
    process: Vec<StepEntry>,
    #[serde(default)]
    query: Vec<Question>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    name: Spanned<String>,
    event_time: Option<Spanned<String>>,
    key: Option<Spanned<Vec<String>>>,
    partition_by: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    on_violation: Action,
    retention: Option<String>,
    /// Delta's own, as in `"delta.logRetentionDuration" = "interval 7 days"`.
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default = "yes")]
    system_columns: bool,
    #[serde(default)]
    unknown_columns: UnknownColumns,
    load: Option<Spanned<String>>,
    columns: Vec<Spanned<ColumnEntry>>,
    #[serde(default)]
    rules: Vec<Spanned<RuleEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewEntry {
    name: String,
    delay: Option<String>,
    idle: Option<String>,
    future: Option<String>,
    sql: String,
}

/// A condition (`sql`) or a deadman (`on`, `deadman`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertEntry {
    name: String,
    sql: Option<String>,
    on: Option<String>,
    deadman: Option<String>,
    #[serde(default)]
    by: Vec<String>,
    every: Option<String>,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    notify: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    comment: Option<String>,
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
    max_length: Option<u32>,
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
    max_length: Option<u32>,
    action: Option<Action>,
}

/// # Errors
/// `At` with the line, for whatever toml, a name or [`Contract::validate_self`] says.
pub fn from_toml(text: &str) -> Result<Dataset, Error> {
    let lines = Lines(text);
    let file: File = toml::from_str(text).map_err(|e| {
        let error = Error::Toml(e.message().replace('\n', ", "));
        match e.span() {
            Some(span) => lines.at(&span, error),
            None => error,
        }
    })?;
    let dataset = file.dataset.get_ref();
    check_name(dataset).map_err(|e| lines.at(&file.dataset.span(), e.into()))?;
    let mut loads = Vec::new();
    let mut tables: Vec<Contract> = Vec::new();
    let mut places = Vec::new();
    for mut entry in file.table {
        let name = entry.name.clone();
        let load = entry.load.take();
        let place = Place::of(&entry);
        let contract = table(dataset, entry, &lines, &place)?;
        let twice = |t: &&Contract| t.table.folded() == contract.table.folded();
        if tables.iter().any(|t| twice(&t)) {
            let problem = format!("table declared twice, table={}", contract.table);
            return Err(lines.at(&name.span(), Error::Toml(problem)));
        }
        loads.extend(load.map(|path| Load {
            table: contract.table.clone(),
            line: lines.number(&path.span()),
            path: path.into_inner(),
        }));
        tables.push(contract);
        places.push(place);
    }
    for (contract, place) in tables.iter().zip(&places) {
        refers_to_columns_that_there_are(contract, &tables)
            .map_err(|e| lines.at(&place.find(&e), e))?;
    }
    let mut views = Vec::new();
    for entry in file.view {
        let view = view(dataset, entry)?;
        let taken = tables.iter().map(|t| &t.table);
        if taken
            .chain(views.iter().map(|v: &ViewDeclaration| &v.name))
            .any(|name| name.folded() == view.name.folded())
        {
            return Err(Error::Toml(format!(
                "view declared twice, or named as a table, view={}",
                view.name
            )));
        }
        views.push(view);
    }
    let mut alerts: Vec<AlertDeclaration> = Vec::new();
    for entry in file.alert {
        let span = entry.span();
        let alert = alert(dataset, entry.into_inner()).map_err(|e| lines.at(&span, e))?;
        if alerts
            .iter()
            .any(|a| a.name.folded() == alert.name.folded())
        {
            let problem = format!("alert declared twice, alert={}", alert.name);
            return Err(lines.at(&span, Error::Toml(problem)));
        }
        alerts.push(alert);
    }
    let process = file.process.into_iter().map(|e| step(e, &tables, &lines));
    Ok(Dataset {
        name: dataset.clone(),
        description: file.description,
        process: process.collect::<Result<_, _>>()?,
        tables,
        views,
        alerts,
        loads,
        queries: file.query,
    })
}

fn view(dataset: &str, entry: ViewEntry) -> Result<ViewDeclaration, Error> {
    let name = TableName::new(dataset, &entry.name)?;
    let mut settings = ViewSettings::default();
    let given = [
        ("delay", &entry.delay),
        ("idle", &entry.idle),
        ("future", &entry.future),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            settings
                .set(key, value)
                .map_err(|problem| Error::Toml(format!("view={name}, {problem}")))?;
        }
    }
    Ok(ViewDeclaration {
        name,
        settings,
        sql: entry.sql.trim().to_owned(),
    })
}

fn alert(dataset: &str, entry: AlertEntry) -> Result<AlertDeclaration, Error> {
    let name = TableName::new(dataset, &entry.name)?;
    let toml = |problem: String| Error::Toml(format!("alert={name}, {problem}"));
    let span = |key: &str, text: &str| clause_span(key, text).map_err(toml);
    let watched = match (entry.sql, entry.on, entry.deadman) {
        (Some(sql), None, None) => Watched::Query {
            sql: sql.trim().to_owned(),
        },
        (None, Some(on), Some(silence)) => Watched::Deadman {
            table: TableName::read(&on, dataset)?,
            silence: span("deadman", &silence)?,
        },
        _ => {
            let problem = "it has either sql, or on, by and deadman".to_owned();
            return Err(toml(problem));
        }
    };
    let mut alert = AlertDeclaration::new(name.clone(), watched);
    let spans = [
        ("every", &entry.every, &mut alert.every),
        ("for", &entry.r#for, &mut alert.hold),
        ("keep_firing_for", &entry.keep_firing_for, &mut alert.keep),
    ];
    for (key, text, place) in spans {
        if let Some(text) = text {
            *place = span(key, text)?;
        }
    }
    alert.by = entry.by;
    alert.notify = entry.notify;
    alert.labels = entry.labels;
    alert.comment = entry.comment;
    alert.check().map_err(Error::Toml)?;
    Ok(alert)
}

fn step(entry: StepEntry, tables: &[Contract], lines: &Lines) -> Result<Step, Error> {
    let (table, day) = (entry.table.get_ref(), entry.day.get_ref());
    let Some(target) = tables.iter().find(|t| t.table.table() == table) else {
        let known: Vec<&str> = tables.iter().map(|t| t.table.table()).collect();
        let problem = format!(
            "process writes a table that is not declared, table={table}; tables: {}",
            known.join(", ")
        );
        return Err(lines.at(&entry.table.span(), Error::Toml(problem)));
    };
    if !target.partition_by.contains(day) {
        let problem = format!(
            "process replaces whole partitions, table={table}, day={day} is not one of partition_by={}",
            target.partition_by.join(", ")
        );
        return Err(lines.at(&entry.day.span(), Error::Toml(problem)));
    }
    for (name, column) in &entry.nulls_as {
        if target.column(column.get_ref()).is_none() {
            let problem = format!(
                "nulls_as names a column that the table has not, table={table}, {name}={}",
                column.get_ref()
            );
            return Err(lines.at(&column.span(), Error::Toml(problem)));
        }
    }
    let nulls_as = entry.nulls_as.into_iter();
    Ok(Step {
        line: lines.number(&entry.sql.span()),
        table: entry.table.into_inner(),
        day: entry.day.into_inner(),
        sql: entry.sql.into_inner(),
        nulls_as: nulls_as.map(|(k, v)| (k, v.into_inner())).collect(),
    })
}
