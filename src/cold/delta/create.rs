//! The first version of a table that has a mapping of its columns from the start. The Delta library makes up names for all columns of such
//! a table, also for the fields of a STRUCT, and takes no others.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::Schema;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Metadata, Protocol};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::{Value, json};

use super::super::{Error, Lake, store_error};
use super::commit::properties_of;
use super::protocol;
use crate::clock::{Clock, SystemClock};
use crate::ids::random_id;

/// What a first version says of its table.
pub(super) struct First<'a> {
    /// With what the mapping says of each column.
    pub annotated: &'a Value,
    pub partition_by: &'a [String],
    pub properties: BTreeMap<String, String>,
    pub protocol: Option<Action>,
}

/// The protocol of a new table.
///
/// # Errors
/// None.
pub(super) fn protocol_of(
    schema: &Schema,
    properties: &BTreeMap<String, String>,
    maps: bool,
) -> Result<Option<Action>, Error> {
    // Constraints stand for Spark and its like to keep.
    let mut keys = properties.keys();
    let constrained = keys.any(|k| k.starts_with("delta.constraints."));
    protocol::upgrade(None, schema, constrained, maps)
}

/// # Errors
/// `Store`: it is there already, or the store refused.
pub(super) async fn mapped(
    lake: &Lake,
    folder: &str,
    first: First<'_>,
    txns: Vec<(String, i64)>,
) -> Result<DeltaTable, Error> {
    let mut delta = lake.table(folder)?;
    let log = delta.log_store();
    if log.is_delta_table_location().await.map_err(store_error)? {
        return Err(Error::Store(format!(
            "there is a table already, folder={folder}"
        )));
    }
    let Some(Action::Protocol(protocol)) = first.protocol else {
        return Err(Error::Store("a new table without a protocol".to_owned()));
    };
    let protocol: Protocol = protocol;
    let configuration: HashMap<String, String> = first.properties.into_iter().collect();
    let metadata: Metadata = serde_json::from_value(json!({
        "id": random_id().to_string(),
        "format": { "provider": "parquet", "options": {} },
        "schemaString": first.annotated.to_string(),
        "partitionColumns": first.partition_by,
        "configuration": configuration,
        "createdTime": SystemClock.now() / 1000,
    }))
    .map_err(store_error)?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: lake.url(folder)?,
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    CommitBuilder::from(properties_of(txns))
        .with_actions(actions)
        .build(None, log, operation)
        .await
        .map_err(store_error)?;
    delta.load().await.map_err(store_error)?;
    Ok(delta)
}
