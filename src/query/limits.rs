//! What one statement may take, where its parts can see it: carried in the session's options, which reach every function's
//! call and every rule of the optimizer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{Result, config_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use super::running;
use crate::fault::{Fault, Kind};

/// Between two looks at whether memory has come back.
const PAUSE: Duration = Duration::from_millis(5);

/// The limits of one statement. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct QueryLimits {
    /// Cancelled when the statement is to end; its parts look at it.
    pub token: CancellationToken,
    /// The parent of `token`: cancelled by the client, or because it is gone, and not by an end that the statement comes to.
    pub client: CancellationToken,
    pub deadline: Instant,
    pub timeout: Duration,
    /// `query.value_bytes_max`
    pub value_bytes: u64,
    /// `query.batch_bytes_max`
    pub batch_bytes: u64,
    pub pool: Arc<dyn MemoryPool>,
    /// What the statement holds in fact.
    pub meter: Arc<Meter>,
    /// Values that are constants of the plan, and live as long.
    pub constants: Arc<MemoryReservation>,
}

impl QueryLimits {
    /// Those of the statement that the options belong to; none for a session of the server's own.
    pub(super) fn of(options: &ConfigOptions) -> Option<&QueryLimits> {
        options.extensions.get::<QueryLimits>()
    }

    /// Memory of its own within that of all queries.
    pub(super) fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.pool)
    }

    /// # Errors
    /// CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED: the statement is to end.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.token.is_cancelled() {
            return Err(running::cancelled());
        }
        if Instant::now() >= self.deadline {
            return Err(self.expired());
        }
        self.meter.check()
    }

    /// [`QueryLimits::check`], and a wait for statements that were told to end while all together hold too much: planning would
    /// take more beside what they still hold. For a thread of planning's own, which this blocks.
    ///
    /// # Errors
    /// As [`QueryLimits::check`].
    pub(super) fn check_in_planning(&self) -> Result<(), Fault> {
        self.check()?;
        while self.meter.waits() {
            std::thread::sleep(PAUSE);
            self.check()?;
        }
        Ok(())
    }

    pub(super) fn expired(&self) -> Fault {
        Fault::new(
            Kind::Deadline,
            "query_timeout",
            format!(
                "the query ran longer than {:?}; narrow it, or raise query.timeout",
                self.timeout
            ),
        )
    }
}

impl ExtensionOptions for QueryLimits {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        config_err!("no such option: {key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

impl ConfigExtension for QueryLimits {
    const PREFIX: &'static str = "deltaplane";
}
