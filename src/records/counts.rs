//! Counts of rows, as checkpoints and replay records keep them, and as acks and `system.quality` add them up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::validate::Verdict;

/// A damaged log may say any number, and a count that is wrong must not end the start that reads it.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

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
        add(&mut self.accepted, other.accepted);
        add(&mut self.quarantined, other.quarantined);
        add(&mut self.duplicates, other.duplicates);
    }

    fn sum(self) -> u64 {
        let not_accepted = self.quarantined.saturating_add(self.duplicates);
        self.accepted.saturating_add(not_accepted)
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
            add(self.rules.entry(rule.clone()).or_default(), *count);
        }
        add(&mut self.received, counts.sum());
        add(&mut self.accepted, counts.accepted);
        add(&mut self.quarantined, counts.quarantined);
        add(&mut self.duplicates, counts.duplicates);
    }

    /// Rows have left the quarantine. A day that knows nothing of them (an older log counted them) learns of them now.
    pub fn replay(&mut self, left: Left) {
        let rows = left.accepted.saturating_add(left.duplicates);
        let known = rows.min(self.quarantined);
        self.quarantined -= known;
        add(&mut self.received, rows - known);
        add(&mut self.accepted, left.accepted);
        add(&mut self.duplicates, left.duplicates);
        add(&mut self.replayed, rows);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_damaged_log_do_not_overflow() {
        let most = Totals {
            accepted: u64::MAX,
            quarantined: u64::MAX,
            duplicates: 1,
        };
        let mut totals = most;
        totals.add(most);
        assert_eq!((totals.accepted, totals.duplicates), (u64::MAX, 2));
        let mut day = Day::default();
        let broken = BTreeMap::from([("range:a".to_owned(), u64::MAX)]);
        for _ in 0..2 {
            day.add(most, &broken);
            day.replay(Left {
                accepted: u64::MAX,
                duplicates: u64::MAX,
            });
        }
        assert_eq!((day.received, day.rules["range:a"]), (u64::MAX, u64::MAX));
    }
}
