//! What a query gives and takes, before it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use super::super::columns::wire_of;
use super::super::context::QueryContext;
use super::super::kept::{KEPT_FOR, KeptPlan, Question};
use super::super::parameters::check_count;
use super::super::prepare::Planned;
use super::Engine;
use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::sql::check_bytes;

impl Engine {
    /// Understands a query without running it, before anything is bound to it.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan(&self, caller: &QueryContext, sql: &str) -> Result<Planned, Fault> {
        self.plan_known(caller, sql, BTreeMap::new()).await
    }

    /// [`Engine::plan`] of a query that is a part of something larger. `known`: types of parameters, from 1, that it tells.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan_known(
        &self,
        caller: &QueryContext,
        sql: &str,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        check_bytes(sql)?;
        let snapshot = self.snapshot_of(caller);
        self.understood(caller, snapshot, sql, false, known).await
    }

    /// [`Engine::plan_known`] over a snapshot that someone has made, of a text that the server has written.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn plan_over(
        &self,
        caller: &QueryContext,
        snapshot: Snapshot,
        sql: &str,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        self.understood(caller, snapshot, sql, true, known).await
    }

    async fn understood(
        &self,
        caller: &QueryContext,
        snapshot: Snapshot,
        sql: &str,
        own: bool,
        known: BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        if let Some(planned) = self.plan_subscription(&snapshot, sql).await? {
            return Ok(planned);
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        if !own {
            self.planning.check_size(sql, &limits).await?;
        }
        let (world, caller) = (self.world.clone(), caller.clone());
        let (text, inner) = (sql.to_owned(), limits.clone());
        let work = move || async move {
            let read = world.read(&caller, &text, own, snapshot, Some(&inner));
            let (session, statement) = read.await?;
            session.described(statement, &known).await
        };
        self.planning.run(sql.len(), &limits, work).await
    }

    /// The columns of the rows that a query gives: with these values of its parameters, or as they are before anything is bound.
    /// Runs nothing. If `told`, the caller's query is fetched in a moment, and its plan is kept for that.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn columns(
        &self,
        caller: &QueryContext,
        sql: &str,
        values: Option<Vec<ScalarValue>>,
        told: bool,
    ) -> Result<SchemaRef, Fault> {
        check_bytes(sql)?;
        let snapshot = self.snapshot_of(caller);
        if let Some(planned) = self.plan_subscription(&snapshot, sql).await? {
            check_count(0, values.map_or(0, |values| values.len()))?;
            return Ok(planned.wire);
        }
        let limits = self.limits(CancellationToken::new(), self.timeout);
        self.planning.check_size(sql, &limits).await?;
        let (world, text, inner) = (self.world.clone(), sql.to_owned(), limits.clone());
        let id = caller.query.clone().filter(|_| told);
        let question = id.as_ref().and_then(|_| {
            let values = values.as_deref().unwrap_or_default();
            Question::of(caller, sql, values)
        });
        let caller = caller.clone();
        let work = move || async move {
            let read = world.read(&caller, &text, false, snapshot, Some(&inner));
            let (session, statement) = read.await?;
            if values.is_none() && session.parameters > 0 {
                let planned = session.described(statement, &BTreeMap::new()).await?;
                return Ok((planned.wire, None));
            }
            let plan = session.plan(statement, &values.unwrap_or_default()).await?;
            let wire = wire_of(&plan);
            let planned =
                question.map(|question| question.planned(session, plan, wire.clone(), inner));
            Ok((wire, planned))
        };
        let (wire, planned) = self.planning.run(sql.len(), &limits, work).await?;
        if let (Some(id), Some(plan)) = (id, planned)
            && plan.is_kept()
        {
            self.keep(id, plan);
        }
        Ok(wire)
    }

    fn keep(&self, id: Arc<str>, plan: Box<KeptPlan>) {
        self.kept.keep(id.clone(), plan);
        let kept = self.kept.clone();
        self.handle.spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            drop(kept.remove(&id));
        });
    }
}
