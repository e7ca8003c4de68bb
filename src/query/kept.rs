//! Plans of queries whose columns a client has been told, for the moment until it fetches the rows: a query is planned once then, and
//! has the columns that were told. Who fetches later, or a second time, has the text planned anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use parking_lot::Mutex;

use super::context::{OfSession, QueryContext};
use super::limits::QueryLimits;
use super::prepare::Session;

/// Clients fetch at once. A plan holds on to the rows and files of its moment.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(2);
/// Plans that are kept; the oldest makes room.
const KEPT_MAX: usize = 64;
/// Bytes of text, and of values that are bound to it, up to which a statement's plan is kept.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of a plan that is kept. A stored view makes a large one of a short text.
const PLAN_BYTES_MAX: u64 = 1 << 20;

/// A query that has been planned and not run. Large: it travels in a box.
pub(super) struct KeptPlan {
    pub(super) session: Session,
    pub(super) plan: LogicalPlan,
    /// The columns that were told of it.
    pub(super) wire: SchemaRef,
    /// Its time and its memory are counted from its planning on.
    pub(super) limits: QueryLimits,
    question: Question,
}

/// All that a plan follows from, beside the tables.
#[derive(PartialEq)]
pub(super) struct Question {
    sql: String,
    schema: Arc<str>,
    principal: Arc<str>,
    /// Its temporary tables are in the plan.
    session: OfSession,
    values: Vec<ScalarValue>,
}

impl KeptPlan {
    /// May it wait for who fetches its rows? What it waits is taken from the statement's time.
    pub(super) fn is_kept(&self) -> bool {
        self.limits.meter.bytes() <= PLAN_BYTES_MAX && self.limits.timeout >= 5 * KEPT_FOR
    }
}

impl Question {
    /// None: the answer is not told by a plan that is kept. In a transaction a statement sees what the one before it wrote.
    pub(super) fn of(caller: &QueryContext, sql: &str, values: &[ScalarValue]) -> Option<Question> {
        let values_bytes = values.iter().map(ScalarValue::size).sum::<usize>();
        let is_small = sql.len().saturating_add(values_bytes) <= TEXT_BYTES_MAX;
        let kept = caller.own.is_none() && is_small;
        kept.then(|| Question {
            sql: sql.to_owned(),
            schema: caller.schema.clone(),
            principal: caller.principal.clone(),
            session: caller.session.clone(),
            values: values.to_vec(),
        })
    }

    pub(super) fn planned(
        self,
        session: Session,
        plan: LogicalPlan,
        wire: SchemaRef,
        limits: QueryLimits,
    ) -> Box<KeptPlan> {
        Box::new(KeptPlan {
            session,
            plan,
            wire,
            limits,
            question: self,
        })
    }
}

/// The oldest first, each with the id of its query.
type Queue = VecDeque<(Arc<str>, Box<KeptPlan>)>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct KeptPlans(Arc<Mutex<Queue>>);

impl KeptPlans {
    pub(super) fn keep(&self, id: Arc<str>, plan: Box<KeptPlan>) {
        let mut plans = self.0.lock();
        let full = plans.len() >= KEPT_MAX;
        let oldest = if full { plans.pop_front() } else { None };
        plans.push_back((id, plan));
        drop(plans);
        drop(oldest);
    }

    /// The plan of a query, once. A ticket comes from a client: another question under the same id has no plan here.
    pub(super) fn take(&self, id: &str, question: &Question) -> Option<Box<KeptPlan>> {
        let kept = self.remove(id)?;
        let usable = kept.question == *question && kept.limits.check().is_ok();
        usable.then_some(kept)
    }

    pub(super) fn remove(&self, id: &str) -> Option<Box<KeptPlan>> {
        let mut plans = self.0.lock();
        let at = plans.iter().position(|(known, _)| &**known == id)?;
        plans.remove(at).map(|(_, kept)| kept)
    }
}
