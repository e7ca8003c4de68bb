//! The contract of one table: columns with types and units, what identifies a row and when it happened, and the rules.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::Error;
use super::view::{ViewDeclaration, ViewSpec};
use crate::types::{QUARANTINE_SUFFIX, TableName, check_name};

pub const EVENT_DATE: &str = "event_date";
/// Filled by the server; a client that sends one is told so.
pub const RESERVED_COLUMNS: [&str; 3] = ["_ingest_ts", "_source", "_seq"];

/// Delta's types. TIMESTAMP is microseconds UTC; TIMESTAMP_NTZ has no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Boolean,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    String,
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
    Decimal { precision: u8, scale: i8 },
}

impl ColumnType {
    pub fn to_arrow(self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Byte => DataType::Int8,
            ColumnType::Short => DataType::Int16,
            ColumnType::Int => DataType::Int32,
            ColumnType::Long => DataType::Int64,
            ColumnType::Float => DataType::Float32,
            ColumnType::Double => DataType::Float64,
            ColumnType::String => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        }
    }

    /// The type of a column that is made for such values; none for what a table has no place for (nested, intervals).
    pub fn from_sent(sent: &DataType) -> Option<Self> {
        Some(match sent {
            DataType::Boolean => ColumnType::Boolean,
            DataType::Int8 => ColumnType::Byte,
            DataType::Int16 | DataType::UInt8 => ColumnType::Short,
            DataType::Int32 | DataType::UInt16 => ColumnType::Int,
            // A value past BIGINT goes to quarantine with its row.
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ColumnType::Long,
            DataType::Float16 | DataType::Float32 => ColumnType::Float,
            DataType::Float64 => ColumnType::Double,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::String,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => ColumnType::Binary,
            DataType::Date32 | DataType::Date64 => ColumnType::Date,
            DataType::Timestamp(_, Some(_)) => ColumnType::Timestamp,
            DataType::Timestamp(_, None) => ColumnType::TimestampNtz,
            DataType::Decimal128(precision, scale) if *scale >= 0 => ColumnType::Decimal {
                precision: *precision,
                scale: *scale,
            },
            DataType::Dictionary(_, values) => return ColumnType::from_sent(values),
            _ => return None,
        })
    }

    pub fn is_number(self) -> bool {
        !matches!(
            self,
            ColumnType::Boolean
                | ColumnType::String
                | ColumnType::Binary
                | ColumnType::Date
                | ColumnType::Timestamp
                | ColumnType::TimestampNtz
        )
    }
}

/// The SQL spelling.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            ColumnType::Boolean => "BOOLEAN",
            ColumnType::Byte => "TINYINT",
            ColumnType::Short => "SMALLINT",
            ColumnType::Int => "INT",
            ColumnType::Long => "BIGINT",
            ColumnType::Float => "FLOAT",
            ColumnType::Double => "DOUBLE",
            ColumnType::String => "STRING",
            ColumnType::Binary => "BINARY",
            ColumnType::Date => "DATE",
            ColumnType::Timestamp => "TIMESTAMP",
            ColumnType::TimestampNtz => "TIMESTAMP_NTZ",
            ColumnType::Decimal { precision, scale } => {
                return write!(f, "DECIMAL({precision},{scale})");
            }
        };
        f.write_str(name)
    }
}

impl FromStr for ColumnType {
    type Err = ();

    /// SQL's and TOML's words alike, without regard to case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim().to_ascii_lowercase();
        Ok(match text.as_str() {
            "boolean" | "bool" => ColumnType::Boolean,
            "byte" | "tinyint" => ColumnType::Byte,
            "short" | "smallint" => ColumnType::Short,
            "int" | "integer" => ColumnType::Int,
            "long" | "bigint" => ColumnType::Long,
            "float" | "real" => ColumnType::Float,
            "double" | "double precision" => ColumnType::Double,
            "string" | "text" | "varchar" => ColumnType::String,
            "binary" | "bytea" => ColumnType::Binary,
            "date" => ColumnType::Date,
            "timestamp" | "timestamp with time zone" | "timestamptz" => ColumnType::Timestamp,
            "timestamp_ntz" | "timestamp without time zone" => ColumnType::TimestampNtz,
            decimal => {
                let inner = decimal
                    .strip_prefix("decimal(")
                    .or_else(|| decimal.strip_prefix("numeric("))
                    .ok_or(())?;
                let (p, s) = inner
                    .strip_suffix(')')
                    .ok_or(())?
                    .split_once(',')
                    .ok_or(())?;
                let (precision, scale) = (
                    p.trim().parse().map_err(|_| ())?,
                    s.trim().parse().map_err(|_| ())?,
                );
                if precision == 0
                    || precision > 38
                    || scale < 0
                    || scale > i8::try_from(precision).unwrap_or(38)
                {
                    return Err(());
                }
                ColumnType::Decimal { precision, scale }
            }
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub data_type: ColumnType,
    /// A null is a violation, and a batch without the column is refused unless it has a default.
    pub required: bool,
    pub unit: Option<String>,
    pub description: Option<String>,
    /// Stands in when a batch lacks the column.
    pub default: Option<serde_json::Value>,
    /// The zone of times that come without one, as an IANA name (`Europe/Berlin`); UTC if none is given.
    #[serde(default)]
    pub timezone: Option<String>,
    /// What a whole number counts in a column of times; without it a number is refused there.
    #[serde(default)]
    pub time_unit: Option<EpochUnit>,
    /// Where the value comes from when a batch lacks the column: another column, a sent name, or `_ingest_ts`.
    #[serde(default)]
    pub from: Option<String>,
}

impl Column {
    /// A nullable column of which nothing else is said.
    pub fn new(name: impl Into<String>, data_type: ColumnType) -> Self {
        Column {
            name: name.into(),
            data_type,
            required: false,
            unit: None,
            description: None,
            default: None,
            timezone: None,
            time_unit: None,
            from: None,
        }
    }
}

/// Since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochUnit {
    S,
    Ms,
    Us,
    Ns,
}

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

/// What becomes of a row that breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The row goes to quarantine.
    #[default]
    Reject,
    /// The value becomes null.
    Null,
    /// The value becomes the bound that it passed.
    Clamp,
    /// Counted only.
    Warn,
    /// The batch is refused.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Inclusive; a missing bound is open. NaN and infinities never pass.
    Range {
        #[serde(default, with = "exact")]
        min: Option<f64>,
        #[serde(default, with = "exact")]
        max: Option<f64>,
    },
    /// One of these texts.
    Enum { values: Vec<String> },
    /// The whole text matches.
    Regex { pattern: String },
    /// A text of at most so many characters.
    MaxLength { chars: u32 },
    /// A time at most so far ahead of its arrival.
    MaxFuture { micros: i64 },
    /// A time at most so far behind its arrival.
    MaxLate { micros: i64 },
    /// A value of another table's column, as text.
    Referential { table: TableName, column: String },
    /// No other row of the table has these values. An identical row is a duplicate, a different one breaks the rule.
    Unique { columns: Vec<String> },
    /// Never below the value of the row before with the same key.
    Monotonic { by: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// As quarantine shows it: `range:AT`.
    pub name: String,
    pub column: String,
    pub kind: RuleKind,
    #[serde(default)]
    pub action: Action,
}

/// Bounds to the last bit. serde_json reads a number of seventeen digits only nearly right (its feature that would not is a
/// rebuild of the whole tree), so a bound that would not come back is written as text; both are read.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Text(String),
    }

    fn comes_back(value: f64) -> bool {
        let text = serde_json::to_string(&value).unwrap_or_default();
        serde_json::from_str::<f64>(&text).ok() == Some(value)
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            None => s.serialize_none(),
            Some(value) if comes_back(*value) => s.serialize_f64(*value),
            Some(value) => s.serialize_str(&format!("{value:?}")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        let form = Option::<Form>::deserialize(d)?;
        form.map(|form| match form {
            Form::Number(value) => Ok(value),
            Form::Text(text) => text.parse().map_err(D::Error::custom),
        })
        .transpose()
    }
}

impl RuleKind {
    pub fn word(&self) -> &'static str {
        match self {
            RuleKind::Range { .. } => "range",
            RuleKind::Enum { .. } => "enum",
            RuleKind::Regex { .. } => "regex",
            RuleKind::MaxLength { .. } => "max_length",
            RuleKind::MaxFuture { .. } => "max_future",
            RuleKind::MaxLate { .. } => "max_late",
            RuleKind::Referential { .. } => "referential",
            RuleKind::Unique { .. } => "unique",
            RuleKind::Monotonic { .. } => "monotonic",
        }
    }

    /// Judged against rows that came before, not against the batch alone.
    pub fn needs_history(&self) -> bool {
        matches!(self, RuleKind::Unique { .. } | RuleKind::Monotonic { .. })
    }
}

impl Rule {
    pub fn new(column: &str, kind: RuleKind, action: Action) -> Self {
        let of = match &kind {
            RuleKind::Unique { columns } => columns.join(","),
            _ => column.to_owned(),
        };
        Rule {
            name: format!("{}:{of}", kind.word()),
            column: column.to_owned(),
            kind,
            action,
        }
    }
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
    pub version: u32,
    /// The rows are a query's result, and the server alone writes them.
    #[serde(default)]
    pub view: Option<ViewSpec>,
}

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
        if self
            .table
            .table()
            .to_ascii_lowercase()
            .ends_with(QUARANTINE_SUFFIX)
        {
            return Err(reserved(self.table.table()));
        }
        // The quarantine's name has to fit too.
        check_name(self.table.quarantine().table())?;
        if self.columns.is_empty() {
            return Err(Error::Empty(table));
        }
        for (index, column) in self.columns.iter().enumerate() {
            check_name(&column.name)?;
            let lower = column.name.to_ascii_lowercase();
            if RESERVED_COLUMNS.contains(&lower.as_str())
                || (self.event_time.is_some() && self.view.is_none() && lower == EVENT_DATE)
            {
                return Err(reserved(&column.name));
            }
            if self.columns[..index]
                .iter()
                .any(|c| c.name.eq_ignore_ascii_case(&column.name))
            {
                return Err(Error::Twice {
                    table,
                    column: column.name.clone(),
                });
            }
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
