//! Counts of rows, as checkpoints and replay records keep them, and as acks and `system.quality` add them up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::validate::Verdict;

/// What became of the rows of a batch, or of all batches of a producer, over all its streams to one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
}

impl Totals {
    /// Of one batch.
    pub fn of(verdict: &Verdict) -> Self {
        Totals {
            accepted: verdict.accepted(),
            quarantined: verdict.quarantined(),
            duplicates: verdict.duplicate_count(),
        }
    }

    pub fn add(&mut self, other: Totals) {
        self.accepted += other.accepted;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
    }

    /// None: `part` is no part of them.
    pub fn without(self, part: Totals) -> Option<Totals> {
        Some(Totals {
            accepted: self.accepted.checked_sub(part.accepted)?,
            quarantined: self.quarantined.checked_sub(part.quarantined)?,
            duplicates: self.duplicates.checked_sub(part.duplicates)?,
        })
    }
}

/// Rows that arrived on one UTC day: `received` is the sum of accepted, quarantined and duplicates, resends excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    pub received: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    /// Of them, how many were in quarantine first and have left it since: they count where they are now.
    #[serde(default)]
    pub replayed: u64,
    /// How often each rule was broken, whatever its action.
    #[serde(default)]
    pub rules: BTreeMap<String, u64>,
}

impl Day {
    pub fn add(&mut self, counts: Totals, violations: &BTreeMap<String, u64>) {
        for (rule, count) in violations {
            *self.rules.entry(rule.clone()).or_default() += count;
        }
        self.received += counts.accepted + counts.quarantined + counts.duplicates;
        self.accepted += counts.accepted;
        self.quarantined += counts.quarantined;
        self.duplicates += counts.duplicates;
    }

    /// Rows have left the quarantine. A day that knows nothing of them (an older log counted them) learns of them now.
    pub fn replay(&mut self, left: Left) {
        let rows = left.accepted + left.duplicates;
        let known = rows.min(self.quarantined);
        self.quarantined -= known;
        self.received += rows - known;
        self.accepted += left.accepted;
        self.duplicates += left.duplicates;
        self.replayed += rows;
    }
}

/// Rows of one day of arrival that have left the quarantine: to the table, or because the table had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub accepted: u64,
    pub duplicates: u64,
}

/// One replay of a quarantine. They are counted from 1 for each table, and each changes the counts once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub number: i64,
    pub days: BTreeMap<i32, Left>,
}
