//! Variance and standard deviation of the floats in a window's frame, which values leave again.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl};

use super::as_inner::as_inner;
use super::moments::{Moments, Sliding};

/// The aggregates that [`spread`] takes the place of.
pub(super) const NAMES: [&str; 4] = ["stddev", "stddev_pop", "var", "var_pop"];

/// `inner`: one of DataFusion's [`NAMES`].
pub(super) fn spread(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Spread {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Spread {
    inner: Arc<AggregateUDF>,
}

fn of_all(m: &Moments) -> Option<f64> {
    (m.count > 0).then(|| m.xx / m.count as f64)
}

fn of_sample(m: &Moments) -> Option<f64> {
    (m.count > 1).then(|| m.xx / (m.count - 1) as f64)
}

impl Spread {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }

    fn finish(&self) -> fn(&Moments) -> Option<f64> {
        let root = self.name().starts_with("stddev");
        match (self.name().ends_with("_pop"), root) {
            (true, false) => of_all,
            (true, true) => |m| of_all(m).map(f64::sqrt),
            (false, false) => of_sample,
            (false, true) => |m| of_sample(m).map(f64::sqrt),
        }
    }
}

impl AggregateUDFImpl for Spread {
    as_inner!(identical, accumulator, state_fields, groups);

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let of = args.expr_fields.first().map(|f| f.data_type());
        match (of, args.is_distinct) {
            (Some(DataType::Float64), false) => Ok(Box::new(Sliding::new(self.finish()))),
            _ => self.of().create_sliding_accumulator(args),
        }
    }
}
