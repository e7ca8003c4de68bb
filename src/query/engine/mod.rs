//! Plans and runs queries on a runtime of their own, within a memory and a time limit.

mod gather;
mod plan;
mod run;
mod setup;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::SnapshotSource;
use super::context::QueryContext;
use super::kept::KeptPlans;
use super::limits::QueryLimits;
use super::meter::{Budget, Meter, Metered};
use super::planning::{Planning, panicked};
use super::running::Queries;
use super::shared::Shared;
use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};
use crate::sql::check_bytes;
use crate::system_table::SystemTable;

/// Text that is read in some tens of microseconds.
const BRIEF_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub threads: usize,
    pub memory_bytes: usize,
    /// What [`Engine::read_view`] has for itself.
    pub upkeep_bytes: usize,
    pub timeout: Duration,
    pub spill_dir: PathBuf,
    pub spill_bytes: u64,
    /// One value that a function makes.
    pub value_bytes: u64,
    /// What one call of a function makes.
    pub batch_bytes: u64,
}

pub struct Engine {
    /// None only while it is being dropped, which a runtime may not be from within another.
    runtime: Option<Runtime>,
    handle: Handle,
    planning: Planning,
    pub(super) world: Arc<Shared>,
    /// The memory that upkeep may take.
    upkeep: Arc<RuntimeEnv>,
    /// What statements hold in fact.
    budget: Arc<Budget>,
    /// The same of upkeep. What its operators say of themselves is its limit, not this.
    upkeep_budget: Arc<Budget>,
    pub(super) source: Arc<dyn SnapshotSource>,
    system_tables: Vec<SystemTable>,
    timeout: Duration,
    value_bytes: u64,
    batch_bytes: u64,
    /// The memory of all queries together.
    pub(super) pool: Arc<dyn MemoryPool>,
    pub(super) queries: Queries,
    kept: KeptPlans,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        // A runtime that is shut down in the background detaches its threads, and glibc's pthread_detach reads a thread that ends at that
        // moment after its stack is unmapped (glibc bug 19951; stacks as large as these are not kept for the next thread). So they
        // are joined, by a thread that may wait. Where none can be made, they stay.
        let runtime = std::mem::ManuallyDrop::new(runtime);
        let joining = std::thread::Builder::new().name("query-end".to_owned());
        let _ = joining.spawn(move || drop(std::mem::ManuallyDrop::into_inner(runtime)));
    }
}

impl Engine {
    pub fn snapshot(&self) -> Snapshot {
        self.source.snapshot()
    }

    /// Tables of the schema `system`.
    pub fn system_tables(&self) -> &[SystemTable] {
        &self.system_tables
    }

    /// Memory for rows that a statement holds, within that of all queries.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// The limits of a statement that begins now.
    pub(super) fn limits(&self, token: CancellationToken, timeout: Duration) -> QueryLimits {
        QueryLimits {
            token: token.child_token(),
            client: token,
            deadline: Instant::now() + timeout,
            timeout,
            value_bytes: self.value_bytes,
            batch_bytes: self.batch_bytes,
            constants: Arc::new(MemoryConsumer::new("constants").register(&self.pool)),
            pool: self.pool.clone(),
            meter: Meter::current().unwrap_or_else(|| self.budget.meter()),
        }
    }

    /// A statement of several parts: the memory of its queries and of the rows that it keeps is one statement's.
    pub fn metered<F: Future>(&self, statement: F) -> Metered<F> {
        self.budget.meter().watch(statement)
    }

    /// Work of a statement that plans no query, such as CHECK TABLE: its memory is counted with that of all statements, and it
    /// is dropped when all of them hold too much and this one most.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `query_memory`, beside the work's own.
    pub async fn counted<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let meter = self.budget.meter();
        tokio::select! {
            done = meter.watch(work) => done,
            () = meter.ended() => Err(meter.fault()),
        }
    }

    /// [`Engine::counted`] for work that must not be dropped at any moment: it is told to `stop`, and ends where it can.
    ///
    /// # Errors
    /// As [`Engine::counted`].
    pub async fn counted_until_stopped<T>(
        &self,
        stop: &CancellationToken,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let meter = self.budget.meter();
        let mut work = meter.watch(work);
        tokio::select! {
            done = &mut work => return done,
            () = meter.ended() => stop.cancel(),
        }
        match work.await {
            Err(fault) if fault.kind == Kind::Cancelled => Err(meter.fault()),
            done => done,
        }
    }

    /// Reads a statement's text on a thread that is made for it, within the time of a query; a
    /// brief one here, in less time than the thread takes to wake up.
    ///
    /// # Errors
    /// What `read` meets; DEADLINE_EXCEEDED.
    pub async fn understand<T: Send + 'static>(
        &self,
        sql: &str,
        read: impl FnOnce(&str) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        check_bytes(sql)?;
        if sql.len() <= BRIEF_BYTES {
            let read = AssertUnwindSafe(|| read(sql));
            return catch_unwind(read).unwrap_or_else(|panic| Err(panicked(&*panic)));
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        let text = sql.to_owned();
        let work = move || async move { read(&text) };
        self.planning.read(sql.len(), &limits, work).await
    }

    /// Runs work that plans a statement on a thread that is made for it.
    ///
    /// # Errors
    /// What the work meets; DEADLINE_EXCEEDED.
    pub(super) async fn plan_within_timeout<
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>>,
    >(
        &self,
        text_bytes: usize,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, Fault> {
        let limits = self.limits(CancellationToken::new(), self.timeout);
        self.planning.run(text_bytes, &limits, work).await
    }

    /// No long statement is planned until the answer is dropped.
    #[cfg(test)]
    pub(super) async fn take_long(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.planning.take_long().await
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// What a query of the caller reads: what its transaction has done and the temporary tables of its session are nobody
    /// else's.
    pub fn snapshot_of(&self, caller: &QueryContext) -> Snapshot {
        let snapshot = self.source.snapshot();
        let snapshot = match &caller.own {
            Some(own) => own.over(&snapshot),
            None => snapshot,
        };
        caller.sees(snapshot)
    }
}
