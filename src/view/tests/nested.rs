//! Views that read views.

use chrono::NaiveDate;

use super::*;
use crate::cold::faulty::DEAF;

#[tokio::test]
async fn a_view_that_has_closed_over_an_open_bucket_below_counts_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, HOUR).await;
    let views = bench.running.views();
    let hourly = ViewDeclaration {
        name: name("w"),
        settings: ViewSettings::default(),
        sql: "SELECT sum(n) AS n FROM v GROUP BY tumble(window_start, '1 hour')".to_owned(),
    };
    views.create(hourly, false, false).await.unwrap();
    bench.row(-180 * SECOND).await;
    bench.row(-30 * SECOND).await;
    assert_eq!(bench.open_from().await, -60);
    let views = bench.running.views();
    let table = views.shared.table(&name("w")).unwrap();
    let hour = (NOON - HOUR, NOON);
    views.refresh_for(&table, Some(hour)).await.unwrap();
    assert_eq!(bench.one("SELECT count(*) FROM s.w").await, [1]);
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [2]);
    bench.row(-20 * SECOND).await;
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [3]);
}

/// A view over a view of which no window has closed: there is no watermark, and silence makes none.
#[tokio::test]
async fn silence_over_an_empty_view_closes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, SECOND / 10).await;
    let views = bench.running.views();
    for (table, sql) in [
        (
            "a",
            "SELECT count(*) AS n FROM t GROUP BY tumble(ts, '1 millisecond')",
        ),
        (
            "b",
            "SELECT sum(n) AS n FROM a GROUP BY tumble(window_start, '1 minute')",
        ),
    ] {
        let view = ViewDeclaration {
            name: name(table),
            settings: ViewSettings {
                idle: 0,
                ..ViewSettings::default()
            },
            sql: sql.to_owned(),
        };
        views.create(view, false, false).await.unwrap();
    }
    for _ in 0..2 {
        views.refresh_now(&name("b"), false, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(open_from_of(&bench, "b"), i64::MIN);
    bench.row(-30 * SECOND).await;
    for _ in 0..3 {
        let views = bench.running.views();
        views.refresh_now(&name("b"), false, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bench.one("SELECT sum(n) FROM s.b").await, [1]);
    assert_eq!((open_from_of(&bench, "b") - NOON) / SECOND, 0);
}

/// The view below has got as many versions as it had before it was given another query, and the one above could not be stored
/// since: neither its rows nor what its commits record may pass for those of the new query, before a restart and after it.
#[tokio::test]
async fn versions_of_another_life_of_the_source_are_not_taken_for_those_that_a_view_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().join("tables").to_string_lossy()).await;
    let (lake, mode) = Faulty::under(lake.unwrap(), "s/w/_delta_log/");
    let mut bench = Bench::start_over(dir.path(), Some(lake), None, HOUR).await;
    let hourly = ViewDeclaration {
        name: name("w"),
        settings: ViewSettings::default(),
        sql: "SELECT sum(n) AS n FROM v GROUP BY tumble(window_start, '1 hour')".to_owned(),
    };
    let views = bench.running.views().clone();
    views.create(hourly, false, false).await.unwrap();
    bench.row(-180 * SECOND).await;
    bench.row(-30 * SECOND).await;
    let day = NaiveDate::from_ymd_opt(2024, 10, 4);
    for _ in 0..4 {
        views.refresh_now(&name("w"), false, day).await.unwrap();
    }
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [2]);
    let version = || {
        let table = views.shared.table(&name("v")).unwrap();
        table.committed().version
    };
    let before = version();
    mode.store(DEAF, Ordering::SeqCst);
    let tenfold = "SELECT 10 * count(*) AS n FROM t GROUP BY tumble(ts, '1 minute')";
    let given = views.query(&name("v"), tenfold.to_owned(), None).await;
    given.unwrap();
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [20]);
    while version() < before {
        views.refresh_now(&name("v"), false, day).await.unwrap();
    }
    assert_eq!(version(), before, "or it shows nothing");
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [20]);
    drop(views);
    let bench = bench.restart(dir.path(), 0).await;
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [20]);
    let views = bench.running.views();
    views.refresh_now(&name("w"), false, day).await.unwrap();
    assert_eq!(bench.one("SELECT sum(n) FROM s.w").await, [20]);
}
