//! What goes wrong with a statement that changes rows, whichever of its rows it is at.

use crate::fault::{Fault, Kind};

pub(super) fn gone() -> Fault {
    Fault::new(
        Kind::Cancelled,
        "cancelled",
        "nobody waits for the statement",
    )
}

pub(super) fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("rows of a statement: {error}"))
}
