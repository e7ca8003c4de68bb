//! The rules that judge a value by itself, compiled once for a contract; one pass a column each. The case that every value
//! passes is the one that is fast.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use regex::Regex;

use super::References;
use super::conform::{Shown, row_number};
use super::findings::Findings;
use super::validator::Validator;
use crate::clock::{self, Micros};
use crate::dataset::{Action, Contract, Rule, RuleKind, values_within};
use crate::fault::Fault;

/// Up to so many texts are compared one by one.
const LISTED_MAX: usize = 8;
/// Characters of a text that are shown.
const SHOWN_MAX: usize = 120;

/// Texts of a list that are named where one is missed.
const NAMED_MAX: usize = 20;

/// A rule in the form in which values are held to it.
pub(super) struct Check {
    pub rule: Rule,
    /// Position of the column in the contract.
    pub column: usize,
    test: Test,
}

enum Test {
    Range {
        lo: f64,
        hi: f64,
        /// What a value of the column's type is clamped to.
        clamped: (f64, f64),
    },
    Listed(Vec<String>),
    OneOf(HashSet<String>),
    Matches(Result<Regex, String>),
    AtMost(usize),
    MaxFuture(Micros),
    MaxLate(Micros),
    Referential,
}

/// A value that breaks a rule.
struct Broken<'a> {
    row: usize,
    shown: &'a dyn Fn() -> String,
    /// The bound that it passed, if there is one.
    bound: Option<f64>,
}

impl Check {
    /// None: the rule is no matter of single values, or its column is not there.
    pub(super) fn of(contract: &Contract, rule: &Rule) -> Option<Self> {
        let column = contract
            .columns
            .iter()
            .position(|c| c.name == rule.column)?;
        let test = match &rule.kind {
            RuleKind::Range { min, max } => {
                let lo = min.unwrap_or(f64::NEG_INFINITY);
                let hi = max.unwrap_or(f64::INFINITY);
                let data_type = contract.columns.get(column).map(|c| &c.data_type);
                let clamped = data_type.map_or((lo, hi), |t| values_within(t, lo, hi));
                Test::Range { lo, hi, clamped }
            }
            RuleKind::Enum { values } if values.len() <= LISTED_MAX => Test::Listed(values.clone()),
            RuleKind::Enum { values } => Test::OneOf(values.iter().cloned().collect()),
            RuleKind::Regex { pattern } => {
                let anchored = format!("^(?:{pattern})$");
                Test::Matches(Regex::new(&anchored).map_err(|e| e.to_string()))
            }
            RuleKind::MaxLength { chars } => {
                Test::AtMost(usize::try_from(*chars).unwrap_or(usize::MAX))
            }
            RuleKind::MaxFuture { micros } => Test::MaxFuture(*micros),
            RuleKind::MaxLate { micros } => Test::MaxLate(*micros),
            RuleKind::Referential { .. } => Test::Referential,
            RuleKind::Unique { .. } | RuleKind::Monotonic { .. } => return None,
        };
        Some(Check {
            rule: rule.clone(),
            column,
            test,
        })
    }

    /// Is it about when a row came? Such rules are asked last.
    pub(super) fn is_late(&self) -> bool {
        matches!(self.test, Test::MaxLate(_))
    }

    /// Holds the column to the rule, and writes down what its action says of each value that breaks it. Nulls pass; NaN and
    /// infinities fail a range.
    ///
    /// # Errors
    /// `rule_failed` for a rule with action `fail`; as [`Findings::reject`].
    pub(super) fn run(
        &self,
        columns: &[ArrayRef],
        now: Micros,
        references: &References,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        let Some(column) = columns.get(self.column) else {
            return Ok(());
        };
        let mut found = |broken: Broken<'_>| self.found(&broken, findings);
        match &self.test {
            Test::Range { lo, hi, clamped } => self.range(column, (*lo, *hi), *clamped, &mut found),
            Test::Listed(values) => texts(column, |t| values.iter().any(|v| v == t), &mut found),
            Test::OneOf(values) => texts(column, |t| values.contains(t), &mut found),
            Test::Matches(Ok(regex)) => texts(column, |t| regex.is_match(t), &mut found),
            Test::Matches(Err(error)) => Err(self.internal(error)),
            // Bytes are at least as many as characters.
            Test::AtMost(chars) => texts(
                column,
                |t| t.len() <= *chars || t.chars().nth(*chars).is_none(),
                &mut found,
            ),
            Test::MaxFuture(micros) => {
                let latest = now.saturating_add(*micros);
                instants(column, |time| time <= latest, &mut found)
            }
            Test::MaxLate(micros) => {
                let earliest = now.saturating_sub(*micros);
                instants(column, |time| time >= earliest, &mut found)
            }
            Test::Referential => {
                let known = references
                    .get(&self.rule.name)
                    .ok_or_else(|| self.internal("no values"))?;
                let column = cast(column, &DataType::Utf8).map_err(|e| self.internal(e))?;
                texts(&column, |text| known.contains(text), &mut found)
            }
        }
    }

    fn internal(&self, error: impl std::fmt::Display) -> Fault {
        Fault::internal(format!("rule {}: {error}", self.rule.name))
    }

    fn range(
        &self,
        column: &ArrayRef,
        (lo, hi): (f64, f64),
        (least, greatest): (f64, f64),
        found: &mut dyn FnMut(Broken<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            // Beyond 2^53 a double stands for several of them.
            let (lowest, highest) = (lo.ceil() as i128, hi.floor() as i128);
            let passes = |v: i64| i128::from(v) >= lowest && i128::from(v) <= highest;
            if numbers
                .values()
                .iter()
                .fold(true, |all, v| all & passes(*v))
            {
                return Ok(());
            }
            let shown = Shown::of(column);
            for (row, value) in numbers.iter().enumerate() {
                let Some(value) = value.filter(|v| !passes(*v)) else {
                    continue;
                };
                let above = i128::from(value) > highest;
                found(Broken {
                    row,
                    shown: &|| shown.value(row),
                    bound: Some(if above { greatest } else { least }),
                })?;
            }
            return Ok(());
        }
        let numbers = match column.data_type() {
            DataType::Float64 => column.clone(),
            _ => cast(column, &DataType::Float64).map_err(|e| self.internal(e))?,
        };
        let numbers = numbers.as_primitive::<Float64Type>();
        let passes = |v: f64| v >= lo && v <= hi && v.is_finite();
        // Branch-free over all values, also those under nulls; only if one of them looks bad is it looked at again.
        if numbers
            .values()
            .iter()
            .fold(true, |all, v| all & passes(*v))
        {
            return Ok(());
        }
        let shown = Shown::of(column);
        for (row, value) in numbers.iter().enumerate() {
            let Some(value) = value.filter(|v| !passes(*v)) else {
                continue;
            };
            let bound = if value > hi {
                Some(greatest)
            } else if value < lo {
                Some(least)
            } else {
                None
            };
            found(Broken {
                row,
                shown: &|| shown.value(row),
                bound,
            })?;
        }
        Ok(())
    }

    fn found(&self, broken: &Broken<'_>, findings: &mut Findings) -> Result<(), Fault> {
        let rule = &self.rule;
        let row = row_number(broken.row);
        match rule.action {
            Action::Reject => {
                let value = (broken.shown)();
                let reason = reason(rule, &value);
                findings.reject(row, &rule.name, &rule.column, value, reason)
            }
            Action::Null => findings.null(row, self.column, &rule.name),
            Action::Clamp => findings.clamp(row, self.column, broken.bound, &rule.name),
            Action::Warn => {
                findings.warn(&rule.name);
                Ok(())
            }
            Action::Fail => {
                let value = (broken.shown)();
                Err(Fault::invalid(
                    "rule_failed",
                    format!(
                        "the batch breaks a rule with action fail, row={row}, column={}, value={value}, rule={}: {}; correct the row and send the batch again",
                        rule.column,
                        rule.name,
                        reason(rule, &value)
                    ),
                ))
            }
        }
    }
}

fn instants(
    column: &ArrayRef,
    passes: impl Fn(Micros) -> bool,
    found: &mut dyn FnMut(Broken<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
        return Ok(());
    };
    if times.values().iter().fold(true, |all, t| all & passes(*t)) {
        return Ok(());
    }
    let shown = Shown::of(column);
    for (row, time) in times.iter().enumerate() {
        if time.is_some_and(|t| !passes(t)) {
            found(Broken {
                row,
                shown: &|| shown.value(row),
                bound: None,
            })?;
        }
    }
    Ok(())
}

fn texts(
    column: &ArrayRef,
    passes: impl Fn(&str) -> bool,
    found: &mut dyn FnMut(Broken<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(texts) = column.as_any().downcast_ref::<StringArray>() else {
        return Ok(());
    };
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text.filter(|t| !passes(t)) else {
            continue;
        };
        found(Broken {
            row,
            shown: &|| text.chars().take(SHOWN_MAX).collect(),
            bound: None,
        })?;
    }
    Ok(())
}

/// Why a value breaks a rule, in words.
fn reason(rule: &Rule, value: &str) -> String {
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
        RuleKind::MaxLength { chars } => {
            format!("{column} has more than {chars} characters: {value}")
        }
        RuleKind::Referential { table, column: key } => {
            format!("{column} {value} is not in {table}.{key}")
        }
        other => format!("{column} {value} is outside {}", describe(other)),
    }
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
        RuleKind::Enum { values } if values.len() > NAMED_MAX => {
            let first = values.get(..NAMED_MAX).unwrap_or_default().join(", ");
            format!("{{{first}, ..}}, {} texts", values.len())
        }
        RuleKind::Enum { values } => format!("{{{}}}", values.join(", ")),
        RuleKind::Regex { pattern } => format!("/{pattern}/"),
        RuleKind::MaxLength { chars } => format!("{chars} characters"),
        other => other.word().to_owned(),
    }
}

impl Validator {
    pub(super) fn not_null(
        &self,
        columns: &[ArrayRef],
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        for (column, values) in self.contract().columns.iter().zip(columns) {
            if !column.required || values.null_count() == 0 {
                continue;
            }
            let rule = format!("not_null:{}", column.name);
            let failed = format!("type:{}", column.name);
            for row in (0..values.len()).filter(|row| values.is_null(*row)) {
                let row = row_number(row);
                // A value that failed its type is null by now and has its reason already.
                if findings.breaks(row, &failed) {
                    continue;
                }
                let reason = format!("{} is required and null", column.name);
                findings.reject(row, &rule, &column.name, "null".to_owned(), reason)?;
            }
        }
        Ok(())
    }

    /// Event times from 1970 to a day ahead of the clock; what lies outside is a broken clock or a wrong unit.
    pub(super) fn event_times(
        &self,
        columns: &[ArrayRef],
        now: Micros,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        let Some(index) = self.event_time() else {
            return Ok(());
        };
        let (Some(column), Some(name)) = (columns.get(index), &self.contract().event_time) else {
            return Ok(());
        };
        let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
            return Ok(());
        };
        // A rule of the contract's own takes the place of the year, and of the day.
        let earliest = if self.has_own_past() { Micros::MIN } else { 0 };
        let latest = if self.has_own_future() {
            Micros::MAX
        } else {
            now.saturating_add(clock::DAY)
        };
        if times
            .values()
            .iter()
            .fold(true, |all, t| all & (*t >= earliest && *t <= latest))
        {
            return Ok(());
        }
        let rule = format!("event_time:{name}");
        for (row, time) in times.iter().enumerate() {
            let Some(time) = time.filter(|t| *t < earliest || *t > latest) else {
                continue;
            };
            let row = row_number(row);
            let value = chrono::DateTime::from_timestamp_micros(time)
                .map_or_else(|| time.to_string(), |t| t.to_rfc3339());
            let reason = match time < earliest {
                true => format!(
                    "{name} {value} is before 1970-01-01; a rule max_late for {name} says otherwise"
                ),
                false => format!(
                    "{name} {value} is more than a day from now; a rule max_future for {name} says otherwise"
                ),
            };
            findings.reject(row, &rule, name, value, reason)?;
        }
        Ok(())
    }
}
