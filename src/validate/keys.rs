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

use super::conform::Shown;
use super::findings::{Findings, Out};
use super::validator::Validator;
use crate::dataset::{Action, Contract, Rule, RuleKind};
use crate::fault::Fault;
use crate::floats;

/// 128 bits of a key: two rows of a table meet by chance once in 10^19 tables of a billion rows.
type KeyHash = u128;

/// A rule about earlier rows, in the form in which rows are held to it: positions of columns in the contract.
pub(super) struct History {
    rule: Rule,
    of: Columns,
}

enum Columns {
    /// No two rows have the same values here.
    Unique(Vec<usize>),
    /// Among rows with the same values here, this column never falls.
    Monotonic { by: Vec<usize>, column: usize },
}

impl History {
    /// None: the rule is about the row alone, or a column of it is not there.
    pub(super) fn of(contract: &Contract, rule: &Rule) -> Option<Self> {
        let position = |name: &String| contract.columns.iter().position(|c| c.name == *name);
        let positions = |names: &[String]| names.iter().map(position).collect::<Option<Vec<_>>>();
        let of = match &rule.kind {
            RuleKind::Unique { columns } => Columns::Unique(positions(columns)?),
            RuleKind::Monotonic { by } => Columns::Monotonic {
                by: positions(by)?,
                column: position(&rule.column)?,
            },
            _ => return None,
        };
        Some(History {
            rule: rule.clone(),
            of,
        })
    }
}

#[derive(Default)]
struct Known {
    /// Unique: the hash of the row. Monotonic: unused.
    rows: HashMap<KeyHash, u64>,
    /// In the order in which they came, for the bound.
    order: VecDeque<KeyHash>,
    /// Monotonic: the last value of each key, in a form that sorts as it does. Its keys stand in `order` as well.
    last: HashMap<KeyHash, Box<[u8]>>,
    /// The newest event time among keys that the bound has pushed out: rows up to there cannot be told from known ones. The
    /// lowest time there is if the table has no event time: then no row can.
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
pub struct Additions(Vec<Added>);

/// One rule's part of it.
struct Added {
    rule: String,
    unique: Vec<NewKey>,
    last: Vec<(KeyHash, Box<[u8]>)>,
}

struct NewKey {
    key: KeyHash,
    row: u64,
    /// Where the row stood in the batch.
    position: u32,
    time: Option<i64>,
}

impl Additions {
    /// Leaves out what rows would add that do not go to the table after all.
    pub(super) fn without(mut self, out: &Out) -> Self {
        if !out.is_empty() {
            for added in &mut self.0 {
                added.unique.retain(|key| !out.contains(key.position));
            }
        }
        self
    }
}

/// The rows that keys are held against: those that are still accepted.
pub(super) struct Candidates<'a> {
    /// The contract's columns, in its order.
    pub columns: &'a [ArrayRef],
    /// Where each row stood in the sent batch.
    pub positions: &'a [u32],
}

/// Equal values are equal bytes, and smaller ones smaller bytes: floats are in their one form.
fn encode(columns: &[ArrayRef]) -> Result<Rows, Fault> {
    let columns: Vec<ArrayRef> = columns.iter().map(floats::one_form).collect();
    let fields = columns
        .iter()
        .map(|c| SortField::new(c.data_type().clone()))
        .collect();
    RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(&columns))
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

fn pick(columns: &[ArrayRef], positions: &[usize]) -> Result<Vec<ArrayRef>, Fault> {
    let column = |index: &usize| {
        let column = columns.get(*index).cloned();
        column.ok_or_else(|| Fault::internal(format!("rule on a missing column {index}")))
    };
    positions.iter().map(column).collect()
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

    /// Keys that are held, over all rules.
    pub fn len(&self) -> usize {
        self.known.values().map(|known| known.order.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Takes the table's own rows (the contract's columns first, in its order), oldest first, as what is known.
    pub fn load(&mut self, validator: &Validator, batches: &[RecordBatch]) -> Result<(), Fault> {
        let mut rows = 0;
        let mut oldest = None;
        for batch in batches {
            let count = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            let positions: Vec<u32> = (0..count).collect();
            let mut ignored = Findings::ignored(batch);
            let candidates = Candidates {
                columns: batch.columns(),
                positions: &positions,
            };
            let additions = self.check(validator, &candidates, &mut ignored)?;
            if oldest.is_none() {
                oldest = additions.0.iter().find_map(|a| a.unique.first()?.time);
            }
            rows += batch.num_rows();
            self.add(additions);
        }
        if rows >= self.keys_max {
            // The table has more than was read: what is older than all of it is not known.
            let before = oldest.unwrap_or(i64::MIN);
            for known in self.known.values_mut() {
                known.forgotten = known.forgotten.max(Some(before));
            }
        }
        self.loaded = true;
        Ok(())
    }

    /// Holds rows against what is known, and writes what it finds into the findings.
    ///
    /// # Errors
    /// `rule_failed` for a rule with action `fail`; as [`Findings::reject`].
    pub(super) fn check(
        &self,
        validator: &Validator,
        candidates: &Candidates<'_>,
        findings: &mut Findings,
    ) -> Result<Additions, Fault> {
        let mut additions = Additions::default();
        for history in validator.history() {
            let added = match &history.of {
                Columns::Unique(columns) => {
                    let keys = pick(candidates.columns, columns)?;
                    let times = validator
                        .event_time()
                        .and_then(|i| candidates.columns.get(i))
                        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
                    let time = |row: usize| times.map(|t| t.value(row));
                    self.unique(&history.rule, &keys, candidates, &time, findings)?
                }
                Columns::Monotonic { by, column } => {
                    let keys = pick(candidates.columns, by)?;
                    let values = pick(candidates.columns, &[*column])?;
                    self.monotonic(&history.rule, &keys, &values, candidates, findings)?
                }
            };
            additions.0.push(added);
        }
        Ok(additions)
    }

    fn unique(
        &self,
        rule: &Rule,
        columns: &[ArrayRef],
        candidates: &Candidates<'_>,
        time: &dyn Fn(usize) -> Option<i64>,
        findings: &mut Findings,
    ) -> Result<Added, Fault> {
        let keys = encode(columns)?;
        let whole = encode(candidates.columns)?;
        let known = self.known.get(&rule.name);
        let forgotten = known.and_then(|k| k.forgotten);
        let unchecked = format!("unchecked:{}", rule.name);
        let shown: Vec<Shown<'_>> = columns.iter().map(|c| Shown::of(c)).collect();
        let mut here: HashMap<KeyHash, u64> = HashMap::new();
        let mut unique = Vec::new();
        for (index, position) in candidates.positions.iter().enumerate() {
            let key = key_hash(keys.row(index).as_ref());
            let row = hash64(whole.row(index).as_ref(), 3);
            let before = here
                .get(&key)
                .or_else(|| known.and_then(|k| k.rows.get(&key)));
            match before {
                None => {
                    let time = time(index);
                    if forgotten.is_some_and(|limit| time.is_none_or(|t| t <= limit)) {
                        findings.warn(&unchecked);
                    }
                    here.insert(key, row);
                    unique.push(NewKey {
                        key,
                        row,
                        position: *position,
                        time,
                    });
                }
                Some(same) if *same == row => findings.duplicate(*position),
                Some(_) => {
                    let value = || {
                        let values: Vec<String> = shown.iter().map(|s| s.value(index)).collect();
                        values.join(",")
                    };
                    let reason = |value: &str| {
                        let RuleKind::Unique { columns } = &rule.kind else {
                            return String::new();
                        };
                        format!(
                            "({}) ({value}) is there already with other values",
                            columns.join(", ")
                        )
                    };
                    broken(rule, *position, &value, &reason, findings)?;
                }
            }
        }
        Ok(Added {
            rule: rule.name.clone(),
            unique,
            last: Vec::new(),
        })
    }

    fn monotonic(
        &self,
        rule: &Rule,
        columns: &[ArrayRef],
        values: &[ArrayRef],
        candidates: &Candidates<'_>,
        findings: &mut Findings,
    ) -> Result<Added, Fault> {
        let keys = encode(columns)?;
        let known = self.known.get(&rule.name);
        let encoded = encode(values)?;
        let shown: Vec<Shown<'_>> = values.iter().map(|c| Shown::of(c)).collect();
        let unchecked = format!("unchecked:{}", rule.name);
        let forgotten = known.is_some_and(|k| k.forgotten.is_some());
        let mut here: HashMap<KeyHash, Box<[u8]>> = HashMap::new();
        for (index, position) in candidates.positions.iter().enumerate() {
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
                let value = || shown.first().map_or_else(String::new, |s| s.value(index));
                let reason =
                    |value: &str| format!("{} {value} is below the one before it", rule.column);
                broken(rule, *position, &value, &reason, findings)?;
            } else {
                if before.is_none() && forgotten {
                    findings.warn(&unchecked);
                }
                here.insert(key, value.into());
            }
        }
        // What comes behind this stage rejects only late rows, and a key's newest row is the last to be late.
        Ok(Added {
            rule: rule.name.clone(),
            unique: Vec::new(),
            last: here.into_iter().collect(),
        })
    }

    /// The batch has its place in the log, or in a commit: its accepted rows are known from now on.
    pub fn add(&mut self, additions: Additions) {
        let keys_max = self.keys_max;
        for added in additions.0 {
            let known = self.known.entry(added.rule).or_default();
            for NewKey { key, row, time, .. } in added.unique {
                if known.rows.insert(key, row).is_none() {
                    known.order.push_back(key);
                }
                known.bound(keys_max, time);
            }
            for (key, value) in added.last {
                if known.last.insert(key, value).is_none() {
                    known.order.push_back(key);
                }
                known.bound(keys_max, None);
            }
        }
    }
}

impl Known {
    /// Lets go of the oldest keys beyond the bound. `time`: of the row that came last.
    fn bound(&mut self, keys_max: usize, time: Option<i64>) {
        while self.order.len() > keys_max {
            if let Some(oldest) = self.order.pop_front() {
                self.rows.remove(&oldest);
                self.last.remove(&oldest);
            }
            // Times rise about as rows come; the newest seen is a safe bound for what was pushed out.
            self.forgotten = self.forgotten.max(Some(time.unwrap_or(i64::MIN)));
        }
    }
}

fn broken(
    rule: &Rule,
    row: u32,
    value: &dyn Fn() -> String,
    reason: &dyn Fn(&str) -> String,
    findings: &mut Findings,
) -> Result<(), Fault> {
    if findings.is_ignored() {
        return Ok(());
    }
    match rule.action {
        Action::Warn => {
            findings.warn(&rule.name);
            Ok(())
        }
        Action::Fail => Err(Fault::invalid(
            "rule_failed",
            format!(
                "the batch breaks a rule with action fail, row={row}, rule={}: {}; correct the row and send the batch again",
                rule.name,
                reason(&value())
            ),
        )),
        Action::Reject | Action::Null | Action::Clamp => {
            let value = value();
            let reason = reason(&value);
            findings.reject(row, &rule.name, &rule.column, value, reason)
        }
    }
}
