//! Committed rows: Delta tables behind an object store, local or not. It knows no log and no contracts; it is handed
//! schemas, properties and positions.

pub mod check;
#[cfg(test)]
mod column_tests;
pub mod delta;
mod encoders;
#[cfg(test)]
pub mod faulty;
pub mod files;
pub mod folder_check;
pub mod lake;
mod mapping;
mod passed_on;
#[cfg(test)]
mod tests;

pub use delta::changes::{Change, GONE};
pub use delta::checkpoint::{Checkpointer, FILE_RETENTION, LOG_RETENTION};
pub use delta::encode::{Effort, large_enough};
pub use delta::foreign::ForeignTable;
pub use delta::history::{At, Detail, Entry, History};
pub use delta::past::{Silent, list_at, silent_files};
pub use delta::recent::{CommitNote, Recent};
pub use delta::rewrite::{Reason, Removal};
pub use delta::stage::{Slicer, Staged, Stager};
pub use delta::table::ColdTable;
pub use delta::vacuum::{Found, Keep, Sweep, Sweeper};
pub use files::bounds;
pub use files::{
    ColdFile, Columns, Described, FILE, FileList, FloatsInOneForm, PinnedFile, PinnedFiles, ROW,
    Slices,
};
pub use lake::Lake;
pub use mapping::Mapping;

use crate::fault::{Fault, Kind};

/// What can go wrong with a table in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer, or not as it should. Nothing was committed, or the next try finds out.
    #[error("object store or Delta log: {0}")]
    Store(String),
    /// The store answers, and what it has is no Delta table that can be read.
    #[error("the Delta table cannot be read: {0}")]
    Damaged(String),
    /// Delta does not allow the version; another try ends the same.
    #[error("Delta does not allow the commit: {0}")]
    Refused(String),
    /// The contract's columns are not the Delta table's.
    #[error("the Delta table's columns are not the contract's: {0}")]
    Mismatch(String),
    /// Another server has claimed the table since.
    #[error("another server owns the table now, owner_epoch={theirs}, ours={ours}")]
    Fenced { ours: i64, theirs: i64 },
    /// The table holds this position already.
    #[error("the table already holds position {held}, asked={asked}")]
    Superseded { held: i64, asked: i64 },
    /// A statement wanted to take a file out that another writer has taken out before.
    #[error("the table was changed by another writer meanwhile, file={path}")]
    Changed { path: String },
    #[error("the table has no {asked}; its log has the versions {oldest} to {newest}{note}")]
    NoVersion {
        asked: String,
        oldest: i64,
        newest: i64,
        note: String,
    },
    #[error(
        "version {version} is not there any more, files of it were vacuumed, file={path}; readable are the versions {from} to {to}"
    )]
    Vacuumed {
        version: i64,
        path: String,
        from: i64,
        to: i64,
    },
    /// What a version changed is read from its own log entry.
    #[error(
        "what version {version} changed is not in the log any more; read the table as it is, SELECT .. VERSION AS OF {newest}, and follow it from version {next} on", next = newest + 1
    )]
    Untold { version: i64, newest: i64 },
    #[error(
        "what version {version} changed cannot be read any more, files of it were vacuumed, file={path}; read the table as it is, SELECT .. VERSION AS OF {newest}, and follow it from version {next} on", next = newest + 1
    )]
    Swept {
        version: i64,
        path: String,
        newest: i64,
    },
    #[error("version {version} does not fit the table as it is: {problem}")]
    Incompatible { version: i64, problem: String },
    #[error(
        "the Delta table has a column that its contract does not know, and files written anew would lose it, column={column}; add the column to the contract first"
    )]
    OtherColumns { column: String },
    /// Readers take an empty entry for a commit of nothing, and would miss rows without a word.
    #[error("an entry of the Delta log is empty, file={file}; restore it from a backup")]
    EmptyEntry { file: String },
    /// The file is not what the Delta log says of it, or not what was written.
    #[error(
        "a data file of the table is damaged, table={table}, file={file}: {problem}; restore that file from a backup, or a version of the table that does not have it (RESTORE TABLE)"
    )]
    DataFile {
        table: String,
        file: String,
        problem: String,
    },
    #[error("not a location for tables: {0}; give a directory or a URL such as s3://bucket/prefix")]
    Location(String),
    #[error("cannot encode rows as Parquet: {0}")]
    Encode(String),
}

/// Kernel errors carry a backtrace behind their first line; it is nobody's business outside.
pub(crate) fn store_error(error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.chars().take(600).collect();
    // The Delta library passes on an error of the store as text.
    if text.contains(delta::entry_checksum::MISMATCH) {
        return Error::Damaged(first);
    }
    Error::Store(first)
}

/// What a fault says when files that are written anew would lose a column of another writer.
pub const OTHER_COLUMNS: &str = "other_columns";

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (kind, reason) = match &error {
            Error::Store(_) => (Kind::Unavailable, "store_unavailable"),
            Error::Damaged(_) => (Kind::Corrupt, "table_damaged"),
            Error::Refused(_) => (Kind::Precondition, "commit_refused"),
            Error::Mismatch(_) => (Kind::Precondition, "schema_mismatch"),
            Error::Fenced { .. } => (Kind::Unavailable, "owned_elsewhere"),
            Error::Superseded { .. } => (Kind::Conflict, "superseded"),
            Error::Changed { .. } => (Kind::Conflict, "changed_meanwhile"),
            Error::NoVersion { .. } => (Kind::OutOfRange, "version_not_found"),
            Error::Vacuumed { .. } => (Kind::OutOfRange, "version_vacuumed"),
            Error::Untold { .. } => (Kind::OutOfRange, "version_expired"),
            Error::Swept { .. } => (Kind::OutOfRange, "version_vacuumed"),
            Error::Incompatible { .. } => (Kind::Precondition, "version_incompatible"),
            Error::OtherColumns { .. } => (Kind::Precondition, OTHER_COLUMNS),
            Error::EmptyEntry { .. } => (Kind::Corrupt, "table_damaged"),
            Error::DataFile { .. } => (Kind::Corrupt, "file_damaged"),
            Error::Location(_) => (Kind::Invalid, "invalid_location"),
            Error::Encode(_) => (Kind::Internal, "encode_failed"),
        };
        Fault::new(kind, reason, error.to_string())
    }
}
