//! The one place where free randomness enters: ids that must never meet another's. Whatever else is random takes a seed.

use uuid::Uuid;

/// A new random id (UUID version 4).
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that makes random ids"
)]
pub fn random_id() -> Uuid {
    Uuid::new_v4()
}
