//! `count` of a window's frame, whose results are in no order that could be told beforehand (`as_inner`).

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl};

use super::as_inner::as_inner;

/// `inner`: DataFusion's `count`.
pub(super) fn count(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Count {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Count {
    inner: Arc<AggregateUDF>,
}

impl Count {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }
}

impl AggregateUDFImpl for Count {
    as_inner!(identical, accumulator, state_fields, groups, sliding);
}
