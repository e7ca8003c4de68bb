//! What the rows of a table have to keep to, and what becomes of a row that does not.

use serde::{Deserialize, Serialize};

use super::column::ColumnType;
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

/// The least and the greatest value of a column's type that stand between two bounds: what a value is clamped to. The first is above the second
/// where none does.
pub fn values_within(data_type: &ColumnType, lo: f64, hi: f64) -> (f64, f64) {
    match data_type {
        ColumnType::Decimal { scale, .. } => {
            let unit = 10_f64.powi(i32::from(*scale));
            let in_units = |bound: f64, towards: fn(f64) -> f64| {
                let nearest = (bound * unit).round() / unit;
                // What the multiplication rounds is no part of the bound.
                if nearest == bound || !nearest.is_finite() {
                    bound
                } else {
                    towards(bound * unit) / unit
                }
            };
            (in_units(lo, f64::ceil), in_units(hi, f64::floor))
        }
        ColumnType::Float => {
            let (least, greatest) = (lo as f32, hi as f32);
            let least = if f64::from(least) < lo {
                least.next_up()
            } else {
                least
            };
            let greatest = if f64::from(greatest) > hi {
                greatest.next_down()
            } else {
                greatest
            };
            (f64::from(least), f64::from(greatest))
        }
        data_type if data_type.to_arrow().is_integer() => (lo.ceil(), hi.floor()),
        _ => (lo, hi),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_clamped_to_one_of_its_type_within_the_bounds() {
        let decimal = ColumnType::Decimal {
            precision: 10,
            scale: 2,
        };
        for (data_type, given, expected) in [
            (ColumnType::Int, (1.5, 3.5), (2.0, 3.0)),
            (ColumnType::Long, (-1.5, 3.0), (-1.0, 3.0)),
            (decimal.clone(), (0.07, 9.999), (0.07, 9.99)),
            (decimal, (-0.001, 1e300), (0.0, 1e300)),
            (ColumnType::Double, (0.1, 0.3), (0.1, 0.3)),
            (
                ColumnType::Long,
                (f64::NEG_INFINITY, 2.5),
                (f64::NEG_INFINITY, 2.0),
            ),
        ] {
            let got = values_within(&data_type, given.0, given.1);
            assert_eq!(got, expected, "{data_type}");
        }
        let (least, greatest) = values_within(&ColumnType::Float, 0.1, 0.3);
        assert!(least >= 0.1 && greatest <= 0.3 && least == f64::from(least as f32));
        let (least, greatest) = values_within(&ColumnType::Int, 1.2, 1.8);
        assert!(least > greatest);
    }
}
