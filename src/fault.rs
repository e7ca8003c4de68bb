//! What a caller can do about an error. Module errors convert into a [`Fault`] where they leave the
//! server's inside; `flight/status` alone turns its kind into a gRPC code.

use std::borrow::Cow;

/// The caller's question is "what now?"; each kind is one answer (DESIGN, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Fix the request.
    Invalid,
    NotFound,
    AlreadyExists,
    /// Fenced, or in the wrong state.
    Precondition,
    /// A gap in a stream, or an expired version.
    OutOfRange,
    /// Too big, or a budget is spent.
    Exhausted,
    /// Retry later, or elsewhere.
    Unavailable,
    /// Read again and retry.
    Conflict,
    Deadline,
    Cancelled,
    Unauthenticated,
    Denied,
    Unimplemented,
    /// An operator must look.
    Corrupt,
    /// Our bug.
    Internal,
}

/// An error as a client meets it: `reason` is a stable word for machines, `message` says column, value, rule and way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Fault {
    pub kind: Kind,
    pub reason: Cow<'static, str>,
    pub message: String,
}

impl Fault {
    pub fn new(kind: Kind, reason: &'static str, message: impl Into<String>) -> Self {
        Fault {
            kind,
            reason: Cow::Borrowed(reason),
            message: message.into(),
        }
    }

    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, reason, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, "internal", message)
    }
}
