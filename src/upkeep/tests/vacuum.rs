//! Vacuum takes the files that nobody needs, and none that someone might.

use super::*;
use crate::query::QueryContext;

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_leaves_what_a_running_query_has_and_takes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(
        dir.path(),
        &[("upkeep.retain_min", "0ms"), ("upkeep.orphan_age", "0ms")],
    )
    .await;
    let table = create(&running, "").await;
    for n in 0..4 {
        commit(&running, &table, &[(n, 0, 1.0)]).await;
    }
    let upkeep = running.upkeep();
    let query = running.shared().visible.snapshot();
    upkeep.optimize(&name(), &[]).await.unwrap();
    let zero = Some(Duration::ZERO);
    let (dry, _) = upkeep.vacuum(&name(), zero, true).await.unwrap();
    assert!(dry.files.is_empty(), "pinned: {dry:?}");
    upkeep.vacuum(&name(), zero, false).await.unwrap();
    assert_eq!(files(dir.path()).len(), 5);
    drop(query);
    let (dry, _) = upkeep.vacuum(&name(), zero, true).await.unwrap();
    assert_eq!((dry.files.len(), files(dir.path()).len()), (4, 5));
    let (done, _) = upkeep.vacuum(&name(), zero, false).await.unwrap();
    assert_eq!((done.deleted, files(dir.path()).len()), (4, 1));
    assert_eq!(rows(&running, "t").await.len(), 4);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_stage_and_commit_leaves_orphans_that_vacuum_takes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(
        dir.path(),
        &[("upkeep.retain_min", "0ms"), ("upkeep.orphan_age", "0ms")],
    )
    .await;
    let table = create(&running, "").await;
    commit(&running, &table, &[(1, 0, 1.0)]).await;
    let stager = table.files(|cold| cold.main.stager()).await;
    let batch = running
        .upkeep()
        .engine
        .query(&QueryContext::new("tests"), "SELECT * FROM s.t", None)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let staged = stager.stage(batch).await.unwrap();
    let zero = Some(Duration::ZERO);
    let (done, _) = running.upkeep().vacuum(&name(), zero, false).await.unwrap();
    assert_eq!(
        (done.deleted, files(dir.path()).len()),
        (0, 2),
        "a commit under way"
    );
    drop(staged);
    let (done, _) = running.upkeep().vacuum(&name(), zero, false).await.unwrap();
    assert_eq!((done.deleted, files(dir.path()).len()), (1, 1));
    assert_eq!(rows(&running, "t").await.len(), 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_retain_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    create(&running, "").await;
    let hour = Duration::from_secs(3600);
    let fault = running
        .upkeep()
        .vacuum(&name(), Some(hour / 2), false)
        .await
        .unwrap_err();
    assert_eq!(&*fault.reason, "retain_too_short");
    assert!(
        fault.message.contains("0.5 HOURS") && fault.message.contains("upkeep.retain_min"),
        "{fault}"
    );
    running
        .upkeep()
        .vacuum(&name(), Some(hour), false)
        .await
        .unwrap();
    running.shutdown().await.unwrap();
}
