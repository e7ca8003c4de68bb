//! Rows on their way back from quarantine: whatever crashes, each ends up on one side.

use std::sync::Arc;
use std::task::Poll;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::*;
use crate::catalog::alter::alter;
use crate::dataset::{Action, Alteration, Column, ColumnType, Contract, Rule, RuleKind};
use crate::ingest::replay::{Outcome, Request, replay};

async fn change(running: &Running, changes: Vec<Alteration>) {
    let table = table(running);
    alter(&running.shared, &table.name(), &|_| Ok(changes.clone()))
        .await
        .unwrap();
}

fn range(column: &str, min: f64, max: f64) -> Rule {
    let kind = RuleKind::Range {
        min: Some(min),
        max: Some(max),
    };
    Rule::new(column, kind, Action::Reject)
}

/// 999 MW is fine from now on.
async fn widen(running: &Running) {
    let changes = vec![
        Alteration::DropRule("range:PE".to_owned()),
        Alteration::AddRule(range("PE", 420.0, 1000.0)),
    ];
    change(running, changes).await;
}

/// A column of the rows that queries see, hot and cold.
async fn column(running: &Running, table: &str, name: &str) -> Vec<String> {
    let view = running.shared.visible.snapshot().tables[&TableName::new("reactor", table).unwrap()]
        .clone();
    let mut out = Vec::new();
    let mut add = |batch: &RecordBatch| {
        let column = batch.column_by_name(name).unwrap();
        for row in 0..column.len() {
            out.push(arrow::util::display::array_value_to_string(column, row).unwrap());
        }
    };
    for file in view.cold.each() {
        add(&file.read().await.unwrap());
    }
    for chunk in view.hot.iter() {
        add(&chunk.batch);
    }
    out.sort();
    out
}

/// Rows by (`_seq`, PE): each of them once, wherever it is.
async fn everything_once(running: &Running) {
    let mut all = column(running, "raw", "_seq").await;
    all.extend(column(running, "raw_quarantine", "_seq").await);
    all.sort();
    let expected: Vec<String> = (1..=SEQS)
        .flat_map(|seq| [seq.to_string(), seq.to_string()])
        .collect();
    assert_eq!(all, expected);
    let days = running.shared.visible.kept_of(&table(running)).days;
    let (main, quarantine) = rows(running);
    let sum = |of: fn(&crate::records::Day) -> u64| days.values().map(of).sum::<u64>();
    assert_eq!(sum(|d| d.received), 2 * SEQS);
    assert_eq!(sum(|d| d.accepted), main as u64);
    assert_eq!(sum(|d| d.quarantined), quarantine as u64);
    assert_eq!(sum(|d| d.replayed), main as u64 - SEQS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_crashes_at_any_moment_moves_each_row_once() {
    let mut cut = 0;
    let mut moved_before_the_end = 0;
    let mut stop = 1;
    // The last cut before the move, and the first that came too late.
    let (mut before, mut late) = (0, None);
    loop {
        let dir = tempfile::tempdir().unwrap();
        let running = ingested(dir.path()).await;
        widen(&running).await;
        let (shared, table) = (running.shared.clone(), table(&running));
        let request = Request::default();
        let mut done = false;
        {
            let mut work = Box::pin(replay(&shared, &table, &request));
            for _ in 0..stop {
                if let Poll::Ready(outcome) = futures::poll!(&mut work) {
                    assert_eq!(outcome.unwrap().replayed, SEQS);
                    done = true;
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
        drop((shared, table));
        crash(running).await;
        let running = start(dir.path()).await;
        everything_once(&running).await;
        let (main, _) = rows(&running);
        assert!(main == 5 || main == 10, "one pass is one move, rows={main}");
        if !done {
            cut += 1;
            moved_before_the_end += usize::from(main == 10);
        }
        if done {
            late = Some(stop);
        } else if main == 5 {
            before = stop.max(before);
        }
        let outcome = replay(&running.shared, &super::table(&running), &request)
            .await
            .unwrap();
        assert_eq!(outcome.replayed, if main == 10 { 0 } else { SEQS });
        everything_once(&running).await;
        assert_eq!(rows(&running), (10, 0));
        crash(running).await;
        let running = start(dir.path()).await;
        everything_once(&running).await;
        crash(running).await;
        stop = match late {
            // Densely at first, where the steps are short.
            None => stop + 1 + stop / 2,
            // Where the machine was too fast for these steps, between the two.
            Some(late) if moved_before_the_end == 0 && late - before > 1 => {
                before + (late - before) / 2
            }
            Some(_) => break,
        };
    }
    assert!(cut > 5, "it was cut {cut} times");
    assert!(
        moved_before_the_end > 0,
        "no cut was between the first commit and the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_where_they_came_from_and_those_that_still_break_say_what() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let before = column(&running, "raw_quarantine", "_ingest_ts").await;
    let request = Request::default();
    // Nothing has changed: nothing moves, and no version is written.
    let version = table(&running)
        .files(|cold| cold.quarantine.version())
        .await;
    let outcome = replay(&running.shared, &table(&running), &request)
        .await
        .unwrap();
    assert_eq!((outcome.examined, outcome.rejected), (SEQS, SEQS));
    let flushed = table(&running)
        .files(|cold| cold.quarantine.version())
        .await;
    let outcome = replay(&running.shared, &table(&running), &request)
        .await
        .unwrap();
    assert_eq!((outcome.examined, outcome.rejected), (SEQS, SEQS));
    assert_eq!(
        table(&running)
            .files(|cold| cold.quarantine.version())
            .await,
        flushed
    );
    assert!(flushed > version);

    // Another rule than before: the row says which one it breaks now.
    let changes = vec![
        Alteration::DropRule("range:PE".to_owned()),
        Alteration::AddRule(range("V", 0.0, 1.0)),
    ];
    let changes = [vec![Alteration::DropRule("range:V".to_owned())], changes].concat();
    change(&running, changes).await;
    let outcome = replay(&running.shared, &table(&running), &request)
        .await
        .unwrap();
    assert_eq!((outcome.rejected, outcome.replayed), (SEQS, 0));
    assert_eq!(
        column(&running, "raw_quarantine", "rules").await,
        vec!["[range:V]"; 5]
    );
    everything_once(&running).await;

    // A dry run counts and does nothing; the true one keeps arrival, source and seq.
    change(&running, vec![Alteration::DropRule("range:V".to_owned())]).await;
    let dry = Request {
        dry_run: true,
        ..Request::default()
    };
    let outcome = replay(&running.shared, &table(&running), &dry)
        .await
        .unwrap();
    assert_eq!(outcome.replayed, SEQS);
    assert_eq!(rows(&running), (5, 5));
    let outcome = replay(&running.shared, &table(&running), &request)
        .await
        .unwrap();
    assert_eq!(
        outcome,
        Outcome {
            examined: SEQS,
            replayed: SEQS,
            duplicates: 0,
            rejected: 0
        }
    );
    let mut arrivals = column(&running, "raw", "_ingest_ts").await;
    arrivals.dedup();
    let mut expected = before;
    expected.dedup();
    assert_eq!(arrivals, expected);
    assert_eq!(column(&running, "raw", "_source").await, vec!["p"; 10]);
    everything_once(&running).await;
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uniqueness_holds_at_replay_and_lateness_is_held_against_the_arrival() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let late = RuleKind::MaxLate {
        // From 2023 to whenever this runs, and back to before it: only the arrival decides.
        micros: 100 * 365 * 86_400_000_000,
    };
    let unique = RuleKind::Unique {
        columns: vec!["reactor_id".to_owned()],
    };
    let changes = vec![
        Alteration::DropRule("range:PE".to_owned()),
        Alteration::AddRule(Rule::new("ts", late, Action::Reject)),
        Alteration::AddRule(Rule::new("reactor_id", unique, Action::Reject)),
    ];
    change(&running, changes).await;
    let outcome = replay(&running.shared, &table(&running), &Request::default())
        .await
        .unwrap();
    assert_eq!((outcome.replayed, outcome.rejected), (0, SEQS));
    assert_eq!(
        column(&running, "raw_quarantine", "rules").await,
        vec!["[unique:reactor_id]"; 5]
    );
    // Made identical to rows that are there: they leave as duplicates. The key's first row is the one that is known.
    let same = Request {
        overrides: vec![
            ("PE".to_owned(), Some("450.0".to_owned())),
            ("ts".to_owned(), Some("yesterday".to_owned())),
        ],
        ..Request::default()
    };
    // A correction that is none: the rows stay as they were.
    let outcome = replay(&running.shared, &table(&running), &same)
        .await
        .unwrap();
    assert_eq!((outcome.replayed, outcome.rejected), (0, SEQS));
    assert_eq!(
        column(&running, "raw_quarantine", "rules").await,
        vec!["[unique:reactor_id]"; 5]
    );
    let same = Request {
        overrides: vec![
            ("PE".to_owned(), Some("450.0".to_owned())),
            (
                "ts".to_owned(),
                Some("2023-11-14T22:13:20.000010Z".to_owned()),
            ),
        ],
        ..Request::default()
    };
    let outcome = replay(&running.shared, &table(&running), &same)
        .await
        .unwrap();
    assert_eq!(
        (outcome.duplicates, outcome.replayed),
        (SEQS, 0),
        "{outcome:?}"
    );
    let days = running.shared.visible.kept_of(&table(&running)).days;
    let day = days.values().next().unwrap();
    assert_eq!((day.duplicates, day.quarantined, day.replayed), (5, 0, 5));
    assert_eq!(
        day.received,
        day.accepted + day.quarantined + day.duplicates
    );
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_replayed_by_the_contract_that_judged_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let name = TableName::new("public", "t").unwrap();
    let mut contract = Contract::plain(name.clone(), vec![Column::new("a", ColumnType::Long)]);
    contract.unknown_columns = crate::dataset::UnknownColumns::Ignore;
    lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
    let numbers = |v: i64| Arc::new(Int64Array::from(vec![v])) as ArrayRef;
    let sent =
        |v: i64| RecordBatch::try_from_iter([("a", numbers(v)), ("extra", numbers(v))]).unwrap();
    let table = running.shared.table(&name).unwrap();
    let mut stream = IngestStream::unnamed(running.shared.clone(), table);
    stream
        .push(None, Some(sent(1)))
        .await
        .unwrap()
        .durable()
        .await
        .unwrap();
    // By the new contract the first frame could not even be read: it has a column of another type.
    let reject = [("deltaplane.unknownColumns".to_owned(), "reject".to_owned())];
    let changes = vec![
        Alteration::AddColumn(Column::new("extra", ColumnType::Boolean)),
        Alteration::Set(reject.into_iter().collect()),
    ];
    alter(&running.shared, &name, &|_| Ok(changes.clone()))
        .await
        .unwrap();
    let plain = RecordBatch::try_from_iter([("a", numbers(2))]).unwrap();
    stream
        .push(None, Some(plain))
        .await
        .unwrap()
        .durable()
        .await
        .unwrap();
    drop(stream);
    crash(running).await;
    let running = start(dir.path()).await;
    let view = running.shared.visible.snapshot().tables[&name].clone();
    let rows: Vec<(i64, bool)> = view
        .hot
        .iter()
        .flat_map(|c| {
            let a = c
                .batch
                .column_by_name("a")
                .unwrap()
                .as_primitive::<Int64Type>()
                .clone();
            let extra = c.batch.column_by_name("extra").unwrap().clone();
            (0..a.len())
                .map(move |i| (a.value(i), extra.is_null(i)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(rows, vec![(1, true), (2, true)]);
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_producers_that_bring_one_new_column_at_once_add_it_once_and_lose_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let name = TableName::new("public", "t").unwrap();
    let mut contract = Contract::plain(name.clone(), vec![Column::new("a", ColumnType::Long)]);
    contract.unknown_columns = crate::dataset::UnknownColumns::Add;
    lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
    let table = running.shared.table(&name).unwrap();
    let numbers = |v: i64| Arc::new(Int64Array::from(vec![v])) as ArrayRef;
    let producer = |p: i64| {
        let (shared, table) = (running.shared.clone(), table.clone());
        tokio::spawn(async move {
            let name = format!("p{p}");
            let (mut stream, ..) = IngestStream::open(shared, table, &name, None)
                .await
                .unwrap();
            for seq in 1..=20_i64 {
                let columns = [
                    ("a".to_owned(), numbers(seq)),
                    (format!("c{}", seq / 5), numbers(p)),
                ];
                let batch = RecordBatch::try_from_iter(columns).unwrap();
                let seq = u64::try_from(seq).unwrap();
                stream
                    .push(Some(seq), Some(batch))
                    .await
                    .unwrap()
                    .durable()
                    .await
                    .unwrap();
            }
        })
    };
    let all = [producer(1), producer(2), producer(3)];
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(table.contract().version, 1 + 5, "each column is added once");
    flush::commit(&running.shared, &table).await.unwrap();
    drop(table);
    crash(running).await;
    let running = start(dir.path()).await;
    let view = running.shared.visible.snapshot().tables[&name].clone();
    let mut filled = 0;
    let mut rows = 0;
    for file in view.cold.each() {
        let batch = file.read().await.unwrap();
        rows += batch.num_rows();
        for c in 0..=4 {
            let column = batch.column_by_name(&format!("c{c}")).unwrap();
            filled += column.len() - column.null_count();
        }
    }
    assert_eq!((rows, filled), (60, 60));
    crash(running).await;
}

/// A replay that ends with the process between its two commits. Returns its note.
async fn cut_between_the_commits(dir: &Path) -> std::path::PathBuf {
    let running = ingested(dir).await;
    widen(&running).await;
    let (shared, table) = (running.shared.clone(), table(&running));
    let log = dir.join("tables/reactor/raw/_delta_log");
    let has_moved = || {
        let entries = std::fs::read_dir(&log).unwrap();
        let mut texts = entries.filter_map(|e| std::fs::read_to_string(e.unwrap().path()).ok());
        texts.any(|text| text.contains("\"deltaplane/replay\""))
    };
    let request = Request::default();
    {
        let mut work = Box::pin(replay(&shared, &table, &request));
        while !has_moved() {
            assert!(futures::poll!(&mut work).is_pending(), "it came to its end");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    drop((shared, table));
    crash(running).await;
    dir.join("tables/reactor/raw_quarantine/_deltaplane/replay.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_replay_whose_note_is_lost_are_on_one_side_again() {
    for damaged in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let note = cut_between_the_commits(dir.path()).await;
        assert!(note.exists());
        if damaged {
            std::fs::write(&note, b"{").unwrap();
            let running = start(dir.path()).await;
            let parked = table(&running).parked().unwrap();
            assert!(parked.problem.contains("replay.json"), "{}", parked.problem);
            crash(running).await;
        }
        std::fs::remove_file(&note).unwrap();
        for _ in 0..2 {
            let running = start(dir.path()).await;
            assert!(!table(&running).is_parked());
            assert_eq!(rows(&running), (5, 5));
            everything_once(&running).await;
            crash(running).await;
        }
        let running = start(dir.path()).await;
        let request = Request::default();
        let outcome = replay(&running.shared, &table(&running), &request).await;
        assert_eq!(outcome.unwrap().replayed, SEQS);
        crash(running).await;
        let running = start(dir.path()).await;
        assert_eq!(rows(&running), (10, 0));
        everything_once(&running).await;
        crash(running).await;
    }
}
