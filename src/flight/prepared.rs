//! Prepared statements: text, parameters bound so far, and an end. Drivers forget to close them, so they are bounded in
//! number and in bytes, and the least recently used goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::ByteSize;
use crate::fault::{Fault, Kind};
use crate::query::OfSession;
use crate::statement::Bound;

const HANDLES_MAX: usize = 10_000;
/// What a statement takes beside its text and its rows.
const STATEMENT_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct PreparedStatement {
    pub sql: Arc<str>,
    /// Where names without a schema were looked for when it was prepared.
    pub schema: Arc<str>,
    /// The transaction that it was prepared in.
    pub transaction: Option<Bytes>,
    pub bound: Bound,
    /// The session that it was prepared in, with which it ends.
    pub session: OfSession,
    /// How often it was bound.
    pub binds: u64,
}

impl PreparedStatement {
    fn bytes(&self) -> usize {
        let bound = self
            .bound
            .batch()
            .map_or(0, RecordBatch::get_array_memory_size);
        STATEMENT_BYTES + self.sql.len() + bound
    }
}

pub(super) struct PreparedStatements {
    /// Of all statements together: `memory.prepared_bytes_max`.
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clock: u64,
    bytes: usize,
    /// With the clock at its last use.
    entries: HashMap<Bytes, (u64, PreparedStatement)>,
    by_use: BTreeMap<u64, Bytes>,
}

impl State {
    fn remove(&mut self, handle: &[u8]) {
        if let Some((used, gone)) = self.entries.remove(handle) {
            self.by_use.remove(&used);
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }

    /// Lets go of the least recently used until there is room for so many bytes more.
    fn make_room(&mut self, bytes: usize, bytes_max: usize) {
        while self.bytes + bytes > bytes_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.remove(&oldest);
        }
    }

    fn use_now(&mut self, handle: &[u8]) -> Result<PreparedStatement, Fault> {
        self.clock += 1;
        let open = self.entries.get_mut(handle);
        let Some((used, statement)) = open.filter(|(_, s)| !s.session.is_over()) else {
            return Err(Fault::new(
                Kind::NotFound,
                "handle_not_found",
                "no such prepared statement; it or its session was closed or has expired: prepare it again",
            ));
        };
        if let Some(handle) = self.by_use.remove(used) {
            self.by_use.insert(self.clock, handle);
        }
        *used = self.clock;
        Ok(statement.clone())
    }

    fn put(&mut self, handle: Bytes, statement: PreparedStatement) {
        self.clock += 1;
        self.bytes += statement.bytes();
        self.by_use.insert(self.clock, handle.clone());
        self.entries.insert(handle, (self.clock, statement));
    }
}

impl PreparedStatements {
    pub(super) fn new(bytes_max: ByteSize) -> Self {
        PreparedStatements {
            bytes_max: bytes_max.as_usize(),
            state: Mutex::default(),
        }
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED `prepared_full`: it alone is larger than all may be.
    pub(super) fn add(&self, statement: PreparedStatement) -> Result<Bytes, Fault> {
        let handle = Bytes::copy_from_slice(crate::ids::random_id().as_bytes());
        let bytes = self.fitting(&statement)?;
        let mut state = self.state.lock();
        state.make_room(bytes, self.bytes_max);
        if state.entries.len() >= HANDLES_MAX
            && let Some((_, oldest)) = state.by_use.pop_first()
        {
            state.remove(&oldest);
        }
        state.put(handle.clone(), statement);
        Ok(handle)
    }

    fn fitting(&self, statement: &PreparedStatement) -> Result<usize, Fault> {
        let (bytes, most) = (statement.bytes(), self.bytes_max);
        if bytes <= most {
            return Ok(bytes);
        }
        Err(Fault::new(
            Kind::Exhausted,
            "prepared_full",
            format!(
                "a prepared statement with its bound rows takes {bytes} bytes, memory.prepared_bytes_max={most}; bind fewer rows at once, or raise it"
            ),
        ))
    }

    /// # Errors
    /// NOT_FOUND: it was closed, or others came since and it was the one least used.
    pub(super) fn get(&self, handle: &[u8]) -> Result<PreparedStatement, Fault> {
        self.state.lock().use_now(handle)
    }

    /// # Errors
    /// As [`PreparedStatements::get`] and [`PreparedStatements::add`]; it is as it was before then.
    pub(super) fn bind(&self, handle: &[u8], values: Bound) -> Result<(), Fault> {
        let mut state = self.state.lock();
        let mut statement = state.use_now(handle)?;
        statement.bound = values;
        statement.binds += 1;
        let bytes = self.fitting(&statement)?;
        state.remove(handle);
        state.make_room(bytes, self.bytes_max);
        state.put(Bytes::copy_from_slice(handle), statement);
        Ok(())
    }

    pub(super) fn close(&self, handle: &[u8]) {
        self.state.lock().remove(handle);
    }

    /// Lets go of those whose session has ended.
    pub(super) fn expire(&self) {
        let mut state = self.state.lock();
        let over = state.entries.iter();
        let over = over.filter(|(_, (_, s))| s.session.is_over());
        let over: Vec<Bytes> = over.map(|(handle, _)| handle.clone()).collect();
        over.iter().for_each(|handle| state.remove(handle));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn statement() -> PreparedStatement {
        PreparedStatement {
            sql: "SELECT 1".into(),
            schema: "public".into(),
            transaction: None,
            bound: Bound::default(),
            session: OfSession::default(),
            binds: 0,
        }
    }

    fn rows(count: usize) -> Bound {
        let values = Int64Array::from_iter_values(0..i64::try_from(count).unwrap());
        let values = Arc::new(values) as ArrayRef;
        Bound::new(Some(RecordBatch::try_from_iter([("1", values)]).unwrap())).unwrap()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_bytes_are_given_back() {
        let all = PreparedStatements::new(ByteSize::mib(64));
        let first = all.add(statement()).unwrap();
        let second = all.add(statement()).unwrap();
        for _ in 0..HANDLES_MAX - 2 {
            all.add(statement()).unwrap();
        }
        all.get(&first).unwrap();
        let last = all.add(statement()).unwrap();
        assert_eq!(all.get(&second).unwrap_err().kind, Kind::NotFound);
        assert!(all.get(&first).is_ok() && all.get(&last).is_ok());
        let before = all.state.lock().bytes;
        all.close(&first);
        let state = all.state.lock();
        assert_eq!(state.bytes, before - statement().bytes());
        assert_eq!(state.entries.len(), state.by_use.len());
    }

    #[test]
    fn what_was_prepared_in_a_session_ends_with_it() {
        let all = PreparedStatements::new(ByteSize::mib(64));
        let session = Arc::new(crate::query::SessionLife::default());
        let of_session = PreparedStatement {
            session: OfSession::new(&session),
            ..statement()
        };
        let (own, other) = (all.add(of_session).unwrap(), all.add(statement()).unwrap());
        all.get(&own).unwrap();
        drop(session);
        assert_eq!(all.get(&own).unwrap_err().kind, Kind::NotFound);
        assert!(all.bind(&own, rows(1)).is_err());
        all.expire();
        assert!(all.get(&other).is_ok());
        let state = all.state.lock();
        assert_eq!((state.entries.len(), state.by_use.len()), (1, 1));
        assert_eq!(state.bytes, statement().bytes());
    }

    #[test]
    fn bound_rows_are_bounded_together_and_alone() {
        let all = PreparedStatements::new(ByteSize::mib(1));
        let handles: Vec<Bytes> = (0..4).map(|_| all.add(statement()).unwrap()).collect();
        for handle in &handles {
            all.bind(handle, rows(40_000)).unwrap();
            assert!(all.state.lock().bytes <= 1 << 20);
        }
        assert_eq!(all.get(&handles[0]).unwrap_err().kind, Kind::NotFound);
        let fault = all.bind(&handles[3], rows(200_000)).unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "prepared_full")
        );
        assert_eq!(
            all.get(&handles[3])
                .unwrap()
                .bound
                .batch()
                .unwrap()
                .num_rows(),
            40_000
        );
    }
}
