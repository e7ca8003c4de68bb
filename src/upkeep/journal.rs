//! What upkeep does and did: the runs of `system.upkeep`, newest last. In memory only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::clock::{Micros, SharedClock};
use crate::fault::Fault;
use crate::types::TableName;

/// Runs that are remembered, about 200 bytes each.
const KEPT: usize = 500;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub files_removed: u64,
    pub bytes_removed: u64,
    pub files_added: u64,
    pub bytes_added: u64,
    pub rows: u64,
    pub detail: String,
}

impl Outcome {
    /// Worth a line?
    pub fn is_nothing(&self) -> bool {
        self.files_removed == 0 && self.files_added == 0 && self.rows == 0
    }
}

/// One run, under way or over.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub task: &'static str,
    pub table: TableName,
    pub started: Micros,
    /// None: under way.
    pub ms: Option<u64>,
    pub outcome: Outcome,
    pub error: Option<String>,
}

#[derive(Default)]
struct State {
    next: u64,
    entries: VecDeque<Entry>,
}

pub struct Journal {
    clock: SharedClock,
    state: Arc<Mutex<State>>,
}

/// A run that has begun. Given back to [`Journal::end`]; one that is dropped instead was broken off.
pub struct Run {
    id: u64,
    since: Instant,
    state: Arc<Mutex<State>>,
}

impl Run {
    fn ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let own = state.entries.iter_mut().find(|e| e.id == self.id);
        if let Some(entry) = own.filter(|e| e.ms.is_none()) {
            entry.ms = Some(self.ms());
            entry.error = Some("it was broken off: nobody waited for it any more".to_owned());
        }
    }
}

impl Journal {
    pub fn new(clock: SharedClock) -> Self {
        Journal {
            clock,
            state: Arc::default(),
        }
    }

    pub fn begin(&self, task: &'static str, table: &TableName) -> Run {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        if state.entries.len() == KEPT {
            state.entries.pop_front();
        }
        state.entries.push_back(Entry {
            id,
            task,
            table: table.clone(),
            started: self.clock.now(),
            ms: None,
            outcome: Outcome::default(),
            error: None,
        });
        Run {
            id,
            since: Instant::now(),
            state: self.state.clone(),
        }
    }

    /// Writes down what came of it. A run that did nothing leaves no line.
    pub fn end(&self, run: Run, result: Result<Outcome, Fault>) {
        let mut state = self.state.lock();
        let Some(at) = state.entries.iter().rposition(|e| e.id == run.id) else {
            return;
        };
        let ms = run.ms();
        let Some(entry) = state.entries.get_mut(at) else {
            return;
        };
        entry.ms = Some(ms);
        metrics::counter!("deltaplane_upkeep_runs_total", "task" => entry.task).increment(1);
        match result {
            Ok(outcome) if outcome.is_nothing() => {
                state.entries.remove(at);
            }
            Ok(outcome) => {
                tracing::info!(task = entry.task, table = %entry.table, ms,
                    files_removed = outcome.files_removed, files_added = outcome.files_added, rows = outcome.rows, "upkeep");
                entry.outcome = outcome;
            }
            Err(fault) if fault.reason == "suspended" => {
                tracing::warn!(task = entry.task, table = %entry.table, "upkeep is suspended: {fault}");
                entry.error = Some(fault.to_string());
            }
            Err(fault) => {
                tracing::warn!(task = entry.task, table = %entry.table, "upkeep failed, it is tried again: {fault}");
                entry.error = Some(fault.to_string());
            }
        }
    }

    /// Oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.state.lock().entries.iter().cloned().collect()
    }
}
