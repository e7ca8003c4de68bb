//! One table's entry: its columns, its rules, and the contract that they make.

use std::collections::BTreeMap;

use toml::Spanned;

use super::super::Error;
use super::super::column::{Column, ColumnType, plain_type};
use super::super::contract::{Contract, EVENT_DATE};
use super::super::retention::KEPT;
use super::super::rule::{Rule, RuleKind};
use super::place::{Lines, Place};
use super::{RuleEntry, TableEntry};
use crate::types::{TableName, split_names};

pub(super) fn table(
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
        let data_type = column_type(&c.name, &c.data_type).map_err(|e| lines.at(&span, e))?;
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
            formerly: Vec::new(),
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
        .find(|p| !KEPT.contains(&p.as_str()))
    {
        return Err(Error::Property {
            property: property.clone(),
            problem: format!("not kept; known: {}", KEPT.join(", ")),
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
        dropped: BTreeMap::new(),
        version: 1,
        view: None,
    };
    contract
        .validate_self()
        .map_err(|e| lines.at(&place.find(&e), e))?;
    Ok(contract)
}

/// One of the plain types' words, or a nested type as SQL spells it.
fn column_type(column: &str, given: &str) -> Result<ColumnType, Error> {
    if let Ok(plain) = given.parse() {
        return Ok(plain);
    }
    let (column, text) = (column.to_owned(), given.chars().take(200).collect());
    if !given.contains(['<', '(', '[']) {
        let given = text;
        return Err(Error::Type { column, given });
    }
    ColumnType::read(given, &plain_type).map_err(|problem| Error::Nested {
        column,
        given: text,
        problem,
    })
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
        let mut parts = split_names(target, '.').into_iter();
        let table = parts.next().unwrap_or_default();
        let column = parts.next().unwrap_or_else(|| named.clone());
        kinds.push(RuleKind::Referential {
            table: TableName::new(dataset, &table)?,
            column,
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

/// A dimension that a rule names has to be declared beside it, with that column.
pub(super) fn refers_to_columns_that_there_are(
    contract: &Contract,
    all: &[Contract],
) -> Result<(), Error> {
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
