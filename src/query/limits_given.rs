//! `LIMIT ?` with its value in the statement. A subquery that reads columns of the rows around it is planned by what its LIMIT says,
//! before other values are put into the plan.

use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, LimitClause, Query, Statement, Value, VisitorMut};

use crate::sql::{placeholder, visit_mut};

/// Writes the values of parameters that count rows where these stand.
pub(super) fn put(statement: &mut Statement, values: &[ScalarValue]) {
    let _ = visit_mut(statement, &mut Limits(values));
}

struct Limits<'a>(&'a [ScalarValue]);

impl Limits<'_> {
    fn put(&self, count: &mut Expr) {
        let value = placeholder(count).and_then(|n| self.0.get(n.checked_sub(1)?));
        if let Some(ScalarValue::Int64(Some(value))) = value {
            *count = Expr::value(Value::Number(value.to_string(), false));
        }
    }
}

impl VisitorMut for Limits<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                let offset = offset.as_mut().map(|offset| &mut offset.value);
                limit.iter_mut().chain(offset).for_each(|e| self.put(e));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.put(offset);
                self.put(limit);
            }
            None => {}
        }
        ControlFlow::Continue(())
    }
}
