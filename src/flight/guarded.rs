//! Work on bytes that nobody vouches for.

use super::status::broken;
use crate::fault::Fault;

/// Runs work on a client's bytes in a task of its own: its panic is this call's error alone.
pub(super) async fn guarded<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(Fault::invalid(
            "malformed_ipc",
            "the stream could not be decoded and was ended; send FlightData as an Arrow library writes it",
        )),
        Err(_) => Err(broken(&tonic::Status::cancelled("the call was cancelled"))),
    }
}
