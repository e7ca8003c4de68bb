//! [`Dml`] to the one query that finds the rows that change and makes the new ones.
//!
//! Its columns: file, row, number of the clause that applies (from 1), then for each clause that makes rows its values. A
//! value is computed only where its clause applies, and keeps its own type: the contract turns it into the column's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, TableFactor};

use super::visible::{Known, OneSide, text};
use super::{Action, Dml, Merge, Values, When, Work};
use crate::cold::{FILE, ROW};
use crate::dataset::{Contract, EVENT_DATE, RESERVED_COLUMNS};
use crate::fault::Fault;
use crate::sql::{parts, placed, placeholder, printed};
use crate::types::{SameName, TableName, quote_name, without_mark};

/// Marks the rows of a MERGE's source.
const SOURCE: &str = "__source";

/// What the query calls the target and the source where the statement has one name for both.
const TARGET: &str = "__target";
const OTHER: &str = "__other";

/// What a clause makes of its rows, and in which columns of the result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Made {
    Nothing,
    /// The contract's columns, then the system columns as they were.
    Changed {
        columns: Range<usize>,
        assigned: BTreeSet<String>,
    },
    Inserted {
        columns: Range<usize>,
        names: Vec<String>,
    },
}

#[derive(Debug)]
pub(super) struct Query {
    pub sql: String,
    /// By the clause's number, less one.
    pub clauses: Vec<Made>,
    /// Types of the columns that parameters are assigned to, for who asks what to bind.
    pub types: BTreeMap<usize, DataType>,
    /// Rows that match several times are deleted once; else they are an error.
    pub repeats: bool,
    /// Every row goes, whatever it is.
    pub all: bool,
}

fn column<'a>(contract: &'a Contract, name: &str) -> Result<&'a str, Fault> {
    let exact = contract.columns.iter().find(|c| c.name == name);
    let found = exact.or_else(|| {
        let mut all = contract.columns.iter();
        all.find(|c| c.name.is_same_name(name))
    });
    if let Some(column) = found {
        return Ok(&column.name);
    }
    let filled =
        RESERVED_COLUMNS.iter().any(|r| r.is_same_name(name)) || name.is_same_name(EVENT_DATE);
    if filled {
        return Err(Fault::invalid(
            "reserved_column",
            format!(
                "the server fills this column, column={name}, table={}; leave it out",
                contract.table
            ),
        ));
    }
    let known: Vec<&str> = contract.columns.iter().map(|c| c.name.as_str()).collect();
    Err(Fault::invalid(
        "column_not_found",
        format!(
            "no such column, column={name}, table={}; it has {}",
            contract.table,
            known.join(", ")
        ),
    ))
}

struct Builder<'a> {
    contract: Option<&'a Contract>,
    alias: String,
    known: Vec<Known>,
    /// Whose columns alone the clause that is built sees.
    side: Option<OneSide>,
    types: BTreeMap<usize, DataType>,
    /// Of the result.
    items: Vec<String>,
}

impl Builder<'_> {
    fn text(&self, expr: &Expr) -> Result<String, Fault> {
        text(expr, &self.known, self.side.as_ref())
    }

    fn contract(&self) -> Result<&Contract, Fault> {
        self.contract.ok_or_else(|| {
            Fault::invalid(
                "quarantine_is_as_it_came",
                "rows of a quarantine can be deleted, not changed or written; correct them with a replay",
            )
        })
    }

    /// A parameter that is assigned as it comes has its column's type.
    fn note(&mut self, column: &str, value: &Expr) {
        if let Some(n) = placeholder(value)
            && let Some(column) = self.contract.and_then(|c| c.column(column))
        {
            self.types.insert(n, column.data_type.to_arrow());
        }
    }

    /// Values by the contract's own names, each once.
    fn named(&mut self, values: &[(String, Expr)]) -> Result<BTreeMap<String, String>, Fault> {
        let mut out = BTreeMap::new();
        for (name, value) in values {
            let name = column(self.contract()?, name)?.to_owned();
            self.note(&name, value);
            if out.insert(name.clone(), self.text(value)?).is_some() {
                return Err(Fault::invalid(
                    "duplicate_column",
                    format!("column assigned twice, column={name}"),
                ));
            }
        }
        Ok(out)
    }

    fn push(&mut self, value: String) {
        let name = format!("__value_{}", self.items.len());
        self.items.push(format!("{value} AS \"{name}\""));
    }

    fn changed(
        &mut self,
        set: BTreeMap<String, String>,
        guard: &dyn Fn(&str) -> String,
    ) -> Result<Made, Fault> {
        let start = self.items.len();
        let contract = self.contract()?;
        let mut values: Vec<String> = contract
            .columns
            .iter()
            .map(|c| match set.get(&c.name) {
                Some(value) => guard(value),
                None => format!("{}.{}", self.alias, quote_name(&c.name)),
            })
            .collect();
        if contract.system_columns {
            let kept = RESERVED_COLUMNS.iter();
            values.extend(kept.map(|c| format!("{}.{}", self.alias, quote_name(c))));
        }
        values.into_iter().for_each(|v| self.push(v));
        Ok(Made::Changed {
            columns: start..self.items.len(),
            assigned: set.into_keys().collect(),
        })
    }
}

/// `contract`: none for a quarantine. `rows`: the name under which the query finds the table's rows with their places.
///
/// # Errors
/// INVALID_ARGUMENT for a column that is not there or is the server's.
pub(super) fn build(
    dml: &Dml,
    contract: Option<&Contract>,
    rows: &TableName,
) -> Result<Query, Fault> {
    // Two tables of one name are told apart by their schemas, and in the query by names that no statement gives.
    let target = match &dml.work {
        Work::Merge(merge) if merge.called.is_same_name(&dml.alias) => TARGET,
        _ => &dml.alias,
    };
    let alias = quote_name(target);
    let full = (dml.table.schema(), dml.table.table());
    let mut builder = Builder {
        contract,
        known: vec![Known::new(Some(full), &dml.alias, target)],
        side: None,
        types: BTreeMap::new(),
        items: vec![
            format!("{alias}.{} AS {}", quote_name(FILE), quote_name(FILE)),
            format!("{alias}.{} AS {}", quote_name(ROW), quote_name(ROW)),
        ],
        alias,
    };
    let from = format!(
        "{}.{} AS {}",
        quote_name(rows.schema()),
        quote_name(rows.table()),
        builder.alias
    );
    let filter = |builder: &Builder<'_>, selection: &Option<Expr>| match selection {
        Some(condition) => builder.text(condition).map(|c| format!(" WHERE {c}")),
        None => Ok(String::new()),
    };
    let (clauses, tail, repeats) = match &dml.work {
        Work::Delete { selection } => {
            builder.items.push("1 AS \"__clause\"".to_owned());
            let tail = format!("{from}{}", filter(&builder, selection)?);
            (vec![Made::Nothing], tail, false)
        }
        Work::Update { set, selection } => {
            builder.items.push("1 AS \"__clause\"".to_owned());
            let set = builder.named(set)?;
            let made = builder.changed(set, &|value| format!("({value})"))?;
            let tail = format!("{from}{}", filter(&builder, selection)?);
            (vec![made], tail, false)
        }
        Work::Merge(merge) => self::merge(&mut builder, target, (merge, &dml.schema), &from)?,
    };
    Ok(Query {
        sql: format!("SELECT {} FROM {tail}", builder.items.join(", ")),
        clauses,
        types: builder.types,
        repeats,
        all: matches!(dml.work, Work::Delete { selection: None }),
    })
}

fn merge(
    builder: &mut Builder<'_>,
    target: &str,
    (merge, schema): (&Merge, &str),
    from: &str,
) -> Result<(Vec<Made>, String, bool), Fault> {
    builder.contract()?;
    let called = if target == TARGET {
        OTHER
    } else {
        &merge.called
    };
    let parts = match &merge.source {
        TableFactor::Table { name, .. } => parts(name),
        _ => Vec::new(),
    };
    let full = placed(&parts, schema);
    // `t@v5` is an older version of t.
    let full = full.map(|(schema, table)| {
        (
            schema,
            without_mark(table).map_or(table, |(table, _)| table),
        )
    });
    builder.known.push(Known::new(full, &merge.called, called));
    let source = quote_name(called);
    let has = |when: When| merge.clauses.iter().any(|c| c.when == when);
    let join = match (has(When::NotMatchedBySource), has(When::NotMatched)) {
        (false, false) => "JOIN",
        (false, true) => "RIGHT JOIN",
        (true, false) => "LEFT JOIN",
        (true, true) => "FULL JOIN",
    };
    let target_there = format!("{}.{} IS NOT NULL", builder.alias, quote_name(FILE));
    let source_there = format!("{source}.{} IS NOT NULL", quote_name(SOURCE));
    let not = |there: &str| format!("NOT ({there})");
    let mut which = "CASE".to_owned();
    for (clause, number) in merge.clauses.iter().zip(1..) {
        builder.side = OneSide::of(clause.when, &builder.known[0], &builder.known[1]);
        let mut condition = match clause.when {
            When::Matched => format!("{target_there} AND {source_there}"),
            When::NotMatched => not(&target_there),
            When::NotMatchedBySource => not(&source_there),
        };
        if let Some(more) = &clause.condition {
            condition = format!("{condition} AND ({})", builder.text(more)?);
        }
        which.push_str(&format!(" WHEN {condition} THEN {number}"));
    }
    which.push_str(" ELSE 0 END");
    builder.items.push(format!("{which} AS \"__clause\""));
    let mut clauses = Vec::new();
    for (clause, number) in merge.clauses.iter().zip(1..) {
        builder.side = OneSide::of(clause.when, &builder.known[0], &builder.known[1]);
        let guard = |value: &str| format!("CASE WHEN ({which}) = {number} THEN ({value}) END");
        let all = |contract: &Contract| -> Vec<(String, String)> {
            let columns = contract.columns.iter();
            columns
                .map(|c| (c.name.clone(), format!("{source}.{}", quote_name(&c.name))))
                .collect()
        };
        clauses.push(match &clause.action {
            Action::Delete => Made::Nothing,
            Action::Update(values) => {
                let set = match values {
                    Values::Named(values) => builder.named(values)?,
                    Values::All | Values::InOrder(_) => {
                        all(builder.contract()?).into_iter().collect()
                    }
                };
                builder.changed(set, &guard)?
            }
            Action::Insert(values) => {
                let contract = builder.contract()?;
                let pairs: Vec<(String, String)> = match values {
                    Values::All => all(contract),
                    Values::Named(values) => builder.named(values)?.into_iter().collect(),
                    Values::InOrder(values) if values.len() == contract.columns.len() => {
                        let names = contract.columns.iter().map(|c| c.name.clone());
                        let pairs: Vec<_> = names.zip(values.iter().cloned()).collect();
                        builder.named(&pairs)?.into_iter().collect()
                    }
                    Values::InOrder(values) => {
                        return Err(Fault::invalid(
                            "column_count",
                            format!(
                                "INSERT gives {} values, the table has {} columns",
                                values.len(),
                                contract.columns.len()
                            ),
                        ));
                    }
                };
                let start = builder.items.len();
                let mut names = Vec::new();
                for (name, value) in pairs {
                    builder.push(guard(&value));
                    names.push(name);
                }
                Made::Inserted {
                    columns: start..builder.items.len(),
                    names,
                }
            }
        });
    }
    builder.side = None;
    let tail = format!(
        "{from} {join} (SELECT *, 1 AS {} FROM {}) AS {source} ON {} WHERE ({which}) > 0",
        quote_name(SOURCE),
        printed(&merge.source),
        builder.text(&merge.on)?
    );
    let mut matched = merge.clauses.iter().filter(|c| c.when == When::Matched);
    let lone_delete = matches!(
        (matched.next(), matched.next()),
        (Some(only), None) if only.condition.is_none() && only.action == Action::Delete
    );
    Ok((clauses, tail, lone_delete))
}
