#![expect(clippy::unwrap_used, reason = "tests")]
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int64Array, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Float64Type};
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::super::super::Mapping;
use super::super::super::files::file::is_in_one_form;
use super::partition::partition_value;
use super::*;

/// `days` alternate in the batch, so that the first test meets few ranges and the second too many.
fn batch(days: &[i32]) -> RecordBatch {
    let rows = i32::try_from(days.len()).unwrap();
    let schema = Schema::new(vec![
        Field::new(
            "ts",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        Field::new("v", DataType::Float64, true),
        Field::new("day", DataType::Date32, true),
    ]);
    let times = (0..rows).map(|n| 1_000_001 + i64::from(n));
    let values: Float64Array = (0..rows).map(|n| (n > 0).then(|| f64::from(n))).collect();
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            Arc::new(values),
            Arc::new(Date32Array::from(days.to_vec())),
        ],
    )
    .unwrap()
}

/// Of a table that has the batch's columns.
fn slices(
    batch: &RecordBatch,
    partition_by: &[String],
    effort: Effort,
    target_bytes: usize,
) -> Result<Slices, Error> {
    let columns = Columns {
        schema: &batch.schema(),
        partition_by,
        mapping: &Mapping::default(),
    };
    Slices::new(columns, effort, target_bytes)
}

fn encode(
    batches: &[RecordBatch],
    effort: Effort,
    target_bytes: usize,
) -> Result<Vec<EncodedFile>, Error> {
    let partition = ["day".to_owned()];
    let mut slices = slices(&batches[0], &partition, effort, target_bytes)?;
    let mut files = Vec::new();
    for batch in batches {
        files.extend(slices.push(batch.clone())?);
    }
    loop {
        let ended = slices.drain(true)?;
        if ended.is_empty() {
            return Ok(files);
        }
        files.extend(ended);
    }
}

fn read(file: EncodedFile) -> Vec<f64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes)).unwrap();
    let batches = reader.build().unwrap().map(Result::unwrap);
    let values = batches.map(|b| b.column(1).as_primitive::<Float64Type>().values().to_vec());
    values.flatten().collect()
}

#[test]
fn each_partition_value_gets_one_file_with_its_rows_however_they_are_mixed() {
    for rows in [6i32, 1000] {
        let days: Vec<i32> = (0..rows).map(|n| n % 2).collect();
        let batch = batch(&days);
        let twice = [batch.clone(), batch.clone()];
        let files = encode(&twice, Effort::Quick, usize::MAX).unwrap();
        let values: Vec<_> = files
            .iter()
            .map(|f| f.add.partition_values["day"].clone().unwrap())
            .collect();
        assert_eq!(values, ["1970-01-01", "1970-01-02"], "{rows} rows");
        assert!(files[0].add.path.starts_with("day=1970-01-01/part-00000-"));
        for (parity, file) in files.into_iter().enumerate() {
            let got = read(file);
            assert_eq!(got.len(), rows as usize);
            assert!(got.iter().all(|v| *v as usize % 2 == parity));
        }
    }
}

#[test]
fn a_file_says_that_its_floats_have_one_form_where_all_of_them_do() {
    let other_nan = f64::from_bits(0x7ff0_0000_0000_0001);
    for (values, says) in [
        (vec![1.0, f64::NAN, 0.0], true),
        (vec![1.0, -0.0], false),
        (vec![-f64::NAN], false),
        (vec![other_nan, 1.0], false),
    ] {
        let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let others: ArrayRef = Arc::new(Float64Array::from(vec![1.0; values.len()]));
        let batch = RecordBatch::try_from_iter([("w", others), ("v", column)]).unwrap();
        let mut slices = slices(&batch, &[], Effort::Quick, usize::MAX).unwrap();
        // Of two batches the second is not looked at alone.
        slices.push(batch.clone()).unwrap();
        slices.push(batch.slice(0, 1)).unwrap();
        let file = slices.drain(true).unwrap().remove(0);
        assert_eq!(is_in_one_form(file.add.tags.as_ref()), says, "{values:?}");
    }
    let days = batch(&[1, 2]).project(&[0, 2]).unwrap();
    let mut slices = slices(&days, &[], Effort::Quick, usize::MAX).unwrap();
    slices.push(days).unwrap();
    assert_eq!(slices.drain(true).unwrap()[0].add.tags, None, "no floats");
}

#[test]
fn a_column_with_a_nan_has_no_maximum_and_one_without_says_so_in_the_footer() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let cases = [
        (
            vec![1.0, 2.0],
            json!({"v": 1.0}),
            json!({"v": 2.0}),
            r#"["v"]"#,
        ),
        (vec![1.0, nan, 2.0], json!({"v": 1.0}), json!({}), ""),
        (vec![nan], json!({}), json!({}), ""),
        // JSON has no word for infinity either.
        (vec![1.0, inf], json!({"v": 1.0}), json!({}), r#"["v"]"#),
    ];
    for (values, min, max, sound) in cases {
        let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
        let mut slices = slices(&batch, &[], Effort::Quick, usize::MAX).unwrap();
        slices.push(batch).unwrap();
        let file = slices.drain(true).unwrap().remove(0);
        let stats: Value = serde_json::from_str(file.add.stats.as_deref().unwrap()).unwrap();
        assert_eq!(
            (&stats["minValues"], &stats["maxValues"]),
            (&min, &max),
            "{values:?}"
        );
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes));
        let reader = reader.unwrap();
        let entries = reader.metadata().file_metadata().key_value_metadata();
        let entry = entries
            .unwrap()
            .iter()
            .find(|e| e.key == float_bounds::WITHOUT_NAN);
        let entry = entry.and_then(|e| e.value.as_deref()).unwrap_or_default();
        assert_eq!(entry, sound, "{values:?}");
    }
}

#[test]
fn statistics_bound_every_value_and_count_nulls() {
    let batch = batch(&[0, 0, 0]);
    let files = encode(std::slice::from_ref(&batch), Effort::Quick, usize::MAX).unwrap();
    let statistics: Value = serde_json::from_str(files[0].add.stats.as_deref().unwrap()).unwrap();
    assert_eq!(
        statistics,
        json!({
            "numRecords": 3,
            "minValues": { "ts": "1970-01-01T00:00:01.000Z", "v": 1.0 },
            // One microsecond into the millisecond: the bound is the next one.
            "maxValues": { "ts": "1970-01-01T00:00:01.001Z", "v": 2.0 },
            "nullCount": { "ts": 0, "v": 1 },
        })
    );
}

/// delta-rs gives no row of a file whose bounds are missing (`to_pyarrow_table(filters=..)`).
#[test]
fn decimals_and_booleans_have_bounds_as_far_as_json_can_say_them() {
    let decimals = |values: &[i128]| {
        let values = Decimal128Array::from(values.to_vec());
        Arc::new(values.with_precision_and_scale(38, 2).unwrap()) as ArrayRef
    };
    let last = 253_402_300_799_999_999;
    let batch = RecordBatch::try_from_iter([
        ("d", decimals(&[-1205, 333])),
        // More digits than a double keeps.
        ("large", decimals(&[7, 10_i128.pow(15)])),
        ("b", Arc::new(BooleanArray::from(vec![true, false])) as _),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![0, last])) as _,
        ),
    ])
    .unwrap();
    let mut slices = slices(&batch, &[], Effort::Quick, usize::MAX).unwrap();
    slices.push(batch).unwrap();
    let file = slices.drain(true).unwrap().remove(0);
    let stats: Value = serde_json::from_str(file.add.stats.as_deref().unwrap()).unwrap();
    let min = json!({"d": -12.05, "large": 0.07, "b": false, "ts": "1970-01-01T00:00:00.000"});
    assert_eq!(stats["minValues"], min);
    // The last moment of the year 9999, rounded up, would have a year of five digits.
    assert_eq!(stats["maxValues"], json!({"d": 3.33, "b": true}));
}

/// A device whose clock jumps: every row has another day. Few writers are open at any moment, and each row is in one file.
#[test]
fn any_number_of_partitions_is_written_by_a_bounded_number_of_writers() {
    let days: Vec<i32> = (0..3000).map(|n| (n * 7919) % 3000).collect();
    let partition = ["day".to_owned()];
    let batch = batch(&days);
    let mut slices = slices(&batch, &partition, Effort::Quick, usize::MAX).unwrap();
    assert!(slices.push(batch).unwrap().is_empty());
    assert!(slices.open.len() <= OPEN_MAX, "{}", slices.open.len());
    let mut files = Vec::new();
    loop {
        let ended = slices.drain(true).unwrap();
        assert!(ended.len() <= HANDED_FILES);
        if ended.is_empty() {
            break;
        }
        files.extend(ended);
    }
    let values: std::collections::BTreeSet<_> = files
        .iter()
        .map(|f| f.add.partition_values["day"].clone())
        .collect();
    assert_eq!((files.len(), values.len()), (3000, 3000));
    assert_eq!(files.iter().map(|f| f.rows).sum::<u64>(), 3000);
    assert_eq!(slices.waiting_bytes, 0);
}

#[test]
fn partition_values_and_folders_are_as_other_readers_expect_them() {
    let time = |micros: i64, zone: Option<&str>| -> ArrayRef {
        let times = TimestampMicrosecondArray::from_iter_values([micros]);
        match zone {
            Some(zone) => Arc::new(times.with_timezone(zone)),
            None => Arc::new(times),
        }
    };
    let cases = [
        (time(1_767_225_600_000_000, None), "2026-01-01 00:00:00"),
        (time(-1, None), "1969-12-31 23:59:59.999999"),
        (time(1_500_000, Some("UTC")), "1970-01-01T00:00:01.500000Z"),
    ];
    for (column, expected) in cases {
        assert_eq!(partition_value(&column).unwrap().as_deref(), Some(expected));
    }
    for (value, expected) in [(f64::INFINITY, "Infinity"), (-0.0, "-0.0")] {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
        let text = partition_value(&column).unwrap().unwrap();
        assert_eq!(text, expected);
        assert_eq!(
            ScalarValue::try_from_string(text, &DataType::Float64).unwrap(),
            ScalarValue::Float64(Some(value))
        );
    }
    let keys = ["site".to_owned(), "line".to_owned()];
    let got = path(&keys, &[Some("a/b".to_owned()), None], Effort::Quick);
    assert!(
        got.starts_with("site=a%2Fb/line=__HIVE_DEFAULT_PARTITION__/part-"),
        "{got}"
    );
}

#[test]
fn files_end_near_their_target_and_hold_every_row_once() {
    let batches: Vec<RecordBatch> = (0..40).map(|_| batch(&[0; 2000])).collect();
    let target = 60_000;
    let files = encode(&batches, Effort::Thorough, target).unwrap();
    assert!(files.len() > 2, "{} files", files.len());
    let (last, full) = files.split_last().unwrap();
    for file in full {
        assert!(
            file.bytes.len() >= large_enough(target),
            "{}",
            file.bytes.len()
        );
        assert!(file.bytes.len() < 2 * target, "{}", file.bytes.len());
    }
    assert!(last.add.path.ends_with(".zstd.parquet"));
    assert_eq!(files.iter().map(|f| f.rows).sum::<u64>(), 80_000);
    let stats: Value = serde_json::from_str(files[0].add.stats.as_deref().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], files[0].rows);
}

/// The codec of each column of a file made of `values`.
fn codecs(values: Vec<f64>, effort: Effort) -> Vec<Compression> {
    let numbers: ArrayRef = Arc::new((0..values.len() as i64).collect::<Int64Array>());
    let narrow: Float32Array = values.iter().map(|v| Some(*v as f32)).collect();
    let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
    let columns = [("i", numbers), ("v", column), ("w", Arc::new(narrow))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut slices = slices(&batch, &[], effort, usize::MAX).unwrap();
    slices.push(batch.clone()).unwrap();
    let file = slices.drain(true).unwrap().remove(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes)).unwrap();
    let columns = reader.metadata().row_group(0).columns().iter();
    let codecs = columns.map(|c| c.compression()).collect();
    let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
    codecs
}

#[test]
fn columns_of_noise_have_no_codec_and_others_keep_theirs() {
    for effort in [Effort::Quick, Effort::Thorough] {
        let (kept, none) = (effort.compression(), Compression::UNCOMPRESSED);
        let noise: Vec<f64> = (1..=5000).map(|n| f64::from(n).sin()).collect();
        assert_eq!(codecs(noise.clone(), effort), [kept, none, none]);
        let rounded = noise.iter().map(|v| (v * 50.0).round() / 10.0).collect();
        assert_eq!(codecs(rounded, effort), [kept, kept, kept]);
        let steady = vec![0.1; 5000];
        assert_eq!(codecs(steady, effort), [kept, kept, kept]);
        let few = noise[..100].to_vec();
        assert_eq!(codecs(few, effort), [kept, kept, kept]);
    }
}
