//! Does what statements about temporary tables say. One statement at a time changes the tables of a session; its rows are judged as
//! those of any INSERT, held in memory that is counted, and are in the table all or none.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::{Temporary, no_session};
use crate::catalog::Shared;
use crate::catalog::temporary::{TemporaryRows, TemporaryTables};
use crate::cold::PinnedFiles;
use crate::dataset::{Column, Contract};
use crate::fault::Fault;
use crate::ingest::insert::{Rows, judged_by};
use crate::query::{Engine, QueryContext};
use crate::statement::create::{Creation, Origin, is_named, like, one_execution};
use crate::statement::{Bound, Insert, dml, values};
use crate::types::TableName;
use crate::validate::Validator;

/// Runs the statement. Returns how many rows it wrote, changed or deleted.
///
/// # Errors
/// FAILED_PRECONDITION `no_session`; NOT_FOUND, ALREADY_EXISTS; RESOURCE_EXHAUSTED `temporary_full`, `temporary_tables_max`; what its
/// query meets, and INVALID_ARGUMENT for a row that the table cannot have. The tables are as they were then.
pub async fn run(
    shared: &Arc<Shared>,
    engine: &Arc<Engine>,
    caller: &QueryContext,
    change: Temporary,
    bound: &Bound,
) -> Result<u64, Fault> {
    let session = caller.session.temporary();
    let tables = match (session, &change) {
        (Some(tables), _) => tables,
        (
            None,
            Temporary::Drop {
                if_exists: true, ..
            },
        ) => return Ok(0),
        (None, _) => return Err(no_session()),
    };
    let _writing = tables.begin(shared.config.query.timeout).await?;
    let statement = Statement {
        shared,
        engine,
        caller,
        tables: &tables,
        bound,
    };
    let work = async {
        match change {
            Temporary::Create(creation) => statement.create(*creation).await,
            Temporary::Insert(insert) => statement.insert(&insert).await,
            Temporary::Rows(dml) => statement.change_rows(&dml).await,
            Temporary::Drop { name, if_exists } => tables.drop_table(&name, if_exists).map(|_| 0),
        }
    };
    engine.metered(work).await
}

struct Statement<'a> {
    shared: &'a Arc<Shared>,
    engine: &'a Engine,
    caller: &'a QueryContext,
    tables: &'a TemporaryTables,
    bound: &'a Bound,
}

impl Statement<'_> {
    async fn create(&self, creation: Creation) -> Result<u64, Fault> {
        let Creation {
            name,
            there,
            origin,
            declared,
        } = creation;
        if !self.tables.may_be_created(&name, there)? {
            return Ok(0);
        }
        let mut rows = self.tables.rows();
        let by = match origin {
            Origin::Columns => validator(declared.contract(&name, None)?)?,
            Origin::Like(source) => {
                let columns = self.columns_like(&source).await?;
                let like = Contract::plain(name.clone(), columns);
                validator(declared.contract(&name, Some(like))?)?
            }
            Origin::Query(sql) => {
                one_execution(self.bound)?;
                let result = self
                    .engine
                    .query(self.caller, &sql, self.bound.row(0)?)
                    .await?;
                let snapshot = self.engine.snapshot_of(self.caller);
                let is_named = |column: &str| is_named(column, &sql, &snapshot);
                let by = validator(declared.over(&name, &result.wire, is_named)?)?;
                let mut batches = result.batches.into_stream().boxed();
                while let Some(batch) = batches.next().await {
                    self.take(&mut rows, &by, &[], vec![batch?]).await?;
                }
                by
            }
        };
        let schema = by.contract().table_schema();
        let cold = PinnedFiles::empty(&self.shared.lake, schema, Vec::new());
        self.tables.create(by, Arc::new(cold), there, rows)
    }

    /// The columns of another table, with their types, NOT NULL and DEFAULT.
    async fn columns_like(&self, source: &TableName) -> Result<Vec<Column>, Fault> {
        let like = like(self.engine, self.caller, source).await?;
        let columns = like.columns.into_iter().map(|column| Column {
            from: None,
            formerly: Vec::new(),
            ..column
        });
        Ok(columns.collect())
    }

    /// Judges rows and keeps those, counted.
    async fn take(
        &self,
        rows: &mut TemporaryRows,
        by: &Arc<Validator>,
        columns: &[String],
        batches: Vec<RecordBatch>,
    ) -> Result<(), Fault> {
        let given = Rows {
            since: by.contract().clone(),
            columns,
            batches,
        };
        let judged = judged_by(self.shared, by.clone(), given).await?;
        for batch in judged.iter().flat_map(|judged| judged.rows()) {
            rows.push(batch.clone())?;
        }
        Ok(())
    }

    async fn insert(&self, insert: &Insert) -> Result<u64, Fault> {
        let table = self.tables.get(&insert.table)?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let mut gathered =
            values::rows(self.engine, self.caller, insert, self.bound, limit).await?;
        let batches = std::mem::take(&mut gathered.batches);
        let mut rows = self.tables.rows();
        self.take(&mut rows, &table.by, &insert.columns, batches)
            .await?;
        self.tables.append(&insert.table, &table.by, rows)
    }

    async fn change_rows(&self, dml: &dml::Dml) -> Result<u64, Fault> {
        let table = self.tables.get(&dml.table)?;
        let executions = dml::executions(dml, self.bound)?;
        let (engine, caller) = (self.engine, self.caller);
        let found = dml::in_memory(self.shared, engine, caller, dml, &executions, &table);
        let Some((touched, rows)) = found.await? else {
            return Ok(0);
        };
        self.tables.exchange(&dml.table, &table.by, rows)?;
        Ok(touched)
    }
}

/// # Errors
/// INVALID_ARGUMENT `invalid_contract`: it has rules that ask earlier rows.
fn validator(contract: Contract) -> Result<Arc<Validator>, Fault> {
    let by = Validator::new(Arc::new(contract));
    if by.needs_history() {
        return Err(Fault::invalid(
            "invalid_contract",
            format!(
                "a temporary table has no rule that asks earlier rows, table={}; leave it out",
                by.contract().table
            ),
        ));
    }
    Ok(Arc::new(by))
}
