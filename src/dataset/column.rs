//! One column of a table: its type in Delta's words and SQL's, its unit, and where its values come from.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use super::nested::{self, ElementType, EntryType, FromArrow, StructField};
use crate::types::SameName;

/// Delta's types. TIMESTAMP is microseconds UTC; TIMESTAMP_NTZ has no zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    Array(Box<ElementType>),
    Struct(Vec<StructField>),
    Map(Box<EntryType>),
}

impl ColumnType {
    pub fn to_arrow(&self) -> DataType {
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
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            ColumnType::Array(of) => of.to_arrow(),
            ColumnType::Struct(fields) => nested::struct_to_arrow(fields),
            ColumnType::Map(of) => of.to_arrow(),
        }
    }

    /// The type of a column that is made for such values, in which every part may be null; none for what a table has no place
    /// for (intervals, unions).
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
            other => {
                let parts = FromArrow {
                    leaf: &ColumnType::from_sent,
                    keeps_nullability: false,
                };
                return parts.nested(other);
            }
        })
    }

    pub fn is_number(&self) -> bool {
        !matches!(
            self,
            ColumnType::Boolean
                | ColumnType::String
                | ColumnType::Binary
                | ColumnType::Date
                | ColumnType::Timestamp
                | ColumnType::TimestampNtz
                | ColumnType::Array(_)
                | ColumnType::Struct(_)
                | ColumnType::Map(_)
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
            ColumnType::Array(_) | ColumnType::Struct(_) | ColumnType::Map(_) => {
                return self.write_nested(f);
            }
        };
        f.write_str(name)
    }
}

/// [`ColumnType::from_str`] for what is not nested.
pub(super) fn plain_type(text: &str) -> Result<ColumnType, String> {
    text.parse().map_err(|()| {
        let text: String = text.chars().take(60).collect();
        format!("{text} is no type")
    })
}

impl FromStr for ColumnType {
    type Err = ();

    /// SQL's and TOML's words for types that are not nested, without regard to case. [`ColumnType::read`] reads nested ones, too.
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
    /// What it was called before it was renamed: what comes under such a name is its own, unless another column bears it by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<String>,
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
            formerly: Vec::new(),
        }
    }

    /// Does it take what is sent under this name, which is no column's own?
    pub fn comes_under(&self, sent: &str) -> bool {
        let mut others = self.from.iter().chain(&self.formerly);
        others.any(|name| name.is_same_name(sent))
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
