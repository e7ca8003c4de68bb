//! The contract of one table: columns with types and units, what identifies a row and when it happened, and the rules.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::Error;
use super::column::{Column, ColumnType};
use super::rule::{Action, Rule, RuleKind, values_within};
use super::view::{ViewDeclaration, ViewSpec};
use crate::types::{SameName, TableName, check_name};

pub const EVENT_DATE: &str = "event_date";
/// Filled by the server; a client that sends one is told so.
pub const RESERVED_COLUMNS: [&str; 3] = ["_ingest_ts", "_source", "_seq"];

/// What becomes of a batch with a column that the contract does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownColumns {
    /// It is refused.
    #[default]
    Reject,
    /// The column is left out.
    Ignore,
    /// The table gains the column, nullable, and then takes the batch.
    Add,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    pub table: TableName,
    /// As clients send them: neither `event_date` nor the system columns. A view may have its `event_date` among them, to say
    /// at which place.
    pub columns: Vec<Column>,
    pub event_time: Option<String>,
    pub key: Vec<String>,
    pub partition_by: Vec<String>,
    pub rules: Vec<Rule>,
    pub on_violation: Action,
    /// Rows of days that are older than this go, as in `3d`.
    pub retention: Option<String>,
    /// Properties that are Delta's own and kept as they are.
    #[serde(default)]
    pub delta: std::collections::BTreeMap<String, String>,
    pub system_columns: bool,
    #[serde(default)]
    pub unknown_columns: UnknownColumns,
    /// Names that columns had which were dropped, in lower case, with the version of the contract that had them no more. Whoever
    /// still sends such a name means that column, also if another one bears it by now.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub dropped: std::collections::BTreeMap<String, u32>,
    pub version: u32,
    /// The rows are a query's result, and the server alone writes them.
    #[serde(default)]
    pub view: Option<ViewSpec>,
}

/// The schema of temporary tables, of which each session has its own. PostgreSQL knows it by this name.
pub const TEMPORARY_SCHEMA: &str = "pg_temp";

/// Schemas that the server fills: nothing can be created there.
pub(super) fn is_servers_schema(name: &TableName) -> bool {
    ["system", "information_schema"]
        .iter()
        .any(|own| name.schema().eq_ignore_ascii_case(own))
}

impl Contract {
    /// A table of these columns and nothing else said.
    pub fn plain(table: TableName, columns: Vec<Column>) -> Self {
        Contract {
            table,
            columns,
            event_time: None,
            key: Vec::new(),
            partition_by: Vec::new(),
            rules: Vec::new(),
            on_violation: Action::Reject,
            retention: None,
            delta: std::collections::BTreeMap::new(),
            system_columns: false,
            unknown_columns: UnknownColumns::default(),
            dropped: std::collections::BTreeMap::new(),
            version: 1,
            view: None,
        }
    }

    /// The view as it was declared; none for a table.
    pub fn view_declaration(&self) -> Option<ViewDeclaration> {
        let spec = self.view.as_ref()?;
        Some(super::view::declaration(&self.table, spec))
    }

    /// Has it rules that look at earlier rows?
    pub fn needs_history(&self) -> bool {
        self.rules.iter().any(|r| r.kind.needs_history())
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The columns as clients send them, with unit and description as field metadata.
    pub fn user_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(field).collect::<Vec<_>>(),
        ))
    }

    /// The columns as queries and Delta see them: the sent ones, `event_date` if there is an event time, the system columns if asked for.
    pub fn table_schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = self.columns.iter().map(field).collect();
        if self.event_time.is_some() && self.column(EVENT_DATE).is_none() {
            fields.push(Field::new(EVENT_DATE, DataType::Date32, true));
        }
        if self.system_columns {
            fields.extend(system_fields());
        }
        Arc::new(Schema::new(fields))
    }

    /// Is it a session's own table, which is stored nowhere?
    pub fn is_temporary(&self) -> bool {
        let schema = self.table.schema();
        schema.eq_ignore_ascii_case(TEMPORARY_SCHEMA)
    }

    /// Holds the contract against itself.
    pub fn validate_self(&self) -> Result<(), Error> {
        let table = self.table.to_string();
        let reserved = |name: &str| Error::Reserved {
            table: table.clone(),
            name: name.to_owned(),
        };
        if is_servers_schema(&self.table) {
            return Err(reserved(self.table.schema()));
        }
        if self.table.quarantined().is_some() {
            return Err(reserved(self.table.table()));
        }
        // The quarantine's name has to fit too.
        TableName::new(self.table.schema(), self.table.quarantine().table())?;
        if self.columns.is_empty() {
            return Err(Error::Empty(table));
        }
        for (index, column) in self.columns.iter().enumerate() {
            check_name(&column.name)?;
            let lower = column.name.folded_name();
            // The server fills no column of a temporary table: it may hold what another table's were filled with.
            if (RESERVED_COLUMNS.contains(&lower.as_str()) && !self.is_temporary())
                || (self.event_time.is_some() && self.view.is_none() && lower == EVENT_DATE)
            {
                return Err(reserved(&column.name));
            }
            if self.columns[..index]
                .iter()
                .any(|c| c.name.is_same_name(&column.name))
            {
                return Err(Error::Twice {
                    table,
                    column: column.name.clone(),
                });
            }
            self.check_nested(column)?;
        }
        let known = || {
            self.columns
                .iter()
                .map(|c| c.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let must_exist = |name: &String, place: &'static str| match self.column(name) {
            Some(column) => Ok(column),
            None => Err(Error::NoColumn {
                table: table.clone(),
                column: name.clone(),
                place,
                known: known(),
            }),
        };
        if let Some(name) = &self.event_time {
            let column = must_exist(name, "event_time")?;
            if column.data_type != ColumnType::Timestamp {
                let problem = format!("an event time is a TIMESTAMP, this is {}", column.data_type);
                return Err(Error::Rule {
                    rule: "event_time".to_owned(),
                    column: name.clone(),
                    problem,
                });
            }
        }
        for name in &self.key {
            must_exist(name, "key")?;
        }
        self.check_retention()?;
        for column in &self.columns {
            let time = column.data_type == ColumnType::Timestamp;
            if !time && (column.timezone.is_some() || column.time_unit.is_some()) {
                return Err(Error::Rule {
                    rule: "timezone, time_unit".to_owned(),
                    column: column.name.clone(),
                    problem: format!("they are for a TIMESTAMP, this is {}", column.data_type),
                });
            }
            if let Some(zone) = &column.timezone
                && zone.parse::<chrono_tz::Tz>().is_err()
            {
                return Err(Error::Rule {
                    rule: "timezone".to_owned(),
                    column: column.name.clone(),
                    problem: format!("{zone} is not an IANA zone such as Europe/Berlin"),
                });
            }
            if column.from.as_ref() == Some(&column.name) {
                return Err(Error::Rule {
                    rule: "from".to_owned(),
                    column: column.name.clone(),
                    problem: "a column cannot come from itself".to_owned(),
                });
            }
        }
        for name in self
            .partition_by
            .iter()
            .filter(|n| self.event_time.is_none() || *n != EVENT_DATE)
        {
            must_exist(name, "partition_by")?;
        }
        if let Some(retention) = &self.retention
            && let Err(problem) = crate::config::size::parse_duration(retention)
        {
            return Err(Error::Property {
                property: "deltaplane.retention".to_owned(),
                problem,
            });
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let column = must_exist(&rule.column, "rules")?;
            // Counts, quarantine and ALTER call a rule by its name.
            if self.rules.iter().take(index).any(|r| r.name == rule.name) {
                return Err(Error::Rule {
                    rule: rule.name.clone(),
                    column: rule.column.clone(),
                    problem: "there are two of this name; a column has one rule of a kind"
                        .to_owned(),
                });
            }
            let problem = match &rule.kind {
                RuleKind::Range { .. } if !column.data_type.is_number() => Some(format!(
                    "a range needs a number, this is {}",
                    column.data_type
                )),
                RuleKind::Range {
                    min: Some(lo),
                    max: Some(hi),
                } if lo > hi => Some(format!("the bounds are empty, min={lo}, max={hi}")),
                RuleKind::Range { min, max } if min.iter().chain(max).any(|b| !b.is_finite()) => {
                    Some("a bound is not finite".to_owned())
                }
                RuleKind::Enum { .. } | RuleKind::Regex { .. } | RuleKind::MaxLength { .. }
                    if column.data_type != ColumnType::String =>
                {
                    Some(format!("it needs a STRING, this is {}", column.data_type))
                }
                RuleKind::Regex { pattern } => {
                    regex::Regex::new(pattern).err().map(|e| e.to_string())
                }
                RuleKind::MaxFuture { .. } | RuleKind::MaxLate { .. }
                    if column.data_type != ColumnType::Timestamp =>
                {
                    Some(format!(
                        "it needs a TIMESTAMP, this is {}",
                        column.data_type
                    ))
                }
                RuleKind::Unique { columns } | RuleKind::Monotonic { by: columns } => {
                    for name in columns {
                        must_exist(name, "rules")?;
                    }
                    columns.is_empty().then(|| "it names no key".to_owned())
                }
                RuleKind::Referential { table, .. } if *table == self.table => {
                    Some("a table cannot refer to itself".to_owned())
                }
                RuleKind::Range { .. }
                | RuleKind::Enum { .. }
                | RuleKind::MaxLength { .. }
                | RuleKind::MaxFuture { .. }
                | RuleKind::MaxLate { .. }
                | RuleKind::Referential { .. } => None,
            };
            let problem = problem.or_else(|| match rule.action {
                Action::Null if rule.kind.needs_history() => {
                    Some("its actions are reject, warn and fail".to_owned())
                }
                Action::Null if column.required => {
                    Some("action null on a required column".to_owned())
                }
                Action::Clamp if !matches!(rule.kind, RuleKind::Range { .. }) => {
                    Some("only a range can clamp".to_owned())
                }
                Action::Clamp if clamps_to_nothing(column, &rule.kind) => Some(format!(
                    "no value of {} stands between its bounds",
                    column.data_type
                )),
                _ => None,
            });
            if let Some(problem) = problem {
                return Err(Error::Rule {
                    rule: rule.name.clone(),
                    column: rule.column.clone(),
                    problem,
                });
            }
        }
        Ok(())
    }
}

fn clamps_to_nothing(column: &Column, kind: &RuleKind) -> bool {
    let RuleKind::Range { min, max } = kind else {
        return false;
    };
    let (lo, hi) = (
        min.unwrap_or(f64::NEG_INFINITY),
        max.unwrap_or(f64::INFINITY),
    );
    let (least, greatest) = values_within(&column.data_type, lo, hi);
    least > greatest
}

impl Contract {
    /// A nested column keeps values and no rule looks into it: no key, partition, default or rule is made of one.
    fn check_nested(&self, column: &Column) -> Result<(), Error> {
        if !column.data_type.is_nested() {
            return Ok(());
        }
        if let Err(problem) = column.data_type.check() {
            return Err(Error::Nested {
                column: column.name.clone(),
                given: shortened(&column.data_type),
                problem,
            });
        }
        let refused = |rule: &str, problem: &str| {
            let given = shortened(&column.data_type);
            Err(Error::Rule {
                rule: rule.to_owned(),
                column: column.name.clone(),
                problem: format!("{problem}, this is {given}"),
            })
        };
        if self.key.contains(&column.name) {
            return refused("key", "a key is made of columns that are not nested");
        }
        if self.partition_by.contains(&column.name) {
            return refused(
                "partition_by",
                "a partition is made of columns that are not nested",
            );
        }
        if column.default.is_some() {
            return refused("default", "a default is for a column that is not nested");
        }
        for rule in &self.rules {
            let compared = match &rule.kind {
                RuleKind::Unique { columns } | RuleKind::Monotonic { by: columns } => {
                    columns.contains(&column.name)
                }
                _ => false,
            };
            let on_it = rule.column == column.name
                && matches!(
                    rule.kind,
                    RuleKind::Referential { .. }
                        | RuleKind::Monotonic { .. }
                        | RuleKind::Unique { .. }
                );
            if compared || on_it {
                return refused(&rule.name, "the rule is for columns that are not nested");
            }
        }
        Ok(())
    }
}

/// A type for an error's text.
fn shortened(data_type: &ColumnType) -> String {
    let text = data_type.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

pub(super) fn system_fields() -> [Field; 3] {
    [
        Field::new("_ingest_ts", ColumnType::Timestamp.to_arrow(), false),
        Field::new("_source", DataType::Utf8, false),
        Field::new("_seq", DataType::Int64, false),
    ]
}

fn field(column: &Column) -> Field {
    let mut metadata = HashMap::new();
    if column.data_type == ColumnType::Timestamp {
        // What text without a zone is taken for.
        let zone = column.timezone.as_deref().unwrap_or("UTC");
        metadata.insert("timezone".to_owned(), zone.to_owned());
    }
    if let Some(unit) = &column.unit {
        metadata.insert("unit".to_owned(), unit.clone());
    }
    if let Some(description) = &column.description {
        metadata.insert("comment".to_owned(), description.clone());
    }
    Field::new(&column.name, column.data_type.to_arrow(), !column.required).with_metadata(metadata)
}
