//! Statements that wait for a table, a view or the log: each is told within its limit, and goes on when what it waited for is over.

use super::*;
use crate::catalog::ddl_lock::Patience;
use crate::dataset::{ViewDeclaration, ViewSettings};
use crate::ingest;
use crate::ingest::bulk::{self, Bulk, Once, Options};
use crate::query::QueryContext;
use crate::statement::Change;

async fn view_over(bench: &Bench, source: &str) -> Arc<Table> {
    let sql = format!(
        "CREATE TABLE public.{source} (x BIGINT, ts TIMESTAMP NOT NULL) PARTITIONED BY (event_date) \
         TBLPROPERTIES ('deltaplane.eventTime'='ts')"
    );
    let Some(Change::Create { contract, .. }) =
        Change::parse(&QueryContext::new("tests"), &sql).unwrap()
    else {
        panic!("not a create");
    };
    lifecycle::create(bench.shared(), *contract, false)
        .await
        .unwrap();
    let view = ViewDeclaration {
        name: name("v"),
        settings: ViewSettings::default(),
        sql: format!("SELECT count(*) AS n FROM {source} GROUP BY tumble(ts, '1 minute')"),
    };
    bench
        .running
        .views()
        .create(view, false, false)
        .await
        .unwrap();
    bench.shared().table(&name("v")).unwrap()
}

/// It ends in time, with this reason.
async fn is_told<T>(what: &str, reason: &str, work: impl Future<Output = Result<T, Fault>>) {
    let told = tokio::time::timeout(SLACK, work).await;
    match told {
        Ok(Ok(_)) => panic!("{what} did not wait"),
        Ok(Err(fault)) => assert_eq!(&*fault.reason, reason, "{what}: {fault}"),
        Err(_) => panic!("{what} waits without a limit"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_wait_for_a_table_that_is_held_and_not_for_ever() {
    let bench = Bench::start().await;
    let shared = bench.shared().clone();
    view_over(&bench, "e").await;
    let table = shared.table(&name("e")).unwrap();
    let held = table.commit_lock().await;
    let once = Once::new("p", 1).unwrap();
    is_told(
        "a numbered ingest",
        "table_busy",
        bulk::already(&shared, &table, &once),
    )
    .await;
    let begin = Bulk::begin(shared.clone(), table.clone(), Options::default());
    is_told("an ingest", "table_busy", begin).await;
    let (source, view) = (name("e"), name("v"));
    let check = bench.running.upkeep().check(&source);
    is_told("CHECK TABLE", "table_busy", check).await;
    let refresh = bench.running.views().refresh_now(&view, false, None);
    is_told("REFRESH", "table_busy", refresh).await;
    // A producer that was forgotten is looked up in the Delta table.
    let seq = crate::flush::recorded_seq(&shared, &table, "p");
    is_told("a stream's open", "table_busy", seq).await;
    drop(held);
    bulk::already(&shared, &table, &once).await.unwrap();
    let views = bench.running.views();
    views.refresh_now(&name("v"), false, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_waits_for_one_that_does_not_end_and_not_for_ever() {
    let bench = Bench::start().await;
    let (view, known) = (view_over(&bench, "e").await, name("v"));
    let views = bench.running.views();
    let stuck = views.alone(&view).await.unwrap();
    for full in [false, true] {
        let refresh = views.refresh_now(&known, full, None);
        is_told("REFRESH", "table_busy", refresh).await;
    }
    drop(stuck);
    // A full one waits for whoever commits to the view as well.
    let held = view.commit_lock().await;
    let refresh = views.refresh_now(&known, true, None);
    is_told("REFRESH .. FULL", "table_busy", refresh).await;
    drop(held);
    views.refresh_now(&name("v"), true, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_told_of_a_source_whose_store_does_not_answer() {
    let bench = Bench::start().await;
    let table = bench.table();
    let columns = vec!["id".to_owned()];
    let rows = ingest::insert::Rows::of(&table, &columns, vec![rows(0)]);
    ingest::insert::append(bench.shared(), &table, rows)
        .await
        .unwrap();
    // Whoever holds it waits for the store.
    let held = table.commit_lock_within(Patience::of_own_work()).await;
    let commit = crate::flush::commit_for_statement(bench.shared(), &table);
    is_told("its commit", "table_busy", commit).await;
    drop(held);
    let commit = crate::flush::commit_for_statement(bench.shared(), &table);
    commit.await.unwrap();
}

async fn becomes(bench: &Bench, problem: Option<&str>) {
    let wait = async {
        while bench.running.readiness.problem() != problem {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(AT_MOST + SLACK, wait).await;
    assert!(told.is_ok(), "{:?}", bench.running.readiness.problem());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_disk_that_does_not_answer_makes_the_server_unready_until_it_does() {
    let bench = Bench::start().await;
    becomes(&bench, None).await;
    let table = bench.table();
    let columns = vec!["id".to_owned()];
    let append = |from| {
        let rows = ingest::insert::Rows::of(&table, &columns, vec![rows(from)]);
        ingest::insert::append(bench.shared(), &table, rows)
    };
    bench.disk.0.lock().hangs = true;
    is_told("an INSERT", "log_stalled", append(0)).await;
    becomes(&bench, Some("log_stalled")).await;
    bench.disk.0.lock().hangs = false;
    becomes(&bench, None).await;
    append(10).await.unwrap();
    // What was given up has kept its place: both are there.
    crate::flush::commit(bench.shared(), &table).await.unwrap();
    assert_eq!(table.files(|cold| cold.main.view().rows()).await, Some(20));
}
