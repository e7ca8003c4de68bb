//! What a query is given: immutable values, pinned for as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::cold::ColdView;
use crate::dataset::Contract;
use crate::hot::Chunk;
use crate::types::{Lsn, TableName};

/// One table at the read point: a committed version, and the hot rows above it.
#[derive(Clone, Debug)]
pub struct TableView {
    pub name: TableName,
    /// None for a quarantine.
    pub contract: Option<Arc<Contract>>,
    pub schema: SchemaRef,
    pub cold: Arc<ColdView>,
    pub hot: Arc<Vec<Chunk>>,
    pub comment: Option<String>,
}

/// Every table at one read point, by folded name.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub read_point: Lsn,
    pub tables: Arc<BTreeMap<TableName, TableView>>,
}
