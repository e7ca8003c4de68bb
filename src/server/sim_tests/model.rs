//! What must be there after a crash, on a page.
//!
//! Steps are taken one after the other. A step has *begun* when it was asked for, and is *done* when the server said so. After a crash
//! the table is what all done steps have made of it, or these and the first few of the begun ones, each as a whole.

use std::collections::BTreeMap;

/// `k`, `v`, `s`.
pub(super) type Row = (i64, i64, String);

/// What `REPLAY QUARANTINE` sets `v` to.
pub(super) const MENDED: i64 = 1;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Create,
    Drop,
    CreateView,
    AddColumn,
    Batch {
        producer: &'static str,
        seq: u64,
        rows: Vec<Row>,
    },
    Insert(Vec<Row>),
    DeleteBelow(i64),
    Replay,
    /// The rows become these again.
    Restore(Vec<Row>),
}

/// The table as queries and producers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_there: bool,
    pub(super) has_view: bool,
    pub(super) columns: usize,
    /// In their order.
    pub(super) rows: Vec<Row>,
    pub(super) rejected: Vec<Row>,
    /// The newest batch of each producer.
    pub(super) seqs: BTreeMap<&'static str, u64>,
}

/// Of a rejected row its `v` is not looked at: of two with one key a replay may take either.
pub(super) fn rejected(row: &Row) -> Row {
    (row.0, 0, row.2.clone())
}

fn mended(row: &Row) -> Row {
    (row.0, MENDED, row.2.clone())
}

impl State {
    /// `k` is unique, and `v` is not negative.
    pub(super) fn has_key(&self, k: i64) -> bool {
        self.rows.iter().any(|row| row.0 == k)
    }

    fn after(mut self, step: &Step) -> State {
        match step {
            Step::Create => {
                self = State {
                    is_there: true,
                    columns: 4,
                    ..State::default()
                }
            }
            Step::Drop => self = State::default(),
            Step::CreateView => self.has_view = true,
            Step::AddColumn => self.columns += 1,
            Step::Batch {
                producer,
                seq,
                rows,
            } => {
                let newest = self.seqs.entry(producer).or_default();
                if *seq > *newest {
                    *newest = *seq;
                    for row in rows {
                        // The same row once more is a duplicate, which is kept nowhere.
                        if self.rows.contains(row) {
                            continue;
                        }
                        match row.1 < 0 || self.has_key(row.0) {
                            true => self.rejected.push(rejected(row)),
                            false => self.rows.push(row.clone()),
                        }
                    }
                }
            }
            Step::Insert(rows) => self.rows.extend(rows.iter().cloned()),
            Step::DeleteBelow(k) => self.rows.retain(|row| row.0 >= *k),
            Step::Replay => {
                for row in std::mem::take(&mut self.rejected) {
                    let mended = mended(&row);
                    if self.rows.contains(&mended) {
                        continue;
                    }
                    match self.has_key(row.0) {
                        true => self.rejected.push(row),
                        false => self.rows.push(mended),
                    }
                }
            }
            Step::Restore(rows) => self.rows.clone_from(rows),
        }
        self.rows.sort();
        self.rejected.sort();
        self
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) state: State,
    /// Begun and not done, in their order.
    begun: Vec<Step>,
}

impl Model {
    pub(super) fn begin(&mut self, step: Step) {
        self.begun.push(step);
    }

    /// The oldest of the begun ones is done.
    pub(super) fn done(&mut self) {
        let step = self.begun.remove(0);
        self.state = std::mem::take(&mut self.state).after(&step);
    }

    /// Takes what a server that has started answers for the truth, if it can be it. Those of the begun steps that have not happened.
    ///
    /// # Errors
    /// It cannot be it.
    pub(super) fn adopt(&mut self, seen: &State) -> Result<Vec<Step>, String> {
        let mut state = self.state.clone();
        let mut left = std::mem::take(&mut self.begun);
        loop {
            if state == *seen {
                self.state = state;
                return Ok(left);
            }
            let Some(step) = (!left.is_empty()).then(|| left.remove(0)) else {
                break;
            };
            if matches!(step, Step::Replay) && is_partly_replayed(&state, seen) {
                self.state = seen.clone();
                left.insert(0, step);
                return Ok(left);
            }
            state = state.after(&step);
        }
        Err(format!(
            "expected {:?}, then {:?}\nseen {seen:?}",
            self.state, state
        ))
    }
}

/// A replay moves the rows of one file after the other: each is in one of the two tables.
fn is_partly_replayed(before: &State, seen: &State) -> bool {
    let mut half = before.clone();
    let mut stay = seen.rejected.clone();
    half.rejected.clone_from(&stay);
    for row in &before.rejected {
        match stay.iter().position(|other| other == row) {
            Some(at) => drop(stay.remove(at)),
            None if half.rows.contains(&mended(row)) => {}
            None => half.rows.push(mended(row)),
        }
    }
    half.rows.sort();
    stay.is_empty() && half == *seen
}
