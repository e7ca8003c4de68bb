//! Keys of changed and inserted rows against each other and against every row that stays. A statement reads the whole key
//! columns for it, once: what a table remembers of its keys is bounded, and a statement may touch the oldest.

use std::collections::HashSet;

use arrow::array::{ArrayRef, RecordBatch};

use super::marks::Marks;
use super::places::places;
use super::query::{Made, Query};
use crate::catalog::view::Snapshot;
use crate::cold::{FILE, ROW};
use crate::dataset::{Action, Contract, RuleKind};
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext};
use crate::types::{TableName, quote_name};
use crate::validate;

/// Keys that one statement may write to a table with a rule about them: about 32 bytes each.
const KEYS_MAX: usize = 2_000_000;

struct RuleKeys {
    rule: String,
    columns: Vec<String>,
    new: HashSet<u128>,
}

pub(super) struct ChangedKeys(Vec<RuleKeys>);

impl ChangedKeys {
    /// None: the statement writes no column of a key.
    pub(super) fn new(contract: &Contract, query: &Query) -> Option<Self> {
        let writes = |columns: &[String]| {
            query.clauses.iter().any(|made| match made {
                Made::Nothing => false,
                Made::Inserted { .. } => true,
                Made::Changed { assigned, .. } => columns.iter().any(|c| assigned.contains(c)),
            })
        };
        let rules = contract.rules.iter().filter_map(|rule| match &rule.kind {
            RuleKind::Unique { columns } if rule.action != Action::Warn && writes(columns) => {
                Some(RuleKeys {
                    rule: rule.name.clone(),
                    columns: columns.clone(),
                    new: HashSet::new(),
                })
            }
            _ => None,
        });
        let rules: Vec<RuleKeys> = rules.collect();
        (!rules.is_empty()).then_some(ChangedKeys(rules))
    }

    /// `rows`: as they will stand in the table.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: two of them have one key; RESOURCE_EXHAUSTED: more keys than are kept in memory.
    pub(super) fn add(&mut self, contract: &Contract, rows: &RecordBatch) -> Result<(), Fault> {
        for rule in &mut self.0 {
            let columns = rule
                .columns
                .iter()
                .map(|name| {
                    rows.column_by_name(name)
                        .cloned()
                        .ok_or_else(|| Fault::internal(format!("a key without column {name}")))
                })
                .collect::<Result<Vec<ArrayRef>, Fault>>()?;
            for (hash, row) in validate::key_hashes(&columns)?.into_iter().zip(0..) {
                if !rule.new.insert(hash) {
                    return Err(broken(contract, rule, &columns, row));
                }
            }
            if rule.new.len() > KEYS_MAX {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "too_many_keys",
                    format!(
                        "the statement writes more than {KEYS_MAX} keys, rule={}; write less at a time",
                        rule.rule
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Holds them against the rows that stay.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the first key that is there already.
    pub(super) async fn check(
        &self,
        (engine, caller): (&Engine, &QueryContext),
        snapshot: Snapshot,
        contract: &Contract,
        rows: &TableName,
        marks: &Marks,
    ) -> Result<(), Fault> {
        for rule in self.0.iter().filter(|r| !r.new.is_empty()) {
            let columns: Vec<String> = rule.columns.iter().map(|c| quote_name(c)).collect();
            let sql = format!(
                "SELECT \"{FILE}\", \"{ROW}\", {} FROM {}",
                columns.join(", "),
                rows.sql()
            );
            let found = engine.query_over(caller, snapshot.clone(), &sql, None);
            let mut stream = found.await?;
            while let Some(batch) = stream.batches.recv().await {
                let batch = batch?;
                let columns = batch.columns().get(2..).unwrap_or_default();
                let hashes = validate::key_hashes(columns)?;
                for ((hash, place), row) in hashes.iter().zip(places(&batch, 0)?).zip(0..) {
                    let stays = place.is_none_or(|(file, row)| !marks.has(file, row));
                    if stays && rule.new.contains(hash) {
                        return Err(broken(contract, rule, columns, row));
                    }
                }
            }
        }
        Ok(())
    }
}

fn broken(contract: &Contract, rule: &RuleKeys, columns: &[ArrayRef], row: usize) -> Fault {
    let shown: Vec<String> = columns.iter().map(|c| validate::show(c, row)).collect();
    Fault::invalid(
        "rule_broken",
        format!(
            "a row breaks a rule of {}, nothing was written; column={}, value={}, rule={}: another row has that key",
            contract.table,
            rule.columns.join(","),
            shown.join(","),
            rule.rule
        ),
    )
}
