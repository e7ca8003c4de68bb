//! Who does what statements say ([`TableAdmin`]). The server implements it (`server_state/admin`), and tests do.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;

use super::alerts::AlertChange;
use super::bound::Bound;
use super::create::Creation;
use super::define::Define;
use super::dml;
use super::insert::Insert;
use super::replay::Replay;
use super::restore::Restore;
use super::temporary::Temporary;
use super::upkeep::Upkeep;
use super::views::ViewChange;
use crate::catalog::alter::Plan;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::ingest::replay::Outcome;
use crate::ingest::staged::StagedRows;
use crate::query::QueryContext;
use crate::types::TableName;

/// Who creates and drops tables. Each future has one lifetime: under those of `#[async_trait]` the compiler takes seconds for each
/// to see that it is `Send`.
pub trait TableAdmin: Send + Sync {
    /// True if it was created, false if it was there and may be.
    fn create(&self, contract: Contract, if_not_exists: bool)
    -> BoxFuture<'_, Result<bool, Fault>>;
    /// Returns how many rows the table has from the start.
    fn create_from<'a>(
        &'a self,
        caller: &'a QueryContext,
        creation: Creation,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// What is said of the caller's own temporary tables. Returns how many rows were written, changed or deleted.
    fn temporary<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: Temporary,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    fn define<'a>(
        &'a self,
        caller: &'a QueryContext,
        define: Define,
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// `cascade`: with the materialized views that read it.
    fn drop<'a>(
        &'a self,
        name: &'a TableName,
        if_exists: bool,
        cascade: bool,
    ) -> BoxFuture<'a, Result<bool, Fault>>;
    fn rename<'a>(
        &'a self,
        name: &'a TableName,
        to: &'a TableName,
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// `plan` says what the statement means for the contract in force.
    fn alter<'a>(
        &'a self,
        name: &'a TableName,
        plan: &'a Plan<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// Returns how many buckets a refresh computed.
    fn view<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: ViewChange,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// The answer has the columns of [`Change::schema`](super::Change::schema).
    fn alert<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: AlertChange,
    ) -> BoxFuture<'a, Result<Option<RecordBatch>, Fault>>;
    /// Returns how many rows were written, by all executions together.
    fn insert<'a>(
        &'a self,
        caller: &'a QueryContext,
        insert: Insert,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// The rows that an INSERT would append, judged and in the table's schema. Writes nothing.
    fn stage<'a>(
        &'a self,
        caller: &'a QueryContext,
        insert: &'a Insert,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>>;
    /// Appends staged rows, all or none.
    fn append<'a>(
        &'a self,
        table: &'a TableName,
        rows: StagedRows,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// Returns how many rows were changed, deleted and inserted.
    fn change_rows<'a>(
        &'a self,
        caller: &'a QueryContext,
        dml: dml::Dml,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// The same in a transaction, over the rows of the table that it holds and what earlier statements have `held`. Returns what
    /// it holds from now on in the place of both, in no version yet.
    fn hold<'a>(
        &'a self,
        caller: &'a QueryContext,
        dml: dml::Dml,
        bound: &'a Bound,
        rows: Option<StagedRows>,
        held: Option<Arc<dml::Held>>,
    ) -> BoxFuture<'a, Result<(u64, dml::Held), Fault>>;
    /// Commits what statements of a transaction have held, and rows that were staged since: all or nothing.
    fn commit(
        &self,
        held: Arc<dml::Held>,
        rows: Option<StagedRows>,
    ) -> BoxFuture<'_, Result<(), Fault>>;
    fn restore(&self, restore: Restore) -> BoxFuture<'_, Result<(), Fault>>;
    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Outcome, Fault>>;
    /// The answer has the columns of [`Upkeep::schema`].
    fn upkeep(&self, upkeep: Upkeep) -> BoxFuture<'_, Result<RecordBatch, Fault>>;
}
