//! A statement that changes something: what drivers ask about it before it runs, which part of the server does it, and what it has
//! done. Its text is read in `parse`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::admin::TableAdmin;
use super::alerts::AlertChange;
use super::alter::Altering;
use super::bound::Bound;
use super::create::{Creation, Origin};
use super::define::Define;
use super::insert::Insert;
use super::replay::{self, Replay};
use super::restore::Restore;
use super::temporary::Temporary;
use super::upkeep::Upkeep;
use super::views::ViewChange;
use super::{dml, values};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext};
use crate::types::TableName;

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
    Restore(Restore),
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
    /// One field a parameter of the statement, as drivers are to bind it. Runs nothing.
    ///
    /// # Errors
    /// NOT_FOUND for a table that is not there; what planning meets.
    pub async fn parameters(
        &self,
        engine: &Engine,
        caller: &QueryContext,
    ) -> Result<SchemaRef, Fault> {
        match self {
            Change::Insert(insert) => values::parameters(engine, caller, insert).await,
            Change::Temporary(temporary) => temporary.parameters(engine, caller).await,
            Change::Rows(dml) => dml::parameters(engine, caller, dml).await,
            Change::CreateFrom(creation) => match &creation.origin {
                Origin::Query(sql) => Ok(engine.plan(caller, sql).await?.parameters),
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

    /// Does it, for `caller`. Bound to several rows it is still one statement.
    pub async fn run(
        self,
        admin: &dyn TableAdmin,
        caller: &QueryContext,
        bound: &Bound,
    ) -> Result<Done, Fault> {
        let written = match self {
            Change::Create {
                contract,
                if_not_exists,
            } => admin.create(*contract, if_not_exists).await.map(|_| 0),
            Change::CreateFrom(creation) => admin.create_from(caller, *creation, bound).await,
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
            Change::View(change) => admin.view(caller, *change).await,
            Change::Define(define) => admin.define(caller, *define).await.map(|()| 0),
            Change::Alert(change) => {
                return Ok(Done {
                    written: 0,
                    rows: admin.alert(caller, *change).await?,
                });
            }
            Change::Temporary(change) => admin.temporary(caller, *change, bound).await,
            Change::Insert(insert) => admin.insert(caller, *insert, bound).await,
            Change::Rows(dml) => admin.change_rows(caller, *dml, bound).await,
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
