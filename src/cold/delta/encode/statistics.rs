//! What a Delta `add` action says of a file's columns: bounds and counts of nulls, from the file's own footer.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use chrono::Datelike;
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

use super::super::super::Error;
use super::failed;

/// `delta.dataSkippingNumIndexedCols` where a table does not say otherwise (Delta protocol, "Per-file Statistics").
const STATISTICS_COLUMNS: usize = 32;
/// Longer texts have their minimum cut and no maximum.
const STATISTICS_TEXT: usize = 32;

/// Row count, bounds and null counts from the file's own footer. `nans`: the columns that hold a NaN. It is above all numbers, and
/// JSON has no word for it, so that these have no maximum.
pub(super) fn statistics(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    nans: &[bool],
) -> Result<Value, Error> {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let groups = metadata.row_groups();
    let descriptor = metadata.file_metadata().schema_descr();
    for (field, has_nan) in schema.fields().iter().zip(nans).take(STATISTICS_COLUMNS) {
        if field.data_type().is_nested() {
            continue;
        }
        let name = field.name();
        let converter = StatisticsConverter::try_new(name, schema, descriptor).map_err(failed)?;
        let counts = converter.row_group_null_counts(groups).map_err(failed)?;
        if counts.null_count() == 0 {
            nulls.insert(name.clone(), json!(counts.values().iter().sum::<u64>()));
        }
        let lows = converter.row_group_mins(groups).map_err(failed)?;
        let highs = converter.row_group_maxes(groups).map_err(failed)?;
        let low = extreme(&lows, std::cmp::Ordering::Less).and_then(|v| bound(&v, false));
        let high = extreme(&highs, std::cmp::Ordering::Greater).and_then(|v| bound(&v, true));
        if let (Some(low), high) = (low, high) {
            min.insert(name.clone(), low);
            if let Some(high) = high.filter(|_| !has_nan) {
                max.insert(name.clone(), high);
            }
        }
    }
    let rows = metadata.file_metadata().num_rows();
    Ok(json!({ "numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls }))
}

/// The extreme over row groups. A group of nulls alone has none, and so has a group whose writer could not tell.
fn extreme(values: &ArrayRef, wanted: std::cmp::Ordering) -> Option<ScalarValue> {
    let mut best: Option<ScalarValue> = None;
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        let value = ScalarValue::try_from_array(values, row).ok()?;
        let better = match &best {
            Some(best) => value.partial_cmp(best)? == wanted,
            None => true,
        };
        if better {
            best = Some(value);
        }
    }
    best
}

/// A number of JSON is read as a double by many: one that has more digits than a double keeps is no bound.
fn decimal(unscaled: i128, scale: i8) -> Option<Value> {
    const DIGITS: u32 = 15;
    if unscaled.unsigned_abs() >= 10_u128.pow(DIGITS) {
        return None;
    }
    let text = format!("{unscaled}e{}", -i32::from(scale));
    text.parse::<f64>().ok().map(Value::from)
}

/// A bound as Delta writes it. Times have milliseconds there: the upper bound is rounded up.
fn bound(value: &ScalarValue, upper: bool) -> Option<Value> {
    match value {
        ScalarValue::Int8(v) => v.map(Value::from),
        ScalarValue::Int16(v) => v.map(Value::from),
        ScalarValue::Int32(v) => v.map(Value::from),
        ScalarValue::Int64(v) => v.map(Value::from),
        ScalarValue::Boolean(v) => v.map(Value::from),
        ScalarValue::Decimal128(v, _, scale) => decimal((*v)?, *scale),
        ScalarValue::Float32(v) => v.map(f64::from).filter(|v| v.is_finite()).map(Value::from),
        ScalarValue::Float64(v) => v.filter(|v| v.is_finite()).map(Value::from),
        ScalarValue::Utf8(v) => {
            let text = v.as_ref()?;
            let short = text.chars().count() < STATISTICS_TEXT;
            (short || !upper).then(|| {
                text.chars()
                    .take(STATISTICS_TEXT)
                    .collect::<String>()
                    .into()
            })
        }
        ScalarValue::Date32(days) => {
            let seconds = i64::from((*days)?) * 86_400;
            let date = chrono::DateTime::from_timestamp(seconds, 0)?.date_naive();
            Some(date.to_string().into())
        }
        ScalarValue::TimestampMicrosecond(micros, zone) => {
            let micros = (*micros)?;
            let millis = micros.div_euclid(1000) + i64::from(upper && micros.rem_euclid(1000) > 0);
            let time = chrono::DateTime::from_timestamp_millis(millis)?;
            // Beyond it readers read no year of four digits.
            if !(0..=9999).contains(&time.year()) {
                return None;
            }
            let format = if zone.is_some() {
                "%Y-%m-%dT%H:%M:%S%.3fZ"
            } else {
                "%Y-%m-%dT%H:%M:%S%.3f"
            };
            Some(time.format(format).to_string().into())
        }
        _ => None,
    }
}
