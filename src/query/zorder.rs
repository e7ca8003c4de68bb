//! Rows along a curve through several columns: near each other on the curve is near each other in each column, so that
//! files and row groups can be left out by any of them.
//!
//! Each column's values are cut into ranges that hold about equally many rows of a sample; the bits of a row's ranges,
//! interleaved, are its place. So types, skew and common beginnings of values do not matter.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function's name in the query that reads.
pub const ZORDER: &str = "zorder";
/// Columns of a curve; with more, each is told too little.
pub const COLUMNS_MAX: usize = 6;
/// Ranges of a column: 2 to the power of this.
const BITS: usize = 10;
const RANGES: usize = 1 << BITS;

/// Where each column's ranges begin, as comparable bytes. Made from a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Curve {
    bounds: Vec<Vec<Vec<u8>>>,
    signature: Signature,
}

fn comparable(column: &ArrayRef) -> Result<Vec<Vec<u8>>> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(column))?;
    Ok(rows.iter().map(|row| row.as_ref().to_vec()).collect())
}

impl Curve {
    /// `sample`: the curve's columns, of some thousand rows.
    ///
    /// # Errors
    /// A column's type has no order.
    pub fn of(sample: &[RecordBatch]) -> Result<Self> {
        let columns = sample.first().map_or(0, RecordBatch::num_columns);
        let mut bounds = Vec::with_capacity(columns);
        for index in 0..columns {
            let mut values = Vec::new();
            for batch in sample {
                values.extend(comparable(batch.column(index))?);
            }
            values.sort_unstable();
            let count = values.len();
            let mut starts: Vec<Vec<u8>> = (1..RANGES)
                .filter_map(|n| values.get(n * count / RANGES).cloned())
                .filter(|start| Some(start) != values.first())
                .collect();
            starts.dedup();
            bounds.push(starts);
        }
        Ok(Curve {
            bounds,
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }

    pub fn function(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn places(&self, columns: &[ArrayRef], rows: usize) -> Result<UInt64Array> {
        let mut places = vec![0u64; rows];
        let width = columns.len();
        for (at, (column, bounds)) in columns.iter().zip(&self.bounds).enumerate() {
            for (place, value) in places.iter_mut().zip(comparable(column)?) {
                // Few ranges are spread over all: each column's halves weigh the same.
                let range =
                    bounds.partition_point(|start| *start <= value) * RANGES / (bounds.len() + 1);
                for bit in 0..BITS {
                    if range >> bit & 1 == 1 {
                        *place |= 1 << (bit * width + (width - 1 - at));
                    }
                }
            }
        }
        Ok(places.into())
    }
}

impl ScalarUDFImpl for Curve {
    fn name(&self) -> &str {
        ZORDER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, columns: &[DataType]) -> Result<DataType> {
        if columns.len() == self.bounds.len() {
            Ok(DataType::UInt64)
        } else {
            Err(DataFusionError::Plan(format!(
                "{ZORDER} takes {} columns here",
                self.bounds.len()
            )))
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.into_iter().map(|c| c.into_array(rows));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(self.places(&columns, rows)?)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn near_on_the_curve_is_near_in_both_columns() {
        let side = 64;
        let grid = |f: &dyn Fn(usize) -> usize| (0..side * side).map(f).collect::<Vec<_>>();
        let (xs, ys) = (grid(&|n| n % side), grid(&|n| n / side));
        let batch = RecordBatch::try_from_iter([
            (
                "x",
                Arc::new(xs.iter().map(|x| Some(*x as f64)).collect::<Float64Array>()) as ArrayRef,
            ),
            (
                "y",
                Arc::new(
                    ys.iter()
                        .map(|y| Some(format!("site-{y:03}")))
                        .collect::<StringArray>(),
                ),
            ),
        ])
        .unwrap();
        let curve = Curve::of(std::slice::from_ref(&batch)).unwrap();
        let places = curve.places(batch.columns(), batch.num_rows()).unwrap();
        let mut order: Vec<usize> = (0..side * side).collect();
        order.sort_by_key(|n| places.value(*n));
        // A sixteenth of the rows lies in a quarter of either column.
        for part in order.chunks(side * side / 16) {
            for column in [&xs, &ys] {
                let of = |n: &usize| column[*n];
                let (low, high) = (
                    part.iter().map(of).min().unwrap(),
                    part.iter().map(of).max().unwrap(),
                );
                assert!(high - low <= side / 4 + 1, "{low}..{high}");
            }
        }
    }

    #[test]
    fn nulls_and_single_values_have_a_place() {
        let batch = RecordBatch::try_from_iter_with_nullable([
            (
                "x",
                Arc::new(Float64Array::from(vec![None, Some(f64::NAN), Some(1.0)])) as ArrayRef,
                true,
            ),
            ("y", Arc::new(StringArray::from(vec!["a", "a", "a"])), true),
        ])
        .unwrap();
        let curve = Curve::of(std::slice::from_ref(&batch)).unwrap();
        assert_eq!(curve.places(batch.columns(), 3).unwrap().len(), 3);
        assert_eq!(
            Curve::of(&[])
                .unwrap()
                .places(&[], 2)
                .unwrap()
                .values()
                .to_vec(),
            [0, 0]
        );
    }
}
