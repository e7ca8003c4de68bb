//! What becomes of each row of a batch, in a form that the log keeps.
//!
//! Stored as one version byte, the row count (u32, little endian) and, unless every row is accepted as it came, JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Position in the sent batch.
    pub row: u32,
    /// Every rule that it broke, as `range:AT`.
    pub rules: Vec<String>,
    /// The first of them, in words.
    pub reason: String,
    pub column: String,
    pub value: String,
}

/// A value that is not kept as it came: made null, or set to a bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub row: u32,
    /// Position in the contract.
    pub column: u16,
    pub bound: Option<f64>,
    pub rule: String,
}

impl Cell {
    pub fn new(row: u32, column: usize, bound: Option<f64>, rule: &str) -> Self {
        Cell {
            row,
            column: u16::try_from(column).unwrap_or(u16::MAX),
            bound,
            rule: rule.to_owned(),
        }
    }
}

/// `rows` = accepted + rejected + duplicates, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    #[serde(skip)]
    pub rows: u32,
    pub rejected: Vec<Rejected>,
    pub nulled: Vec<Cell>,
    pub clamped: Vec<Cell>,
    /// Rows whose key and bytes are known already; in no rejected row's place.
    pub duplicates: Vec<u32>,
    pub warned: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict: {0}")]
pub struct VerdictError(String);

impl Verdict {
    /// Of a batch without rows.
    pub fn empty() -> Self {
        Verdict::default()
    }

    pub fn quarantined(&self) -> u64 {
        self.rejected.len() as u64
    }

    pub fn duplicate_count(&self) -> u64 {
        self.duplicates.len() as u64
    }

    pub fn accepted(&self) -> u64 {
        u64::from(self.rows).saturating_sub(self.quarantined() + self.duplicate_count())
    }

    /// How often each rule was broken, whatever its action.
    pub fn violations(&self) -> BTreeMap<String, u64> {
        let mut out = self.warned.clone();
        let rejected = self.rejected.iter().flat_map(|r| &r.rules);
        let changed = self.nulled.iter().chain(&self.clamped).map(|c| &c.rule);
        for rule in rejected.chain(changed) {
            match out.get_mut(rule) {
                // A damaged log may say any number.
                Some(count) => *count = count.saturating_add(1),
                None => {
                    out.insert(rule.clone(), 1);
                }
            }
        }
        out
    }

    fn is_clean(&self) -> bool {
        self.rejected.is_empty()
            && self.nulled.is_empty()
            && self.clamped.is_empty()
            && self.duplicates.is_empty()
            && self.warned.is_empty()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.rows.to_le_bytes());
        if !self.is_clean() {
            // Plain data with string keys; bounds are finite, as contracts are checked to be: cannot fail.
            out.extend(serde_json::to_vec(self).unwrap_or_default());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, VerdictError> {
        let wrong = |what: &str| VerdictError(what.to_owned());
        let (version, rest) = bytes.split_first().ok_or_else(|| wrong("no bytes"))?;
        if *version != VERSION {
            return Err(wrong("unknown version"));
        }
        let (rows, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| wrong("too short"))?;
        let mut verdict = if rest.is_empty() {
            Verdict::empty()
        } else {
            serde_json::from_slice(rest).map_err(|e| VerdictError(e.to_string()))?
        };
        verdict.rows = u32::from_le_bytes(*rows);
        let beyond = |row: u32| row >= verdict.rows;
        if verdict.rejected.iter().any(|r| beyond(r.row))
            || verdict.duplicates.iter().any(|r| beyond(*r))
        {
            return Err(wrong("a row outside the batch"));
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_a_damaged_verdict_counts_too_often_does_not_overflow() {
        let verdict = Verdict {
            nulled: vec![Cell::new(0, 1, None, "range:a")],
            warned: BTreeMap::from([("range:a".to_owned(), u64::MAX)]),
            ..Verdict::empty()
        };
        assert_eq!(verdict.violations()["range:a"], u64::MAX);
    }
}
