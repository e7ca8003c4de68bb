//! Rules that look at earlier rows: uniqueness and order. What is known of the table's rows is held here, bounded, and built
//! again from the table itself after a start.
//!
//! A row counts as known once its frame has its place in the log: a later frame can be durable only if that one is.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{RowConverter, Rows, SortField};

use super::conform::show;
use super::verdict::{Rejected, Verdict};
use crate::dataset::{Action, Contract, Rule, RuleKind};
use crate::fault::Fault;

/// 128 bits of a key: two rows of a table meet by chance once in 10^19 tables of a billion rows.
type KeyHash = u128;

#[derive(Default)]
struct Known {
    /// Unique: the hash of the row. Monotonic: unused.
    rows: HashMap<KeyHash, u64>,
    /// In the order in which they came, for the bound.
    order: VecDeque<KeyHash>,
    /// Monotonic: the last value of each key, in a form that sorts as it does.
    last: HashMap<KeyHash, Box<[u8]>>,
    /// The newest event time among keys that the bound has pushed out: rows up to there cannot be told from known ones.
    forgotten: Option<i64>,
}

/// What is known of one table's rows, a state a rule.
pub struct Keys {
    known: HashMap<String, Known>,
    keys_max: usize,
    loaded: bool,
}

/// What a batch adds once it has its place in the log.
#[derive(Default)]
pub struct Additions {
    unique: Vec<(String, KeyHash, u64, u32, Option<i64>)>,
    last: Vec<(String, KeyHash, Box<[u8]>)>,
}

fn encode(columns: &[ArrayRef]) -> Result<Rows, Fault> {
    let fields = columns
        .iter()
        .map(|c| SortField::new(c.data_type().clone()))
        .collect();
    RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(columns))
        .map_err(|e| Fault::internal(format!("keys: {e}")))
}

fn hash64(bytes: &[u8], salt: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(salt);
    hasher.write(bytes);
    hasher.finish()
}

fn key_hash(bytes: &[u8]) -> KeyHash {
    (u128::from(hash64(bytes, 1)) << 64) | u128::from(hash64(bytes, 2))
}

/// One hash a row over the columns together, nulls being values as others are.
pub fn key_hashes(columns: &[ArrayRef]) -> Result<Vec<u128>, Fault> {
    let rows = encode(columns)?;
    Ok(rows.iter().map(|row| key_hash(row.as_ref())).collect())
}

fn pick(
    contract: &Contract,
    batch: &RecordBatch,
    names: &[String],
) -> Result<Vec<ArrayRef>, Fault> {
    let column = |name: &String| {
        let index = contract.columns.iter().position(|c| c.name == *name);
        index
            .map(|i| batch.column(i).clone())
            .ok_or_else(|| Fault::internal(format!("rule on a missing column {name}")))
    };
    names.iter().map(column).collect()
}

impl Keys {
    pub fn new(keys_max: usize) -> Self {
        Keys {
            known: HashMap::new(),
            keys_max: keys_max.max(1),
            loaded: false,
        }
    }

    /// The table was changed from elsewhere: what is known is read again at the next batch.
    pub fn forget(&mut self) {
        *self = Keys::new(self.keys_max);
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Takes the table's own rows, oldest first, as what is known.
    pub fn load(&mut self, contract: &Contract, batches: &[RecordBatch]) -> Result<(), Fault> {
        for batch in batches {
            let positions: Vec<u32> =
                (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
            let mut ignored = Verdict::empty();
            let additions = self.check(contract, batch, &positions, &mut ignored)?;
            self.add(additions, &Verdict::empty());
        }
        self.loaded = true;
        Ok(())
    }

    /// Holds accepted rows (the contract's columns first, in its order) against what is known, and writes what it finds into
    /// the verdict. `positions`: where each row stood in the sent batch.
    ///
    /// # Errors
    /// `rule_failed` for a rule with action `fail`.
    pub fn check(
        &mut self,
        contract: &Contract,
        rows: &RecordBatch,
        positions: &[u32],
        verdict: &mut Verdict,
    ) -> Result<Additions, Fault> {
        let mut additions = Additions::default();
        for rule in contract.rules.iter().filter(|r| r.kind.needs_history()) {
            match &rule.kind {
                RuleKind::Unique { columns } => {
                    let names: Vec<String> =
                        contract.columns.iter().map(|c| c.name.clone()).collect();
                    let keys = encode(&pick(contract, rows, columns)?)?;
                    let whole = encode(&pick(contract, rows, &names)?)?;
                    self.unique(
                        contract,
                        rule,
                        (rows, &keys, &whole),
                        positions,
                        verdict,
                        &mut additions,
                    )?;
                }
                RuleKind::Monotonic { by } => {
                    let keys = encode(&pick(contract, rows, by)?)?;
                    let values = pick(contract, rows, std::slice::from_ref(&rule.column))?;
                    self.monotonic(rule, &keys, &values, positions, verdict, &mut additions)?;
                }
                _ => {}
            }
        }
        Ok(additions)
    }

    fn unique(
        &self,
        contract: &Contract,
        rule: &Rule,
        (rows, keys, whole): (&RecordBatch, &Rows, &Rows),
        positions: &[u32],
        verdict: &mut Verdict,
        additions: &mut Additions,
    ) -> Result<(), Fault> {
        let known = self.known.get(&rule.name);
        let times = contract
            .event_time
            .as_ref()
            .and_then(|name| contract.columns.iter().position(|c| c.name == *name))
            .and_then(|i| {
                rows.column(i)
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .cloned()
            });
        let mut here: HashMap<KeyHash, u64> = HashMap::new();
        for (index, position) in positions.iter().enumerate() {
            let key = key_hash(keys.row(index).as_ref());
            let row = hash64(whole.row(index).as_ref(), 3);
            let before = here
                .get(&key)
                .or_else(|| known.and_then(|k| k.rows.get(&key)));
            let time = times.as_ref().map(|t| t.value(index));
            match before {
                None => {
                    let forgotten = known.and_then(|k| k.forgotten);
                    if forgotten.is_some_and(|limit| time.is_none_or(|t| t <= limit)) {
                        *verdict
                            .warned
                            .entry(format!("unchecked:{}", rule.name))
                            .or_default() += 1;
                    }
                    here.insert(key, row);
                    additions
                        .unique
                        .push((rule.name.clone(), key, row, *position, time));
                }
                Some(same) if *same == row => verdict.duplicates.push(*position),
                Some(_) => {
                    let RuleKind::Unique { columns } = &rule.kind else {
                        continue;
                    };
                    let shown: Vec<String> = pick(contract, rows, columns)?
                        .iter()
                        .map(|c| show(c, index))
                        .collect();
                    let value = shown.join(",");
                    let reason = format!(
                        "({}) ({value}) is there already with other values",
                        columns.join(", ")
                    );
                    broken(rule, *position, value, reason, verdict)?;
                }
            }
        }
        Ok(())
    }

    fn monotonic(
        &self,
        rule: &Rule,
        keys: &Rows,
        values: &[ArrayRef],
        positions: &[u32],
        verdict: &mut Verdict,
        additions: &mut Additions,
    ) -> Result<(), Fault> {
        let known = self.known.get(&rule.name);
        let encoded = encode(values)?;
        let mut here: HashMap<KeyHash, Box<[u8]>> = HashMap::new();
        for (index, position) in positions.iter().enumerate() {
            if values.iter().any(|v| v.is_null(index)) {
                continue;
            }
            let key = key_hash(keys.row(index).as_ref());
            let row = encoded.row(index);
            let value: &[u8] = row.as_ref();
            let before = here
                .get(&key)
                .or_else(|| known.and_then(|k| k.last.get(&key)));
            if before.is_some_and(|last| value < &**last) {
                let value = values.first().map_or_else(String::new, |v| show(v, index));
                let reason = format!("{} {value} is below the one before it", rule.column);
                broken(rule, *position, value, reason, verdict)?;
            } else {
                here.insert(key, value.into());
            }
        }
        // What comes behind this stage rejects only late rows, and a key's newest row is the last to be late.
        additions.last.extend(
            here.into_iter()
                .map(|(key, value)| (rule.name.clone(), key, value)),
        );
        Ok(())
    }

    /// The batch has its place in the log: rows that the verdict keeps are known from now on.
    pub fn add(&mut self, additions: Additions, verdict: &Verdict) {
        let mut out: Vec<u32> = verdict.rejected.iter().map(|r| r.row).collect();
        out.extend(&verdict.duplicates);
        out.sort_unstable();
        for (rule, key, row, position, time) in additions.unique {
            if out.binary_search(&position).is_ok() {
                continue;
            }
            let keys_max = self.keys_max;
            let known = self.known.entry(rule).or_default();
            if known.rows.insert(key, row).is_none() {
                known.order.push_back(key);
            }
            while known.order.len() > keys_max {
                if let Some(oldest) = known.order.pop_front() {
                    known.rows.remove(&oldest);
                }
                // Times rise about as rows come; the newest seen is a safe bound for what was pushed out.
                known.forgotten = known.forgotten.max(time);
            }
        }
        for (rule, key, value) in additions.last {
            self.known.entry(rule).or_default().last.insert(key, value);
        }
    }
}

fn broken(
    rule: &Rule,
    row: u32,
    value: String,
    reason: String,
    verdict: &mut Verdict,
) -> Result<(), Fault> {
    match rule.action {
        Action::Warn => *verdict.warned.entry(rule.name.clone()).or_default() += 1,
        Action::Fail => {
            return Err(Fault::invalid(
                "rule_failed",
                format!(
                    "the batch breaks a rule with action fail, row={row}, rule={}: {reason}; correct the row and send the batch again",
                    rule.name
                ),
            ));
        }
        Action::Reject | Action::Null | Action::Clamp => {
            match verdict.rejected.iter_mut().find(|r| r.row == row) {
                Some(rejected) => rejected.rules.push(rule.name.clone()),
                None => verdict.rejected.push(Rejected {
                    row,
                    rules: vec![rule.name.clone()],
                    reason,
                    column: rule.column.clone(),
                    value,
                }),
            }
        }
    }
    Ok(())
}
