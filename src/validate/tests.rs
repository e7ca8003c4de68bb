//! Batches held to a contract: what each rule says of a row, and what becomes of the row.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampSecondArray,
};
use proptest::prelude::*;

mod keys;
mod size;

use super::*;
use crate::dataset::{Action, Contract, Rule, RuleKind, from_toml};
use crate::fault::Fault;

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

/// All rules but those about earlier rows.
fn scope() -> Scope<'static> {
    Scope {
        keys: None,
        lateness: true,
        bytes_max: 256 << 20,
    }
}

fn judged(contract: &Contract, batch: &RecordBatch, scope: Scope<'_>) -> Result<Validated, Fault> {
    let origin = Origin {
        ingest_ts: NOW,
        source: &Source::new("p"),
        seq: 1,
    };
    Validator::new(Arc::new(contract.clone())).judge(batch, &origin, &References::new(), scope)
}

fn verdict_of(contract: &Contract, batch: &RecordBatch) -> Result<Verdict, Fault> {
    judged(contract, batch, scope()).map(|v| v.verdict().clone())
}

fn rules_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let (applied, verdict, _) = judged(&contract(), batch, scope()).unwrap().into_parts();
    let (accepted, rejected) = applied.into_sides();
    assert_eq!(
        accepted.map_or(0, |b| b.num_rows()) as u64,
        verdict.accepted()
    );
    assert_eq!(
        rejected.map_or(0, |b| b.num_rows()) as u64,
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
fn a_rule_of_its_own_says_how_old_an_event_time_may_be() {
    let seconds = TimestampSecondArray::from(vec![-9_246_182_400]).with_timezone("UTC");
    let batch = with(1, "ts", Arc::new(seconds));
    let mut contract = contract();
    let century = RuleKind::MaxLate {
        micros: 400 * 366 * 86_400_000_000,
    };
    for (action, accepted) in [(Action::Warn, 0), (Action::Reject, 1)] {
        contract
            .rules
            .retain(|r| !matches!(r.kind, RuleKind::MaxLate { .. }));
        contract
            .rules
            .push(Rule::new("ts", century.clone(), action));
        assert_eq!(
            verdict_of(&contract, &batch).unwrap().accepted(),
            accepted,
            "{action:?}"
        );
    }
}

#[test]
fn rows_that_a_partition_cannot_hold_are_rejected_and_replayed_as_they_were() {
    let columns = vec![
        crate::dataset::Column::new("id", crate::dataset::ColumnType::Long),
        crate::dataset::Column::new("site", crate::dataset::ColumnType::String),
    ];
    let name = crate::types::TableName::new("public", "t").unwrap();
    let mut contract = Contract::plain(name, columns);
    contract.partition_by = vec!["site".to_owned()];
    let ids = Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    let sites = Arc::new(StringArray::from(vec![Some(""), Some("a"), None])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", ids), ("site", sites)]).unwrap();
    let verdict = verdict_of(&contract, &batch).unwrap();
    assert_eq!(verdict.rejected.len(), 1);
    assert_eq!(verdict.rejected[0].rules, ["partition:site"]);
    assert!(
        verdict.rejected[0].reason.contains("NULL"),
        "{:?}",
        verdict.rejected
    );
    // A frame of an older server's says that the row was accepted: its empty text is NULL, as it was then.
    let accepted = Verdict {
        rows: 3,
        ..Verdict::empty()
    };
    let origin = Origin {
        ingest_ts: NOW,
        source: &Source::new("p"),
        seq: 1,
    };
    let replayed = Validator::new(Arc::new(contract)).replay(&batch, &origin, &accepted);
    let (rows, _) = replayed.unwrap().into_sides();
    let rows = rows.unwrap();
    assert_eq!((rows.num_rows(), rows.column(1).null_count()), (3, 2));
}

#[test]
fn a_batch_of_unknown_columns_alone_is_refused_where_unknown_ones_are_ignored() {
    let mut contract = contract();
    contract.unknown_columns = crate::dataset::UnknownColumns::Ignore;
    for rule in &mut contract.columns {
        rule.required = false;
    }
    let values = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let unknown = RecordBatch::try_from_iter([("ts;AT", values.clone())]).unwrap();
    let error = verdict_of(&contract, &unknown).unwrap_err().to_string();
    assert!(error.contains("none of the columns is known"), "{error}");
    let known = RecordBatch::try_from_iter([("ts;AT", values.clone()), ("V", values)]).unwrap();
    verdict_of(&contract, &known).unwrap();
}

/// Batches of one stream must not hold up the sockets of the others.
#[test]
fn a_large_batch_is_judged_while_another_thread_looks_after_the_runtime() {
    let (began, threads) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || {
            let _ = began.send(());
        })
        .build()
        .unwrap();
    threads.recv().unwrap();
    let task = runtime.spawn(async move {
        let empty = || Arc::new(Float64Array::from(vec![None; 20_000])) as ArrayRef;
        verdict_of(&contract(), &with(2, "AT", empty().slice(0, 2))).unwrap();
        let alone = threads.try_recv().is_err();
        let large = verdict_of(&contract(), &with(20_000, "AT", empty())).unwrap();
        let helped = threads.recv_timeout(std::time::Duration::from_secs(10));
        (alone, large.rejected.len(), helped)
    });
    let found = runtime.block_on(task).unwrap();
    assert_eq!((found.0, found.2), (true, Ok(())), "{}", found.1);
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
        let judged = judged(&contract, &batch, scope()).unwrap();
        let (accepted, _) = judged.into_parts().0.into_sides();
        let days = accepted.unwrap().column(2).clone();
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

/// A table of two columns, `a` required, and these rules.
fn ruled(rules: &str) -> Contract {
    let toml = format!(
        "dataset = \"d\"\n[[table]]\nname = \"t\"\ncolumns = [ {{ name = \"a\", type = \"long\", required = true }}, {{ name = \"b\", type = \"double\" }} ]\nrules = [ {rules} ]"
    );
    from_toml(&toml).unwrap().tables.remove(0)
}

fn long(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(arrow::array::Int64Array::from_iter(values))
}

/// Many bad rows cost what their number says: with a pass over the batch for each of them this would run for hours. What the
/// log's verdict makes of the batch after a crash is what was made of it when it came.
#[test]
fn each_of_many_bad_rows_is_worked_on_once_and_replay_makes_the_same_rows() {
    const ROWS: u32 = 200_000;
    let odd = |n: u32| n % 2 == 1;
    let b: ArrayRef = Arc::new(Float64Array::from_iter(
        (0..ROWS).map(|n| if odd(n) { 99.0 } else { 1.5 }),
    ));
    let a = long((0..ROWS).map(|n| Some(i64::from(n))));
    let holes = long((0..ROWS).map(|n| odd(n).then_some(7)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..ROWS).map(|n| if odd(n) { "x" } else { "12" }),
    ));
    let range =
        |action: &str| format!("{{ column = \"b\", min = 0, max = 10, action = \"{action}\" }}");
    let cases = [
        ("clamp", range("clamp"), a.clone(), 0),
        ("null", range("null"), a.clone(), 0),
        ("reject", range("reject"), a.clone(), ROWS / 2),
        ("not null", range("warn"), holes, ROWS / 2),
        ("type", range("warn"), texts, ROWS / 2),
        (
            "unique",
            "{ unique = [\"a\"] }".to_owned(),
            long((0..ROWS).map(|_| Some(1))),
            ROWS / 2,
        ),
        (
            "monotonic",
            "{ column = \"b\", monotonic_by = [\"a\"] }".to_owned(),
            long((0..ROWS).map(|_| Some(1))),
            ROWS / 2 - 1,
        ),
    ];
    for (name, rules, a, rejected) in cases {
        let contract = ruled(&rules);
        let validator = Validator::new(Arc::new(contract));
        let sent = RecordBatch::try_from_iter([("a", a), ("b", b.clone())]).unwrap();
        let origin = Origin {
            ingest_ts: NOW,
            source: &Source::new("p"),
            seq: 1,
        };
        let keys = Keys::new(1000);
        let scope = Scope {
            keys: Some(&keys),
            ..scope()
        };
        let judged = validator
            .judge(&sent, &origin, &References::new(), scope)
            .unwrap();
        let (applied, verdict, _) = judged.into_parts();
        assert_eq!(verdict.quarantined(), u64::from(rejected), "{name}");
        let logged = Verdict::decode(&verdict.encode()).unwrap();
        let again = validator.replay(&sent, &origin, &logged).unwrap();
        assert_eq!(applied.into_sides(), again.into_sides(), "{name}");
    }
}

#[test]
fn the_last_change_of_a_value_wins_and_other_values_stay() {
    let mut contract = ruled(
        "{ column = \"b\", min = 0, max = 10, action = \"null\" }, { column = \"a\", min = 0, max = 100, action = \"clamp\" }",
    );
    contract.rules.push(crate::dataset::Rule {
        name: "range:b, once more".to_owned(),
        column: "b".to_owned(),
        kind: crate::dataset::RuleKind::Range {
            min: Some(-5.0),
            max: Some(20.0),
        },
        action: crate::dataset::Action::Clamp,
    });
    let b: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(1.0),
        Some(15.0),
        Some(50.0),
        None,
        Some(f64::NAN),
    ]));
    let a = long([Some(1), Some(-3), Some(500), Some(4), Some(5)]);
    let sent = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
    let (applied, ..) = judged(&contract, &sent, scope()).unwrap().into_parts();
    let accepted = applied.into_sides().0.unwrap();
    let expected: [ArrayRef; 2] = [
        long([Some(1), Some(0), Some(100), Some(4), Some(5)]),
        Arc::new(Float64Array::from(vec![
            Some(1.0),
            None,
            Some(20.0),
            None,
            None,
        ])),
    ];
    assert_eq!(accepted.columns()[..2], expected);
}
