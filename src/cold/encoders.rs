//! The threads that make Parquet: one a spare core, at low priority, so that rows waiting for their ack come first. What
//! bounds the wait of the others is `memory.hot_bytes_max`: when it is reached producers are pushed back, and the cores are
//! the encoders' again.

use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

use super::Error;
use crate::threads::{Precedence, give_precedence};

type Job = Box<dyn FnOnce() + Send>;

/// Cheap to clone; the threads end with the last one.
#[derive(Clone, Debug)]
pub(super) struct Encoders(mpsc::Sender<Job>);

impl Encoders {
    /// # Errors
    /// `Encode`: no thread can be started.
    pub(super) fn start() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (tx, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..cores.saturating_sub(1).max(1) {
            let jobs = jobs.clone();
            std::thread::Builder::new()
                .name("encoder".to_owned())
                .spawn(move || work(&jobs))
                .map_err(|e| Error::Encode(format!("encoder thread: {e}")))?;
        }
        Ok(Encoders(tx))
    }

    /// Runs `work` when a slot is free. A panic in it is an error of this call alone.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tx, done) = tokio::sync::oneshot::channel();
        let job = Box::new(move || {
            let _ = tx.send(work());
        });
        let gone = || Error::Encode("the encoder ended before its work was done".to_owned());
        self.0.send(job).map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    give_precedence(Precedence::Encoder);
    loop {
        let job = jobs.lock().recv();
        let Ok(job) = job else { return };
        // The job's answer is dropped with it, which its caller is told.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("encoding panicked; the rows stay hot");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_own_job_and_the_next_one_runs() {
        let encoders = Encoders::start().unwrap();
        let failed = encoders.run(|| -> Result<(), Error> { panic!("bad batch") });
        assert!(failed.await.is_err());
        assert_eq!(encoders.run(|| Ok(7)).await.unwrap(), 7);
    }
}
