//! Statements that create, alter and drop tables: they wait for no other table, not for ever for their own, and one that is refused
//! leaves nothing behind.

use super::*;
use crate::cold::faulty::{FAIL_BEFORE, SOUND};
use crate::ingest;
use crate::query::QueryContext;
use crate::statement::{Change, restore};

#[tokio::test(flavor = "multi_thread")]
async fn ddl_waits_for_a_statement_on_its_own_table_only_and_not_for_ever() {
    let bench = Bench::start().await;
    let shared = bench.shared().clone();
    let table = bench.table();
    lifecycle::create(&shared, contract("other"), false)
        .await
        .unwrap();
    let held = (table.commit_lock().await, table.hold("DELETE"));
    let add = |_: &Contract| {
        let column = Column::new("x", ColumnType::Double);
        Ok(vec![crate::dataset::Alteration::AddColumn(column)])
    };
    let (own, others) = (name("t"), name("other"));
    let busy = async {
        let drop = lifecycle::drop(&shared, &own, false).await;
        let alter = crate::catalog::alter::alter(&shared, &own, &add).await;
        (drop.map(|_| ()).unwrap_err(), alter.unwrap_err())
    };
    let free = async {
        let since = Instant::now();
        crate::catalog::alter::alter(&shared, &others, &add)
            .await
            .unwrap();
        lifecycle::create(&shared, contract("third"), false)
            .await
            .unwrap();
        lifecycle::drop(&shared, &others, false).await.unwrap();
        // The table's own streams go on, whatever waits for it.
        for _ in 0..20 {
            let columns = vec!["id".to_owned()];
            ingest::insert::append(
                &shared,
                &table,
                ingest::insert::Rows::of(&table, &columns, vec![rows(0)]),
            )
            .await
            .unwrap();
        }
        since.elapsed()
    };
    let ((drop_fault, alter_fault), took) = tokio::join!(busy, free);
    for fault in [drop_fault, alter_fault] {
        assert_eq!((fault.kind, &*fault.reason), (Kind::Conflict, "table_busy"));
        assert!(fault.message.contains("DELETE"), "{fault}");
    }
    assert!(took < SLACK, "{took:?}");
    // A statement that changes rows waits longer, and not for ever either.
    let statement = Change::parse(
        &QueryContext::new("tests"),
        "RESTORE TABLE public.t TO VERSION AS OF 0",
    )
    .unwrap();
    let Some(Change::Restore(statement)) = statement else {
        panic!("not a restore: {statement:?}");
    };
    let fault = restore::run(&shared, statement).await.unwrap_err();
    assert_eq!(&*fault.reason, "table_busy");
    drop(held);
    lifecycle::drop(&shared, &own, false).await.unwrap();
}

/// Rows that do not compress.
fn noise(seed: i64) -> RecordBatch {
    let mix =
        |n: i64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) ^ seed).wrapping_mul(n | 1);
    let ids = Arc::new(Int64Array::from_iter_values((0..30_000).map(mix))) as ArrayRef;
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_full_log_ddl_is_refused_as_a_whole_and_drop_makes_room() {
    let small = [
        ("log.segment_bytes", "2MiB"),
        ("log.bytes_max", "8MiB"),
        ("log.queue_bytes_max", "4MiB"),
        ("limits.batch_bytes_max", "1MiB"),
    ];
    let bench = Bench::start_with(&small, "none").await;
    let shared = bench.shared().clone();
    let table = bench.table();
    let columns = vec!["id".to_owned()];
    lifecycle::create(&shared, contract("other"), false)
        .await
        .unwrap();
    let mut seed = 0;
    let full = loop {
        seed += 1;
        let rows = vec![noise(seed)];
        if let Err(fault) = ingest::insert::append(
            &shared,
            &table,
            ingest::insert::Rows::of(&table, &columns, rows),
        )
        .await
        {
            break fault;
        }
        assert!(seed < 100, "the log was to be full");
    };
    assert_eq!(full.reason, "log_full");
    let folders = || {
        let listed = std::fs::read_dir(bench._dir.path().join("tables/public")).unwrap();
        listed.count()
    };
    let version = async || {
        let other = shared.table(&name("other")).unwrap();
        (
            other.contract(),
            other.files(|cold| cold.main.version()).await,
        )
    };
    let before = (folders(), version().await);
    let add = |_: &Contract| {
        let column = Column::new("x", ColumnType::Double);
        Ok(vec![crate::dataset::Alteration::AddColumn(column)])
    };
    let outcomes = [
        lifecycle::create(&shared, contract("fresh"), false)
            .await
            .map(|_| ()),
        crate::catalog::alter::alter(&shared, &name("other"), &add).await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().reason, "log_full");
    }
    assert_eq!((folders(), version().await), before);
    assert!(shared.table(&name("fresh")).is_err());
    // What lets go of rows is taken, and everyone goes on.
    lifecycle::drop(&shared, &name("t"), false).await.unwrap();
    let other = shared.table(&name("other")).unwrap();
    ingest::insert::append(
        &shared,
        &other,
        ingest::insert::Rows::of(&other, &columns, vec![noise(0)]),
    )
    .await
    .unwrap();
    crate::catalog::alter::alter(&shared, &name("other"), &add)
        .await
        .unwrap();
    assert!(
        lifecycle::create(&shared, contract("t"), false)
            .await
            .unwrap()
    );
}

/// A crash at each step of a creation leaves these folders and no frame.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_creation_was_cut_can_be_created_and_dropped() {
    for cut in [&["t_quarantine"][..], &["t"], &["t", "t_quarantine"]] {
        let bench = Bench::start().await;
        let shared = bench.shared().clone();
        let tables = bench._dir.path().join("tables/public");
        for folder in cut {
            let own = folder.replacen('t', "lost", 1);
            copy(&tables.join(folder), &tables.join(own));
        }
        for _ in 0..2 {
            assert!(
                lifecycle::create(&shared, contract("lost"), false)
                    .await
                    .unwrap()
            );
            let table = shared.table(&name("lost")).unwrap();
            let columns = vec!["id".to_owned()];
            ingest::insert::append(
                &shared,
                &table,
                ingest::insert::Rows::of(&table, &columns, vec![rows(0)]),
            )
            .await
            .unwrap();
            flush::commit(&shared, &table).await.unwrap();
            assert!(
                lifecycle::drop(&shared, &name("lost"), false)
                    .await
                    .unwrap()
            );
        }
    }
}

/// The store fails between a table's quarantine and the table: the name is free, and nothing is left in the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_the_store_refuses_half_way_is_taken_back() {
    let bench = Bench::start_with(&[], "public/u/_delta_log/").await;
    let shared = bench.shared().clone();
    bench.store.store(FAIL_BEFORE, Ordering::SeqCst);
    let refused = lifecycle::create(&shared, contract("u"), false).await;
    assert!(refused.is_err());
    assert_eq!(
        bench.store.load(Ordering::SeqCst),
        SOUND,
        "it was written to"
    );
    let files = |folder: &str| {
        let folder = bench._dir.path().join("tables/public").join(folder);
        let listed = std::fs::read_dir(folder.join("_delta_log"));
        listed.map(|files| files.count()).unwrap_or(0)
    };
    assert_eq!(files("u_quarantine") + files("u"), 0);
    assert!(
        lifecycle::create(&shared, contract("u"), false)
            .await
            .unwrap()
    );
    assert_eq!(shared.table(&name("u")).unwrap().folder, "public/u");
    lifecycle::drop(&shared, &name("u"), false).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
