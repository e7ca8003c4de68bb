//! `dataset.toml`. What is wrong with it is told with the line at which it stands.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::Error;
use super::alert::{AlertDeclaration, Watched, clause_span};
use super::column::{Column, ColumnType, EpochUnit};
use super::contract::{Contract, EVENT_DATE, UnknownColumns};
use super::rule::{Action, Rule, RuleKind};
use super::view::{ViewDeclaration, ViewSettings};
use crate::types::{NameError, TableName, check_name};

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
        (None, Some(on), Some(silence)) => {
            let (schema, table) = on.split_once('.').unwrap_or((dataset, &on));
            Watched::Deadman {
                table: TableName::new(schema, table)?,
                silence: span("deadman", &silence)?,
            }
        }
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

/// The text, for the numbers of its lines.
#[derive(Clone, Copy)]
struct Lines<'a>(&'a str);

impl Lines<'_> {
    /// The line of a span's start, from 1.
    fn number(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().iter().take(span.start);
        before.filter(|b| **b == b'\n').count() + 1
    }

    fn at(&self, span: &Range<usize>, error: Error) -> Error {
        match error {
            Error::At { .. } => error,
            other => Error::At {
                line: self.number(span),
                source: Box::new(other),
            },
        }
    }
}

/// Where the parts of a table stand in the file.
struct Place {
    name: Range<usize>,
    event_time: Option<Range<usize>>,
    key: Option<Range<usize>>,
    partition_by: Option<Range<usize>>,
    columns: Vec<(String, Range<usize>)>,
    /// With the names of columns that a rule mentions.
    rules: Vec<(Vec<String>, Range<usize>)>,
}

impl Place {
    fn of(entry: &TableEntry) -> Self {
        let rule = |rule: &Spanned<RuleEntry>| {
            let r = rule.get_ref();
            let lists = [&r.unique, &r.monotonic_by];
            let names = lists.into_iter().flatten().flatten().chain(&r.column);
            (names.cloned().collect(), rule.span())
        };
        Place {
            name: entry.name.span(),
            event_time: entry.event_time.as_ref().map(Spanned::span),
            key: entry.key.as_ref().map(Spanned::span),
            partition_by: entry.partition_by.as_ref().map(Spanned::span),
            columns: entry
                .columns
                .iter()
                .map(|c| (c.get_ref().name.clone(), c.span()))
                .collect(),
            rules: entry.rules.iter().map(rule).collect(),
        }
    }

    fn column(&self, name: &str) -> Option<&Range<usize>> {
        let own = |(n, _): &&(String, Range<usize>)| n.eq_ignore_ascii_case(name);
        self.columns.iter().rev().find(own).map(|(_, span)| span)
    }

    fn rule(&self, column: &str) -> Option<&Range<usize>> {
        let of = |(names, _): &&(Vec<String>, Range<usize>)| names.iter().any(|n| n == column);
        self.rules.iter().rev().find(of).map(|(_, span)| span)
    }

    /// The part of the table that an error is about; the table's name if none is.
    fn find(&self, error: &Error) -> Range<usize> {
        let found = match error {
            Error::Type { column, .. } | Error::Twice { column, .. } => self.column(column),
            Error::Reserved { name, .. } => self.column(name),
            Error::Name(NameError { name, .. }) => self.column(name),
            Error::NoColumn { place, column, .. } => match *place {
                "event_time" => self.event_time.as_ref(),
                "key" => self.key.as_ref(),
                "partition_by" => self.partition_by.as_ref(),
                _ => self.rule(column),
            },
            // A rule in short stands with its column.
            Error::Rule { rule, column, .. } => match rule.split(':').next() {
                Some("event_time" | "timezone, time_unit" | "timezone" | "from") => {
                    self.column(column)
                }
                _ => self.rule(column).or_else(|| self.column(column)),
            },
            Error::Toml(_) | Error::At { .. } | Error::Empty(_) | Error::Property { .. } => None,
        };
        found.unwrap_or(&self.name).clone()
    }
}

/// A dimension that a rule names has to be declared beside it, with that column.
fn refers_to_columns_that_there_are(contract: &Contract, all: &[Contract]) -> Result<(), Error> {
    for rule in &contract.rules {
        let RuleKind::Referential { table, column } = &rule.kind else {
            continue;
        };
        let names = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        let problem = match all.iter().find(|t| t.table == *table) {
            None => format!(
                "there is no table {}; tables: {}",
                table.table(),
                names(&mut all.iter().map(|t| t.table.table()))
            ),
            Some(target) if target.column(column).is_none() => format!(
                "{} has no column {column}; columns: {}; write in = \"{}.<column>\"",
                table.table(),
                names(&mut target.columns.iter().map(|c| c.name.as_str())),
                table.table()
            ),
            Some(_) => continue,
        };
        return Err(Error::Rule {
            rule: rule.name.clone(),
            column: rule.column.clone(),
            problem,
        });
    }
    Ok(())
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

fn table(
    dataset: &str,
    entry: TableEntry,
    lines: &Lines,
    place: &Place,
) -> Result<Contract, Error> {
    let mut rules = Vec::new();
    let mut columns = Vec::new();
    for c in entry.columns {
        let span = c.span();
        let c = c.into_inner();
        let data_type: ColumnType = c.data_type.parse().map_err(|()| {
            let error = Error::Type {
                column: c.name.clone(),
                given: c.data_type.clone(),
            };
            lines.at(&span, error)
        })?;
        let kinds = [
            c.range.map(|[min, max]| RuleKind::Range {
                min: Some(min),
                max: Some(max),
            }),
            c.values.map(|values| RuleKind::Enum { values }),
            c.regex.map(|pattern| RuleKind::Regex { pattern }),
            c.max_length.map(|chars| RuleKind::MaxLength { chars }),
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
        let span = entry_rule.span();
        let entry_rule = entry_rule.into_inner();
        let action = entry_rule.action.unwrap_or(entry.on_violation);
        let (column, kind) = rule(dataset, entry_rule).map_err(|e| lines.at(&span, e))?;
        rules.push(Rule::new(&column, kind, action));
    }
    let event_time = entry.event_time.map(Spanned::into_inner);
    let default_partition = || event_time.iter().map(|_| EVENT_DATE.to_owned()).collect();
    let name = TableName::new(dataset, entry.name.get_ref())
        .map_err(|e| lines.at(&entry.name.span(), e.into()))?;
    if let Some(property) = entry
        .properties
        .keys()
        .find(|p| !super::retention::KEPT.contains(&p.as_str()))
    {
        return Err(Error::Property {
            property: property.clone(),
            problem: format!("not kept; known: {}", super::retention::KEPT.join(", ")),
        });
    }
    let contract = Contract {
        table: name,
        columns,
        partition_by: entry
            .partition_by
            .map_or_else(default_partition, Spanned::into_inner),
        event_time,
        key: entry.key.map(Spanned::into_inner).unwrap_or_default(),
        rules,
        on_violation: entry.on_violation,
        retention: entry.retention,
        delta: entry.properties,
        system_columns: entry.system_columns,
        unknown_columns: entry.unknown_columns,
        version: 1,
        view: None,
    };
    contract
        .validate_self()
        .map_err(|e| lines.at(&place.find(&e), e))?;
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
    kinds.extend(r.max_length.map(|chars| RuleKind::MaxLength { chars }));
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
            "a rule has one of min/max, enum, regex, max_length, in, unique, max_future, max_late and monotonic_by"
                .to_owned(),
        )),
    }
}
