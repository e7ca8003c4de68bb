//! Values of partition columns. A Delta table keeps them as texts, in its log and in the names of folders, and those have no
//! form for some values. Such a row is rejected when it arrives: after a commit it would read differently.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};

use super::conform::{row_number, show};
use super::findings::Findings;
use crate::clock;
use crate::dataset::Column;
use crate::fault::Fault;
use crate::partition_folder;

/// The first and the last day that Delta's texts can say: 0001-01-01 and 9999-12-31.
pub(super) const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
const YEARS: &str =
    "is outside the years 1 to 9999, which are all that a partition of times can have";

/// The values as the table keeps them. Rows of those that it cannot keep are rejected; an empty text is NULL, as it is in the
/// rows that older servers logged.
///
/// # Errors
/// As [`Findings::reject`].
pub(super) fn kept(
    column: &Column,
    values: &ArrayRef,
    findings: &mut Findings,
) -> Result<ArrayRef, Fault> {
    match values.data_type() {
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            let mut has_empty = false;
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else { continue };
                has_empty |= text.is_empty();
                if let Some(problem) = partition_folder::problem(&column.name, text) {
                    reject(column, values, row, &problem, findings)?;
                }
            }
            if has_empty {
                let some = texts.iter().map(|t| t.filter(|t| !t.is_empty()));
                return Ok(Arc::new(some.collect::<StringArray>()));
            }
        }
        DataType::Binary => {
            for (row, bytes) in values.as_binary::<i32>().iter().enumerate() {
                let Some(bytes) = bytes else { continue };
                let problem = match std::str::from_utf8(bytes) {
                    Ok(text) => partition_folder::problem(&column.name, text),
                    Err(_) => Some("is no UTF-8, and a partition's value is a text".to_owned()),
                };
                if let Some(problem) = problem {
                    reject(column, values, row, &problem, findings)?;
                }
            }
        }
        DataType::Date32 => {
            let days = values.as_primitive::<Date32Type>();
            for (row, day) in days.iter().enumerate() {
                if day.is_some_and(|day| !DAYS.contains(&day)) {
                    reject(column, values, row, YEARS, findings)?;
                }
            }
        }
        DataType::Timestamp(..) => {
            let times = values.as_primitive::<TimestampMicrosecondType>();
            for (row, time) in times.iter().enumerate() {
                if time.is_some_and(|time| !DAYS.contains(&clock::day_of(time))) {
                    reject(column, values, row, YEARS, findings)?;
                }
            }
        }
        _ => {}
    }
    Ok(values.clone())
}

fn reject(
    column: &Column,
    values: &dyn Array,
    row: usize,
    problem: &str,
    findings: &mut Findings,
) -> Result<(), Fault> {
    if findings.is_ignored() {
        return Ok(());
    }
    let value = show(values, row);
    let rule = format!("partition:{}", column.name);
    let reason = format!("{} '{value}' {problem}", column.name);
    findings.reject(row_number(row), &rule, &column.name, value, reason)
}
