//! `first_value` and `last_value` as aggregates. DataFusion's counts the rows of a batch down from one less than there are, also of a
//! batch from which a FILTER has taken all rows: it is not shown such a batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ReversedUDAF};

use super::as_inner::as_inner;

/// `inner`: DataFusion's `first_value` or `last_value`, and `reverse` the other one.
pub(super) fn in_order(inner: &Arc<AggregateUDF>, reverse: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(InOrder {
        inner: inner.clone(),
        reverse: reverse.clone(),
    })
}

/// The first of the values in an order, for a rule that plans an aggregate.
pub(in crate::query) fn first_of(
    value: Expr,
    order: Vec<SortExpr>,
    filter: Option<Box<Expr>>,
) -> Expr {
    let function = in_order(&first_value_udaf(), &last_value_udaf());
    let args = vec![value];
    Expr::AggregateFunction(AggregateFunction::new_udf(
        Arc::new(function),
        args,
        false,
        filter,
        order,
        None,
    ))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    inner: Arc<AggregateUDF>,
    /// What it is when the rows come the other way round.
    reverse: Arc<AggregateUDF>,
}

impl InOrder {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }
}

impl AggregateUDFImpl for InOrder {
    as_inner!(state_fields, groups);

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OfSome(self.of().accumulator(args)?)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OfSome(
            self.of().create_sliding_accumulator(args)?,
        )))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Reversed(Arc::new(in_order(&self.reverse, &self.inner)))
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        is_ordered: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = self.inner.as_ref().clone();
        let inner = inner.with_beneficial_ordering(is_ordered)?;
        Ok(inner.map(|inner| {
            Arc::new(InOrder {
                inner: Arc::new(inner),
                reverse: self.reverse.clone(),
            }) as _
        }))
    }
}

#[derive(Debug)]
struct OfSome(Box<dyn Accumulator>);

fn has_rows(columns: &[ArrayRef]) -> bool {
    columns.first().is_some_and(|column| !column.is_empty())
}

impl Accumulator for OfSome {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match has_rows(values) {
            true => self.0.update_batch(values),
            false => Ok(()),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match has_rows(states) {
            true => self.0.merge_batch(states),
            false => Ok(()),
        }
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match has_rows(values) {
            true => self.0.retract_batch(values),
            false => Ok(()),
        }
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
