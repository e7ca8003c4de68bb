//! DataFusion's errors as answers to "what now?", and such answers as errors that pass through DataFusion.

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};

use super::arithmetic::OVERFLOW;
use super::meter::count_ended;
use crate::fault::{Fault, Kind};

/// A fault on its way through DataFusion; [`fault_of`] finds it again.
pub(super) fn external(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

/// DataFusion's errors as answers to "what now?". What a user can cause is never internal.
pub fn fault_of(error: DataFusionError) -> Fault {
    if let Some(fault) = fault_within(&error) {
        return fault;
    }
    let root = error.find_root();
    let whole = root.strip_backtrace();
    if let Some(fault) = pattern(&whole) {
        return fault;
    }
    let text = whole.lines().next().unwrap_or_default().to_owned();
    match root {
        DataFusionError::SchemaError(e, _) => match e.as_ref() {
            SchemaError::FieldNotFound { .. } => Fault::invalid("column_not_found", text),
            _ => Fault::invalid("ambiguous_name", text),
        },
        DataFusionError::ResourcesExhausted(_) if text.contains(SPILLING) => Fault::new(
            Kind::Exhausted,
            "query_spill",
            "the statements that run spill more to disk than query.spill_bytes_max allows; narrow the query, or raise the setting",
        ),
        DataFusionError::ResourcesExhausted(_) => {
            // What an operator asks for before it allocates it.
            count_ended();
            Fault::new(
                Kind::Exhausted,
                "query_memory",
                format!("{text}; narrow the query, or raise memory.query_bytes_max"),
            )
        }
        DataFusionError::Plan(_) if text.contains("not found") && text.contains("table") => {
            Fault::new(Kind::NotFound, "table_not_found", text)
        }
        DataFusionError::SQL(..) => Fault::invalid("syntax_error", text),
        DataFusionError::NotImplemented(why) if why.contains("OuterReferenceColumn") => Fault::new(
            Kind::Unimplemented,
            "correlated_subquery",
            "a subquery reads columns of the query around it where that is not supported (two queries further in, in VALUES, in unnest, or beside ROLLUP, CUBE and GROUPING SETS within it); write it as a JOIN, or number the rows with row_number() OVER (PARTITION BY ..) and choose with QUALIFY",
        ),
        DataFusionError::NotImplemented(why) => {
            Fault::new(Kind::Unimplemented, "not_implemented", unsupported(why))
        }
        DataFusionError::ParquetError(_) => file_damaged(&text),
        DataFusionError::ArrowError(e, _) if matches!(**e, ArrowError::ParquetError(_)) => {
            file_damaged(&text)
        }
        DataFusionError::ArrowError(e, _) if matches!(**e, ArrowError::ArithmeticOverflow(_)) => {
            Fault::invalid(OVERFLOW, text.trim_start_matches("Arrow error: "))
        }
        DataFusionError::ArrowError(e, _) if matches!(**e, ArrowError::DivideByZero) => {
            Fault::invalid("division_by_zero", "division by zero")
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            Fault::invalid("execution", text)
        }
        DataFusionError::Plan(_) | DataFusionError::Configuration(_) => {
            // What a function does not take is an internal error there, within one of the plan.
            Fault::invalid("invalid_query", text.replace("Internal error: ", ""))
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            Fault::new(Kind::Unavailable, "store_unavailable", text)
        }
        // What DataFusion calls an internal error of its own, and a statement asks for.
        DataFusionError::Internal(why) if CAUSED.iter().any(|part| why.contains(part)) => {
            let text = text.trim_start_matches("Internal error: ");
            Fault::invalid("invalid_query", text)
        }
        _ => Fault::internal(text),
    }
}

/// Parts of errors that a statement leads to: arguments that a function does not take, and orders that have no distances.
const CAUSED: [&str; 5] = [
    "failed to match any signature",
    "Cannot run range queries on datatype",
    "array_slice got invalid stride",
    "array_resize: failed to convert size",
    "Nth value indices are 1 based",
];

/// In the text of the error about the disk that is spilled to.
const SPILLING: &str = "max_temp_directory_size";

/// A regular expression that cannot be read. Its parser draws the pattern with a mark below, in lines of their own.
fn pattern(text: &str) -> Option<Fault> {
    let says = [
        "regex parse error",
        "Regular expression did not compile",
        "Compiled regex exceeds size limit",
    ];
    if !says.iter().any(|part| text.contains(part)) {
        return None;
    }
    // One of Arrow's has the error in the form of Rust's `Debug`.
    let text = text.replace("\\n", "\n");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after = |part: &str| {
        let at = lines.iter().position(|line| line.contains(part))?;
        lines.get(at + 1).copied()
    };
    let why = lines.iter().find_map(|line| line.strip_prefix("error: "));
    let why = why.map(|why| why.trim_end_matches(['"', ')', '\'']));
    let message = match (after("regex parse error"), why) {
        (Some(pattern), Some(why)) => format!("not a regular expression, pattern={pattern}: {why}"),
        _ => format!("not a regular expression: {}", lines.join(" ")),
    };
    Some(Fault::invalid("invalid_query", message))
}

/// What is not supported, without the tree of it that DataFusion writes out: of `PIVOT (..)` the word alone.
fn unsupported(why: &str) -> String {
    let Some((_, tree)) = why.split_once("Unsupported ast node ") else {
        return why.lines().next().unwrap_or_default().to_owned();
    };
    // Some name the place in the planner first.
    let tree = tree.trim_start_matches("in sqltorel: ");
    let word: String = tree
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    format!("{} is not supported", word.to_uppercase())
}

/// One that was ours already, whatever has wrapped it.
fn fault_within(error: &DataFusionError) -> Option<Fault> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault.clone());
        }
        next = error.source();
    }
    None
}

/// What stands within a data file cannot be decoded. Its reader does not say which file that is.
fn file_damaged(text: &str) -> Fault {
    Fault::new(
        Kind::Corrupt,
        "file_damaged",
        format!("{text}; CHECK TABLE names the file and the way out"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_read_is_told_with_the_reason() {
        let drawn = "regex parse error:\n    (\n    ^\nerror: unclosed group";
        let plain = DataFusionError::External(drawn.into());
        let debug = format!("Regular expression did not compile: Syntax({drawn:?})");
        let arrow = DataFusionError::ArrowError(Box::new(ArrowError::ComputeError(debug)), None);
        for error in [plain, arrow] {
            let fault = fault_of(error);
            assert_eq!(fault.kind, Kind::Invalid, "{fault}");
            let expected = "not a regular expression, pattern=(: unclosed group";
            assert_eq!(fault.message, expected);
        }
    }

    #[test]
    fn what_is_not_offered_is_told_without_the_parsers_tree() {
        let tree = "Unsupported ast node Pivot { table: Derived { lateral: false } }";
        let fault = fault_of(DataFusionError::NotImplemented(tree.to_owned()));
        assert_eq!(fault.message, "PIVOT is not supported");
        let tree = "Unsupported ast node in sqltorel: Collate { expr: Identifier(..) }";
        let fault = fault_of(DataFusionError::NotImplemented(tree.to_owned()));
        assert_eq!(fault.message, "COLLATE is not supported");
    }

    #[test]
    fn the_disk_is_told_by_the_servers_own_setting() {
        let text = "The used disk space during the spilling process has exceeded the allowable limit of 1.0 B. Please try increasing the config: `datafusion.runtime.max_temp_directory_size`.";
        let fault = fault_of(DataFusionError::ResourcesExhausted(text.to_owned()));
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "query_spill")
        );
        assert!(fault.message.contains("query.spill_bytes_max"), "{fault}");
        assert!(!fault.message.contains("datafusion"), "{fault}");
    }
}
