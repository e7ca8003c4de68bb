//! Transactions of any statements, held against the model in memory: what they see themselves, what others see meanwhile, and
//! what is left after a commit or a rollback.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::statement_tests::{Row, Step, apply, rows, rows_as, run, start, step};
use super::*;
use crate::query::{Engine, OfSession, QueryContext};
use crate::server_state::Admin;
use crate::statement::transaction::{Limits, Transactions};
use crate::statement::{Bound, Change};
use crate::types::TableName;

/// Commit or rollback, and what comes before it.
type Ending = (bool, Vec<Step>);

async fn one_case(
    (running, engine, admin): &(Running, Arc<Engine>, Admin),
    number: usize,
    partitioned: bool,
    transactions: &[Ending],
) {
    let table = format!("public.x{number}");
    let by = if partitioned {
        " PARTITIONED BY (s)"
    } else {
        ""
    };
    let create = format!("CREATE TABLE {table} (k BIGINT NOT NULL, v BIGINT, s STRING){by}");
    run(admin, &create).await.unwrap();
    let name = TableName::new("public", &format!("x{number}")).unwrap();
    let own = running.shared.table(&name).unwrap();
    let all = Transactions::new(Limits {
        count: 4,
        bytes: 1 << 20,
        idle: Duration::from_secs(600),
    });
    let mut model: Vec<Row> = Vec::new();
    for (commit, steps) in transactions {
        let id = all.begin(OfSession::default()).unwrap();
        let mut inside = model.clone();
        for step in steps {
            let (sql, touched) = apply(step, &table, &mut inside);
            if sql.is_empty() {
                flush::commit(&running.shared, &own).await.unwrap();
                continue;
            }
            let caller = QueryContext::new("inside");
            let change = Change::parse(&caller, &sql).unwrap().unwrap();
            let done = all.run(&id, change, (admin, &caller), Bound::NOTHING).await;
            let done = done.unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_eq!(done.written, touched, "{sql}");
            inside.sort();
            let caller = QueryContext {
                own: all.own_rows(&id).await,
                ..caller
            };
            let seen = rows_as(&caller, engine, &table).await;
            assert_eq!(seen, inside, "inside, after {step:?}");
            assert_eq!(rows(engine, &table).await, model, "outside");
        }
        all.end(&id, *commit, admin).await.unwrap();
        if *commit {
            model = inside;
        }
        assert_eq!(rows(engine, &table).await, model, "commit={commit}");
    }
    flush::commit(&running.shared, &own).await.unwrap();
    assert_eq!(rows(engine, &table).await, model, "committed");
    run(admin, &format!("DROP TABLE {table}")).await.unwrap();
}

#[test]
fn any_transaction_equals_the_model_inside_and_outside() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(start(dir.path()));
    let cases = std::env::var("DELTAPLANE_TEST_CASES").map_or(12, |n| n.parse().unwrap());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    };
    let number = std::sync::atomic::AtomicUsize::new(0);
    let transaction = (any::<bool>(), prop::collection::vec(step(), 1..7));
    let transactions = (any::<bool>(), prop::collection::vec(transaction, 1..5));
    TestRunner::new(config)
        .run(&transactions, |(partitioned, transactions)| {
            let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            runtime.block_on(one_case(&server, n, partitioned, &transactions));
            Ok(())
        })
        .unwrap();
}
