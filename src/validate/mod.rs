//! Holds a batch to its contract, on whole columns: [`judge`] says what becomes of each row, [`apply`] does it. `apply` runs
//! live and at replay and is deterministic; replay never judges. It knows no log, no table format and no clock.
//!
//! Order: shape of the batch and types ([`conform`]), event time, not null, range/enum/regex/referential ([`judge`]),
//! uniqueness and order ([`Keys::check`]), lateness ([`lateness`]). A row is rejected once, with every rule that it broke up
//! to the stage that rejected it.

mod apply;
mod conform;
mod keys;
mod raw;
pub use conform::{Conformed, conform, distance, show, unknown_fields};
pub use keys::{Additions, Keys, key_hashes};
pub use raw::{Override, Restored, Shape, restore};
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod times;
mod verdict;

pub use apply::{Applied, Origin, apply, row_text};
pub use source::Source;
pub use verdict::{Cell, Rejected, Verdict, VerdictError};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Micros;
use crate::dataset::{Action, Contract, Rule, RuleKind};
use crate::fault::Fault;

/// What a verdict is made with beside the contract and the batch.
pub struct Context {
    /// When the batch arrived.
    pub now: Micros,
    /// The values that a `referential` rule allows, by the rule's name.
    pub references: HashMap<String, Arc<HashSet<String>>>,
}

impl Context {
    pub fn at(now: Micros) -> Self {
        Context {
            now,
            references: HashMap::new(),
        }
    }
}

/// Everything that can be said of a batch by itself, but for lateness.
///
/// # Errors
/// INVALID_ARGUMENT `rule_failed` for a rule with action `fail`; nothing of the batch may be written then. The text names
/// column, value, rule and way out.
pub fn judge(
    contract: &Contract,
    conformed: &Conformed,
    context: &Context,
) -> Result<Verdict, Fault> {
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
    rules::event_time(contract, conformed, context.now, &mut findings);
    rules::not_null(contract, conformed, &mut findings);
    let rows = conformed.columns.first().map_or(0, |c| c.len());
    let mut verdict = Verdict {
        rows: u32::try_from(rows).unwrap_or(u32::MAX),
        ..Verdict::empty()
    };
    let now = contract
        .rules
        .iter()
        .filter(|r| !r.kind.needs_history() && !matches!(r.kind, RuleKind::MaxLate { .. }));
    for rule in now {
        apply_rule(
            contract,
            rule,
            conformed,
            context,
            &mut findings,
            &mut verdict,
        )?;
    }
    verdict.rejected = findings.rows.into_values().collect();
    Ok(verdict)
}

/// The last stage: rows that are too late, among those that the verdict still accepts.
///
/// # Errors
/// As [`judge`].
pub fn lateness(
    contract: &Contract,
    conformed: &Conformed,
    context: &Context,
    verdict: &mut Verdict,
) -> Result<(), Fault> {
    let late = contract
        .rules
        .iter()
        .filter(|r| matches!(r.kind, RuleKind::MaxLate { .. }));
    for rule in late {
        let rejected = std::mem::take(&mut verdict.rejected);
        let mut findings = Findings {
            rows: rejected.into_iter().map(|r| (r.row, r)).collect(),
        };
        apply_rule(contract, rule, conformed, context, &mut findings, verdict)?;
        let duplicates: HashSet<u32> = verdict.duplicates.iter().copied().collect();
        verdict.rejected = findings
            .rows
            .into_values()
            .filter(|r| !duplicates.contains(&r.row))
            .collect();
    }
    Ok(())
}

fn apply_rule(
    contract: &Contract,
    rule: &Rule,
    conformed: &Conformed,
    context: &Context,
    findings: &mut Findings,
    verdict: &mut Verdict,
) -> Result<(), Fault> {
    let Some(index) = contract.columns.iter().position(|c| c.name == rule.column) else {
        return Ok(());
    };
    for broken in rules::broken(rule, &conformed.columns[index], context)? {
        let reason = || rules::reason(rule, &broken.value);
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
                        "the batch breaks a rule with action fail, row={}, column={}, value={}, rule={}: {}; correct the row and send the batch again",
                        broken.row,
                        rule.column,
                        broken.value,
                        rule.name,
                        reason()
                    ),
                ));
            }
        }
    }
    Ok(())
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
