//! Which files of a version can hold a row that a filter keeps, by what the Delta log says of them: the rest is not opened.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::ColdFile;

/// Bounds of the columns of some files. DataFusion prunes by exact statistics only; a bound need not be a value to leave a file
/// out, so these are given here.
struct Bounds<'a> {
    files: &'a [Arc<ColdFile>],
    /// The columns of the files, then those of partitions.
    schema: &'a SchemaRef,
    in_files: usize,
}

impl Bounds<'_> {
    fn each(
        &self,
        column: &Column,
        of: impl Fn(&ColdFile, usize) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        let data_type = self.schema.field(index).data_type();
        // A value of a partition may be a NaN of either sign.
        if data_type.is_floating() && index >= self.in_files {
            return None;
        }
        let unknown = ScalarValue::try_from(data_type).ok()?;
        let values = self.files.iter().map(|file| {
            let value = match index.checked_sub(self.in_files) {
                Some(partition) => file.partition_values.get(partition).cloned(),
                None => of(file, index),
            };
            value.unwrap_or_else(|| unknown.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.each(column, |file, index| {
            let column = file.statistics().column_statistics.get(index)?;
            column.min_value.get_value().cloned()
        })
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.each(column, |file, index| {
            let column = file.statistics().column_statistics.get(index)?;
            column.max_value.get_value().cloned()
        })
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        if index >= self.in_files {
            return None;
        }
        let counts = self.files.iter().map(|file| {
            let column = file.statistics().column_statistics.get(index)?;
            let count = column.null_count.get_value()?;
            u64::try_from(*count).ok()
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.files.iter().map(|f| u64::try_from(f.rows()?).ok());
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// For each file, whether it may hold such a row. `schema`: `in_files` columns of the files, then those of partitions.
///
/// A predicate that cannot be evaluated over bounds leaves out no file: DataFusion makes `ok IS DISTINCT FROM NOT -1` of `CAST(NOT ok AS BIGINT) IS
/// DISTINCT FROM -1`. Whether it can be evaluated over rows is found where rows are filtered.
pub(super) fn may_hold(
    files: &[Arc<ColdFile>],
    schema: &SchemaRef,
    in_files: usize,
    predicate: &Arc<dyn PhysicalExpr>,
) -> Vec<bool> {
    let bounds = Bounds {
        files,
        schema,
        in_files,
    };
    PruningPredicateBuilder::new()
        .with_file_schema(schema.clone())
        .try_build(predicate.clone())
        .and_then(|predicate| predicate.prune(&bounds))
        .unwrap_or_else(|error| {
            tracing::debug!(%predicate, %error, "no file is left out");
            vec![true; files.len()]
        })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::common::DFSchema;
    use datafusion::execution::context::SessionContext;
    use object_store::path::Path;

    use super::super::super::mapping::Mapping;
    use super::super::{Columns, Described};
    use super::*;

    fn file(stats: &str, day: &str) -> Arc<ColdFile> {
        let schema = schema();
        let day = HashMap::from([("day".to_owned(), Some(day.to_owned()))]);
        let by = ["day".to_owned()];
        let columns = Columns {
            schema: &schema,
            partition_by: &by,
            mapping: &Mapping::default(),
        };
        let described = Described {
            path: "f",
            size: 1,
            modified_ms: 0,
            stats: Some(stats),
            partition_values: &day,
            in_one_form: false,
        };
        ColdFile::new(&Path::from("t"), described, columns).unwrap()
    }

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("ts", time, true),
            Field::new("k", DataType::Utf8, true),
            Field::new("v", DataType::Float64, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("day", DataType::Date32, true),
        ]))
    }

    #[tokio::test]
    async fn a_file_is_left_out_only_if_none_of_its_rows_can_be_wanted() {
        let whole = r#"{"numRecords": 2, "minValues": {"ts": "2026-01-01T00:00:00.000Z", "k": "b", "v": 1.0},
            "maxValues": {"ts": "2026-01-01T00:00:09.999Z", "k": "d", "v": 2.0}, "nullCount": {"ts": 0, "k": 0, "v": 0, "ok": 0}}"#;
        let files = [
            file(whole, "2026-01-01"),
            file(r#"{"numRecords": 2}"#, "2026-01-02"),
            file(r#"{"numRecords": 2, "nullCount": {"k": 2}}"#, "2026-01-02"),
        ];
        let cases = [
            (
                "ts >= TIMESTAMP '2026-01-01T00:00:10Z'",
                [false, true, true],
            ),
            // Within the millisecond that the bound was cut to.
            (
                "ts >= TIMESTAMP '2026-01-01T00:00:09.9995Z'",
                [true, true, true],
            ),
            ("ts < TIMESTAMP '2026-01-01T00:00:00Z'", [false, true, true]),
            ("ts = TIMESTAMP '2026-01-01T00:00:05Z'", [true, true, true]),
            ("k = 'e'", [false, true, false]),
            ("k = 'c' OR day = DATE '2026-01-02'", [true, true, true]),
            ("k IS NULL", [false, true, true]),
            ("day = DATE '2026-01-02'", [false, true, true]),
            ("day < DATE '2026-01-01'", [false, false, false]),
            // A NaN is greater than 5, and no NaN is below 1.
            ("v > 5", [true, true, true]),
            ("v = 5", [true, true, true]),
            ("v < 1", [false, true, true]),
            ("length(k) = 7", [true, true, true]),
            // Delta keeps no bounds of BOOLEAN.
            ("NOT ok", [true, true, true]),
            ("(NOT ok) = false", [true, true, true]),
            // What cannot be evaluated over bounds leaves out nothing.
            (
                "CAST(NOT ok AS BIGINT) IS DISTINCT FROM -1",
                [true, true, true],
            ),
            ("CAST(NOT ok AS BIGINT) = 1", [true, true, true]),
        ];
        let state = SessionContext::new().state();
        for (filter, expected) in cases {
            let schema = DFSchema::try_from(schema().as_ref().clone()).unwrap();
            let expr = state.create_logical_expr(filter, &schema).unwrap();
            let expr = state.create_physical_expr(expr, &schema).unwrap();
            let kept = may_hold(&files, &super::tests::schema(), 4, &expr);
            assert_eq!(kept, expected, "{filter}");
        }
    }
}
