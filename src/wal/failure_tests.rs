//! What callers of the log get when its disk fails, is full, or its thread panics.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::{Call, FaultyDisk};
use super::tests::{append, config, data, seqs, start};
use super::*;

#[tokio::test]
async fn a_failed_write_or_sync_poisons_the_log_and_every_waiter_gets_the_error() {
    for call in [Call::Write, Call::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let disk = FaultyDisk::default();
        let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
        append(&log, 1, vec![0; 10]).await.unwrap();
        disk.0.fail(call, ErrorKind::Other);
        let poisoned = |result| matches!(result, Err(Error::Poisoned { .. }));
        let watching = tokio::spawn({
            let log = log.clone();
            async move { log.poisoned().await }
        });
        assert!(poisoned(append(&log, 2, vec![0; 10]).await), "{call:?}");
        disk.0.heal();
        let later = append(&log, 3, vec![0; 10]).await;
        assert!(poisoned(later), "{call:?}: a later sync does not heal it");
        assert!(poisoned(log.roll().await.map(|()| Lsn::ZERO)), "{call:?}");
        let told = watching.await.unwrap();
        assert!(told.to_string().contains("failed on purpose"), "{told}");
        assert!(log.is_poisoned());
        assert_eq!(log.durable(), Lsn::new(1));
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_thread_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    append(&log, 1, vec![0; 10]).await.unwrap();
    log.panic_at_next_group();
    let under_way = append(&log, 2, vec![0; 10]).await.unwrap_err();
    assert!(matches!(under_way, Error::Poisoned { .. }), "{under_way}");
    let told = log.poisoned().await;
    assert!(told.to_string().contains("panicked"), "{told}");
    let later = append(&log, 3, vec![0; 10]).await.unwrap_err();
    assert!(matches!(later, Error::Poisoned { .. }), "{later}");
    let closed = log.close().await.unwrap_err();
    assert!(matches!(closed, Error::Poisoned { .. }), "{closed}");
}

/// Fills the segment, so that the next large frame needs a new one.
async fn nearly_full_segment(log: &Log) {
    for seq in 1..=3 {
        append(log, seq, vec![0; 1000]).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_to_waiters_in_time_and_the_log_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let disk = FaultyDisk::default();
    let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
    nearly_full_segment(&log).await;
    disk.0.fail(Call::Create, ErrorKind::StorageFull);
    let started = std::time::Instant::now();
    let queued = append(&log, 4, vec![0; 1000]).await.unwrap_err();
    assert!(matches!(queued, Error::StillQueued { .. }), "{queued}");
    assert!(queued.to_string().contains("may still become durable"));
    let refused = append(&log, 5, vec![0; 1000]).await.unwrap_err();
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused}");
    assert!(refused.to_string().contains("nothing of this was written"));
    let limit = config.admission_timeout * 2 + Duration::from_secs(1);
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
    assert!(!log.is_poisoned());
    let mut health = log.health();
    assert!(matches!(*health.borrow(), Health::DiskFull { .. }));
    disk.0.heal();
    health.wait_for(|h| *h == Health::Writing).await.unwrap();
    // The queued one has kept its place.
    let next = append(&log, 6, vec![0; 10]).await.unwrap();
    assert_eq!(next, Lsn::new(5));
    log.close().await.unwrap();
    let (_, frames) = start(&config, Arc::new(RealDisk)).unwrap();
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 6]);
}

#[tokio::test]
async fn a_disk_without_preallocation_that_fills_up_in_a_segment_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let disk = FaultyDisk::default();
    let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
    append(&log, 1, vec![0; 10]).await.unwrap();
    disk.0.fail(Call::Write, ErrorKind::StorageFull);
    let queued = append(&log, 2, vec![0; 10]).await.unwrap_err();
    assert!(matches!(queued, Error::StillQueued { .. }), "{queued}");
    disk.0.heal();
    log.health()
        .wait_for(|h| *h == Health::Writing)
        .await
        .unwrap();
    assert_eq!(append(&log, 3, vec![0; 10]).await.unwrap(), Lsn::new(3));
    log.close().await.unwrap();
    let (_, frames) = start(&config, Arc::new(RealDisk)).unwrap();
    assert_eq!(seqs(&frames), [1, 2, 3]);
}

#[tokio::test]
async fn a_log_on_a_full_disk_closes_and_its_waiters_get_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        admission_timeout: Duration::from_secs(600),
        ..config(dir.path())
    };
    let disk = FaultyDisk::default();
    let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
    nearly_full_segment(&log).await;
    disk.0.fail(Call::Create, ErrorKind::StorageFull);
    let reservation = log.reserve(1200).await.unwrap();
    let waiting = log
        .append(reservation, data(4, vec![0; 1000]), Box::new(|_| {}))
        .unwrap();
    log.health()
        .wait_for(|h| matches!(h, Health::DiskFull { .. }))
        .await
        .unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), log.close())
        .await
        .expect("closing waits for no room")
        .unwrap_err();
    assert!(closed.to_string().contains("full"), "{closed}");
    waiting.wait().await.unwrap_err();
    let (_, frames) = start(&config, Arc::new(RealDisk)).unwrap();
    assert_eq!(seqs(&frames), [1, 2, 3]);
}

#[tokio::test]
async fn a_new_segment_that_cannot_be_begun_for_another_reason_poisons_the_log_after_the_admission_time()
 {
    for call in [Call::Create, Call::SyncDir] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let disk = FaultyDisk::default();
        let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
        nearly_full_segment(&log).await;
        disk.0.fail(call, ErrorKind::Other);
        let error = append(&log, 4, vec![0; 1000]).await.unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{call:?}: {error}");
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_renamed_stays_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let disk = FaultyDisk::default();
    let (log, _) = start(&config, Arc::new(disk.clone())).unwrap();
    disk.0.fail(Call::Rename, ErrorKind::Other);
    for seq in 1..=20 {
        append(&log, seq, vec![1; 900]).await.unwrap();
        log.trim(Lsn::new(seq.saturating_sub(4)));
    }
    disk.0.heal();
    for seq in 21..=40 {
        append(&log, seq, vec![1; 900]).await.unwrap();
        log.trim(Lsn::new(seq.saturating_sub(4)));
    }
    log.close().await.unwrap();
    let (_, frames) = start(&config, Arc::new(RealDisk)).unwrap();
    let replayed = seqs(&frames);
    assert_eq!(replayed.last(), Some(&40));
    assert!(replayed.windows(2).all(|w| w[1] == w[0] + 1));
}
