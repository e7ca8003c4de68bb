//! How clients change tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::columns::text;
use crate::alert::{self, Alerts};
use crate::catalog::alter::Plan;
use crate::catalog::{Shared, lifecycle};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::flight::ingest::Ingest;
use crate::flight::{PutHandler, PutInput};
use crate::ingest;
use crate::query::Engine;
use crate::statement::create::{self, Creation};
use crate::statement::define::{self, Define};
use crate::statement::{
    AlertChange, Bound, Insert, Replay, TableAdmin, ViewChange, dml, restore, values,
};
use crate::types::TableName;
use crate::upkeep::Upkeep;
use crate::view::Views;

/// Changes tables, and lets producers in.
pub struct Admin {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    upkeep: Arc<Upkeep>,
    views: Arc<Views>,
    alerts: Arc<Alerts>,
}

impl Admin {
    pub fn new(
        shared: Arc<Shared>,
        engine: Arc<Engine>,
        upkeep: Arc<Upkeep>,
        views: Arc<Views>,
        alerts: Arc<Alerts>,
    ) -> Self {
        Admin {
            alerts,
            shared,
            engine,
            upkeep,
            views,
        }
    }
}

#[async_trait]
impl TableAdmin for Admin {
    async fn create(&self, contract: Contract, if_not_exists: bool) -> Result<bool, Fault> {
        if contract.view.is_some() {
            return Err(Fault::invalid(
                "invalid_contract",
                "a view is made by CREATE MATERIALIZED VIEW, not by a property",
            ));
        }
        lifecycle::create(&self.shared, contract, if_not_exists).await
    }

    async fn create_from(&self, creation: Creation, bound: &Bound) -> Result<u64, Fault> {
        create::run(&self.shared, &self.engine, creation, bound).await
    }

    async fn rename(&self, name: &TableName, to: &TableName) -> Result<(), Fault> {
        if self.shared.definitions.now().view(name).is_some() {
            let (name, to) = (name.clone(), to.clone());
            return self.define(Define::RenameView { name, to }).await;
        }
        if self.shared.table(name)?.contract().view.is_some() {
            return Err(Fault::new(
                Kind::Unimplemented,
                "not_implemented",
                format!(
                    "a materialized view keeps its name, view={name}; create one of the other name and drop this one"
                ),
            ));
        }
        crate::catalog::rename::rename(&self.shared, name, to).await
    }

    async fn define(&self, define: Define) -> Result<(), Fault> {
        define::run(&self.shared, &self.engine, define).await
    }

    async fn drop(&self, name: &TableName, if_exists: bool, cascade: bool) -> Result<bool, Fault> {
        if let Some(view) = self.shared.definitions.now().view(name) {
            return Err(Fault::invalid(
                "is_a_view",
                format!("{} is a view; use DROP VIEW", view.name),
            ));
        }
        if let Ok(table) = self.shared.table(name)
            && table.contract().view.is_some()
        {
            return Err(Fault::invalid(
                "is_a_view",
                format!("{name} is a materialized view; use DROP MATERIALIZED VIEW"),
            ));
        }
        if cascade {
            self.views.remove_readers(name).await?;
        }
        lifecycle::drop(&self.shared, name, if_exists).await
    }

    async fn alter(&self, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault> {
        let table = self.shared.table(name)?;
        if table.contract().view.is_some() {
            return Err(Fault::invalid(
                "is_a_view",
                format!(
                    "{name} is a materialized view; use ALTER MATERIALIZED VIEW {name} SET (delay = '5s') or .. AS SELECT .."
                ),
            ));
        }
        crate::catalog::alter::alter(&self.shared, name, plan).await?;
        if table.is_parked() {
            // The change may be what it needed. What it still lacks, the table's state says.
            self.upkeep.repair(name, false).await?;
        }
        Ok(())
    }

    async fn upkeep(&self, upkeep: crate::statement::Upkeep) -> Result<RecordBatch, Fault> {
        self.upkeep.answer(upkeep).await
    }

    async fn view(&self, change: ViewChange) -> Result<u64, Fault> {
        let views = &self.views;
        match change {
            ViewChange::Create {
                view,
                if_not_exists,
                or_replace,
            } => views.create(view, if_not_exists, or_replace).await?,
            ViewChange::Drop { name, if_exists } => views.remove(&name, if_exists).await?,
            ViewChange::Refresh { name, full, day } => {
                return views.refresh_now(&name, full, day).await;
            }
            ViewChange::Set { name, settings } => views.set(&name, &settings).await?,
            ViewChange::Query { name, sql } => views.query(&name, sql, None).await?,
        }
        Ok(0)
    }

    async fn alert(&self, change: AlertChange) -> Result<Option<RecordBatch>, Fault> {
        let alerts = &self.alerts;
        match change {
            AlertChange::Create {
                alert,
                if_not_exists,
                or_replace,
                text,
            } => {
                let creation = alert::Creation {
                    alert: *alert,
                    if_not_exists,
                    or_replace,
                    text: &text,
                };
                alerts.create(creation).await?;
            }
            AlertChange::Drop { name, if_exists } => alerts.remove(&name, if_exists).await?,
            AlertChange::Pause { name, paused } => alerts.pause(&name, paused).await?,
            AlertChange::Show { ref name } => {
                let ddl = text([alerts.definition(name)?]);
                let rows = RecordBatch::try_new(change.schema(), vec![ddl]);
                let rows = rows.map_err(|e| Fault::internal(e.to_string()))?;
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn insert(&self, insert: Insert, bound: &Bound) -> Result<u64, Fault> {
        let table = self.shared.writable(&insert.table)?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let gathered = values::rows(&self.engine, &insert, bound, limit).await?;
        let (batches, _charged) = (gathered.batches, gathered.bytes);
        match &insert.replace {
            None => ingest::insert::append(&self.shared, &table, &insert.columns, batches).await,
            Some(matching) => {
                ingest::insert::replace(&self.shared, &table, &insert.columns, batches, matching)
                    .await
            }
        }
    }

    async fn change_rows(&self, dml: dml::Dml, bound: &Bound) -> Result<u64, Fault> {
        dml::run(&self.shared, &self.engine, dml, bound).await
    }

    async fn hold(
        &self,
        dml: dml::Dml,
        bound: &Bound,
        rows: Vec<RecordBatch>,
        held: Option<Arc<dml::Held>>,
    ) -> Result<(u64, dml::Held), Fault> {
        dml::hold(&self.shared, &self.engine, dml, bound, rows, held).await
    }

    async fn commit(&self, held: Arc<dml::Held>, rows: Vec<RecordBatch>) -> Result<(), Fault> {
        // A commit that has begun is finished, whether or not its caller still waits.
        let shared = self.shared.clone();
        tokio::spawn(async move { held.commit(&shared, rows).await })
            .await
            .map_err(|e| Fault::internal(format!("commit: {e}")))?
    }

    async fn restore(&self, restore: restore::Restore) -> Result<(), Fault> {
        restore::run(&self.shared, restore).await
    }

    async fn stage(&self, insert: &Insert, bound: &Bound) -> Result<Option<RecordBatch>, Fault> {
        let table = self.shared.writable(&insert.table)?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let gathered = values::rows(&self.engine, insert, bound, limit).await?;
        let (batches, _charged) = (gathered.batches, gathered.bytes);
        ingest::insert::staged(&self.shared, &table, &insert.columns, batches).await
    }

    async fn append(&self, table: &TableName, rows: Vec<RecordBatch>) -> Result<u64, Fault> {
        let table = self.shared.writable(table)?;
        ingest::insert::append_staged(&self.shared, &table, rows).await
    }

    async fn replay(&self, replay: Replay) -> Result<ingest::replay::Outcome, Fault> {
        let table = self.shared.writable(&replay.table)?;
        let quarantine = replay.table.quarantine();
        let filter = match &replay.condition {
            Some(condition) => Some(self.engine.filter(&quarantine, condition).await?),
            None => None,
        };
        let request = ingest::replay::Request {
            overrides: replay.overrides,
            filter,
            dry_run: replay.dry_run,
        };
        // A move that has begun is finished, whether or not its caller still waits.
        let shared = self.shared.clone();
        tokio::spawn(async move { ingest::replay::replay(&shared, &table, &request).await })
            .await
            .map_err(|e| Fault::internal(format!("replay: {e}")))?
    }
}

#[async_trait]
impl PutHandler for Admin {
    fn put(
        &self,
        descriptor: arrow_flight::FlightDescriptor,
        input: PutInput,
    ) -> futures::stream::BoxStream<'static, Result<arrow_flight::PutResult, tonic::Status>> {
        crate::flight::put::serve(self.shared.clone(), descriptor, input)
    }

    async fn ingest(
        &self,
        asked: Ingest,
        input: PutInput,
        abandoned: CancellationToken,
    ) -> Result<u64, Fault> {
        crate::flight::ingest::run(self.shared.clone(), asked, input, abandoned).await
    }

    async fn stage(&self, asked: &Ingest, input: PutInput) -> Result<Option<RecordBatch>, Fault> {
        crate::flight::ingest::stage(self.shared.clone(), asked, input).await
    }
}
