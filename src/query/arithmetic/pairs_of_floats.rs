//! `corr`, `covar_pop`, `covar_samp`, and the regressions of a first argument, y, on a second, x. DataFusion's grouped correlation subtracts sums of squares from one another, which leaves
//! nothing of the digits of values that are large and close together. Its correlation of a NaN is NULL, and its covariance of an
//! infinity may be an infinity. As in PostgreSQL all of them are NaN, and the correlation of a column that has one value is NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, PrimitiveArray, UInt64Array,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator,
};

use super::as_inner::as_inner;
use super::moments::{Moments, Sliding, pairs};

/// The aggregates that [`paired`] takes the place of.
pub(super) const NAMES: [&str; 11] = [
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
];

/// Of the line through the pairs: the change of the first argument with the second. None: the second has one value.
fn slope(m: &Moments) -> Option<f64> {
    (m.count > 0 && m.yy != 0.0).then(|| m.xy / m.yy)
}

fn unless_empty(m: &Moments, value: f64) -> Option<f64> {
    (m.count > 0).then_some(value)
}

/// `inner`: one of DataFusion's [`NAMES`].
pub(super) fn paired(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Paired {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Paired {
    inner: Arc<AggregateUDF>,
}

impl Paired {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }

    fn finish(&self) -> fn(&Moments) -> Option<f64> {
        match self.inner.name() {
            "corr" => |m| {
                let constant = m.count == 0 || m.xx == 0.0 || m.yy == 0.0;
                let value = || m.xy / (m.xx.sqrt() * m.yy.sqrt());
                // The last digits may be beyond it.
                (!constant).then(|| value().clamp(-1.0, 1.0))
            },
            "regr_avgx" => |m| unless_empty(m, m.mean_y),
            "regr_avgy" => |m| unless_empty(m, m.mean_x),
            "regr_sxx" => |m| unless_empty(m, m.yy),
            "regr_sxy" => |m| unless_empty(m, m.xy),
            "regr_syy" => |m| unless_empty(m, m.xx),
            "regr_slope" => slope,
            "regr_intercept" => |m| slope(m).map(|slope| m.mean_x - slope * m.mean_y),
            "regr_r2" => |m| match slope(m) {
                Some(_) if m.xx == 0.0 => Some(1.0),
                Some(slope) => Some((slope * m.xy / m.xx).clamp(0.0, 1.0)),
                None => None,
            },
            "covar_pop" => |m| (m.count > 0).then(|| m.xy / m.count as f64),
            _ => |m| (m.count > 1).then(|| m.xy / (m.count - 1) as f64),
        }
    }
}

impl AggregateUDFImpl for Paired {
    as_inner!();

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let floats = ["mean_x", "mean_y", "xx", "yy", "xy"].map(|part| (part, DataType::Float64));
        let fields = [("count", DataType::UInt64)].into_iter().chain(floats);
        let fields = fields.map(|(part, type_)| {
            Arc::new(Field::new(format_state_name(args.name, part), type_, true))
        });
        Ok(fields.collect())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One {
            finish: self.finish(),
            moments: Moments::default(),
        }))
    }

    fn create_sliding_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sliding::new(self.finish())))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups {
            finish: self.finish(),
            moments: Vec::new(),
        }))
    }
}

/// What was told as a state, row by row.
fn told(states: &[ArrayRef]) -> Result<impl Iterator<Item = Moments> + '_> {
    let [count, mean_x, mean_y, xx, yy, xy] = states else {
        return internal_err!("moments have six parts");
    };
    fn all<T: ArrowPrimitiveType>(column: &ArrayRef) -> &PrimitiveArray<T> {
        column.as_primitive()
    }
    let (count, mean_x, mean_y) = (all::<UInt64Type>(count), all(mean_x), all(mean_y));
    let (xx, yy, xy) = (all(xx), all(yy), all(xy));
    let at = |column: &PrimitiveArray<Float64Type>, row| column.value(row);
    Ok((0..count.len()).map(move |row| Moments {
        count: count.value(row),
        mean_x: at(mean_x, row),
        mean_y: at(mean_y, row),
        xx: at(xx, row),
        yy: at(yy, row),
        xy: at(xy, row),
    }))
}

/// The states of some groups, as [`told`] reads them.
fn tell(moments: &[Moments]) -> Vec<ArrayRef> {
    let floats = |part: fn(&Moments) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(moments.iter().map(part)))
    };
    vec![
        Arc::new(UInt64Array::from_iter_values(
            moments.iter().map(|m| m.count),
        )),
        floats(|m| m.mean_x),
        floats(|m| m.mean_y),
        floats(|m| m.xx),
        floats(|m| m.yy),
        floats(|m| m.xy),
    ]
}

#[derive(Debug)]
struct One {
    finish: fn(&Moments) -> Option<f64>,
    moments: Moments,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        pairs(values)?.for_each(|(x, y)| self.moments.add(x, y));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        told(states)?.for_each(|other| self.moments.merge(&other));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = tell(&[self.moments]);
        let values = columns.iter().map(|c| ScalarValue::try_from_array(c, 0));
        values.collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.finish)(&self.moments)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[derive(Debug)]
struct Groups {
    finish: fn(&Moments) -> Option<f64>,
    moments: Vec<Moments>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.moments.resize(count, Moments::default());
        let [x, y] = values else {
            return internal_err!("a pair has two values");
        };
        let x = x.as_primitive::<Float64Type>();
        let y = y.as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            let wanted = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if wanted && x.is_valid(row) && y.is_valid(row) {
                self.moments[*group].add(x.value(row), y.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.moments.resize(count, Moments::default());
        for (group, other) in groups.iter().zip(told(states)?) {
            self.moments[*group].merge(&other);
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(tell(&emit_to.take_needed(&mut self.moments)))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let moments = emit_to.take_needed(&mut self.moments);
        let values = moments.iter().map(self.finish);
        Ok(Arc::new(values.collect::<Float64Array>()))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let mut each = Groups {
            finish: self.finish,
            moments: Vec::new(),
        };
        let own: Vec<usize> = (0..rows).collect();
        each.update_batch(values, &own, filter, rows)?;
        Ok(tell(&each.moments))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.moments.capacity() * size_of::<Moments>()
    }
}
