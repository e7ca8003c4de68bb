//! How large a statement's text may be, and the errors of one that is larger. The limits are what the stacks of `query/planning` are made
//! for, and hold for the whole process.

use parking_lot::RwLock;

use crate::fault::{Fault, Kind};

/// The settings `query.text_bytes_max` and its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Bytes of one statement.
    pub bytes: usize,
    /// Words, names, literals and signs of one statement.
    pub tokens: usize,
    /// Operators between two commas, those in brackets between them included.
    pub terms: usize,
    /// Brackets within brackets, and queries, functions and CASEs within each other.
    pub nesting: usize,
    /// SELECTs, JOINs and set operations of one statement.
    pub relations: usize,
    /// The highest number of a parameter.
    pub parameters: usize,
}

impl TextLimits {
    pub(super) const DEFAULT: TextLimits = TextLimits {
        bytes: 1 << 20,
        tokens: 200_000,
        terms: 10_000,
        nesting: 50,
        relations: 1000,
        parameters: 65_535,
    };

    /// Makes these the limits of the process.
    pub fn install(self) {
        *LIMITS.write() = self;
    }

    pub fn current() -> TextLimits {
        *LIMITS.read()
    }
}

impl Default for TextLimits {
    fn default() -> Self {
        TextLimits::DEFAULT
    }
}

/// Written once at the server's start; read by every statement. A lock, because the parsers of statements have no handle to
/// the engine.
static LIMITS: RwLock<TextLimits> = RwLock::new(TextLimits::DEFAULT);

pub(super) fn too_large(
    what: &str,
    found: usize,
    setting: &str,
    limit: usize,
    way_out: &str,
) -> Fault {
    Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        format!(
            "the statement has {what}, found={found}, limit={limit}; {way_out}, or raise query.{setting}"
        ),
    )
}

/// What the parser says when a text nests deeper than it goes.
pub(super) fn too_deep() -> Fault {
    let limit = TextLimits::current().nesting;
    Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        format!(
            "the statement nests too deep, limit={limit}; split it with WITH, or raise query.nesting_max"
        ),
    )
}

/// `relations`: SELECTs, JOINs, set operations, or tables in FROM.
pub(super) fn check_relations(relations: usize, limits: &TextLimits) -> Result<(), Fault> {
    if relations > limits.relations {
        return Err(too_large(
            "too many SELECTs, joins and set operations",
            relations,
            "relations_max",
            limits.relations,
            "split it into several",
        ));
    }
    Ok(())
}
