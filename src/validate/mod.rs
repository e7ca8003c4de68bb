//! Holds a batch to its contract, on whole columns: [`judge`] says what becomes of each row, [`apply`] does it. `apply` runs
//! live and at replay and is deterministic; replay never judges. It knows no log, no table format and no clock.
//!
//! Order (DATASETS, section 1): shape of the batch, types, event time, not null, range/enum/regex. A row is rejected once,
//! with every rule that it broke.

mod apply;
mod conform;
pub use conform::distance;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;

pub use apply::{Applied, Origin, apply};
pub use verdict::{Cell, Rejected, Verdict, VerdictError};

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use crate::clock::Micros;
use crate::dataset::{Action, Contract};
use crate::fault::Fault;

/// # Errors
/// INVALID_ARGUMENT for a batch that breaks the contract as a whole; nothing of it may be written then. The text names
/// column, value or type, rule and way out.
pub fn judge(contract: &Contract, sent: &RecordBatch, now: Micros) -> Result<Verdict, Fault> {
    let conformed = conform::conform(contract, sent)?;
    let mut findings = Findings::default();
    for failure in &conformed.failures {
        findings.reject(
            failure.row,
            format!("type:{}", failure.column),
            &failure.column,
            failure.value.clone(),
            failure.reason.clone(),
        );
    }
    rules::event_time(contract, &conformed, now, &mut findings);
    rules::not_null(contract, &conformed, &mut findings);
    let mut verdict = Verdict {
        rows: u32::try_from(sent.num_rows()).unwrap_or(u32::MAX),
        ..Verdict::empty()
    };
    for rule in &contract.rules {
        let Some(index) = contract.columns.iter().position(|c| c.name == rule.column) else {
            continue;
        };
        for broken in rules::broken(rule, &conformed.columns[index])? {
            let reason = || {
                format!(
                    "{} {} is outside {}",
                    rule.column,
                    broken.value,
                    rules::describe(&rule.kind)
                )
            };
            match rule.action {
                Action::Reject => findings.reject(
                    broken.row,
                    rule.name.clone(),
                    &rule.column,
                    broken.value.clone(),
                    reason(),
                ),
                Action::Null => verdict
                    .nulled
                    .push(Cell::new(broken.row, index, None, &rule.name)),
                Action::Clamp => {
                    verdict
                        .clamped
                        .push(Cell::new(broken.row, index, broken.bound, &rule.name))
                }
                Action::Warn => *verdict.warned.entry(rule.name.clone()).or_default() += 1,
                Action::Fail => {
                    return Err(Fault::invalid(
                        "rule_failed",
                        format!(
                            "the batch breaks a rule with action fail, row={}, column={}, value={}, rule={} {}; correct the row and send the batch again",
                            broken.row,
                            rule.column,
                            broken.value,
                            rule.name,
                            rules::describe(&rule.kind)
                        ),
                    ));
                }
            }
        }
    }
    verdict.rejected = findings.rows.into_values().collect();
    Ok(verdict)
}

/// Rows to reject, by row: each once, with all its rules in the order in which they were found.
#[derive(Default)]
struct Findings {
    rows: BTreeMap<u32, Rejected>,
}

impl Findings {
    fn reject(&mut self, row: u32, rule: String, column: &str, value: String, reason: String) {
        let entry = self.rows.entry(row).or_insert_with(|| Rejected {
            row,
            rules: Vec::new(),
            reason,
            column: column.to_owned(),
            value,
        });
        if !entry.rules.contains(&rule) {
            entry.rules.push(rule);
        }
    }

    fn is_rejected(&self, row: u32) -> bool {
        self.rows.contains_key(&row)
    }
}
