//! How clients change tables.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::alert::{self, Alerts};
use crate::catalog::alter::{Plan, alter_with_readers};
use crate::catalog::table::Table;
use crate::catalog::{Shared, lifecycle};
use crate::dataset::{Contract, ViewDeclaration, Watched};
use crate::fault::{Fault, Kind};
use crate::flight::ingest::Ingest;
use crate::flight::{PutHandler, PutInput};
use crate::ingest;
use crate::ingest::insert::Rows;
use crate::ingest::staged::{StagedRows, append_staged};
use crate::query::{Engine, QueryContext, refuse_temporary};
use crate::statement::create::{self, Creation};
use crate::statement::define::{self, Define};
use crate::statement::{
    AlertChange, Bound, Insert, Replay, TableAdmin, Temporary, ViewChange, dml, restore, temporary,
    values,
};
use crate::types::{ColumnMoves, TableName};
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

    /// The rows that an INSERT writes, and what they are charged while they live.
    async fn rows<'a>(
        &self,
        caller: &QueryContext,
        table: &Table,
        insert: &'a Insert,
        bound: &Bound,
    ) -> Result<(Rows<'a>, values::Gathered), Fault> {
        // Before its query runs: its columns are meant as they are called now.
        let since = table.contract();
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let mut charged = values::rows(&self.engine, caller, insert, bound, limit).await?;
        let rows = Rows {
            since,
            columns: &insert.columns,
            batches: std::mem::take(&mut charged.batches),
        };
        Ok((rows, charged))
    }
}

impl Admin {
    /// # Errors
    /// FAILED_PRECONDITION `temporary_table`: the query of `what` reads a table of the caller's session.
    fn refuse_temporary(&self, caller: &QueryContext, sql: &str, what: &str) -> Result<(), Fault> {
        let own = caller.session.temporary();
        if own.is_none_or(|own| own.is_empty()) {
            return Ok(());
        }
        refuse_temporary(sql, &self.engine.snapshot_of(caller), what)
    }
}

impl TableAdmin for Admin {
    fn create(
        &self,
        contract: Contract,
        if_not_exists: bool,
    ) -> BoxFuture<'_, Result<bool, Fault>> {
        Box::pin(async move {
            if contract.view.is_some() {
                return Err(Fault::invalid(
                    "invalid_contract",
                    "a view is made by CREATE MATERIALIZED VIEW, not by a property",
                ));
            }
            lifecycle::create(&self.shared, contract, if_not_exists).await
        })
    }

    fn create_from<'a>(
        &'a self,
        caller: &'a QueryContext,
        creation: Creation,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(
            async move { create::run(&self.shared, &self.engine, caller, creation, bound).await },
        )
    }

    fn rename<'a>(
        &'a self,
        name: &'a TableName,
        to: &'a TableName,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.shared.definitions.now().view(name).is_some() {
                let (name, to) = (name.clone(), to.clone());
                return self
                    .define(&QueryContext::server(), Define::RenameView { name, to })
                    .await;
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
        })
    }

    fn temporary<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: Temporary,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(
            async move { temporary::run(&self.shared, &self.engine, caller, change, bound).await },
        )
    }

    fn define<'a>(
        &'a self,
        caller: &'a QueryContext,
        define: Define,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if let Define::CreateView { sql, .. } = &define {
                self.refuse_temporary(caller, sql, "a view")?;
            }
            define::run(&self.shared, &self.engine, caller, define).await
        })
    }

    fn drop<'a>(
        &'a self,
        name: &'a TableName,
        if_exists: bool,
        cascade: bool,
    ) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(async move {
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
        })
    }

    fn alter<'a>(
        &'a self,
        name: &'a TableName,
        plan: &'a Plan<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let table = self.shared.table(name)?;
            if table.contract().view.is_some() {
                return Err(Fault::invalid(
                    "is_a_view",
                    format!(
                        "{name} is a materialized view; use ALTER MATERIALIZED VIEW {name} SET (delay = '5s') or .. AS SELECT .."
                    ),
                ));
            }
            let (shared, alerts) = (self.shared.clone(), self.alerts.clone());
            let readers = move |name: &TableName, moves: &ColumnMoves| {
                crate::statement::refuse_with_views(&shared, name, moves)?;
                alerts.refuse_with_alerts(name, moves)
            };
            alter_with_readers(&self.shared, name, plan, Arc::new(readers)).await?;
            if table.is_parked() {
                // The change may be what it needed. What it still lacks, the table's state says.
                self.upkeep.repair(name, false).await?;
            }
            Ok(())
        })
    }

    fn upkeep(
        &self,
        upkeep: crate::statement::Upkeep,
    ) -> BoxFuture<'_, Result<RecordBatch, Fault>> {
        Box::pin(async move { self.upkeep.answer(upkeep).await })
    }

    fn view<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: ViewChange,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move {
            let views = &self.views;
            if let ViewChange::Create {
                view: ViewDeclaration { sql, .. },
                ..
            }
            | ViewChange::Query { sql, .. } = &change
            {
                self.refuse_temporary(caller, sql, "a materialized view")?;
            }
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
        })
    }

    fn alert<'a>(
        &'a self,
        caller: &'a QueryContext,
        change: AlertChange,
    ) -> BoxFuture<'a, Result<Option<RecordBatch>, Fault>> {
        Box::pin(async move {
            let alerts = &self.alerts;
            if let AlertChange::Create { alert, .. } = &change
                && let Watched::Query { sql } = &alert.watched
            {
                self.refuse_temporary(caller, sql, "an alert")?;
            }
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
                    alerts.create(caller, creation).await?;
                }
                AlertChange::Drop { name, if_exists } => alerts.remove(&name, if_exists).await?,
                AlertChange::Pause { name, paused } => alerts.pause(&name, paused).await?,
                AlertChange::Show { ref name } => {
                    let ddl = StringArray::from(vec![alerts.definition(name)?]);
                    let rows = RecordBatch::try_new(change.schema(), vec![Arc::new(ddl)]);
                    let rows = rows.map_err(|e| Fault::internal(e.to_string()))?;
                    return Ok(Some(rows));
                }
            }
            Ok(None)
        })
    }

    fn insert<'a>(
        &'a self,
        caller: &'a QueryContext,
        insert: Insert,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move {
            let table = self.shared.writable(&insert.table)?;
            let (rows, _charged) = self.rows(caller, &table, &insert, bound).await?;
            match &insert.replace {
                None => ingest::insert::append(&self.shared, &table, rows).await,
                Some(matching) => {
                    ingest::insert::replace(&self.shared, &table, rows, matching).await
                }
            }
        })
    }

    fn change_rows<'a>(
        &'a self,
        caller: &'a QueryContext,
        dml: dml::Dml,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { dml::run(&self.shared, &self.engine, caller, dml, bound).await })
    }

    fn hold<'a>(
        &'a self,
        caller: &'a QueryContext,
        dml: dml::Dml,
        bound: &'a Bound,
        rows: Option<StagedRows>,
        held: Option<Arc<dml::Held>>,
    ) -> BoxFuture<'a, Result<(u64, dml::Held), Fault>> {
        Box::pin(async move {
            dml::hold(&self.shared, &self.engine, caller, dml, bound, rows, held).await
        })
    }

    fn commit(
        &self,
        held: Arc<dml::Held>,
        rows: Option<StagedRows>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            // A commit that has begun is finished, whether or not its caller still waits.
            let shared = self.shared.clone();
            tokio::spawn(async move { held.commit(&shared, rows).await })
                .await
                .map_err(|e| Fault::internal(format!("commit: {e}")))?
        })
    }

    fn restore(&self, restore: restore::Restore) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { restore::run(&self.shared, restore).await })
    }

    fn stage<'a>(
        &'a self,
        caller: &'a QueryContext,
        insert: &'a Insert,
        bound: &'a Bound,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>> {
        Box::pin(async move {
            let table = self.shared.writable(&insert.table)?;
            let (rows, _charged) = self.rows(caller, &table, insert, bound).await?;
            ingest::insert::staged(&self.shared, &table, rows).await
        })
    }

    fn append<'a>(
        &'a self,
        table: &'a TableName,
        rows: StagedRows,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move {
            let table = self.shared.writable(table)?;
            append_staged(&self.shared, &table, rows).await
        })
    }

    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<ingest::replay::Outcome, Fault>> {
        Box::pin(async move {
            let table = self.shared.writable(&replay.table)?;
            let quarantine = replay.table.quarantine();
            let filter = match &replay.condition {
                Some(condition) => Some(self.engine.filter(&quarantine, condition).await?),
                None => None,
            };
            let cancelled = CancellationToken::new();
            let _guard = cancelled.clone().drop_guard();
            let request = ingest::replay::Request {
                overrides: replay.overrides,
                filter,
                dry_run: replay.dry_run,
                cancelled: cancelled.clone(),
            };
            // A move that has begun is finished, whether or not its caller still waits.
            let (shared, engine) = (self.shared.clone(), self.engine.clone());
            let work = async move {
                let replayed = ingest::replay::replay(&shared, &table, &request);
                engine.counted_until_stopped(&cancelled, replayed).await
            };
            tokio::spawn(work)
                .await
                .map_err(|e| Fault::internal(format!("replay: {e}")))?
        })
    }
}

impl PutHandler for Admin {
    fn put(
        &self,
        descriptor: arrow_flight::FlightDescriptor,
        input: PutInput,
    ) -> futures::stream::BoxStream<'static, Result<arrow_flight::PutResult, tonic::Status>> {
        crate::flight::put::serve(self.shared.clone(), descriptor, input)
    }

    fn ingest(
        &self,
        asked: Ingest,
        input: PutInput,
        abandoned: CancellationToken,
    ) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(async move {
            crate::flight::ingest::run(self.shared.clone(), asked, input, abandoned).await
        })
    }

    fn stage<'a>(
        &'a self,
        asked: &'a Ingest,
        input: PutInput,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>> {
        Box::pin(
            async move { crate::flight::ingest::stage(self.shared.clone(), asked, input).await },
        )
    }
}
