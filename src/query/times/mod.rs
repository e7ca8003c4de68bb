//! Times and zones as PostgreSQL has them. A local time that a change of the clock leaves out, or that it brings twice, is an
//! instant all the same (`zone`), for `AT TIME ZONE` (`at_zone`; back to the local time `local_clock`), for `+ INTERVAL` (`shift`; of a DATE `days`), for buckets (`functions/bucket`),
//! `date_bin` and `date_trunc` (`calendar`). Texts and numbers become times (`to_timestamp`), also without seconds and with an offset (`minutes`). The time between two times has parts (`part`).

mod at_zone;
mod calendar;
mod days;
mod local_clock;
mod minutes;
mod part;
mod shift;
#[cfg(test)]
mod tests;
mod to_timestamp;
mod zone;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};

pub(super) use at_zone::{ZonedCasts, rewrite as rewrite_at_time_zone};
pub(super) use days::DayPlanner;
pub(super) use minutes::{ShortTimes, cast_as_read};
pub(super) use part::PartPlanner;
pub(super) use shift::{is_zoned, shifted};
pub(super) use zone::{Zone, ZoneClock};

/// Registers the functions here, some in the place of DataFusion's.
///
/// # Errors
/// None: names that are known stay known.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udf(Arc::new(at_zone::function()))?;
    for name in ["date_bin", "date_trunc"] {
        if let Some(inner) = state.scalar_functions().get(name).cloned() {
            state.register_udf(Arc::new(calendar::wrapped(inner)))?;
        }
    }
    let known = state.scalar_functions().clone();
    if let Some(micros) = known.get("to_timestamp_micros") {
        for unit in ["", "_seconds", "_millis", "_micros", "_nanos"] {
            if let Some(inner) = known.get(&format!("to_timestamp{unit}")) {
                let wrapped = to_timestamp::wrapped(inner.clone(), micros.clone());
                state.register_udf(Arc::new(wrapped))?;
            }
        }
    }
    state.register_udf(Arc::new(part::function()))?;
    Ok(())
}
