//! Prepared statements: text, parameters bound so far, and an end. Drivers forget to close them, so they are bounded in
//! number and the least recently used goes first.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::fault::{Fault, Kind};

const HANDLES_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub struct PreparedStatement {
    pub sql: Arc<str>,
    pub bound: Option<RecordBatch>,
}

#[derive(Default)]
pub struct PreparedStatements(Mutex<State>);

#[derive(Default)]
struct State {
    clock: u64,
    entries: HashMap<Bytes, (u64, PreparedStatement)>,
}

impl PreparedStatements {
    pub fn add(&self, sql: &str) -> Bytes {
        let handle = Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let mut state = self.0.lock();
        if state.entries.len() >= HANDLES_MAX
            && let Some(oldest) = state
                .entries
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(h, _)| h.clone())
        {
            state.entries.remove(&oldest);
        }
        state.clock += 1;
        let used = state.clock;
        state.entries.insert(
            handle.clone(),
            (
                used,
                PreparedStatement {
                    sql: sql.into(),
                    bound: None,
                },
            ),
        );
        handle
    }

    pub fn get(&self, handle: &[u8]) -> Result<PreparedStatement, Fault> {
        self.with(handle, |statement| statement.clone())
    }

    pub fn bind(&self, handle: &[u8], values: Option<RecordBatch>) -> Result<(), Fault> {
        self.with(handle, |statement| statement.bound = values)
    }

    pub fn close(&self, handle: &[u8]) {
        self.0.lock().entries.remove(handle);
    }

    fn with<T>(
        &self,
        handle: &[u8],
        f: impl FnOnce(&mut PreparedStatement) -> T,
    ) -> Result<T, Fault> {
        let mut state = self.0.lock();
        state.clock += 1;
        let now = state.clock;
        let Some((used, statement)) = state.entries.get_mut(handle) else {
            return Err(Fault::new(
                Kind::NotFound,
                "handle_not_found",
                "no such prepared statement; it was closed or has expired: prepare it again",
            ));
        };
        *used = now;
        Ok(f(statement))
    }
}
