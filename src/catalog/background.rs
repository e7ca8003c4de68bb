//! Loops that run for as long as the server does. A panic in one is told, counted, and the loop begins anew: it must not end
//! the upkeep of every table, or an alert, without a word.

use std::time::Duration;

use super::parked::guarded;
use crate::fault::Fault;

/// Between a panic and the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a loop, which ends by itself only when there is no more to do, as when the server drains. After a panic it is made
/// and run again.
pub fn keep<W>(task: &'static str, work: impl Fn() -> W + Send + Sync + 'static)
where
    W: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            // In a box: each guard around a future holds it by value, and these are large.
            let run = Box::pin(work());
            let run = async {
                run.await;
                Ok::<_, Fault>(())
            };
            let Err(fault) = guarded(task, run).await else {
                return;
            };
            note_panic(task, &fault);
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// One piece of a loop, about one table or alert.
///
/// # Errors
/// INTERNAL `panicked`, which was told and counted: the loop goes on.
pub fn piece<T>(
    task: &'static str,
    of: &str,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Fault>> {
    let (what, work) = (format!("{task} of {of}"), Box::pin(work));
    async move {
        let done = guarded(&what, async { Ok::<_, Fault>(work.await) }).await;
        if let Err(fault) = &done {
            note_panic(task, fault);
        }
        done
    }
}

fn note_panic(task: &'static str, fault: &Fault) {
    tracing::error!(
        task,
        "a part of the server panicked and is run again: {fault}"
    );
    metrics::counter!("deltaplane_background_panics_total", "task" => task).increment(1);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_begins_anew_and_one_that_ends_does_not() {
        let runs = Arc::new(AtomicUsize::new(0));
        let (told, mut ended) = tokio::sync::mpsc::channel(8);
        keep("test", {
            let runs = runs.clone();
            move || {
                let (run, told) = (runs.fetch_add(1, Ordering::SeqCst), told.clone());
                async move {
                    assert!(run >= 2, "panic on purpose");
                    told.send(run).await.unwrap();
                }
            }
        });
        assert_eq!(ended.recv().await, Some(2));
        assert_eq!(ended.recv().await, None, "the loop is gone");
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_piece_that_panics_is_an_error_of_its_own() {
        assert_eq!(piece("test", "a", async { 1 }).await, Ok(1));
        let fault = piece("test", "s.t", async { panic!("on purpose") }).await;
        let fault: Fault = fault.map(|()| 0).unwrap_err();
        assert!(fault.message.contains("test of s.t panicked"), "{fault}");
    }
}
