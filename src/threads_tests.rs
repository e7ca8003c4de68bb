#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use tokio::runtime::{Builder, Runtime};

use super::*;

/// A runtime with one thread that polls, and the threads that it begins.
fn runtime() -> (Runtime, Receiver<()>) {
    let (began, threads) = channel();
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1);
    let runtime = builder.on_thread_start(move || {
        let _ = began.send(());
    });
    let runtime = runtime.build().unwrap();
    threads.recv().unwrap();
    (runtime, threads)
}

#[test]
fn while_one_thread_is_at_long_work_another_looks_after_its_tasks() {
    let (runtime, threads) = runtime();
    let task = runtime.spawn(async {
        let (sent, answer) = channel();
        tokio::spawn(async move { sent.send(()) });
        // Nothing but the other task, which only another thread can run now.
        step_aside_if(true, || answer.recv_timeout(Duration::from_secs(10)))
    });
    assert_eq!(runtime.block_on(task).unwrap(), Ok(()));
    threads.recv().unwrap();
}

/// The nice value of the present thread (proc_pid_stat(5), the 19th field).
#[cfg(target_os = "linux")]
fn nice() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_the_name = stat.rsplit(") ").next().unwrap();
    let nice = behind_the_name.split(' ').nth(16).unwrap();
    nice.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn acks_come_before_queries_and_queries_before_parquet() {
    let thread = |of| {
        let thread = std::thread::spawn(move || {
            give_precedence(of);
            nice()
        });
        thread.join().unwrap()
    };
    let (usual, query, encoder) = (
        nice(),
        thread(Precedence::Query),
        thread(Precedence::Encoder),
    );
    assert!(
        usual < query && query < encoder,
        "{usual} {query} {encoder}"
    );
}

#[test]
fn a_small_batch_pays_nothing() {
    let (runtime, threads) = runtime();
    let rows = |n: usize| {
        let values = Int64Array::from(vec![1; n]);
        RecordBatch::try_from_iter([("v", Arc::new(values) as _)]).unwrap()
    };
    assert!(!is_long(1000, 100_000) && is_long(1_000_000, 0) && is_long(1, 100_000_000));
    assert!(!has_many_values(&rows(1000)) && has_many_values(&rows(500_000)));
    let task = runtime.spawn(async { step_aside_if(is_long(1000, 100_000), || ()) });
    runtime.block_on(task).unwrap();
    assert!(threads.try_recv().is_err());
    // Outside of a runtime there is nobody to take over.
    assert_eq!(step_aside(|| 1), 1);
}

#[test]
fn no_more_long_work_is_under_way_at_once_than_there_are_cores() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let cores = std::thread::available_parallelism().unwrap().get();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Work within work has its turn already, also when all turns are taken.
        step_aside_if(true, || std::thread::sleep(Duration::from_millis(1)));
        now.fetch_sub(1, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 * cores {
            scope.spawn(|| (0..5).for_each(|_| step_aside_if(true, work)));
        }
    });
    assert!((1..=cores).contains(&most.load(Ordering::SeqCst)));
    // A panic gives the turn back.
    for _ in 0..2 * cores {
        let panic = || step_aside_if(true, || std::panic::resume_unwind(Box::new("meant")));
        assert!(std::panic::catch_unwind(panic).is_err());
    }
    step_aside_if(true, || ());
}
