//! What a dataset is: the contract of each table, and its spellings: TOML (`dataset.toml`), DDL, Delta properties and the
//! Arrow schema. It knows no engine and does no I/O.

mod alert;
mod alter;
mod arrow_schema;
mod column;
mod column_changes;
mod contract;
mod ddl;
mod nested;
mod partition;
mod properties;
mod quarantine;
mod retention;
mod rule;
mod settable;
#[cfg(test)]
mod tests;
mod toml;
mod type_text;
mod view;

pub use alert::{AlertDeclaration, Watched, clause_span};
pub use alter::Alteration;
pub use column::{Column, ColumnType, EpochUnit};
pub use contract::{Contract, EVENT_DATE, RESERVED_COLUMNS, TEMPORARY_SCHEMA, UnknownColumns};
pub use ddl::{quote_text, unquote};
pub use nested::{ELEMENT, ENTRIES, ElementType, EntryType, KEY, NESTING_MAX, StructField, VALUE};
pub use quarantine::quarantine_schema;
pub use rule::{Action, Rule, RuleKind, values_within};
pub use toml::{Dataset, Load, Question, Step, from_toml};
pub use view::{
    Bucket, Spans, ViewDeclaration, ViewSettings, ViewSpec, parse_span, quoted_span, show_span,
};

/// Why a contract cannot stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Name(#[from] crate::types::NameError),
    #[error("{0}")]
    Toml(String),
    #[error("line {line}: {source}")]
    At {
        /// From 1.
        line: usize,
        source: Box<Error>,
    },
    #[error(
        "unknown type, column={column}, type={given}; known: boolean, byte, short, int, long, float, double, string, binary, date, timestamp, timestamp_ntz, decimal(p,s), array<t>, struct<name: t, ..>, map<k, v>"
    )]
    Type { column: String, given: String },
    #[error("a type that cannot be kept, column={column}, type={given}: {problem}")]
    Nested {
        column: String,
        given: String,
        problem: String,
    },
    #[error("column declared twice, table={table}, column={column}")]
    Twice { table: String, column: String },
    #[error("reserved name, table={table}, name={name}; the server fills it: choose another")]
    Reserved { table: String, name: String },
    #[error("no such column, table={table}, column={column}, in={place}; columns: {known}")]
    NoColumn {
        table: String,
        column: String,
        place: &'static str,
        known: String,
    },
    #[error("rule does not fit its column, rule={rule}, column={column}: {problem}")]
    Rule {
        rule: String,
        column: String,
        problem: String,
    },
    #[error(
        "the column cannot be {verb}, table={table}, column={column}: {by} needs it; {way_out}"
    )]
    Needed {
        table: String,
        column: String,
        verb: &'static str,
        by: String,
        way_out: String,
    },
    #[error("table without columns, table={0}")]
    Empty(String),
    #[error("property cannot stand, property={property}: {problem}")]
    Property { property: String, problem: String },
}
