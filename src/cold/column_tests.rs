//! A Delta table whose columns are renamed, dropped and added again, as this server reads and writes it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::logical_expr::ident;
use datafusion::physical_plan::collect;
use datafusion::prelude::{Expr, SessionContext, col, lit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::faulty::{FAIL_AFTER, FAIL_BEFORE, Faulty, SOUND};
use super::tests::add_foreign_column;
use super::*;
use crate::types::ColumnMoves;

const OWNER: &str = "deltaplane/owner";

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter();
    let fields = fields.map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn first() -> SchemaRef {
    schema(&[
        ("n", DataType::Int64),
        ("k", DataType::Utf8),
        ("v", DataType::Float64),
        ("p", DataType::Utf8),
    ])
}

/// Three rows of one partition under the columns of a schema: numbers from `from`, texts, halves, and the partition.
fn rows(schema: &SchemaRef, from: i64, p: &str) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.data_type() {
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(from..from + 3)),
            DataType::Float64 => Arc::new(Float64Array::from(vec![0.5, f64::NAN, 1.5])),
            _ if field.name() == "p" => Arc::new(StringArray::from(vec![p; 3])),
            _ => Arc::new(StringArray::from_iter_values(
                (from..from + 3).map(|n| format!("{}{n}", field.name())),
            )),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

async fn table(lake: &Lake) -> ColdTable {
    let txns = vec![("log/1".to_owned(), 0), (OWNER.to_owned(), 1)];
    let by = ["p".to_owned()];
    ColdTable::create(lake, "s/t", first(), &by, BTreeMap::new(), txns)
        .await
        .unwrap()
}

async fn add(table: &mut ColdTable, position: i64) {
    let batch = rows(&table.schema(), position * 10, "x");
    let staged = table.stage(vec![batch]).await.unwrap();
    let txns = vec![("log/1".to_owned(), position)];
    table.commit(staged, txns).await.unwrap();
}

async fn alter(
    table: &mut ColdTable,
    next: &SchemaRef,
    renamed: &[(&str, &str)],
    dropped: &[&str],
) {
    let renamed = renamed.iter();
    let moves = ColumnMoves {
        renamed: renamed
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect(),
        dropped: dropped.iter().map(|c| (*c).to_owned()).collect(),
    };
    let version = BTreeMap::from([("deltaplane.test".to_owned(), table.version().to_string())]);
    table
        .alter(next.clone(), version, &[], &moves)
        .await
        .unwrap();
}

/// The numbers of a column in all files that a filter leaves, nulls as -1, in order.
async fn numbers(view: &PinnedFiles, column: &str, filter: Option<Expr>) -> Vec<i64> {
    let context = SessionContext::new();
    let filters: Vec<Expr> = filter.into_iter().collect();
    let plan = view.scan(&context.state(), None, &filters, None).unwrap();
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    let mut found: Vec<i64> = batches
        .iter()
        .flat_map(|b| {
            let values = b.column_by_name(column).unwrap();
            let values = values.as_primitive::<Int64Type>().iter();
            values.map(|v| v.unwrap_or(-1)).collect::<Vec<_>>()
        })
        .collect();
    found.sort_unstable();
    found
}

async fn nulls(view: &PinnedFiles, column: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for file in view.each() {
        let batch = file.read().await.unwrap();
        found.push(batch.column_by_name(column).unwrap().null_count());
    }
    found.sort_unstable();
    found
}

#[tokio::test]
async fn columns_are_what_they_were_in_every_file_and_version() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    add(&mut table, 1).await;
    // `k` is dropped, and `n` takes its name.
    let next = schema(&[
        ("k", DataType::Int64),
        ("v", DataType::Float64),
        ("p", DataType::Utf8),
    ]);
    alter(&mut table, &next, &[("n", "k")], &["k"]).await;
    add(&mut table, 2).await;
    // A column comes again under its name, and under one that differs in case alone.
    let next = schema(&[
        ("k", DataType::Int64),
        ("n", DataType::Int64),
        ("V", DataType::Float64),
        ("p", DataType::Utf8),
    ]);
    alter(&mut table, &next, &[], &["v"]).await;
    add(&mut table, 3).await;

    let due = table.checkpoint_due(1).unwrap();
    due.write(std::time::Duration::from_secs(3600))
        .await
        .unwrap();
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    for (table, which) in [(&table, "the handle"), (&again, "opened")] {
        let view = table.view();
        let all = [10, 11, 12, 20, 21, 22, 30, 31, 32];
        assert_eq!(numbers(&view, "k", None).await, all, "{which}");
        let none = [-1, -1, -1, -1, -1, -1, 30, 31, 32];
        assert_eq!(numbers(&view, "n", None).await, none, "{which}");
        assert_eq!(nulls(&view, "V").await, [0, 3, 3], "{which}");
        assert_eq!(nulls(&view, "k").await, [0, 0, 0], "{which}");
        // Files are left out by what the log says of the column under its name in the files.
        let few = numbers(&view, "k", Some(col("k").gt(lit(15i64)))).await;
        assert_eq!(few, [20, 21, 22, 30, 31, 32], "{which}");
        let few = numbers(&view, "k", Some(col("n").lt(lit(15i64)))).await;
        assert!(few.len() < 9 && !few.contains(&30), "{which}: {few:?}");
        // A NaN is above all numbers, and the file says of its columns under its own names whether they hold one.
        let few = numbers(&view, "k", Some(ident("V").gt(lit(100.0)))).await;
        assert!(few.contains(&30), "{which}: {few:?}");
        for file in view.each() {
            assert_eq!(check::problem(file).await, None, "{which}");
        }
    }
    let now = table.view();
    let history = now.history().unwrap();
    let then = history.view(At::Version(1), &now).await.unwrap();
    assert_eq!(then.schema(), first());
    assert_eq!(numbers(&then, "n", None).await, [10, 11, 12]);
    assert_eq!(nulls(&then, "k").await, [0]);
    let then = history.view(At::Version(3), &now).await.unwrap();
    assert_eq!(numbers(&then, "k", None).await, [10, 11, 12, 20, 21, 22]);

    // The rows of the first version come back under the columns of today.
    assert!(table.restore(At::Version(1)).await.unwrap().is_some());
    assert_eq!(numbers(&table.view(), "k", None).await, [10, 11, 12]);
    assert_eq!(numbers(&table.view(), "n", None).await, [-1, -1, -1]);
}

/// Names in the log are those of the files, and each column of a file that is written has its number.
#[tokio::test]
async fn files_and_log_have_physical_names_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    add(&mut table, 1).await;
    // The first version with a new column alone asks for no feature.
    let grown = schema(&[
        ("n", DataType::Int64),
        ("k", DataType::Utf8),
        ("v", DataType::Float64),
        ("p", DataType::Utf8),
        ("m", DataType::Int64),
    ]);
    alter(&mut table, &grown, &[], &[]).await;
    assert!(!table.properties().contains_key(mapping::MODE));
    let log = dir.path().join("s/t/_delta_log");
    let entry = |version: i64| std::fs::read_to_string(log.join(format!("{version:020}.json")));
    assert!(!entry(2).unwrap().contains("columnMapping"));
    let next = schema(&[
        ("num", DataType::Int64),
        ("k", DataType::Utf8),
        ("v", DataType::Float64),
        ("p", DataType::Utf8),
        ("m", DataType::Int64),
        ("late", DataType::Int64),
    ]);
    alter(&mut table, &next, &[("n", "num")], &[]).await;
    let upgraded = entry(3).unwrap();
    assert!(
        upgraded.contains(r#""readerFeatures":["columnMapping"]"#),
        "{upgraded}"
    );
    add(&mut table, 2).await;
    let told = entry(4).unwrap();
    let lines = told
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let add = lines
        .map(|l| l["add"].clone())
        .find(|a| !a.is_null())
        .unwrap();
    assert_eq!(add["partitionValues"], serde_json::json!({ "p": "x" }));
    let stats: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    let counted: BTreeSet<&str> = stats["nullCount"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let bytes = std::fs::read(dir.path().join("s/t").join(add["path"].as_str().unwrap())).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    let fields = reader.schema().fields().clone();
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    let ids: Vec<&str> = fields
        .iter()
        .map(|f| f.metadata()[PARQUET_FIELD_ID_META_KEY].as_str())
        .collect();
    assert_eq!(names[..4], ["n", "k", "v", "m"]);
    assert!(names[4].starts_with("col-"), "{names:?}");
    assert_eq!(ids, ["1", "2", "3", "5", "6"]);
    assert_eq!(counted, names.iter().copied().collect());
    assert_eq!(table.properties()["delta.columnMapping.maxColumnId"], "6");
    assert_eq!(nulls(&table.view(), "late").await, [0, 3]);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (lake, mode) = Faulty::under(lake, "_delta_log/");
    let mut table = table(&lake).await;
    add(&mut table, 1).await;
    let version = table.version();
    let mut names = ["n", "k"];
    for (round, fault) in [FAIL_AFTER, FAIL_BEFORE, SOUND].into_iter().enumerate() {
        // The two columns change places each time.
        let next = schema(&[
            (names[1], DataType::Int64),
            (names[0], DataType::Utf8),
            ("v", DataType::Float64),
            ("p", DataType::Utf8),
        ]);
        mode.store(fault, Ordering::SeqCst);
        alter(&mut table, &next, &[("n", "k"), ("k", "n")], &[]).await;
        names.reverse();
        assert_eq!(table.version(), version + 1 + i64::try_from(round).unwrap());
        assert_eq!(table.unlogged(), table.version());
        let found = numbers(&table.view(), names[0], None).await;
        assert_eq!(found, [10, 11, 12], "round {round}");
    }
    add(&mut table, 2).await;
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    let found = numbers(&again.view(), "k", None).await;
    assert_eq!(found, [10, 11, 12, 20, 21, 22]);
}

/// Another writer's change is not read as nulls.
#[tokio::test]
async fn a_column_that_another_writer_renames_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    add(&mut table, 1).await;
    let mut other = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    other.claim(OWNER, 2).await.unwrap();
    let next = schema(&[
        ("num", DataType::Int64),
        ("k", DataType::Utf8),
        ("v", DataType::Float64),
        ("p", DataType::Utf8),
    ]);
    alter(&mut other, &next, &[("n", "num")], &[]).await;
    let error = table.refresh().await.unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch(text) if text.contains("column n")),
        "{error}"
    );
    let error = table.conform_to(first()).unwrap_err();
    assert!(matches!(error, Error::Mismatch(_)), "{error}");
}

/// A column that another writer has added keeps its values: no other one takes its name, in no case of letters.
#[tokio::test]
async fn no_column_takes_the_name_of_another_writers() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    add_foreign_column(&dir, 1);
    table.refresh().await.unwrap();
    let named = |to: &str| {
        let column = (to, DataType::Float64);
        let (n, k, p) = (
            ("n", DataType::Int64),
            ("k", DataType::Utf8),
            ("p", DataType::Utf8),
        );
        schema(&[n, k, column, p])
    };
    for to in ["theirs", "Theirs"] {
        let moves = ColumnMoves {
            renamed: [("v".to_owned(), to.to_owned())].into(),
            dropped: BTreeSet::new(),
        };
        let refused = table.alter(named(to), BTreeMap::new(), &[], &moves).await;
        assert!(
            matches!(&refused, Err(Error::Refused(text)) if text.contains("column=theirs")),
            "{to}: {refused:?}"
        );
    }
    alter(&mut table, &named("mine"), &[("v", "mine")], &[]).await;
    // Added here, it is that very column.
    let mut fields: Vec<_> = named("mine").fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("theirs", DataType::Int64, true)));
    alter(&mut table, &Arc::new(Schema::new(fields)), &[], &[]).await;
    let names = table.schema();
    let names: Vec<&str> = names.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["n", "k", "mine", "p", "theirs"]);
}
