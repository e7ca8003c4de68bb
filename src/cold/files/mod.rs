//! The data files of a table. There are two lists of them:
//!
//! - [`FileList`] is what a version's log says. It can be kept for as long as one likes and compared with another version's
//!   list. Vacuum may have deleted its files long ago, so that it offers no way to read them.
//! - [`PinnedFiles`] is a list whose files vacuum leaves alone until it is dropped. Only this type gives rows, and a plan
//!   that scans it holds its pin as well.
//!
//! Where a file is in the store stands in private fields of this module, so that code which reads files that are not pinned
//! does not compile.

pub mod bounds;
mod data_file;
pub(in crate::cold) mod file;
pub(in crate::cold) mod float_bounds;
mod list;
pub(in crate::cold) mod metadata_checksum;
#[cfg(test)]
mod model_tests;
mod pinned;
pub mod pins;
mod prune;
mod read;
mod reader;
mod renamed;
mod scan;
pub(in crate::cold) mod slices;
mod tail;

pub use file::{ColdFile, Columns, Described};
pub use list::FileList;
pub use pinned::PinnedFiles;
pub use read::PinnedFile;
pub use scan::{FILE, FloatsInOneForm, ROW};
pub use slices::Slices;
