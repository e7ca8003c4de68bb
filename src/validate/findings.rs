//! What judging a batch finds, row by row, until it is a [`Verdict`]: bounded by bytes while it grows, because a row costs
//! memory however few bytes it came in.

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;

use super::size::RowText;
use super::verdict::{Cell, Rejected, Verdict};
use crate::fault::{Fault, Kind};

/// Bytes that a rejected row takes beside its texts: its finding, its place in the log's verdict and the columns of the
/// quarantine that have one width.
const ROW_BYTES: usize = 320;
/// Bytes that a changed value takes beside the rule's name: its finding and its place in the log's verdict.
const CELL_BYTES: usize = 128;

/// What one batch may become, in bytes, and what it has become so far.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    used: usize,
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        Room { max, used: 0 }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Takes so many bytes of it. False: they do not fit.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.used = self.used.saturating_add(bytes);
        self.used <= self.max
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }
}

/// Rows by what becomes of them, each with its rules in the order in which they were found.
pub(super) struct Findings {
    rows: BTreeMap<u32, Rejected>,
    duplicates: HashSet<u32>,
    nulled: Vec<Cell>,
    clamped: Vec<Cell>,
    warned: BTreeMap<String, u64>,
    text: RowText,
    room: Room,
    /// Nothing is written down: the rows are in the table already.
    ignored: bool,
}

impl Findings {
    pub(super) fn new(sent: &RecordBatch, room: Room) -> Self {
        Findings {
            rows: BTreeMap::new(),
            duplicates: HashSet::new(),
            nulled: Vec::new(),
            clamped: Vec::new(),
            warned: BTreeMap::new(),
            text: RowText::of(sent),
            room,
            ignored: false,
        }
    }

    /// For rows that are in the table already, whatever rules they break.
    pub(super) fn ignored(rows: &RecordBatch) -> Self {
        Findings {
            ignored: true,
            ..Findings::new(rows, Room::new(usize::MAX))
        }
    }

    /// Takes room for what is about to be made.
    ///
    /// # Errors
    /// The bytes that there may be, if they do not suffice.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), usize> {
        match self.room.take(bytes) {
            true => Ok(()),
            false => Err(self.room.max()),
        }
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED `batch_too_large`: the rejected rows take more memory than one batch may.
    pub(super) fn reject(
        &mut self,
        row: u32,
        rule: &str,
        column: &str,
        value: String,
        reason: String,
    ) -> Result<(), Fault> {
        if self.ignored {
            return Ok(());
        }
        if let Some(known) = self.rows.get_mut(&row) {
            if !known.rules.iter().any(|r| r == rule) {
                known.rules.push(rule.to_owned());
                return self.charge(2 * rule.len() + 32);
            }
            return Ok(());
        }
        // Each text stands in the verdict, in the log and, but for the value, in the quarantine.
        let texts = 2 * (rule.len() + column.len() + value.len() + reason.len());
        let bytes = ROW_BYTES + texts + 2 * self.text.bytes(row as usize);
        self.rows.insert(
            row,
            Rejected {
                row,
                rules: vec![rule.to_owned()],
                reason,
                column: column.to_owned(),
                value,
            },
        );
        self.charge(bytes)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.room.take(bytes) {
            return Ok(());
        }
        let first = self.rows.values().next().map_or_else(String::new, |r| {
            format!(
                ", the first: row={}, column={}, value={}, rule={}",
                r.row,
                r.column,
                r.value,
                r.rules.join(",")
            )
        });
        Err(Fault::new(
            Kind::Exhausted,
            "batch_too_large",
            format!(
                "what the rules find in the batch takes more memory than one batch may, rejected={}, changed_values={}, limit={}{first}; send fewer rows at a time, correct them, or raise limits.batch_memory_max",
                self.rows.len(),
                self.nulled.len() + self.clamped.len(),
                self.room.max()
            ),
        ))
    }

    pub(super) fn null(&mut self, row: u32, column: usize, rule: &str) -> Result<(), Fault> {
        if self.ignored {
            return Ok(());
        }
        self.nulled.push(Cell::new(row, column, None, rule));
        self.charge(CELL_BYTES + 2 * rule.len())
    }

    pub(super) fn clamp(
        &mut self,
        row: u32,
        column: usize,
        bound: Option<f64>,
        rule: &str,
    ) -> Result<(), Fault> {
        if self.ignored {
            return Ok(());
        }
        self.clamped.push(Cell::new(row, column, bound, rule));
        self.charge(CELL_BYTES + 2 * rule.len())
    }

    pub(super) fn warn(&mut self, rule: &str) {
        match self.warned.get_mut(rule) {
            Some(count) => *count += 1,
            None => {
                self.warned.insert(rule.to_owned(), 1);
            }
        }
    }

    pub(super) fn duplicate(&mut self, row: u32) {
        self.duplicates.insert(row);
    }

    /// Is the row rejected by this very rule?
    pub(super) fn breaks(&self, row: u32, rule: &str) -> bool {
        self.rows
            .get(&row)
            .is_some_and(|r| r.rules.iter().any(|known| known == rule))
    }

    /// Values that are changed so far, in the order in which they are.
    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.nulled.iter().chain(&self.clamped)
    }

    /// How many values are changed so far.
    pub(super) fn changed(&self) -> usize {
        self.nulled.len() + self.clamped.len()
    }

    /// Positions of rows that are out so far.
    pub(super) fn out(&self) -> Out {
        let mut rows: Vec<u32> = self.rows.keys().copied().collect();
        rows.extend(&self.duplicates);
        Out::new(rows)
    }

    /// The verdict, and the bytes that what it says takes.
    pub(super) fn verdict(self, rows: u32) -> (Verdict, usize) {
        let mut duplicates: Vec<u32> = self.duplicates.into_iter().collect();
        duplicates.sort_unstable();
        let rejected = self.rows.into_values();
        let verdict = Verdict {
            rows,
            rejected: rejected
                .filter(|r| duplicates.binary_search(&r.row).is_err())
                .collect(),
            nulled: self.nulled,
            clamped: self.clamped,
            duplicates,
            warned: self.warned,
        };
        (verdict, self.room.used())
    }
}

/// Rows that do not go to the table, in order, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Out(Vec<u32>);

impl Out {
    pub(super) fn new(mut rows: Vec<u32>) -> Self {
        rows.sort_unstable();
        rows.dedup();
        Out(rows)
    }

    pub(super) fn of(verdict: &Verdict) -> Self {
        let mut rows: Vec<u32> = verdict.rejected.iter().map(|r| r.row).collect();
        rows.extend(&verdict.duplicates);
        Out::new(rows)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, row: u32) -> bool {
        self.0.binary_search(&row).is_ok()
    }

    /// True for each of `rows` rows that stays.
    pub(super) fn keep(&self, rows: usize) -> arrow::array::BooleanArray {
        let mut keep = vec![true; rows];
        for row in &self.0 {
            if let Some(slot) = keep.get_mut(*row as usize) {
                *slot = false;
            }
        }
        keep.into()
    }

    /// Positions of the rows that stay.
    pub(super) fn positions(&self, rows: u32) -> Vec<u32> {
        let mut out = self.0.iter().peekable();
        (0..rows)
            .filter(|row| out.next_if(|next| *next == row).is_none())
            .collect()
    }
}
