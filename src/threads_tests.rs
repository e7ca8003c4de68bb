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
