//! Compaction changes files and no row.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use proptest::prelude::*;

use super::*;
use crate::query::QueryContext;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever was committed how, compaction and Z-order change no row, and leave one small file a partition.
    #[test]
    fn compaction_changes_no_row(commits in prop::collection::vec(prop::collection::vec((any::<u8>(), 0i64..3, -5.0f64..100.0), 1..20), 1..8), by_curve in any::<bool>()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let running = start(dir.path(), &[]).await;
            let table = create(&running, "").await;
            for rows in &commits {
                commit(&running, &table, rows).await;
            }
            let before = (rows(&running, "t").await, rows(&running, "t_quarantine").await);
            let order = if by_curve { vec!["v".to_owned(), "id".to_owned()] } else { Vec::new() };
            running.upkeep().optimize(&name(), &order).await.unwrap();
            running.upkeep().optimize(&name().quarantine(), &[]).await.unwrap();
            let after = (rows(&running, "t").await, rows(&running, "t_quarantine").await);
            assert_eq!(before, after);
            assert!(active(&table).await <= 3, "one file a day");
            running.shutdown().await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_files_are_sorted_and_their_statistics_and_counts_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    for n in [3u8, 1, 2] {
        commit(&running, &table, &[(n, 0, f64::from(n)), (n + 10, 0, 5.0)]).await;
    }
    let (done, _) = running.upkeep().optimize(&name(), &[]).await.unwrap();
    assert_eq!((done.files_removed, done.files_added, done.rows), (3, 1, 6));
    let view = table.files(|cold| cold.main.view()).await;
    assert_eq!(view.rows(), Some(6));
    assert!(view.files()[0].path().ends_with(".zstd.parquet"));
    let latest = view.files()[0].latest(&view.schema(), view.partition_by(), "ts");
    let newest = noon() - 1;
    assert!(
        latest.is_some_and(|t| t >= newest && t < newest + 2000),
        "{latest:?}, {newest}"
    );
    let read = running
        .upkeep()
        .engine
        .query(&QueryContext::new("tests"), "SELECT v FROM s.t", None)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let values = read[0]
        .column(0)
        .as_primitive::<Float64Type>()
        .values()
        .to_vec();
    assert_eq!(values, [1.0, 5.0, 5.0, 5.0, 2.0, 3.0], "by id as text");
    let kinds: Vec<String> = table.recent[0]
        .notes()
        .into_iter()
        .map(|n| n.kind)
        .collect();
    assert_eq!(kinds, ["WRITE", "WRITE", "WRITE", "OPTIMIZE"]);
    // A second time there is nothing to do.
    let (again, _) = running.upkeep().optimize(&name(), &[]).await.unwrap();
    assert_eq!((again.files_removed, again.version), (0, None));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_target_size_come_out_of_many_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[("upkeep.target_file_bytes", "64KiB")]).await;
    let table = create(&running, "").await;
    for n in 0..20u32 {
        let row = |i: u32| {
            let value = f64::from((i * 7919 + n * 104_729) % 999_983) / 3.0;
            (u8::try_from(i % 251).unwrap(), 0, value)
        };
        let many: Vec<(u8, i64, f64)> = (0..4000).map(row).collect();
        commit(&running, &table, &many).await;
    }
    let sums = "SELECT count(*), count(DISTINCT v), sum(CAST(round(v * 3) AS BIGINT)) FROM s.t";
    let before = query(&running, sums).await;
    let (done, _) = running.upkeep().optimize(&name(), &[]).await.unwrap();
    assert!(done.files_added > 2, "{done:?}");
    assert_eq!(query(&running, sums).await, before);
    let view = table.files(|cold| cold.main.view()).await;
    let small = view.files().iter().filter(|f| f.size() < 48 * 1024);
    assert!(small.count() <= 1, "one remainder at most");
    running.shutdown().await.unwrap();
}
