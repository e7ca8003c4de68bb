//! What the rows of a table have to keep to, and what becomes of a row that does not.

use serde::{Deserialize, Serialize};

use crate::types::{TableName, join_names};

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
            RuleKind::Unique { columns } => join_names(columns, ','),
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
