//! Statements that change tables. It decides what a text is (a query, or one of these), turns DDL into contracts and hands
//! them to whoever runs the tables' lives.

mod alerts;
mod alter;
mod bound;
mod checks;
mod columns;
#[cfg(test)]
mod contract_tests;
pub mod create;
mod ddl;
mod declared;
pub mod define;
pub mod dml;
mod insert;
mod nested_types;
mod readers;
mod replay;
pub mod restore;
mod target;
pub mod temporary;
#[cfg(test)]
mod tests;
pub mod transaction;
mod types;
mod upkeep;
pub mod values;
mod views;

pub use alerts::AlertChange;
pub use alter::Altering;
pub use bound::Bound;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::future::BoxFuture;

use crate::catalog::alter::Plan;
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::ingest::replay::Outcome;
use crate::ingest::staged::StagedRows;
use crate::query::{Engine, default_schema};
use crate::sql::{self, Kind as Says, first_word};
use crate::types::TableName;

use create::{Creation, Origin};
use define::Define;

pub use readers::refuse_with_views;
pub use replay::Replay;
pub use temporary::Temporary;
pub use upkeep::Upkeep;
pub use views::ViewChange;

/// Who creates and drops tables. Each future has one lifetime: under those of `#[async_trait]` the compiler takes seconds for each
/// to see that it is `Send`.
pub trait TableAdmin: Send + Sync {
    /// True if it was created, false if it was there and may be.
    fn create(&self, contract: Contract, if_not_exists: bool)
    -> BoxFuture<'_, Result<bool, Fault>>;
    /// Returns how many rows the table has from the start.
    fn create_from<'a>(
        &'a self,
        creation: Creation,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// What is said of the caller's own temporary tables. Returns how many rows were written, changed or deleted.
    fn temporary<'a>(
        &'a self,
        change: Temporary,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    fn define(&self, define: Define) -> BoxFuture<'_, Result<(), Fault>>;
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
    fn view(&self, change: ViewChange) -> BoxFuture<'_, Result<u64, Fault>>;
    /// The answer has the columns of [`Change::schema`].
    fn alert(&self, change: AlertChange) -> BoxFuture<'_, Result<Option<RecordBatch>, Fault>>;
    /// Returns how many rows were written, by all executions together.
    fn insert<'a>(&'a self, insert: Insert, bound: &'a Bound) -> BoxFuture<'a, Result<u64, Fault>>;
    /// The rows that an INSERT would append, judged and in the table's schema. Writes nothing.
    fn stage<'a>(
        &'a self,
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
        dml: dml::Dml,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>>;
    /// The same in a transaction, over the rows of the table that it holds and what earlier statements have `held`. Returns what
    /// it holds from now on in the place of both, in no version yet.
    fn hold<'a>(
        &'a self,
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
    fn restore(&self, restore: restore::Restore) -> BoxFuture<'_, Result<(), Fault>>;
    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Outcome, Fault>>;
    /// The answer has the columns of [`Upkeep::schema`].
    fn upkeep(&self, upkeep: Upkeep) -> BoxFuture<'_, Result<RecordBatch, Fault>>;
}

/// `INSERT INTO table [(columns)] [REPLACE WHERE partition = value [AND ..]] query`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    pub table: TableName,
    /// Empty: all, in the table's order.
    pub columns: Vec<String>,
    /// Partition columns and the values whose rows are replaced, as Delta writes them.
    pub replace: Option<Vec<(String, String)>>,
    /// The query that gives the rows.
    pub query: String,
}

/// A statement that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create {
        contract: Box<Contract>,
        if_not_exists: bool,
    },
    /// Its columns, or its rows, come from elsewhere, or it takes another one's place.
    CreateFrom(Box<Creation>),
    Drop {
        name: TableName,
        if_exists: bool,
        cascade: bool,
    },
    Alter {
        name: TableName,
        altering: Altering,
        if_exists: bool,
    },
    Rename {
        name: TableName,
        to: TableName,
        if_exists: bool,
    },
    View(Box<ViewChange>),
    Define(Box<Define>),
    Alert(Box<AlertChange>),
    Insert(Box<Insert>),
    Rows(Box<dml::Dml>),
    Restore(restore::Restore),
    Replay(Box<Replay>),
    Upkeep(Upkeep),
    /// It is about a table of the caller's session.
    Temporary(Box<Temporary>),
}

/// What a statement has done.
#[derive(Debug, Default)]
pub struct Done {
    /// Rows written to a table; DDL writes none.
    pub written: u64,
    /// What it says of itself when it is sent as a query. Most say nothing.
    pub rows: Option<RecordBatch>,
}

impl From<u64> for Done {
    fn from(written: u64) -> Self {
        Done {
            written,
            rows: None,
        }
    }
}

impl Change {
    /// What the text changes; none if it is a query, or nothing that is known here.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for DDL that does not parse or a contract that contradicts itself.
    pub fn parse(sql: &str) -> Result<Option<Change>, Fault> {
        // Most statements are queries: they are read once, by the planner.
        let first = first_word(sql);
        if ["select", "with", "values", "explain", "subscribe"].contains(&first.as_str()) {
            return Ok(None);
        }
        let Some(change) = Change::read(sql)? else {
            return Ok(None);
        };
        temporary::routed(change, || Change::read(sql)).map(Some)
    }

    /// [`Change::parse`] where each name without a schema is one of the default schema.
    fn read(sql: &str) -> Result<Option<Change>, Fault> {
        let statement = sql::parse(sql)?;
        let schema = default_schema();
        let table = || statement.cursor("table", &schema);
        Ok(Some(match statement.kind() {
            Says::Query | Says::Subscribe | Says::Log => return Ok(None),
            Says::Insert => Change::Insert(Box::new(insert::parse(table())?)),
            Says::Rows => Change::Rows(Box::new(dml::parse(statement.into_tokens())?)),
            Says::CreateTable => ddl::create(table())?,
            Says::DropTable => ddl::drop_table(statement.into_tokens())?,
            Says::AlterTable => alter::parse(statement.into_tokens())?,
            Says::Comment => alter::comment(statement.into_tokens())?,
            Says::StoredView => {
                let head = statement.cursor("view", &schema);
                Change::Define(Box::new(define::view(head, &schema)?))
            }
            Says::Schema => {
                let head = statement.cursor("schema", &schema);
                Change::Define(Box::new(define::schema(head)?))
            }
            Says::View => {
                let head = statement.cursor("view", &schema);
                Change::View(Box::new(views::parse(head)?))
            }
            Says::Alert => {
                let head = statement.cursor("alert", &schema);
                Change::Alert(Box::new(alerts::parse(sql, head)?))
            }
            Says::Restore => Change::Restore(restore::parse(table())?),
            Says::Replay => Change::Replay(Box::new(replay::parse(table())?)),
            Says::Upkeep => Change::Upkeep(upkeep::parse(table())?),
        }))
    }

    /// One field a parameter of the statement, as drivers are to bind it. Runs nothing.
    ///
    /// # Errors
    /// NOT_FOUND for a table that is not there; what planning meets.
    pub async fn parameters(&self, engine: &Engine) -> Result<SchemaRef, Fault> {
        match self {
            Change::Insert(insert) => insert_parameters(engine, insert).await,
            Change::Temporary(temporary) => temporary.parameters(engine).await,
            Change::Rows(dml) => dml::parameters(engine, dml).await,
            Change::CreateFrom(creation) => match &creation.origin {
                Origin::Query(sql) => Ok(engine.plan(sql).await?.parameters),
                Origin::Columns | Origin::Like(_) => Ok(Arc::new(Schema::empty())),
            },
            Change::Create { .. }
            | Change::Drop { .. }
            | Change::Alter { .. }
            | Change::Rename { .. }
            | Change::Restore(_)
            | Change::View(_)
            | Change::Define(_)
            | Change::Alert(_)
            | Change::Replay(_)
            | Change::Upkeep(_) => Ok(Arc::new(Schema::empty())),
        }
    }

    /// Does it change the rows of a table, or of its quarantine?
    pub fn changes_rows(&self) -> bool {
        match self {
            Change::Insert(_) | Change::Rows(_) | Change::Restore(_) | Change::Replay(_) => true,
            Change::Create { .. }
            | Change::CreateFrom(_)
            | Change::Drop { .. }
            | Change::Alter { .. }
            | Change::Rename { .. }
            | Change::View(_)
            | Change::Define(_)
            | Change::Alert(_)
            | Change::Upkeep(_)
            | Change::Temporary(_) => false,
        }
    }

    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Change::Create { .. } | Change::CreateFrom(_) => "CREATE",
            Change::Drop { .. } => "DROP",
            Change::Alter {
                altering: Altering::Comment { .. },
                ..
            } => "COMMENT",
            Change::Alter { .. } | Change::Rename { .. } => "ALTER",
            Change::Insert(_) => "INSERT",
            Change::Rows(dml) => dml.verb(),
            Change::Restore(_) => "RESTORE",
            Change::View(view) => view.verb(),
            Change::Define(define) => define.verb(),
            Change::Alert(alert) => alert.verb(),
            Change::Replay(_) => "REPLAY",
            Change::Upkeep(upkeep) => upkeep.verb(),
            Change::Temporary(temporary) => temporary.verb(),
        }
    }

    /// The columns of what it says of itself.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Change::Replay(_) => replay::schema(),
            Change::Upkeep(upkeep) => upkeep.schema(),
            Change::Alert(change) => change.schema(),
            _ => Arc::new(Schema::empty()),
        }
    }

    /// Does it. Bound to several rows it is still one statement.
    pub async fn run(self, admin: &dyn TableAdmin, bound: &Bound) -> Result<Done, Fault> {
        let written = match self {
            Change::Create {
                contract,
                if_not_exists,
            } => admin.create(*contract, if_not_exists).await.map(|_| 0),
            Change::CreateFrom(creation) => admin.create_from(*creation, bound).await,
            Change::Drop {
                name,
                if_exists,
                cascade,
            } => admin.drop(&name, if_exists, cascade).await.map(|_| 0),
            Change::Alter {
                name,
                altering,
                if_exists,
            } => {
                let plan = |contract: &Contract| altering.alterations(contract);
                if_there(if_exists, admin.alter(&name, &plan).await)
            }
            Change::Rename {
                name,
                to,
                if_exists,
            } => if_there(if_exists, admin.rename(&name, &to).await),
            Change::View(change) => admin.view(*change).await,
            Change::Define(define) => admin.define(*define).await.map(|()| 0),
            Change::Alert(change) => {
                return Ok(Done {
                    written: 0,
                    rows: admin.alert(*change).await?,
                });
            }
            Change::Temporary(change) => admin.temporary(*change, bound).await,
            Change::Insert(insert) => admin.insert(*insert, bound).await,
            Change::Rows(dml) => admin.change_rows(*dml, bound).await,
            Change::Restore(restore) => admin.restore(restore).await.map(|()| 0),
            Change::Replay(replay) => {
                let outcome = admin.replay(*replay).await?;
                return Ok(Done {
                    written: outcome.replayed,
                    rows: Some(replay::rows(outcome)?),
                });
            }
            // Changes files and no rows.
            Change::Upkeep(upkeep) => {
                return Ok(Done {
                    written: 0,
                    rows: Some(admin.upkeep(upkeep).await?),
                });
            }
        };
        written.map(Done::from)
    }
}

async fn insert_parameters(engine: &Engine, insert: &Insert) -> Result<SchemaRef, Fault> {
    let snapshot = engine.own_snapshot();
    let view = snapshot.tables.get(&insert.table.folded());
    let contract = view.and_then(|v| v.contract.clone());
    let contract = contract.ok_or_else(|| snapshot.no_table(&insert.table))?;
    values::parameters(engine, insert, &contract).await
}

/// With `IF EXISTS` a statement about a table that is not there has nothing to do.
fn if_there(if_exists: bool, outcome: Result<(), Fault>) -> Result<u64, Fault> {
    match outcome {
        Err(fault)
            if if_exists && fault.kind == Kind::NotFound && fault.reason == "table_not_found" =>
        {
            Ok(0)
        }
        outcome => outcome.map(|()| 0),
    }
}
