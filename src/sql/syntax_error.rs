//! The error of a text that is no SQL.

use crate::fault::Fault;

/// INVALID_ARGUMENT `syntax_error`.
pub fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}
