//! Holds a batch to its contract, on whole columns. A [`Validator`] is a contract in the form in which batches are judged; its
//! one method [`Validator::judge`] says what becomes of each row and makes the rows, and [`Validated`] is the only thing that
//! goes on to the log or a commit. [`Validator::replay`] makes the rows again from the verdict that the log kept; replay never
//! judges. It knows no log, no table format and no clock.
//!
//! What a batch becomes is bounded before it is made ([`Scope::bytes_max`]): a row costs memory however few bytes it came in.

mod apply;
mod conform;
mod findings;
mod json_object;
mod keys;
mod nested;
mod numbers;
mod partition;
mod quarantine;
mod raw;
mod rules;
mod size;
mod source;
#[cfg(test)]
mod tests;
mod times;
mod validator;
mod verdict;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use apply::{Applied, Origin};
pub use conform::{distance, lost_column, show, unknown_fields};
pub use json_object::JsonObject;
pub use keys::{Additions, Keys, key_hashes};
pub use nested::write_json;
pub use quarantine::row_text;
pub use raw::{Override, Restored, Shape, restore};
pub use source::Source;
pub use times::{with_seconds, without_zone};
pub use validator::{Validated, Validator};
pub use verdict::{Cell, Rejected, Verdict, VerdictError};

/// The values that each `referential` rule allows, by the rule's name.
pub type References = HashMap<String, Arc<HashSet<String>>>;

/// How far a batch is judged.
pub struct Scope<'k> {
    /// What is known of earlier rows; none: rules about them are left out.
    pub keys: Option<&'k Keys>,
    /// Are rows held to rules about lateness?
    pub lateness: bool,
    /// Bytes that may be made for the batch, beside what was sent.
    pub bytes_max: usize,
}
