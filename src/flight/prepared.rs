//! Prepared statements: text, parameters bound so far, and an end. Drivers forget to close them, so they are bounded in
//! number and in bytes, and the least recently used goes first.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::fault::{Fault, Kind};
use crate::statement::Bound;

const HANDLES_MAX: usize = 10_000;
/// Texts and bound rows of all statements together.
const BYTES_MAX: usize = 256 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct PreparedStatement {
    pub sql: Arc<str>,
    /// Where names without a schema were looked for when it was prepared.
    pub schema: Arc<str>,
    /// The transaction that it was prepared in.
    pub transaction: Option<Bytes>,
    /// It changes something: many rows may be bound to it.
    pub is_update: bool,
    pub bound: Bound,
}

impl PreparedStatement {
    fn bytes(&self) -> usize {
        let bound = self
            .bound
            .batch()
            .map_or(0, RecordBatch::get_array_memory_size);
        self.sql.len() + bound
    }
}

#[derive(Default)]
pub(super) struct PreparedStatements(Mutex<State>);

#[derive(Default)]
struct State {
    clock: u64,
    bytes: usize,
    entries: HashMap<Bytes, (u64, PreparedStatement)>,
}

impl State {
    fn remove(&mut self, handle: &[u8]) {
        if let Some((_, gone)) = self.entries.remove(handle) {
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }

    /// Lets go of the least recently used until the rest is within bounds; `but` stays.
    fn shrink(&mut self, but: &Bytes) {
        while self.entries.len() > HANDLES_MAX || self.bytes > BYTES_MAX {
            let oldest = self
                .entries
                .iter()
                .filter(|(handle, _)| *handle != but)
                .min_by_key(|(_, (used, _))| *used)
                .map(|(handle, _)| handle.clone());
            match oldest {
                Some(handle) => self.remove(&handle),
                None => return,
            }
        }
    }
}

impl PreparedStatements {
    pub(super) fn add(&self, statement: PreparedStatement) -> Bytes {
        let handle = Bytes::copy_from_slice(crate::ids::random_id().as_bytes());
        let mut state = self.0.lock();
        state.clock += 1;
        state.bytes += statement.bytes();
        let used = state.clock;
        state.entries.insert(handle.clone(), (used, statement));
        state.shrink(&handle);
        handle
    }

    /// # Errors
    /// NOT_FOUND: it was closed, or others came since and it was the one least used.
    pub(super) fn get(&self, handle: &[u8]) -> Result<PreparedStatement, Fault> {
        self.with(handle, |statement| statement.clone())
    }

    /// # Errors
    /// As [`PreparedStatements::get`].
    pub(super) fn bind(&self, handle: &[u8], values: Bound) -> Result<(), Fault> {
        let (before, after) = self.with(handle, |statement| {
            let before = statement.bytes();
            statement.bound = values;
            (before, statement.bytes())
        })?;
        let mut state = self.0.lock();
        state.bytes = (state.bytes + after).saturating_sub(before);
        state.shrink(&Bytes::copy_from_slice(handle));
        Ok(())
    }

    pub(super) fn close(&self, handle: &[u8]) {
        self.0.lock().remove(handle);
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn statement() -> PreparedStatement {
        PreparedStatement {
            sql: "SELECT 1".into(),
            schema: "public".into(),
            transaction: None,
            is_update: false,
            bound: Bound::default(),
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_bytes_are_given_back() {
        let all = PreparedStatements::default();
        let first = all.add(statement());
        let second = all.add(statement());
        for _ in 0..HANDLES_MAX - 2 {
            all.add(statement());
        }
        all.get(&first).unwrap();
        let last = all.add(statement());
        assert_eq!(all.get(&second).unwrap_err().kind, Kind::NotFound);
        assert!(all.get(&first).is_ok() && all.get(&last).is_ok());
        let before = all.0.lock().bytes;
        all.close(&first);
        assert_eq!(all.0.lock().bytes, before - "SELECT 1".len());
    }
}
