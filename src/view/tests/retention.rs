//! A view over a source that has a retention: what is frozen has been stored before, and stays.

use super::*;

#[tokio::test]
async fn a_clock_put_forward_and_back_freezes_and_unfreezes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    let old = -2 * DAY;
    for after in [old, old + HOUR, 0] {
        bench.row(after).await;
        bench.open_from().await;
    }
    assert_eq!(bench.counts(old).await.0, 1);
    // A month ahead: the day before is within the retention of the newest row, and still corrected.
    bench.clock.set(NOON + 30 * DAY);
    let recent = -10 * HOUR;
    bench.row(recent).await;
    assert_eq!(bench.counts(recent).await.0, 1);
    bench.open_from().await;
    assert_eq!(bench.counts(recent).await.0, 1);
    // Twenty hours behind: by this clock two days ago would be kept. It may be gone, so it is not counted again.
    bench.clock.set(NOON - 20 * HOUR);
    bench.row(old + SECOND).await;
    assert_eq!(bench.counts(old).await.0, 1);
    bench.open_from().await;
    assert_eq!(bench.counts(old).await.0, 1);
    bench.row(recent + SECOND).await;
    bench.open_from().await;
    assert_eq!(bench.counts(recent).await.0, 2);
}

/// A month that comes in one commit with today's rows: the retention has passed most of it before the view's first look.
#[tokio::test]
async fn history_older_than_the_retention_is_stored_before_it_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    for after in [-30 * DAY, -9 * DAY, -9 * DAY + SECOND, 0] {
        bench.row(after).await;
    }
    assert_eq!(bench.counts(-9 * DAY).await, (2, 4));
    bench.open_from().await;
    assert_eq!(bench.counts(-9 * DAY).await, (2, 4));
    assert_eq!(bench.counts(-30 * DAY).await, (1, 4));
    // And there it stays: retention takes the rows, and what comes for those days later is not counted.
    assert_eq!(bench.upkeep().await, 1);
    bench.row(-9 * DAY).await;
    assert_eq!(bench.counts(-9 * DAY).await, (2, 4));
    bench.open_from().await;
    assert_eq!(bench.counts(-9 * DAY).await, (2, 4));
}

#[tokio::test]
async fn retention_takes_no_row_whose_bucket_a_view_has_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    for after in [-3 * DAY, -2 * DAY, 0] {
        bench.row(after).await;
    }
    let table = bench.running.shared().table(&name("t")).unwrap();
    crate::flush::commit(bench.running.shared(), &table)
        .await
        .unwrap();
    // The view's refresh comes late, as one whose store is down does.
    assert_eq!(bench.upkeep().await, 3);
    assert_eq!(bench.counts(-3 * DAY).await, (1, 3));
    bench.open_from().await;
    assert_eq!(bench.upkeep().await, 1);
    assert_eq!(bench.counts(-3 * DAY).await, (1, 3));
}

/// What is frozen stands in the view's own commits: neither a restart nor a clock that is weeks behind brings it back to where
/// it would be computed from rows that are gone.
#[tokio::test]
async fn what_is_frozen_stays_so_after_a_restart_with_the_clock_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    for after in [-9 * DAY, -3 * DAY, 0] {
        bench.row(after).await;
    }
    bench.open_from().await;
    assert_eq!(bench.upkeep().await, 1);
    let mut bench = bench.restart(dir.path(), -20 * DAY).await;
    assert_eq!(bench.counts(-9 * DAY).await, (1, 3));
    let views = bench.running.views();
    views.refresh_now(&name("v"), true, None).await.unwrap();
    assert_eq!(bench.counts(-9 * DAY).await, (1, 3));
    // A row for a frozen day takes nothing away, and adds nothing.
    bench.row(-3 * DAY).await;
    bench.open_from().await;
    assert_eq!(bench.counts(-3 * DAY).await, (1, 3));
    // With the clock right again it goes on.
    bench.clock.set(NOON + DAY);
    bench.row(DAY).await;
    bench.open_from().await;
    assert_eq!(bench.counts(DAY).await, (1, 4));
}
