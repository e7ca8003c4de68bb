//! The snapshots that a statement's queries read: the table's committed rows alone, and once more under another name with their
//! places.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::view::{Snapshot, TableView};
use crate::cold::PinnedFiles;
use crate::types::TableName;

/// The snapshot in which the table has its committed rows alone, and once more under another name with their places.
pub(super) fn pinned(snapshot: Snapshot, name: &TableName, view: &Arc<PinnedFiles>) -> Snapshot {
    let mut tables = (*snapshot.tables).clone();
    if let Some(own) = tables.get_mut(&name.folded()) {
        own.cold = view.clone();
        own.hot = Arc::default();
    }
    with_rows(&mut tables, name, view);
    Snapshot {
        tables: Arc::new(tables),
        ..snapshot
    }
}

pub(super) fn with_rows(
    tables: &mut BTreeMap<TableName, TableView>,
    name: &TableName,
    view: &PinnedFiles,
) {
    let located = view.located();
    let name = name.variant("rows");
    tables.insert(
        name.folded(),
        TableView {
            name,
            contract: None,
            schema: located.schema(),
            cold: Arc::new(located),
            hot: Arc::default(),
            comment: None,
            progress: None,
        },
    );
}
