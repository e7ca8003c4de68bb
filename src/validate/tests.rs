#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampSecondArray,
};
use proptest::prelude::*;

use super::*;
use crate::dataset::{Contract, from_toml};

const NOW: i64 = 1_790_000_000_000_000;

fn contract() -> Contract {
    from_toml(include_str!("../../data/reactor/dataset.toml"))
        .unwrap()
        .tables
        .remove(0)
}

fn good(rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let column = |v: f64| Arc::new(Float64Array::from(vec![v; rows])) as ArrayRef;
    vec![
        ("reactor_id", Arc::new(StringArray::from(vec!["R1"; rows]))),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![NOW; rows]).with_timezone("UTC")),
        ),
        ("AT", column(20.0)),
        ("V", column(50.0)),
        ("AP", column(1000.0)),
        ("RH", column(70.0)),
        ("PE", column(450.0)),
    ]
}

fn with(rows: usize, name: &'static str, values: ArrayRef) -> RecordBatch {
    let columns = good(rows).into_iter().map(|(n, c)| {
        if n == name {
            (n, values.clone())
        } else {
            (n, c)
        }
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

fn verdict_of(contract: &Contract, batch: &RecordBatch) -> Result<Verdict, Fault> {
    judge(contract, &conform(contract, batch, NOW)?, &Context::at(NOW))
}

fn rules_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let verdict = verdict_of(&contract(), batch).unwrap();
    let origin = Origin {
        ingest_ts: NOW,
        source: &Source::new("p"),
        seq: 1,
    };
    let conformed = conform(&contract(), batch, NOW).unwrap();
    let applied = apply(&contract(), batch, &conformed, &verdict, &origin).unwrap();
    assert_eq!(
        applied.accepted.map_or(0, |b| b.num_rows()) as u64,
        verdict.accepted()
    );
    assert_eq!(
        applied.rejected.map_or(0, |b| b.num_rows()) as u64,
        verdict.quarantined()
    );
    verdict.rejected.into_iter().map(|r| r.rules).collect()
}

#[test]
fn each_bad_value_is_rejected_by_its_rule_and_good_ones_pass() {
    let floats = |v: Vec<Option<f64>>| Arc::new(Float64Array::from(v)) as ArrayRef;
    let texts = |v: Vec<&str>| Arc::new(StringArray::from(v)) as ArrayRef;
    let seconds =
        |v: Vec<i64>| Arc::new(TimestampSecondArray::from(v).with_timezone("UTC")) as ArrayRef;
    let cases: Vec<(&'static str, ArrayRef, Option<&str>)> = vec![
        ("AT", floats(vec![Some(1.81)]), None),
        ("AT", floats(vec![Some(37.11)]), None),
        ("AT", floats(vec![Some(37.12)]), Some("range:AT")),
        ("AT", floats(vec![Some(f64::NAN)]), Some("range:AT")),
        ("AT", floats(vec![Some(f64::INFINITY)]), Some("range:AT")),
        ("PE", floats(vec![None]), Some("not_null:PE")),
        ("AT", texts(vec!["20.5"]), None),
        ("AT", texts(vec!["n/a"]), Some("type:AT")),
        ("ts", texts(vec!["2026-01-01T00:00:00.5Z"]), None),
        ("ts", floats(vec![Some(1.7e9)]), None),
        ("ts", floats(vec![Some(1e300)]), Some("type:ts")),
        ("ts", seconds(vec![-9_246_182_400]), Some("event_time:ts")),
        ("ts", seconds(vec![9_214_646_400]), Some("event_time:ts")),
        ("ts", seconds(vec![i64::MAX]), Some("type:ts")),
    ];
    for (name, values, rule) in cases {
        let shown = format!("{name} {values:?}");
        let expected: Vec<Vec<String>> = rule.map(|r| vec![vec![r.to_owned()]]).unwrap_or_default();
        assert_eq!(rules_of(&with(1, name, values)), expected, "{shown}");
    }
}

#[test]
fn a_batch_that_breaks_the_contract_as_a_whole_is_refused_by_name() {
    let without = |name: &str| {
        RecordBatch::try_from_iter(good(1).into_iter().filter(|(n, _)| *n != name)).unwrap()
    };
    let renamed = RecordBatch::try_from_iter(
        good(1)
            .into_iter()
            .map(|(n, c)| (if n == "AT" { "T" } else { n }, c)),
    )
    .unwrap();
    let reserved = RecordBatch::try_from_iter(
        good(1)
            .into_iter()
            .map(|(n, c)| (if n == "AT" { "_seq" } else { n }, c)),
    )
    .unwrap();
    let wrong = with(
        1,
        "AT",
        Arc::new(arrow::array::BooleanArray::from(vec![true])),
    );
    for (batch, reason, word) in [
        (without("AT"), "missing_column", "AT"),
        (renamed, "unknown_column", "AT"),
        (reserved, "reserved_column", "_seq"),
        (wrong, "incompatible_type", "DOUBLE"),
    ] {
        let fault = verdict_of(&contract(), &batch).unwrap_err();
        assert_eq!(fault.reason, reason);
        assert!(fault.message.contains(word), "{fault}");
    }
    assert!(
        verdict_of(&contract(), &without("reactor_id")).is_ok(),
        "it has a default"
    );
}

proptest! {
    #[test]
    fn received_is_accepted_plus_quarantined_and_the_verdict_survives_its_bytes(
        values in prop::collection::vec(prop::option::of(-50.0f64..100.0), 1..200)
    ) {
        let rows = values.len();
        let batch = with(rows, "AT", Arc::new(Float64Array::from(values.clone())));
        let verdict = verdict_of(&contract(), &batch).unwrap();
        let bad = values.iter().filter(|v| !v.is_some_and(|v| (1.81..=37.11).contains(&v))).count();
        prop_assert_eq!(verdict.quarantined(), bad as u64);
        prop_assert_eq!(verdict.accepted() + verdict.quarantined() + verdict.duplicate_count(), rows as u64);
        prop_assert_eq!(Verdict::decode(&verdict.encode()).unwrap(), verdict);
    }

    #[test]
    fn bytes_that_are_no_verdict_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Verdict::decode(&bytes);
    }
}

#[test]
fn a_date_column_takes_the_day_of_a_time_that_was_sent_or_is_the_arrival() {
    let contract = from_toml(
        "dataset = \"d\"\n[[table]]\nname = \"t\"\npartition_by = [\"day\"]\ncolumns = [\
         { name = \"at\", type = \"timestamp\", required = true, from = \"_ingest_ts\", time_unit = \"ms\" },\
         { name = \"n\", type = \"long\" },\
         { name = \"day\", type = \"date\", required = true, from = \"at\" }]",
    )
    .unwrap()
    .tables
    .remove(0);
    let n: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    let sent: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![86_400_000]));
    let day = |batch: RecordBatch| {
        let conformed = conform(&contract, &batch, NOW).unwrap();
        let days = conformed.columns[2].clone();
        days.as_any()
            .downcast_ref::<arrow::array::Date32Array>()
            .unwrap()
            .value(0)
    };
    let arrival = RecordBatch::try_from_iter([("n", n.clone())]).unwrap();
    assert_eq!(i64::from(day(arrival)), NOW / 86_400_000_000);
    let given = RecordBatch::try_from_iter([("n", n), ("at", sent)]).unwrap();
    assert_eq!(day(given), 1);
}
