//! The rules, one pass a column each. The case that every value passes is the one that is fast.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};

use super::conform::{Conformed, show};
use super::{Context, Findings};
use crate::clock::Micros;
use crate::dataset::{Contract, Rule, RuleKind};
use crate::fault::Fault;

const DAY: Micros = 86_400_000_000;

/// A value that breaks a rule, and the bound that it passed if there is one.
pub struct Broken {
    pub row: u32,
    pub value: String,
    pub bound: Option<f64>,
}

fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// Values that break the rule. Nulls pass; NaN and infinities fail a range.
pub fn broken(rule: &Rule, column: &ArrayRef, context: &Context) -> Result<Vec<Broken>, Fault> {
    Ok(match &rule.kind {
        RuleKind::Range { min, max } => {
            let (lo, hi) = (
                min.unwrap_or(f64::NEG_INFINITY),
                max.unwrap_or(f64::INFINITY),
            );
            let numbers = match column.data_type() {
                DataType::Float64 => column.clone(),
                _ => cast(column, &DataType::Float64)
                    .map_err(|e| Fault::internal(format!("rule {}: {e}", rule.name)))?,
            };
            let numbers = numbers.as_primitive::<Float64Type>();
            let passes = |v: f64| v >= lo && v <= hi && v.is_finite();
            // Branch-free over all values, also those under nulls; only if one of them looks bad is it looked at again.
            if numbers
                .values()
                .iter()
                .fold(true, |all, v| all & passes(*v))
            {
                return Ok(Vec::new());
            }
            let bad = numbers
                .iter()
                .enumerate()
                .filter_map(|(row, v)| v.filter(|v| !passes(*v)).map(|v| (row, v)));
            bad.map(|(row, v)| Broken {
                row: row_number(row),
                value: show(column, row),
                bound: if v > hi {
                    Some(hi)
                } else if v < lo {
                    Some(lo)
                } else {
                    None
                },
            })
            .collect()
        }
        RuleKind::Enum { values } => texts(column, |text| values.iter().any(|v| v == text)),
        RuleKind::Regex { pattern } => {
            let anchored = format!("^(?:{pattern})$");
            let regex = regex::Regex::new(&anchored)
                .map_err(|e| Fault::internal(format!("rule {}: {e}", rule.name)))?;
            texts(column, |text| regex.is_match(text))
        }
        RuleKind::MaxFuture { micros } => {
            let latest = context.now.saturating_add(*micros);
            instants(column, |time| time <= latest)
        }
        RuleKind::MaxLate { micros } => {
            let earliest = context.now.saturating_sub(*micros);
            instants(column, |time| time >= earliest)
        }
        RuleKind::Referential { .. } => {
            let Some(known) = context.references.get(&rule.name) else {
                return Err(Fault::internal(format!("no values for rule {}", rule.name)));
            };
            let column = cast(column, &DataType::Utf8)
                .map_err(|e| Fault::internal(format!("rule {}: {e}", rule.name)))?;
            texts(&column, |text| known.contains(text))
        }
        // These look at earlier rows: see `keys`.
        RuleKind::Unique { .. } | RuleKind::Monotonic { .. } => Vec::new(),
    })
}

fn instants(column: &ArrayRef, passes: impl Fn(Micros) -> bool) -> Vec<Broken> {
    let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
        return Vec::new();
    };
    if times.values().iter().fold(true, |all, t| all & passes(*t)) {
        return Vec::new();
    }
    let bad = times
        .iter()
        .enumerate()
        .filter(|(_, t)| t.is_some_and(|t| !passes(t)));
    bad.map(|(row, _)| Broken {
        row: row_number(row),
        value: show(column, row),
        bound: None,
    })
    .collect()
}

/// Why a value breaks a rule, in words.
pub fn reason(rule: &Rule, value: &str) -> String {
    let column = &rule.column;
    let long = |micros: &i64| {
        crate::config::size::show_duration(std::time::Duration::from_micros(micros.unsigned_abs()))
    };
    match &rule.kind {
        RuleKind::MaxFuture { micros } => {
            format!(
                "{column} {value} is more than {} ahead of its arrival",
                long(micros)
            )
        }
        RuleKind::MaxLate { micros } => {
            format!(
                "{column} {value} is more than {} behind its arrival",
                long(micros)
            )
        }
        RuleKind::Referential { table, column: key } => {
            format!("{column} {value} is not in {table}.{key}")
        }
        other => format!("{column} {value} is outside {}", describe(other)),
    }
}

fn texts(column: &ArrayRef, passes: impl Fn(&str) -> bool) -> Vec<Broken> {
    let Some(texts) = column.as_any().downcast_ref::<StringArray>() else {
        return Vec::new();
    };
    let bad = texts
        .iter()
        .enumerate()
        .filter(|(_, t)| t.is_some_and(|t| !passes(t)));
    bad.map(|(row, t)| Broken {
        row: row_number(row),
        value: t.unwrap_or_default().chars().take(120).collect(),
        bound: None,
    })
    .collect()
}

/// What a rule allows, in words.
fn describe(kind: &RuleKind) -> String {
    match kind {
        RuleKind::Range { min, max } => match (min, max) {
            (Some(min), Some(max)) => format!("[{min}, {max}]"),
            (Some(min), None) => format!("[{min}, ..]"),
            (None, Some(max)) => format!("[.., {max}]"),
            (None, None) => "all finite numbers".to_owned(),
        },
        RuleKind::Enum { values } => format!("{{{}}}", values.join(", ")),
        RuleKind::Regex { pattern } => format!("/{pattern}/"),
        other => other.word().to_owned(),
    }
}

pub fn not_null(contract: &Contract, conformed: &Conformed, findings: &mut Findings) {
    for (column, values) in contract.columns.iter().zip(&conformed.columns) {
        if !column.required || values.null_count() == 0 {
            continue;
        }
        for row in (0..values.len()).filter(|row| values.is_null(*row)) {
            let row = row_number(row);
            // A value that failed its type is null by now and has its reason already.
            let failed = conformed
                .failures
                .iter()
                .any(|f| f.row == row && f.column == column.name);
            if !failed {
                let reason = format!("{} is required and null", column.name);
                findings.reject(
                    row,
                    format!("not_null:{}", column.name),
                    &column.name,
                    "null".to_owned(),
                    reason,
                );
            }
        }
    }
}

/// Event times from 1970 to a day ahead of the clock; what lies outside is a broken clock or a wrong unit.
pub fn event_time(
    contract: &Contract,
    conformed: &Conformed,
    now: Micros,
    findings: &mut Findings,
) {
    let Some(name) = &contract.event_time else {
        return;
    };
    let Some(index) = contract.columns.iter().position(|c| c.name == *name) else {
        return;
    };
    let Some(times) = conformed.columns[index].as_primitive_opt::<TimestampMicrosecondType>()
    else {
        return;
    };
    // A rule of the contract's own takes the place of the day.
    let own = contract
        .rules
        .iter()
        .any(|r| r.column == *name && matches!(r.kind, RuleKind::MaxFuture { .. }));
    let latest = if own {
        Micros::MAX
    } else {
        now.saturating_add(DAY)
    };
    if times
        .values()
        .iter()
        .fold(true, |all, t| all & (*t >= 0 && *t <= latest))
    {
        return;
    }
    for (row, time) in times.iter().enumerate() {
        let Some(time) = time.filter(|t| *t < 0 || *t > latest) else {
            continue;
        };
        let value = chrono::DateTime::from_timestamp_micros(time)
            .map_or_else(|| time.to_string(), |t| t.to_rfc3339());
        let reason = format!("{name} {value} is outside 1970-01-01 to one day from now");
        if !findings.is_rejected(row_number(row)) || time != 0 {
            findings.reject(
                row_number(row),
                format!("event_time:{name}"),
                name,
                value,
                reason,
            );
        }
    }
}
