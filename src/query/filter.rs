//! A condition of SQL's, to be asked of batches that are at hand.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Statement;

use super::arithmetic::in_one_form;
use super::context::QueryContext;
use super::engine::Engine;
use super::errors::fault_of;
use super::prepare::Session;
use crate::fault::Fault;
use crate::types::TableName;

/// True for each row that meets the condition; null counts as no.
pub(super) type Condition = dyn Fn(&RecordBatch) -> Result<BooleanArray, Fault> + Send + Sync;

impl Engine {
    /// Understands a condition over the columns of a table, whose schema the batches must have.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no condition over them; UNIMPLEMENTED for one that holds a query.
    pub async fn filter(
        &self,
        table: &TableName,
        condition: &str,
    ) -> Result<Box<Condition>, Fault> {
        let sql = format!("SELECT * FROM {table} WHERE {condition}");
        let (world, snapshot) = (self.world.clone(), self.snapshot());
        let bytes = sql.len();
        // A condition is asked for as long as its caller likes, so it carries no limits of a query.
        let work = move || async move {
            let (session, statement) = world
                .read(&QueryContext::server(), &sql, false, snapshot, None)
                .await?;
            condition_of(session, statement).await
        };
        self.plan_within_timeout(bytes, work).await
    }
}

async fn condition_of(session: Session, statement: Statement) -> Result<Box<Condition>, Fault> {
    let plan = session.plan(statement, &[]).await?;
    let mut node = &plan;
    let filter = loop {
        if let LogicalPlan::Filter(filter) = node {
            break filter;
        }
        node = node
            .inputs()
            .into_iter()
            .next()
            .ok_or_else(|| Fault::internal("a condition without a filter in its plan"))?;
    };
    let predicate = session
        .state
        .create_physical_expr(filter.predicate.clone(), filter.input.schema())
        .map_err(fault_of)?;
    Ok(Box::new(move |batch| {
        let batch = &in_one_form(batch).map_err(fault_of)?;
        let value = predicate.evaluate(batch).map_err(fault_of)?;
        let array = value.into_array(batch.num_rows()).map_err(fault_of)?;
        let array = array
            .as_boolean_opt()
            .ok_or_else(|| Fault::invalid("invalid_query", "the condition is no BOOLEAN"))?;
        Ok(array.clone())
    }))
}
