//! Retention goes by whole days, and takes nothing young.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn retention_takes_whole_old_days_and_a_device_from_the_future_takes_nothing_young() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, ", 'deltaplane.retention'='3d'").await;
    for days in 0..7 {
        commit(&running, &table, &[(1, days, 1.0), (2, days, 2.0)]).await;
    }
    // Nothing newer than what was accepted: counted from there, three days back are younger than the retention.
    running.upkeep().look_after(&table).await;
    assert_eq!(rows(&running, "t").await.len(), 8, "today and three days");
    running.upkeep().look_after(&table).await;
    assert_eq!(rows(&running, "t").await.len(), 8);
    let kinds: Vec<String> = table.recent[0]
        .notes()
        .into_iter()
        .map(|n| n.kind)
        .collect();
    assert_eq!(
        kinds.iter().filter(|k| *k == "DELETE").count(),
        1,
        "one commit"
    );
    // A row of tomorrow, which the rules let in: the clock counts, not the row.
    commit(&running, &table, &[(3, -1, 1.0)]).await;
    running.upkeep().look_after(&table).await;
    assert_eq!(rows(&running, "t").await.len(), 9);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_retention_keeps_everything_and_old_rows_alone_do_not_age() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    commit(&running, &table, &[(1, 4000, 1.0), (2, 0, 1.0)]).await;
    running.upkeep().look_after(&table).await;
    assert_eq!(rows(&running, "t").await.len(), 2);
    running.shutdown().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, ", 'deltaplane.retention'='3d'").await;
    commit(&running, &table, &[(1, 4000, 1.0), (2, 4001, 1.0)]).await;
    running.upkeep().look_after(&table).await;
    assert_eq!(
        rows(&running, "t").await.len(),
        2,
        "counted from the newest row"
    );
    running.shutdown().await.unwrap();
}
